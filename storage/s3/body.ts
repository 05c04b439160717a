/**
 * Data objects, one after the other, as one stream. A connection that breaks half-way is taken up where it broke, on the
 * condition that the object is still the same; a body that could not be finished fails, and never looks whole.
 */
import { Readable } from 'node:stream'
import type { ByteRange, Relay } from '../driver.ts'
import type { DataObject } from './blob-record.ts'
import type { Bucket, OpenObject } from './bucket.ts'
import { relayOf } from './relay.ts'
import { openStretch, type Stretch, stretches, takenUp } from './stretches.ts'

const HIGH_WATER_BYTES = 512 * 1024

/** Throws `ObjectNotFound` if the first object is not there, or not what it was. `range.end` may be before `range.start`: no bytes. */
export async function openBody(bucket: Bucket, data: readonly DataObject[], range: ByteRange): Promise<DataBody> {
  const stop = new AbortController()
  const all = stretches(data, range)
  const [first] = all
  const opened = first && (await openStretch(bucket, first, first.range.start, stop.signal))
  const relay = relayOf(bucket, all, opened, stop)
  return new DataBody(chunks(bucket, all, opened, stop.signal), stop, opened?.modified, relay)
}

export class DataBody extends Readable {
  /** Of the object that its first bytes come from; `undefined` for no bytes. */
  readonly modified: Date | undefined
  /** Instead of reading it. */
  readonly relay: Relay | undefined
  readonly #chunks: AsyncGenerator<Uint8Array>
  readonly #stop: AbortController

  constructor(
    chunks: AsyncGenerator<Uint8Array>,
    stop: AbortController,
    modified: Date | undefined,
    relay: Relay | undefined,
  ) {
    super({ highWaterMark: HIGH_WATER_BYTES })
    this.modified = modified
    this.relay = relay
    this.#chunks = chunks
    this.#stop = stop
  }

  override _read(): void {
    this.#chunks.next().then(
      ({ done, value }) => this.push(done === true ? null : value),
      (error: Error) => this.destroy(error),
    )
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#stop.abort()
    this.#chunks.return(undefined).then(
      () => done(error),
      () => done(error), // the request that was under way, aborted
    )
  }
}

async function* chunks(
  bucket: Bucket,
  all: readonly Stretch[],
  first: OpenObject | undefined,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let opened = first
  for (const stretch of all) {
    yield* chunksOf(
      bucket,
      stretch,
      opened ?? (await openStretch(bucket, stretch, stretch.range.start, signal)),
      signal,
    )
    opened = undefined
  }
}

async function* chunksOf(
  bucket: Bucket,
  stretch: Stretch,
  opened: OpenObject,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { start, end } = stretch.range
  let [position, breaks, current] = [start, 0, opened]
  let arriving = current.body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
  try {
    while (position <= end) {
      const { chunk, failure } = await nextOf(arriving)
      if (chunk !== undefined) {
        const wanted = chunk.subarray(0, end + 1 - position)
        position += wanted.length
        breaks = 0
        yield wanted
        continue
      }
      current.body.destroy()
      breaks += 1
      current = await takenUp(bucket, stretch, position, { breaks, cause: failure }, signal)
      arriving = current.body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
    }
  } finally {
    current.body.destroy()
  }
}

/** Neither, when the answer is over. */
async function nextOf(
  arriving: AsyncIterator<Uint8Array>,
): Promise<{ readonly chunk?: Uint8Array; readonly failure?: unknown }> {
  try {
    const { done, value } = await arriving.next()
    return done === true ? {} : { chunk: value }
  } catch (failure) {
    return { failure }
  }
}
