/**
 * Records as bytes: JSON with a checksum of itself as its last field. What a disk changed is therefore always noticed, and is never
 * taken for a record that says something else: a tag that points elsewhere, an era that was never begun.
 */
import { crc32 } from 'node:zlib'

/** `,"crc32":"` and eight digits, then `"}`. */
const SEAL_BYTES = 20

type Fields = { readonly [field: string]: unknown }

/** One line. `fields` has at least one field. */
export function sealed(fields: Fields): string {
  const text = JSON.stringify(fields).slice(0, -1)
  return `${text}${sealOf(text)}`
}

/** The fields, without the checksum. Throws an `Error` whose message says what is wrong with the bytes. */
export function unsealed(bytes: Uint8Array): Fields {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = buffer.length - SEAL_BYTES
  if (end < 1) throw new Error(`it has ${buffer.length} bytes, and no checksum`)
  if (buffer.toString('latin1', end) !== sealOf(buffer.subarray(0, end))) throw new Error('its checksum does not fit')
  return JSON.parse(`${buffer.toString('utf8', 0, end)}}`) as Fields
}

const sealOf = (text: string | Uint8Array): string => `,"crc32":"${crc32(text).toString(16).padStart(8, '0')}"}`
