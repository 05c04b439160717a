/**
 * Memory for the parts of all uploads of this process together: buffers of one part each, handed out in the order of
 * asking. What a part is gathered in is kept until S3 has it, so an upload that finds no buffer waits, and its client with it.
 */

/** Kept for the next upload; the others go back to the system. */
const IDLE_BUFFERS = 4

export class PartPool {
  readonly partBytes: number
  readonly #idle: Buffer[] = []
  readonly #waiting: ((buffer: Buffer) => void)[] = []
  #left: number

  constructor(partBytes: number, memoryBytes: number) {
    this.partBytes = partBytes
    this.#left = Math.max(1, Math.floor(memoryBytes / partBytes))
  }

  /** Somebody waits: whoever holds a buffer and does nothing should give it back. */
  get contended(): boolean {
    return this.#waiting.length > 0
  }

  /** Room for `bytes`, which is more than one part only when the part size was set lower while an upload was under way. */
  async take(bytes: number, signal?: AbortSignal): Promise<PartBuffer> {
    const buffer = await this.#buffer(signal)
    return this.#lend(bytes <= buffer.length ? buffer : Buffer.allocUnsafeSlow(bytes))
  }

  async #buffer(signal: AbortSignal | undefined): Promise<Buffer> {
    signal?.throwIfAborted()
    if (this.#left > 0) {
      this.#left -= 1
      return this.#idle.pop() ?? Buffer.allocUnsafeSlow(this.partBytes)
    }
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const leave = (): void => {
      const place = this.#waiting.indexOf(resolve)
      if (place >= 0) this.#waiting.splice(place, 1)
      reject(signal?.reason)
    }
    this.#waiting.push(resolve)
    signal?.addEventListener('abort', leave)
    try {
      return await promise
    } finally {
      signal?.removeEventListener('abort', leave)
    }
  }

  #lend(buffer: Buffer): PartBuffer {
    return new PartBuffer(buffer, () => this.#takeBack(buffer))
  }

  #takeBack(lent: Buffer): void {
    const buffer = lent.length === this.partBytes ? lent : Buffer.allocUnsafeSlow(this.partBytes)
    const next = this.#waiting.shift()
    if (next) {
      next(buffer)
      return
    }
    this.#left += 1
    if (this.#idle.length < IDLE_BUFFERS) this.#idle.push(buffer)
  }
}

/** A part that grows. Disposing gives the memory back, once. */
export class PartBuffer implements Disposable {
  #buffer: Buffer | undefined
  readonly #giveBack: () => void
  length = 0

  constructor(buffer: Buffer, giveBack: () => void) {
    this.#buffer = buffer
    this.#giveBack = giveBack
  }

  get bytes(): Uint8Array {
    return this.#whole().subarray(0, this.length)
  }

  /** Takes what fits below `limit`; resolves to how much that was. */
  fill(piece: Uint8Array, limit: number): number {
    const taken = Math.min(piece.length, limit - this.length)
    this.#whole().set(piece.subarray(0, taken), this.length)
    this.length += taken
    return taken
  }

  [Symbol.dispose](): void {
    if (!this.#buffer) return
    this.#buffer = undefined
    this.#giveBack()
  }

  #whole(): Buffer {
    if (!this.#buffer) throw new Error('this buffer was given back')
    return this.#buffer
  }
}
