/**
 * One holder's append to an upload session: bytes are gathered into parts of one size, several of which travel at the same
 * time. A checkpoint is a boundary between parts (or the end), so that nothing has to be waited for. The order is always:
 * bytes in the bucket, then the record (by whoever takes the checkpoint), then what the record no longer needs goes.
 * Part numbers are reserved in the record before they are used, and a newcomer starts above: a late writer spoils nothing.
 */
import type { Block, Checkpoint } from '../driver.ts'
import { StagedBytesLost } from '../errors.ts'
import { newNonce, segmentKey, tailKey } from '../layout.ts'
import { INLINE_BYTES } from './blob-record.ts'
import type { Part } from './bucket.ts'
import type { PartBuffer } from './part-pool.ts'
import {
  APPENDED_PARTS,
  completeSegment,
  isOpen,
  loadTail,
  type OpenSegment,
  type Segment,
  type Staged,
  type StagingPlace,
  sizeOf,
  sizeOfParts,
  stateOf,
  type Tail,
} from './staged.ts'

/** So many parts, and those that travel at the moment, are sent again after a crash. */
const CHECKPOINT_PARTS = 4
/** With each checkpoint, enough numbers for those that will travel until the next. */
const RESERVED_PARTS = 2 * CHECKPOINT_PARTS
/** While others wait for memory, a client that has sent nothing for this long gives back what it holds. */
const IDLE_MS = 1_000

interface Travelling {
  readonly number: number
  readonly end: number
  readonly etag: Promise<string | 'uploadGone'>
  landed: boolean
}

/** A segment as this holder works on it; `next` is the number of its next part. */
interface Working extends OpenSegment {
  readonly next: number
}

export class Appending {
  readonly #place: StagingPlace
  readonly #partBytes: number
  readonly #parallel: number
  readonly #signal: AbortSignal | undefined
  readonly #whole: Segment[]
  #open: Working | undefined
  /** The oldest first; all of the open segment. */
  readonly #travelling: Travelling[] = []
  #buffer: PartBuffer | undefined
  /** Behind the last byte that was taken, and behind the last part that landed. */
  #position: number
  #landed: number
  /** What the session's record says: only what it does not name may be removed. */
  #recorded: { readonly offset: number; readonly tail: Tail | undefined; readonly parts: number }
  #reserved: number
  /** Made by this append, and perhaps named by no record. */
  #unrecorded: { uploadKey?: { readonly key: string; readonly uploadId: string }; tailKey?: string } = {}

  constructor(place: StagingPlace, staged: Staged, parallel: number, signal: AbortSignal | undefined) {
    this.#place = place
    this.#partBytes = staged.partBytes
    this.#parallel = parallel
    this.#signal = signal
    const last = staged.segments.at(-1)
    this.#open = last && isOpen(last) ? { ...last, next: last.reserved + 1 } : undefined
    this.#whole = this.#open ? staged.segments.slice(0, -1) : [...staged.segments]
    this.#reserved = this.#open?.reserved ?? 0
    this.#position = sizeOf(staged)
    this.#landed = sizeOfParts(staged)
    this.#recorded = { offset: this.#position, tail: staged.tail, parts: this.#landed }
  }

