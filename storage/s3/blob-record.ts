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
  /** Its content was found damaged: nobody is given it any more, and it stays until the record is replaced. */
  readonly damaged?: boolean
  /** Data of the record before it, which goes once this one stands; who finds them after a crash, removes them. */
  readonly replaced?: readonly string[]
}

interface Header {
  readonly version: number
  readonly nonce: string
  readonly sizeBytes: number
  readonly data?: readonly DataObject[]
  readonly damagedAt?: string
  readonly replaced?: readonly string[]
}

export function formatBlobRecord({ sizeBytes, content, replaced = [] }: BlobRecord): Buffer {
  const data = 'data' in content ? { data: content.data } : {}
  const before = replaced.length > 0 ? { replaced } : {}
  const header: Header = { version: VERSION, nonce: newNonce(), sizeBytes, ...data, ...before }
  const line = Buffer.from(`${MAGIC}${JSON.stringify(header)}\n`)
  return 'bytes' in content ? Buffer.concat([line, content.bytes.subarray(0, sizeBytes)]) : line
}

/** Of an object that is no record, and whose bytes are damaged: they are kept behind the header. */
export function damagedRecord(bytes: Uint8Array): Buffer {
  const damagedAt = new Date().toISOString()
  const header: Header = { version: VERSION, nonce: newNonce(), sizeBytes: bytes.length, damagedAt }
  return Buffer.concat([Buffer.from(`${MAGIC}${JSON.stringify(header)}\n`), bytes])
}

/** Of the first bytes of an object. `undefined` for what is no such record, or not all of it, or was damaged. */
export function parseBlobRecord(bytes: Uint8Array, object: DataObject): BlobRecord | undefined {
  const header = headerOf(bytes)
  if (header?.version !== VERSION) return undefined
  const { sizeBytes, data, damagedAt, replaced = [] } = header
  const more = { ...(damagedAt === undefined ? {} : { damaged: true }), replaced }
  if (data) return { sizeBytes, content: { data }, ...more }
  const startBytes = bytes.indexOf(NEWLINE) + 1
  if (startBytes + sizeBytes !== object.sizeBytes) return undefined
  return { sizeBytes, content: contentOf(bytes, startBytes, object), ...more }
}

function headerOf(bytes: Uint8Array): Header | undefined {
  if (!isBlobRecord(bytes)) return undefined
  const line = Buffer.from(bytes.buffer, bytes.byteOffset, Math.max(bytes.indexOf(NEWLINE), 0)).toString('utf8')
  try {
    return JSON.parse(line.slice(MAGIC.length)) as Header
  } catch {
    return undefined
  }
}

/** The same record (all of its bytes are needed), written anew: unchanged, or as one of damaged content. `undefined` if it is no record. */
export function rewritten(bytes: Uint8Array, { damaged }: { readonly damaged: boolean }): Buffer | undefined {
  const header = headerOf(bytes)
  if (!header) return undefined
  const damagedAt = damaged ? { damagedAt: new Date().toISOString() } : {}
  const line = `${MAGIC}${JSON.stringify({ ...header, nonce: newNonce(), ...damagedAt })}\n`
  return Buffer.concat([Buffer.from(line), bytes.subarray(bytes.indexOf(NEWLINE) + 1)])
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
