/** Work that must not crowd out other work: so many bytes a second, and never more than a moment's worth at once. */
import { setTimeout as delay } from 'node:timers/promises'

const MOMENT_MS = 250

export class Pace {
  readonly #bytesPerMs: number
  /** When everything that was spent so far is paid for. */
  #paidAt = 0

  /** `Infinity` waits for nothing. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1_000
  }

  /** To be called after each piece. Throws the signal's reason. */
  async spend(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const now = performance.now()
    this.#paidAt = Math.max(this.#paidAt, now - MOMENT_MS) + bytes / this.#bytesPerMs
    if (this.#paidAt > now) await delay(this.#paidAt - now, undefined, signal ? { signal } : {})
  }
}
