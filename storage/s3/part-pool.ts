/**
 * Memory for the parts of all uploads of this process together: buffers of one part each, handed out in the order of
 * asking. What a part is gathered in is kept until S3 has it, so an upload that finds no buffer waits, and its client with it.
 * Buffers are never dropped: the collector would come for them long after others were allocated in their place.
 */
import { forgetPages } from '../../native/memory.ts'

/** Nobody has wanted more buffers for so long: the system gets the pages of those that lie here. */
const IDLE_MS = 5_000

export class PartPool implements Disposable {
  readonly partBytes: number
  /** Those used last, last. */
  readonly #idle: Buffer[] = []
  /** Without memory behind them. */
  readonly #forgotten: Buffer[] = []
  readonly #waiting: ((buffer: Buffer) => void)[] = []
  readonly #forget: NodeJS.Timeout
  #unmade: number

  constructor(partBytes: number, memoryBytes: number) {
    this.partBytes = partBytes
    this.#unmade = Math.max(1, Math.floor(memoryBytes / partBytes))
    this.#forget = setTimeout(() => this.#forgetIdle(), IDLE_MS).unref()
  }

  /** Somebody waits: whoever holds a buffer and does nothing should give it back. */
  get contended(): boolean {
    return this.#waiting.length > 0
  }

  /** Room for `bytes`, which is more than one part only when the part size was set lower while an upload was under way. */
  async take(bytes: number, signal?: AbortSignal): Promise<PartBuffer> {
    const buffer = await this.#buffer(signal)
    const room = bytes <= buffer.length ? buffer : Buffer.allocUnsafeSlow(bytes)
    return new PartBuffer(room, () => this.#takeBack(buffer))
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#forget)
  }

  async #buffer(signal: AbortSignal | undefined): Promise<Buffer> {
    signal?.throwIfAborted()
    const known = this.#idle.pop() ?? this.#forgotten.pop()
    if (known) return known
    if (this.#unmade > 0) {
      this.#unmade -= 1
      return Buffer.allocUnsafeSlow(this.partBytes)
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

  #takeBack(buffer: Buffer): void {
    const next = this.#waiting.shift()
    if (next) {
      next(buffer)
      return
    }
    this.#idle.push(buffer)
    this.#forget.refresh()
  }

  #forgetIdle(): void {
    for (const buffer of this.#idle) forgetPages(buffer)
    this.#forgotten.push(...this.#idle.splice(0))
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
