/**
 * Ordered listings of folders. A sorted listing is kept in one bounded cache and believed only while the folder's mtime
 * is the one that it had, provided that it was old enough when the listing began: kernels stamp in ticks, so two changes
 * within one tick look like one.
 */
import { readdir, stat } from 'node:fs/promises'
import { statCached } from '../../native/cached-file.ts'
import type { ListOptions } from '../driver.ts'
import { codeOf } from './files.ts'

/** Longer than any kernel's tick. */
const TICK_MS = 100
const CACHED_NAMES = 500_000

interface Listing {
  readonly modifiedMs: number
  readonly names: readonly string[]
}

export class Listings {
  /** The least recently used first. */
  readonly #cache = new Map<string, Listing>()
  #cachedNames = 0

  async *list(folder: string, { after, limit = Number.POSITIVE_INFINITY }: ListOptions): AsyncGenerator<string> {
    const names = await this.#names(folder)
    const start = after === undefined ? 0 : firstBeyond(names, after)
    const end = Math.min(names.length, start + limit)
    for (let place = start; place < end; place += 1) yield names[place] as string
  }

  async #names(folder: string): Promise<readonly string[]> {
    const beganMs = Date.now()
    const modifiedMs = await modified(folder)
    if (modifiedMs === undefined) return []
    const cached = this.#cache.get(folder)
    this.#forget(folder)
    if (cached?.modifiedMs === modifiedMs) {
      this.#remember(folder, cached)
      return cached.names
    }
    const entries = await readdir(folder, { withFileTypes: true }).catch(noFolder)
    const names = entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name)).sort(byBytes)
    if (beganMs - modifiedMs > TICK_MS) this.#remember(folder, { modifiedMs, names })
    return names
  }

  #remember(folder: string, listing: Listing): void {
    if (listing.names.length > CACHED_NAMES) return
    this.#cache.set(folder, listing)
    this.#cachedNames += listing.names.length
    for (const oldest of this.#cache.keys()) {
      if (this.#cachedNames <= CACHED_NAMES) return
      this.#forget(oldest)
    }
  }

  #forget(folder: string): void {
    this.#cachedNames -= this.#cache.get(folder)?.names.length ?? 0
    this.#cache.delete(folder)
  }
}

async function modified(folder: string): Promise<number | undefined> {
  const known = statCached(folder)
  if (known) return known.modifiedMs
  try {
    return (await stat(folder)).mtimeMs
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function noFolder(error: unknown): [] {
  if (codeOf(error) === 'ENOENT') return []
  throw error
}

/** Every name of ours is ASCII, where the order of code units is that of bytes. */
const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

function firstBeyond(names: readonly string[], after: string): number {
  let [low, high] = [0, names.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((names[middle] as string) <= after) low = middle + 1
    else high = middle
  }
  return low
}
