/**
 * What is stored under a published key: one header line, then, for small content, the bytes themselves; otherwise the
 * header names the data objects that hold them, in order. The nonce makes each write of a record an object of its own,
 * also where an ETag is the MD5 of the content.
 */
import { Readable } from 'node:stream'
import type { ByteRange } from '../driver.ts'
import { newNonce } from '../layout.ts'

/** Content up to this size lives in its record. */
export const INLINE_BYTES = 32 * 1024
/** Enough for each record that holds bytes, and for all but absurdly long lists of data objects. */
export const LOOK_BYTES = 64 * 1024

const MAGIC = 'gantry-blob '
const NEWLINE = 0x0a
const VERSION = 1

export interface DataObject {
  readonly key: string
  readonly sizeBytes: number
  readonly etag: string
}

export type Content = { readonly bytes: Uint8Array } | { readonly data: readonly DataObject[] }

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

/** `undefined` for what is no such record, or not all of it. */
export function parseBlobRecord(bytes: Uint8Array): BlobRecord | undefined {
  const end = bytes.indexOf(NEWLINE)
  const line = Buffer.from(bytes.buffer, bytes.byteOffset, Math.max(end, 0)).toString('utf8')
  if (!line.startsWith(MAGIC)) return undefined
  const header = JSON.parse(line.slice(MAGIC.length)) as Header
  if (header.version !== VERSION) return undefined
  const { sizeBytes, data } = header
  if (data) return { sizeBytes, content: { data } }
  const content = bytes.subarray(end + 1)
  return content.length === sizeBytes ? { sizeBytes, content: { bytes: content } } : undefined
}

export const isBlobRecord = (bytes: Uint8Array): boolean =>
  Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, MAGIC.length)).toString('latin1') === MAGIC

export const bytesBody = (bytes: Uint8Array, { start, end }: ByteRange): Readable =>
  Readable.from([bytes.subarray(start, end + 1)], { objectMode: false })
