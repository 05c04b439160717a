/**
 * Reads a tar archive entry by entry, byte-exact and strict: names and attribute values stay bytes (a file's capabilities are not
 * text), every number is checked before it is used, headers are bounded, and what follows the end of the archive is drained so that the
 * caller's hash covers it. ustar, GNU long names, base-256 numbers, PAX records. Sparse files are refused by name.
 */
import { ByteReader } from './byte-reader.ts'

const BLOCK_BYTES = 512
const EXTENDED_HEADER_LIMIT_BYTES = 1 << 20
const PATH_LIMIT_BYTES = 4095

/** What is wrong with an archive, in words; `entry` is the name where it is known. */
export class TarError extends Error {
  override readonly name = 'TarError'
}

type TarEntryType = 'file' | 'hardlink' | 'symlink' | 'character-device' | 'block-device' | 'directory' | 'fifo'

export interface TarEntry {
  readonly type: TarEntryType
  readonly path: Buffer
  readonly linkPath: Buffer
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly sizeBytes: number
  readonly modifiedNanoseconds: bigint
  readonly major: number
  readonly minor: number
  readonly xattrs: ReadonlyMap<string, Buffer>
  /** May be left unread, or half-read, before the next entry is asked for. */
  readonly content: AsyncIterable<Uint8Array>
}

const TYPES: Readonly<Record<string, TarEntryType>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
}

/** Throws `TarError` for an archive that is damaged or not supported; errors of the source pass through. */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const reader = new ByteReader(source, () => new TarError('the archive is truncated'))
  let pax: ReadonlyMap<string, Buffer> = new Map()
  let longPath: Buffer | undefined
  let longLink: Buffer | undefined
  try {
    for (;;) {
      const header = await reader.takeOrEnd(BLOCK_BYTES)
      if (header === undefined || isZero(header)) break
      verifyChecksum(header)
      const flag = String.fromCharCode(header[156] ?? 0)
      const ownSize = readNumber(header, 124, 12, 'size')
      if (flag === 'x' || flag === 'g' || flag === 'L' || flag === 'K') {
        if (ownSize > EXTENDED_HEADER_LIMIT_BYTES) throw new TarError(`an extended header of ${ownSize} bytes`)
        const body = await reader.take(ownSize)
        await reader.skip(padding(ownSize))
        if (flag === 'x') pax = parsePaxRecords(body)
        if (flag === 'L') longPath = untilNul(body)
        if (flag === 'K') longLink = untilNul(body)
        continue // global headers ('g') say nothing about a layer's files
      }
      const attributes = decodeEntry(header, flag, ownSize, pax, longPath, longLink)
      pax = new Map()
      longPath = undefined
      longLink = undefined
      const hasContent = attributes.type === 'file'
      const remaining = { bytes: hasContent ? attributes.sizeBytes : 0 }
      yield { ...attributes, content: reader.stream(remaining) }
      await reader.skip(remaining.bytes)
      if (hasContent) await reader.skip(padding(attributes.sizeBytes))
    }
    if (pax.size > 0 || longPath || longLink) throw new TarError('the archive ends after an extended header')
    await reader.drain()
  } finally {
    await reader.close()
  }
}

type Attributes = Omit<TarEntry, 'content'>

function decodeEntry(
  header: Buffer,
  flag: string,
  ownSize: number,
  pax: ReadonlyMap<string, Buffer>,
  longPath: Buffer | undefined,
  longLink: Buffer | undefined,
): Attributes {
  const path = pax.get('path') ?? longPath ?? headerPath(header)
  const shown = printable(path)
  if (path.length > PATH_LIMIT_BYTES) throw new TarError(`a path of ${path.length} bytes`)
  if (path.length === 0) throw new TarError('an entry without a name')
  if (path.includes(0)) throw new TarError(`a NUL in the name ${shown}`)
  if (flag === 'S' || [...pax.keys()].some((key) => key.startsWith('GNU.sparse.')))
    throw new TarError(`${shown} is a sparse file, which is not supported; rebuild the layer without --sparse`)
  let type = TYPES[flag]
  if (type === undefined) throw new TarError(`${shown} has the unknown type ${JSON.stringify(flag)}`)
  if (type === 'file' && path.at(-1) === 0x2f) type = 'directory' // how archives before POSIX said it
  const linkPath = pax.get('linkpath') ?? longLink ?? untilNul(header.subarray(157, 257))
  if (linkPath.length > PATH_LIMIT_BYTES || linkPath.includes(0))
    throw new TarError(`${shown} has an impossible link target`)
  const sizeBytes = paxNumber(pax, 'size') ?? ownSize
  return {
    type,
    path,
    linkPath,
    mode: readNumber(header, 100, 8, 'mode') & 0o7777,
    uid: identity(paxNumber(pax, 'uid') ?? readNumber(header, 108, 8, 'uid'), 'uid', shown),
    gid: identity(paxNumber(pax, 'gid') ?? readNumber(header, 116, 8, 'gid'), 'gid', shown),
    sizeBytes: type === 'file' ? sizeBytes : 0,
    modifiedNanoseconds: paxTime(pax) ?? BigInt(readSigned(header, 136, 12, 'mtime')) * 1_000_000_000n,
    major: type.endsWith('-device') ? readNumber(header, 329, 8, 'device number') : 0,
    minor: type.endsWith('-device') ? readNumber(header, 337, 8, 'device number') : 0,
    xattrs: extendedAttributes(pax),
  }
}

