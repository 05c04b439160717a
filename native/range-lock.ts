/**
 * Byte-range locks (`F_OFD_SETLK`, fcntl(2)) on a file that is never replaced: they hold between processes and between
 * holders of one process, and the kernel lets go of them when their holder dies.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { loadAddon } from './addon.ts'

export interface LockedRange {
  readonly startBytes: number
  readonly lengthBytes: number
  readonly mode: 'shared' | 'exclusive'
}

const native = loadAddon<{
  tryLockRange(path: string, start: number, length: number, exclusive: boolean): number | undefined
  unlockRange(descriptor: number): void
}>()

const FIRST_WAIT_MS = 1
const LONGEST_WAIT_MS = 20

/** Who waits in this process for the same range is served in order, and without polling. */
const queues = new Map<string, Promise<void>>()

/** `undefined` if somebody else holds it. The file is made (mode 0600) if it is not there. Costs microseconds; disposal lets go. */
export function tryLockRange(path: string, { startBytes, lengthBytes, mode }: LockedRange): Disposable | undefined {
  const descriptor = native.tryLockRange(path, startBytes, lengthBytes, mode === 'exclusive')
  if (descriptor === undefined) return undefined
  let held = true
  return {
    [Symbol.dispose]() {
      if (held) native.unlockRange(descriptor)
      held = false
    },
  }
}

/** Waits for an exclusive lock; throws the signal's reason when that aborts first. */
export async function lockRange(
  path: string,
  startBytes: number,
  lengthBytes: number,
  signal?: AbortSignal,
): Promise<Disposable> {
  const name = `${startBytes}+${lengthBytes} ${path}`
  const before = queues.get(name)
  const { promise: done, resolve: finish } = Promise.withResolvers<void>()
  const mine = (before ?? Promise.resolve()).then(() => done)
  queues.set(name, mine)
  const leave = (): void => {
    finish()
    if (queues.get(name) === mine) queues.delete(name)
  }
  try {
    if (before) await orAborted(before, signal)
    const held = await poll(path, { startBytes, lengthBytes, mode: 'exclusive' }, signal)
    return {
      [Symbol.dispose]() {
        held[Symbol.dispose]()
        leave()
      },
    }
  } catch (error) {
    leave()
    throw error
  }
}

/** Other processes cannot tell us that they are done, so we ask. */
async function poll(path: string, range: LockedRange, signal?: AbortSignal): Promise<Disposable> {
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    signal?.throwIfAborted()
    const held = tryLockRange(path, range)
    if (held) return held
    await delay(waitMs)
  }
}

async function orAborted(waiting: Promise<void>, signal?: AbortSignal): Promise<void> {
  if (!signal) return await waiting
  signal.throwIfAborted()
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(signal.reason)
  signal.addEventListener('abort', abort)
  try {
    await Promise.race([waiting, promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
