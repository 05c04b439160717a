/**
 * The byte ranges of HTTP and of the distribution specification: `Range` of a blob GET (RFC 9110 section 14),
 * `Content-Range` of an upload chunk, and the `Range` with which an upload session says how far it is. Nothing here
 * fails but with a `RegistryError`, whatever the text.
 */
import type { ByteRange } from '../storage/driver.ts'
import { RegistryError } from './errors.ts'

/** More digits than any size has; a number beyond 2^53 would be rounded silently. */
const NUMBER = '([0-9]{1,15})'
const BYTES_RANGE = new RegExp(`^bytes=(?:${NUMBER}-${NUMBER}|${NUMBER}-|-${NUMBER})$`, 'i')
const CONTENT_RANGE = new RegExp(`^(?:bytes[ =])?${NUMBER}-${NUMBER}(?:/(?:[0-9]{1,15}|\\*))?$`, 'i')

/**
 * The range that a GET asks of content with `sizeBytes`, cut at its end; `undefined` means the whole. Ignored, as the
 * RFC allows, are units other than bytes, several ranges, malformed text, and any range of empty content (clients probe
 * with `bytes=0-`). Throws 416 for a range that begins beyond the end, or ends before it begins.
 */
export function parseRange(header: string, sizeBytes: number): ByteRange | undefined {
  const match = BYTES_RANGE.exec(header.trim())
  if (!match || sizeBytes === 0) return undefined
  const [, first, last, open, suffix] = match
  const start = suffix === undefined ? Number(first ?? open) : Math.max(0, sizeBytes - Number(suffix))
  const end = last === undefined ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1)
  if (start >= sizeBytes || end < start) {
    throw new RegistryError('rangeNotSatisfiable', {
      detail: {
        range: header,
        size: sizeBytes,
        expected: `a range that begins below ${sizeBytes} and ends at or after its beginning`,
      },
      headers: { 'Content-Range': `bytes */${sizeBytes}`, 'Accept-Ranges': 'bytes' },
    })
  }
  return { start, end }
}

/**
 * `Content-Range` of an upload chunk: `^[0-9]+-[0-9]+$`, both ends inclusive. The form of RFC 9110
 * (`bytes 0-99/100`) is understood too, because some HTTP libraries insist on it. `undefined` without the header.
 */
export function parseContentRange(header: string): ByteRange | undefined {
  if (header === '') return undefined
  const [, first, last] = CONTENT_RANGE.exec(header.trim()) ?? []
  const range = { start: Number(first), end: Number(last) }
  if (first === undefined || range.end < range.start) {
    throw new RegistryError('contentRangeInvalid', {
      detail: {
        contentRange: header,
        expected: '<first byte>-<last byte>, both inclusive, the first not above the last',
      },
    })
  }
  return range
}

/** `Range` of an upload session that has `offset` bytes. Docker refuses anything but `a-b` with b >= a, so none is `0-0` too. */
export function printUploadRange(offset: number): string {
  return `0-${Math.max(0, offset - 1)}`
}