function headerPath(header: Buffer): Buffer {
  const name = untilNul(header.subarray(0, 100))
  const posix = header.subarray(257, 263).equals(Buffer.from('ustar\0')) // GNU's magic has times where POSIX has the prefix
  const prefix = posix ? untilNul(header.subarray(345, 500)) : Buffer.alloc(0)
  return prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), name]) : name
}

function identity(value: number, field: string, shown: string): number {
  if (value > 0xfffffffe) throw new TarError(`${shown} has the impossible ${field} ${value}`)
  return value
}

/** Each record is `LENGTH KEY=VALUE\n`, the length counting itself. */
function parsePaxRecords(body: Buffer): ReadonlyMap<string, Buffer> {
  const records = new Map<string, Buffer>()
  let at = 0
  while (at < body.length) {
    if (body[at] === 0) break // some writers pad with NULs
    const space = body.indexOf(0x20, at)
    const digits = body.toString('latin1', at, Math.max(at, space))
    const length = /^[0-9]{1,7}$/.test(digits) ? Number(digits) : 0
    const end = at + length
    const equals = body.indexOf(0x3d, space)
    if (length === 0 || end > body.length || body[end - 1] !== 0x0a || equals < 0 || equals >= end)
      throw new TarError('a PAX header with a malformed record')
    const value = body.subarray(equals + 1, end - 1)
    const key = body.toString('utf8', space + 1, equals)
    if (value.length > 0) records.set(key, value)
    else records.delete(key) // POSIX: an empty value takes the record back
    at = end
  }
  return records
}

function extendedAttributes(pax: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer> {
  const attributes = new Map<string, Buffer>()
  for (const [key, value] of pax) {
    if (key.startsWith('LIBARCHIVE.xattr.')) {
      const name = percentDecoded(key.slice('LIBARCHIVE.xattr.'.length))
      if (!attributes.has(name)) attributes.set(name, Buffer.from(value.toString('latin1'), 'base64'))
    }
    if (key.startsWith('SCHILY.xattr.')) attributes.set(key.slice('SCHILY.xattr.'.length), value)
  }
  return attributes
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new TarError(`the malformed attribute name ${JSON.stringify(text)}`, { cause })
  }
}

function paxNumber(pax: ReadonlyMap<string, Buffer>, key: string): number | undefined {
  const text = pax.get(key)?.toString('latin1')
  if (text === undefined) return undefined
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new TarError(`the impossible PAX ${key} ${JSON.stringify(text.slice(0, 40))}`)
  return Number(text)
}

function paxTime(pax: ReadonlyMap<string, Buffer>): bigint | undefined {
  const text = pax.get('mtime')?.toString('latin1')
  if (text === undefined) return undefined
  const [, sign = '', seconds, fraction = ''] = /^(-?)([0-9]{1,12})(?:\.([0-9]*))?$/.exec(text) ?? []
  if (seconds === undefined) throw new TarError(`the impossible PAX mtime ${JSON.stringify(text.slice(0, 40))}`)
  const nanoseconds = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'))
  return sign === '-' ? -nanoseconds : nanoseconds
}

function readNumber(header: Buffer, offset: number, length: number, what: string): number {
  const value = readSigned(header, offset, length, what)
  if (value < 0) throw new TarError(`the negative ${what} ${value}`)
  return value
}

/** Octal text, or GNU's base-256 where the first bit is set. */
function readSigned(header: Buffer, offset: number, length: number, what: string): number {
  const field = header.subarray(offset, offset + length)
  if (((field[0] ?? 0) & 0x80) !== 0) {
    let value = BigInt.asIntN(8, BigInt(field[0] ?? 0)) & (field[0] === 0x80 ? 0n : -1n)
    if (field[0] !== 0x80 && field[0] !== 0xff) throw new TarError(`a ${what} that is too large`)
    for (const byte of field.subarray(1)) value = value * 256n + BigInt(byte)
    if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < -BigInt(Number.MAX_SAFE_INTEGER))
      throw new TarError(`a ${what} that is too large`)
    return Number(value)
  }
  const text = field.toString('latin1').replace(/^[ \0]+/, '')
  const [, digits] = /^([0-7]*)(?:[ \0]|$)/.exec(text) ?? []
  if (digits === undefined) throw new TarError(`a ${what} that is not a number: ${JSON.stringify(text)}`)
  return digits === '' ? 0 : Number.parseInt(digits, 8)
}

function verifyChecksum(header: Buffer): void {
  let sum = 8 * 0x20 // the checksum's own field counts as spaces
  for (let i = 0; i < BLOCK_BYTES; i++) if (i < 148 || i >= 156) sum += header[i] ?? 0
  if (sum !== readSigned(header, 148, 8, 'checksum'))
    throw new TarError('a header with a wrong checksum: this is no tar archive, or it is damaged')
}

const isZero = (block: Buffer): boolean => block.every((byte) => byte === 0)
const padding = (sizeBytes: number): number => (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES

function untilNul(field: Buffer): Buffer {
  const nul = field.indexOf(0)
  return nul < 0 ? field : field.subarray(0, nul)
}

/** A name fit for a message: quoted, control characters escaped, not endless. */
export function printable(name: Uint8Array): string {
  const text = Buffer.from(name).toString('utf8')
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text)
}
