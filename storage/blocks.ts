/**
 * A request's body as blocks that are worth a system call and a trip to another thread: pieces are gathered, not copied,
 * up to a size or until the source pauses. One block is gathered ahead while the one before is hashed and written.
 */
import { BLOCK_BYTES, type Block } from './driver.ts'
import { SizeMismatch } from './errors.ts'

/** A piece costs memory however small it is. As many as one system call takes (`IOV_MAX`). */
const BLOCK_PIECES = 1024
/** All bodies together gather about so much at a time, or twice: with many of them, blocks are smaller. */
const GATHERED_BYTES = 8 * 1024 * 1024
/** Below this, a trip to another thread is not worth it. */
const LEAST_BLOCK_BYTES = 64 * 1024
/** What a slow sender sent is written after this long. */
const PAUSE_MS = 500

/**
 * Blocks of `source`, in order; its first byte has the place `offset` in the content. When the source breaks, what came before is yielded first and then its error is thrown;
 * likewise `SizeMismatch` when it is longer or shorter than `lengthBytes`, and the signal's reason when that aborts.
 */
export async function* blocksOf(
  source: AsyncIterable<Uint8Array>,
  offset: number,
  lengthBytes: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<Block> {
  const pieces = new Pieces(source, offset, lengthBytes, signal)
  try {
    let next = pieces.gather()
    for (;;) {
      const block = await next
      if (block.length === 0) break
      next = pieces.gather()
      next.catch(() => {}) // thrown when it is asked for, or not at all if nobody goes on
      yield block
    }
  } finally {
    pieces.close()
  }
}

/** Bodies that are being gathered in this process. */
let gathering = 0

type Arrived = { readonly piece: Uint8Array } | { readonly end: true } | { readonly error: unknown }

class Pieces {
  readonly #iterator: AsyncIterator<Uint8Array>
  readonly #lengthBytes: number | undefined
  readonly #signal: AbortSignal
  readonly #stopListening: () => void
  /** Ends the wait of the moment. */
  #wake: (arrived: Arrived) => void = () => {}
  #coming: Promise<Arrived> | undefined
  #ended: Arrived | undefined
  #received = 0
  /** Where the next block begins. */
  #offset: number
  /** Of a piece that went beyond the end of its block. */
  #rest: Uint8Array | undefined

  constructor(source: AsyncIterable<Uint8Array>, offset: number, lengthBytes: number | undefined, signal: AbortSignal) {
    this.#iterator = source[Symbol.asyncIterator]()
    this.#offset = offset
    this.#lengthBytes = lengthBytes
    this.#signal = signal
    gathering += 1
    const abort = () => this.#wake({ error: signal.reason })
    this.#stopListening = () => signal.removeEventListener('abort', abort)
    signal.addEventListener('abort', abort)
  }

  /** Empty at the end of the source. */
  async gather(): Promise<Block> {
    const block: Uint8Array[] = []
    const end = this.#offset - (this.#offset % BLOCK_BYTES) + BLOCK_BYTES
    const enough = this.#offset + Math.max(LEAST_BLOCK_BYTES, GATHERED_BYTES / gathering)
    const add = (piece: Uint8Array): void => {
      const fitting = piece.subarray(0, end - this.#offset)
      if (fitting.length > 0) block.push(fitting)
      this.#offset += fitting.length
      this.#rest = fitting.length < piece.length ? piece.subarray(fitting.length) : undefined
    }
    if (this.#rest) add(this.#rest)
    while (this.#ended === undefined && this.#offset < Math.min(end, enough) && block.length < BLOCK_PIECES) {
      const arrived = await this.#next(block.length > 0)
      if (arrived === undefined) return block
      if ('piece' in arrived) add(this.#counted(arrived.piece))
      else this.#ended = this.#judged(arrived)
    }
    if (block.length === 0 && this.#ended && 'error' in this.#ended) throw this.#ended.error
    return block
  }

  /** Once. */
  close(): void {
    gathering -= 1
    this.#stopListening()
    // Not awaited: a half-open connection never answers. Whatever it says later was asked for by nobody.
    this.#iterator.return?.().catch(() => {})
  }

  /** With `impatient`, `undefined` if nothing comes for a while. */
  async #next(impatient: boolean): Promise<Arrived | undefined> {
    this.#coming ??= this.#iterator.next().then(
      ({ done, value }): Arrived => (done === true ? { end: true } : { piece: value }),
      (error: unknown) => ({ error }),
    )
    // Not a race with one promise for the abort: it would hold on to every piece until it settles.
    const { promise, resolve } = Promise.withResolvers<Arrived | undefined>()
    this.#wake = resolve
    if (this.#signal.aborted) resolve({ error: this.#signal.reason })
    void this.#coming.then(resolve)
    const pause = impatient ? setTimeout(resolve, PAUSE_MS, undefined) : undefined
    const arrived = await promise
    clearTimeout(pause)
    if (arrived !== undefined) this.#coming = undefined
    return arrived
  }

  /** What is beyond the declared length is cut off, and the source is over. */
  #counted(piece: Uint8Array): Uint8Array {
    const allowed = (this.#lengthBytes ?? Number.POSITIVE_INFINITY) - this.#received
    this.#received += piece.length
    if (piece.length <= allowed) return piece
    this.#ended = { error: new SizeMismatch(`the body is longer than the ${this.#lengthBytes} bytes it declared`) }
    return piece.subarray(0, allowed)
  }

  #judged(ended: Arrived): Arrived {
    if ('error' in ended || this.#lengthBytes === undefined || this.#received === this.#lengthBytes) return ended
    return { error: new SizeMismatch(`the body ended after ${this.#received} of ${this.#lengthBytes} bytes`) }
  }
}
