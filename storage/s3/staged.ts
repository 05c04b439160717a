/**
 * What an upload session has brought so far, as its record keeps it. Whole parts are in segments, each one multipart
 * upload to a data object of its own: when the numbers of one are used up, the next begins, so there is no ceiling. What is
 * shorter than a part is the tail. Whoever continues needs nothing but this.
 */
import type { Readable } from 'node:stream'
import type { StagingState } from '../driver.ts'
import { ObjectNotFound, StagedBytesLost } from '../errors.ts'
import { segmentKey } from '../layout.ts'
import type { DataObject } from './blob-record.ts'
import { openBody } from './body.ts'
import type { Bucket, Part } from './bucket.ts'
import type { PartBuffer, PartPool } from './part-pool.ts'

/**
 * Numbers that appending may use: few enough for a record to stay small, though it names every part, and for servers
 * which take a thousand. Those above, up to `LAST_PART`, are for the last and shorter part, which is sent when all are known.
 */
export const APPENDED_PARTS = 900
export const LAST_PART = 1000

export interface OpenSegment {
  readonly uploadId: string
  /** No number up to this one may be used again: another holder, who perhaps still sends, may have used it. */
  readonly reserved: number
  /** All of `partBytes`, in order; gaps in the numbers are fine. */
  readonly parts: readonly Part[]
}

/** Its multipart upload is complete. */
export interface WholeSegment {
  readonly sizeBytes: number
  readonly etag: string
}

export type Segment = OpenSegment | WholeSegment

/** Short ones (base64) are in the record itself. */
export type Tail = { readonly bytes: string } | DataObject

export interface Staged {
  /** Of this upload, from its first part on: some servers want all parts to be equal. */
  readonly partBytes: number
  /** Only the last may be open. */
  readonly segments: readonly Segment[]
  readonly tail?: Tail
}

/** What is needed to work on it. */
export interface StagingPlace {
  readonly bucket: Bucket
  readonly pool: PartPool
  readonly id: string
}

export const isOpen = (segment: Segment): segment is OpenSegment => 'uploadId' in segment

export function stagedOf(state: StagingState | undefined, partBytes: number): Staged {
  return state !== undefined && 'segments' in state ? (state as unknown as Staged) : { partBytes, segments: [] }
}

export const stateOf = (staged: Staged): StagingState => staged as unknown as StagingState

const sizeOfTail = (tail: Tail | undefined): number => {
  if (!tail) return 0
  return 'bytes' in tail ? Buffer.byteLength(tail.bytes, 'base64') : tail.sizeBytes
}

export const sizeOfParts = ({ partBytes, segments }: Staged): number =>
  segments.reduce((total, one) => total + (isOpen(one) ? one.parts.length * partBytes : one.sizeBytes), 0)

export const sizeOf = (staged: Staged): number => sizeOfParts(staged) + sizeOfTail(staged.tail)

/** Gathers the tail where a part grows. Throws `StagedBytesLost` if it is gone. */
export async function loadTail(bucket: Bucket, tail: Tail, into: PartBuffer): Promise<void> {
  if ('bytes' in tail) {
    const bytes = Buffer.from(tail.bytes, 'base64')
    into.fill(bytes, bytes.length)
    return
  }
  try {
    const body: Readable = await openBody(bucket, [tail], { start: 0, end: tail.sizeBytes - 1 })
    for await (const chunk of body as AsyncIterable<Uint8Array>) into.fill(chunk, tail.sizeBytes)
  } catch (cause) {
    if (!(cause instanceof ObjectNotFound)) throw cause
    throw new StagedBytesLost(`the bucket has lost ${tail.key}, with ${tail.sizeBytes} bytes that it acknowledged`, {
      cause,
    })
  }
}

/**
 * Completes a segment of the recorded parts and, perhaps, a last one. Repeating it is fine: a completion whose answer was lost is
 * `NoSuchUpload` on some servers and success on others, so what counts is the object that stands.
 */
export async function completeSegment(
  { bucket, id }: StagingPlace,
  number: number,
  { uploadId, parts }: OpenSegment,
  sizeBytes: number,
  last: readonly Part[] = [],
): Promise<WholeSegment> {
  const key = segmentKey(id, number)
  const outcome = await bucket.completeUpload(key, uploadId, [...parts, ...last])
  const found = await bucket.head(key)
  if (found?.sizeBytes === sizeBytes) return { sizeBytes, etag: found.etag }
  throw new StagedBytesLost(
    `the bucket does not have the ${sizeBytes} bytes of ${key} that it acknowledged (${outcome}, ${found?.sizeBytes ?? 'no'} bytes found)`,
  )
}
