/** Trying again what may pass by itself: after a random time that grows, so that many who were refused do not come back together. */
import { setTimeout as delay } from 'node:timers/promises'
import { classOf, mayPass, unavailable } from './failures.ts'

const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 5_000
/** A server that asks to slow down means it. */
const BUSY_FACTOR = 4

/** Full jitter: anything from nothing to twice the pause before. `attempt` counts from 1. */
export async function pause(attempt: number, busy: boolean, signal?: AbortSignal): Promise<void> {
  const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * (busy ? BUSY_FACTOR : 1) * 2 ** attempt)
  await delay(Math.random() * longest, undefined, signal === undefined ? {} : { signal })
}

/** Resolves to what `work` does at one of its `attempts`; failures that do not pass, and the last one, are thrown as they came. */
export async function tried<T>(attempts: number, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      const failure = classOf(error)
      if (attempt >= attempts || signal?.aborted || !mayPass(failure)) throw error
      await pause(attempt, failure === 'busy', signal)
    }
  }
}

/** For `.catch`. */
export const asUnavailable =
  (doing: string) =>
  (error: unknown): never => {
    throw unavailable(error, doing)
  }
