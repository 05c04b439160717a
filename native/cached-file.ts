/**
 * Small files as far as the kernel has them in memory, read at once by the thread that asks: a few microseconds, where a
 * trip to the thread pool costs ten times that. Never waits for a disk: what only the disk knows is `undefined`, and the
 * caller asks the usual way.
 */
import { loadAddon } from './addon.ts'

const native = loadAddon<{
  readCached(path: string, into: Uint8Array, known: Uint8Array | undefined): number | true | null | undefined
  statCached(path: string, into: Float64Array): true | null | undefined
}>()

export interface CachedStat {
  readonly sizeBytes: number
  readonly modifiedMs: number
}

const MOST_BYTES = 64 * 1024
/** What is read goes through here, and is copied out in its size. */
const scratch = Buffer.alloc(MOST_BYTES)

/**
 * The whole file; `null` if there is none; `undefined` if the disk has to be asked, or the file is 64 KiB or more. `known` itself is
 * given back if it is what the file says.
 */
export function readCached<Known extends Uint8Array>(path: string, known?: Known): Known | Buffer | null | undefined {
  const count = native.readCached(path, scratch, known)
  if (count === true) return known
  if (typeof count !== 'number') return count
  const bytes = Buffer.allocUnsafeSlow(count) // of its own: a piece of Node's pool that is kept would keep all of it
  scratch.copy(bytes, 0, 0, count)
  return bytes
}

const filled = new Float64Array(2)

/** `null` if there is none, `undefined` if the disk has to be asked. */
export function statCached(path: string): CachedStat | null | undefined {
  const known = native.statCached(path, filled)
  if (known !== true) return known
  const [sizeBytes = 0, modifiedMs = 0] = filled
  return { sizeBytes, modifiedMs }
}
