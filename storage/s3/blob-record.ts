/**
 * What is stored under a published key: one header line, then, for small content, the bytes themselves; otherwise the
 * header names the data objects that hold them, in order. The nonce makes each write of a record an object of its own,
 * also where an ETag is the MD5 of the content.
 */
import { Readable } from 'node:stream'
import type { ByteRange } from '../driver.ts'
import { newNonce } from '../layout.ts'

/** What an upload session brought lives in its record up to this size; what came in one request always does, and no session has to be swept. */
export const INLINE_BYTES = 32 * 1024
/** Enough for a session's bytes in a record, for every header, and for all but absurdly long lists of data objects. */
export const LOOK_BYTES = 64 * 1024

const MAGIC = 'gantry-blob '
const NEWLINE = 0x0a
const VERSION = 1

export interface DataObject {
  readonly key: string
  readonly sizeBytes: number
  readonly etag: string
  /** Where the content begins, in an object that begins with something else. */
  readonly startBytes?: number
}

/** At hand; in data objects; or further back in the object that was looked at, which is never removed. */
export type Content =
  | { readonly bytes: Uint8Array }
  | { readonly data: readonly DataObject[] }
  | { readonly inside: DataObject & { readonly startBytes: number } }

export interface BlobRecord {
  readonly sizeBytes: number
  readonly content: Content
}

interface Header {
  readonly version: number
  readonly nonce: string
  readonly sizeBytes: number
  readonly data?: readonly DataObject[]
}

export function formatBlobRecord({ sizeBytes, content }: BlobRecord): Buffer {
  const data = 'data' in content ? { data: content.data } : {}
  const header: Header = { version: VERSION, nonce: newNonce(), sizeBytes, ...data }
  const line = Buffer.from(`${MAGIC}${JSON.stringify(header)}\n`)
  return 'bytes' in content ? Buffer.concat([line, content.bytes.subarray(0, sizeBytes)]) : line
}

/** Of the first bytes of an object. `undefined` for what is no such record, or not all of it. */
export function parseBlobRecord(bytes: Uint8Array, object: DataObject): BlobRecord | undefined {
  const end = bytes.indexOf(NEWLINE)
  const line = Buffer.from(bytes.buffer, bytes.byteOffset, Math.max(end, 0)).toString('utf8')
  if (!line.startsWith(MAGIC)) return undefined
  const header = JSON.parse(line.slice(MAGIC.length)) as Header
  if (header.version !== VERSION) return undefined
  const { sizeBytes, data } = header
  if (data) return { sizeBytes, content: { data } }
  const startBytes = end + 1
  if (startBytes + sizeBytes !== object.sizeBytes) return undefined
  return { sizeBytes, content: contentOf(bytes, startBytes, object) }
}

/** An object that is no record is its own content. */
export const plainRecord = (bytes: Uint8Array, object: DataObject): BlobRecord => ({
  sizeBytes: object.sizeBytes,
  content: contentOf(bytes, 0, object),
})

const contentOf = (bytes: Uint8Array, startBytes: number, object: DataObject): Content =>
  bytes.length === object.sizeBytes ? { bytes: bytes.subarray(startBytes) } : { inside: { ...object, startBytes } }

export const hasHeader = (bytes: Uint8Array): boolean => bytes.includes(NEWLINE)

export const isBlobRecord = (bytes: Uint8Array): boolean =>
  Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, MAGIC.length)).toString('latin1') === MAGIC

export const bytesBody = (bytes: Uint8Array, { start, end }: ByteRange): Readable =>
  Readable.from([bytes.subarray(start, end + 1)], { objectMode: false })
