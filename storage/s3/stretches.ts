/** Ranges of data objects, and how an answer for one is begun, and taken up where it broke off. */
import type { ByteRange } from '../driver.ts'
import { ObjectNotFound, StorageUnavailable } from '../errors.ts'
import type { DataObject } from './blob-record.ts'
import type { Bucket, OpenObject } from './bucket.ts'
import { pause } from './retries.ts'

/** Without a byte in between. */
const BREAKS = 5

/** A range of one data object. */
export interface Stretch {
  readonly object: DataObject
  readonly range: ByteRange
}

export function stretches(data: readonly DataObject[], { start, end }: ByteRange): Stretch[] {
  let before = 0
  return data.flatMap((object) => {
    const offset = before
    const length = object.sizeBytes - (object.startBytes ?? 0)
    before += length
    const range = { start: Math.max(start - offset, 0), end: Math.min(end - offset, length - 1) }
    return range.start > range.end ? [] : [{ object, range }]
  })
}

/** Throws `ObjectNotFound` if the object is not there, or not what it was. */
export async function openStretch(
  bucket: Bucket,
  { object, range }: Stretch,
  start: number,
  signal: AbortSignal,
): Promise<OpenObject> {
  const { key, sizeBytes, etag, startBytes } = object
  const before = startBytes ?? 0
  const opened = await bucket.open(key, { start: before + start, end: before + range.end }, signal)
  if (!opened) throw new ObjectNotFound(`the data ${key} is gone`)
  if (opened.etag === etag && (startBytes !== undefined || opened.sizeBytes === sizeBytes)) return opened
  opened.body.destroy()
  throw new ObjectNotFound(`the data ${key} is not what it was: found ${opened.sizeBytes} bytes, ${opened.etag}`)
}

/** After an answer that broke off, for the `breaks`th time at `position`. Throws `StorageUnavailable` when that is too often. */
export async function takenUp(
  bucket: Bucket,
  stretch: Stretch,
  position: number,
  { breaks, cause }: { readonly breaks: number; readonly cause: unknown },
  signal: AbortSignal,
): Promise<OpenObject> {
  if (breaks > BREAKS) {
    const leftBytes = stretch.range.end + 1 - position
    throw new StorageUnavailable(`the bucket broke its answer off ${breaks} times, ${leftBytes} bytes early`, { cause })
  }
  await pause(breaks, false, signal)
  return await openStretch(bucket, stretch, position, signal)
}