  /** `offset` is what the state was recorded with. */
  async *run(source: AsyncIterable<Block>, offset: number): AsyncGenerator<Checkpoint> {
    const blocks = source[Symbol.asyncIterator]()
    // Nothing is touched before the source has spoken: it may say that the session was lost.
    let next = await pull(blocks)
    if ('error' in next) throw next.error
    if (offset !== this.#position)
      throw new StagedBytesLost(`the upload has ${this.#position} bytes, ${offset} were recorded`)
    let failure: { readonly error: unknown } | undefined
    try {
      try {
        while (!('error' in next) && next.result.done !== true) {
          for (const piece of next.result.value) yield* this.#take(piece)
          next = yield* this.#next(blocks)
        }
        yield* this.#rest(!('error' in next))
      } catch (error) {
        failure = { error }
        yield* this.#salvage()
      }
      if (failure) throw failure.error
      if ('error' in next) throw next.error
    } finally {
      await this.#leave()
      await blocks.return?.().catch(() => {}) // its failure was the news already, or nobody asks any more
    }
  }

  async *#take(piece: Uint8Array): AsyncGenerator<Checkpoint> {
    for (let rest = piece; rest.length > 0; ) {
      const buffer = this.#buffer ?? (await this.#begin())
      const taken = buffer.fill(rest, this.#partBytes)
      rest = rest.subarray(taken)
      this.#position += taken
      if (buffer.length === this.#partBytes) yield* this.#send(buffer)
    }
  }

  /** A new part, which begins with the tail if there is one. */
  async #begin(): Promise<PartBuffer> {
    const buffer = await this.#place.pool.take(this.#partBytes, this.#signal)
    this.#buffer = buffer
    const { tail } = this.#recorded
    if (tail && this.#landed + this.#travelling.length * this.#partBytes < this.#recorded.offset) {
      await loadTail(this.#place.bucket, tail, buffer)
    }
    return buffer
  }

  /** The next block. For a client that is away, what has landed is recorded, and memory is not kept from others. */
  async *#next(blocks: AsyncIterator<Block>): AsyncGenerator<Checkpoint, Pulled> {
    const coming = pull(blocks)
    while (this.#buffer || this.#travelling.length > 0) {
      const { promise: idle, resolve } = Promise.withResolvers<undefined>()
      const timer = setTimeout(resolve, IDLE_MS, undefined)
      const came = await Promise.race([coming, idle])
      clearTimeout(timer)
      if (came) return came
      while (this.#travelling.length > 0) await this.#land()
      if (this.#landed > this.#recorded.offset) yield* this.#record()
      if (this.#place.pool.contended) yield* this.#rest()
    }
    return await coming
  }

  async *#send(buffer: PartBuffer): AsyncGenerator<Checkpoint> {
    const { uploadId, next: number } = yield* this.#openSegment()
    while (this.#travelling.length >= this.#parallel) await this.#land()
    const key = segmentKey(this.#place.id, this.#whole.length)
    const etag = this.#place.bucket
      .uploadPart(key, uploadId, number, buffer.bytes)
      .finally(() => buffer[Symbol.dispose]())
    const travelling: Travelling = { number, end: this.#position, etag, landed: false }
    etag.then(
      () => {
        travelling.landed = true
      },
      () => {}, // thrown where it lands
    )
    this.#buffer = undefined
    this.#travelling.push(travelling)
    this.#open = { ...(this.#open as Working), next: number + 1 }

    while (this.#travelling[0]?.landed) await this.#land()
    if (this.#landed - this.#recorded.parts >= CHECKPOINT_PARTS * this.#partBytes) yield* this.#record()
  }

  /** One with a reserved number for the next part. */
  async *#openSegment(): AsyncGenerator<Checkpoint, Working> {
    if (this.#open && this.#open.next > APPENDED_PARTS) {
      while (this.#travelling.length > 0) await this.#land()
      yield* this.#record() // what completion names must be recorded before: it cannot be added to afterwards
      await this.#closeSegment(this.#open)
    }
    if (!this.#open) {
      const key = segmentKey(this.#place.id, this.#whole.length)
      const uploadId = await this.#place.bucket.createUpload(key)
      this.#unrecorded.uploadKey = { key, uploadId }
      this.#open = { uploadId, reserved: 0, parts: [], next: 1 }
      this.#reserved = 0
    }
    if (this.#open.next > this.#reserved) yield* this.#record()
    return this.#open
  }

  async #closeSegment(segment: OpenSegment): Promise<void> {
    const number = this.#whole.length
    const sizeBytes = segment.parts.length * this.#partBytes
    // Many holders who brought nothing may use up all numbers.
    if (sizeBytes === 0) await this.#place.bucket.abortUpload(segmentKey(this.#place.id, number), segment.uploadId)
    const whole =
      sizeBytes === 0 ? { sizeBytes, etag: '' } : await completeSegment(this.#place, number, segment, sizeBytes)
    this.#whole.push(whole)
    this.#open = undefined
  }

  /** The oldest part that travels. */
  async #land(): Promise<void> {
    const [oldest] = this.#travelling
    if (!oldest || !this.#open) return
    const etag = await oldest.etag
    if (etag === 'uploadGone') {
      throw new StagedBytesLost('the bucket has forgotten this multipart upload; a rule that cleans up, perhaps')
    }
    this.#travelling.shift()
    this.#landed = oldest.end
    const part: Part = [oldest.number, etag]
    this.#open = { ...this.#open, parts: [...this.#open.parts, part] }
  }

  /** Everything that was taken becomes durable, and the memory is given back. `complete`: nothing follows. */
  async *#rest(complete = false): AsyncGenerator<Checkpoint> {
    while (this.#travelling.length > 0) await this.#land()
    const buffer = this.#buffer
    let tail = this.#position === this.#recorded.offset ? this.#recorded.tail : undefined
    if (buffer && this.#position > this.#recorded.offset && buffer.length > 0) tail = await this.#keep(buffer.bytes)
    yield* this.#record({ offset: this.#position, tail, complete })
    buffer?.[Symbol.dispose]()
    this.#buffer = undefined
  }

  async #keep(bytes: Uint8Array): Promise<Tail> {
    if (bytes.length <= INLINE_BYTES) return { bytes: Buffer.from(bytes).toString('base64') }
    const key = tailKey(this.#place.id, newNonce())
    this.#unrecorded.tailKey = key
    return { key, sizeBytes: bytes.length, etag: await this.#place.bucket.put(key, bytes) }
  }

  /** After a failure of the bucket: what had landed before it is kept. */
  async *#salvage(): AsyncGenerator<Checkpoint> {
    try {
      while (this.#travelling.length > 0) await this.#land()
    } catch {
      // The first failure is the news.
    }
    if (this.#landed > this.#recorded.offset) yield* this.#record()
  }

  /** Without arguments: what has landed; or, if that is less than what is recorded, the same again with other reservations. */
  async *#record(rest?: {
    readonly offset: number
    readonly tail: Tail | undefined
    readonly complete: boolean
  }): AsyncGenerator<Checkpoint> {
    const landed = { offset: this.#landed, tail: undefined }
    const { offset, tail } = rest ?? (this.#landed >= this.#recorded.offset ? landed : this.#recorded)
    const before = this.#recorded
    const segments: Segment[] = [...this.#whole]
    if (this.#open) {
      const { uploadId, parts, next } = this.#open
      // Who rests gives back the numbers that were never sent.
      const reserved = rest ? next - 1 : Math.min(APPENDED_PARTS, next - 1 + RESERVED_PARTS)
      segments.push({ uploadId, reserved, parts })
      this.#reserved = reserved
    }
    const staged: Staged = { partBytes: this.#partBytes, segments, ...(tail === undefined ? {} : { tail }) }
    const made = this.#unrecorded
    this.#unrecorded = {} // whether the record names it, nobody knows from here on until we go on
    yield { offset, state: stateOf(staged), complete: rest?.complete ?? false }
    this.#recorded = { offset, tail, parts: this.#landed }
    if (made.tailKey !== undefined && (!tail || !('key' in tail) || tail.key !== made.tailKey))
      this.#unrecorded.tailKey = made.tailKey
    const old = before.tail
    const replaced = old && 'key' in old && !(tail && 'key' in tail && tail.key === old.key) ? old.key : undefined
    if (replaced !== undefined) await this.#place.bucket.remove(replaced).catch(() => {}) // the sweep of the session removes it
  }

  /** Memory goes back, and what nobody knows of goes. */
  async #leave(): Promise<void> {
    this.#buffer?.[Symbol.dispose]()
    this.#buffer = undefined
    await Promise.allSettled(this.#travelling.map(({ etag }) => etag))
    const { uploadKey, tailKey } = this.#unrecorded
    if (uploadKey) await this.#place.bucket.abortUpload(uploadKey.key, uploadKey.uploadId).catch(() => {})
    if (tailKey !== undefined) await this.#place.bucket.remove(tailKey).catch(() => {})
  }
}

type Pulled = { readonly result: IteratorResult<Block> } | { readonly error: unknown }

function pull(blocks: AsyncIterator<Block>): Promise<Pulled> {
  return blocks.next().then(
    (result) => ({ result }),
    (error: unknown) => ({ error }),
  )
}
