/**
 * Costly work for whoever asks, a few pieces at once, in turn by who asks: somebody who asks for a thousand waits for the
 * thousand, and everybody else waits for one.
 */

export class QueueFull extends Error {
  override readonly name = 'QueueFull'
}

interface Waiting {
  begin(): void
}

export class FairQueue {
  readonly #atOnce: number
  readonly #waitingEach: number
  /** By who asks, in turn. */
  readonly #waiting = new Map<string, Waiting[]>()
  #running = 0

  /** `atOnce`: pieces that run; `waitingEach`: pieces of one asker that may wait. */
  constructor(atOnce: number, waitingEach: number) {
    this.#atOnce = atOnce
    this.#waitingEach = waitingEach
  }

  /** Rejects with `QueueFull`, or with what `work` throws. */
  async run<T>(asker: string, work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#atOnce) await this.#turn(asker)
    else this.#running++
    try {
      return await work()
    } finally {
      this.#next()
    }
  }

  #turn(asker: string): Promise<void> {
    const mine = this.#waiting.get(asker) ?? []
    if (mine.length >= this.#waitingEach) throw new QueueFull(`${this.#waitingEach} wait already`)
    return new Promise((begin) => {
      mine.push({ begin })
      this.#waiting.set(asker, mine)
    })
  }

  /** The place of what ended goes to the first of the asker who has waited longest for a turn. */
  #next(): void {
    for (const [asker, waiting] of this.#waiting) {
      this.#waiting.delete(asker)
      const next = waiting.shift()
      if (waiting.length > 0) this.#waiting.set(asker, waiting)
      if (!next) continue
      next.begin()
      return
    }
    this.#running--
  }
}
