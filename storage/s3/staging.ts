/** Staged content in a bucket. What the session's record keeps (`staged.ts`) is all that another replica needs to go on. */
import type { Block, Checkpoint, Key, Sealed, Staging } from '../driver.ts'
import { StagedBytesLost } from '../errors.ts'
import { dataPrefix, keyIn, newNonce, segmentKey, tailKey, targetKey } from '../layout.ts'
import { Appending } from './appending.ts'
import type { Content, DataObject } from './blob-record.ts'
import type { Part } from './bucket.ts'
import { bodyOf, type PublishedBlobs } from './published.ts'
import {
  APPENDED_PARTS,
  completeSegment,
  isOpen,
  LAST_PART,
  loadTail,
  type OpenSegment,
  type Staged,
  type StagingPlace,
  sizeOf,
  type Tail,
} from './staged.ts'

/** Of an upload that nobody recorded, to be found when its session is discarded. */
const UNRECORDED_SEGMENTS = 1

export class S3Staging implements Staging {
  readonly #place: StagingPlace
  readonly #staged: Staged
  readonly #published: PublishedBlobs
  readonly #parallel: number

  constructor(place: StagingPlace, staged: Staged, published: PublishedBlobs, parallel: number) {
    this.#place = place
    this.#staged = staged
    this.#published = published
    this.#parallel = parallel
  }

  async *append(source: AsyncIterable<Block>, offset: number, signal?: AbortSignal): AsyncGenerator<Checkpoint> {
    yield* new Appending(this.#place, this.#staged, this.#parallel, signal).run(source, offset)
  }

  async seal(sizeBytes: number): Promise<Sealed> {
    const found = sizeOf(this.#staged)
    if (found < sizeBytes) throw new StagedBytesLost(`the upload has ${found} bytes, ${sizeBytes} were recorded`)
    let settled: Promise<Content> | undefined
    // Twice is fine (another replica does it too), but once is enough.
    const settle = (): Promise<Content> => {
      settled ??= this.#settle().catch((error: unknown) => {
        settled = undefined
        throw error
      })
      return settled
    }
    return {
      sizeBytes,
      read: async (range) => {
        const wanted = range ?? { start: 0, end: sizeBytes - 1 }
        return await bodyOf(this.#place.bucket, await settle(), wanted)
      },
      publish: async (key) => {
        const { segments, tail } = this.#staged
        try {
          const record = { sizeBytes, content: await settle() }
          // From here on the data may be what a blob is made of: whoever discards the session has to look there first.
          const isNamed = segments.length > 0 || (tail !== undefined && 'key' in tail)
          if (isNamed) await this.#aimAt(key)
          return await this.#published.enter(key, record, async () => {
            if (!isNamed) await this.#aimAt(key)
          })
        } catch (error) {
          // An earlier attempt of ours has published it, and somebody else replaced it since.
          if (error instanceof StagedBytesLost) return await this.#published.standing(key, sizeBytes)
          throw error
        }
      },
    }
  }

  /**
   * Everything that the session brought, but for data that a blob is made of. Also what no record names: all data of a session have
   * names that begin alike, and its multipart uploads have keys that can be told.
   */
  async discard(): Promise<void> {
    const { bucket, id } = this.#place
    const prefix = dataPrefix(id)
    const aim = await bucket.get(targetKey(id))
    const isKept = aim ? await this.#published.keeps(Buffer.from(aim.bytes).toString('utf8') as Key) : () => false
    let known = this.#staged.segments.length
    for await (const name of bucket.list(prefix)) {
      if (/^\d+$/.test(name)) known = Math.max(known, Number(name) + 1)
      const key = keyIn(prefix, name)
      if (!isKept(key)) await bucket.remove(key)
    }
    for (let number = known + UNRECORDED_SEGMENTS - 1; number >= 0; number -= 1) {
      const key = segmentKey(id, number)
      for (const uploadId of (await bucket.uploadsOf(key)) ?? []) await bucket.abortUpload(key, uploadId)
    }
    const last = this.#staged.segments.at(-1) // where uploads cannot be listed
    if (last && isOpen(last)) await bucket.abortUpload(segmentKey(id, this.#staged.segments.length - 1), last.uploadId)
    if (aim) await bucket.remove(targetKey(id))
  }

  /** Completes what is open. A fixed number of requests, and no byte that was in a part travels again. */
  async #settle(): Promise<Content> {
    const { segments, partBytes } = this.#staged
    let { tail } = this.#staged
    const data: DataObject[] = []
    for (const [number, segment] of segments.entries()) {
      const key = segmentKey(this.#place.id, number)
      if (!isOpen(segment)) {
        if (segment.sizeBytes > 0) data.push(await this.#seen({ key, ...segment }))
      } else if (segment.parts.length > 0) {
        const last = tail ? await this.#sendLast(number, segment, tail) : undefined
        const sizeBytes = segment.parts.length * partBytes + (last?.sizeBytes ?? 0)
        data.push({ key, ...(await completeSegment(this.#place, number, segment, sizeBytes, last?.parts)) })
        tail = undefined
      }
    }
    if (data.length === 0 && !(tail && 'key' in tail)) return { bytes: Buffer.from(tail?.bytes ?? '', 'base64') }
    if (tail) data.push('key' in tail ? await this.#seen(tail) : await this.#keep(Buffer.from(tail.bytes, 'base64')))
    return { data }
  }

  /** The tail as the last part. Two replicas may do this at once: each takes a number of its own. */
  async #sendLast(
    number: number,
    { uploadId }: OpenSegment,
    tail: Tail,
  ): Promise<{ readonly parts: readonly Part[]; readonly sizeBytes: number }> {
    const { bucket, pool, id } = this.#place
    using buffer = await pool.take(this.#staged.partBytes)
    await loadTail(bucket, tail, buffer)
    const place = APPENDED_PARTS + 1 + Math.floor(Math.random() * (LAST_PART - APPENDED_PARTS))
    const etag = await bucket.uploadPart(segmentKey(id, number), uploadId, place, buffer.bytes)
    // Gone if an earlier attempt, or another replica, has completed it: then the object tells.
    return { parts: etag === 'uploadGone' ? [] : [[place, etag]], sizeBytes: buffer.length }
  }

  /** It was there when it was recorded, and that may be long ago. */
  async #seen(object: DataObject): Promise<DataObject> {
    const found = await this.#place.bucket.head(object.key)
    if (found?.etag === object.etag && found.sizeBytes === object.sizeBytes) return object
    throw new StagedBytesLost(`the bucket has lost ${object.key}, with ${object.sizeBytes} bytes that it acknowledged`)
  }

  async #keep(bytes: Uint8Array): Promise<DataObject> {
    const key = tailKey(this.#place.id, newNonce())
    return { key, sizeBytes: bytes.length, etag: await this.#place.bucket.put(key, bytes) }
  }

  async #aimAt(key: Key): Promise<void> {
    await this.#place.bucket.put(targetKey(this.#place.id), Buffer.from(key))
  }
}
