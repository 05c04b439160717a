/**
 * A tar file on a disk, as files by name that can be read from anywhere: how archives of images are read, without unpacking them. Understands
 * ustar, pax (path, linkpath, size) and GNU's long names; a later entry of a name replaces an earlier one, as when it is unpacked.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { posix } from 'node:path'

const BLOCK_BYTES = 512
const NAME_LIMIT_BYTES = 64 * 1024
/** A docker archive has two for each layer: more is no image. */
const ENTRIES_LIMIT = 1_000_000
const READ_CHUNK_BYTES = 256 * 1024
const LINK_DEPTH = 8

/** It is no tar, or a damaged one. */
export class ArchiveInvalid extends Error {
  override readonly name = 'ArchiveInvalid'
}

interface Entry {
  readonly type: 'file' | 'link'
  readonly offset: number
  readonly sizeBytes: number
  readonly target: string
}

export class TarFile implements AsyncDisposable {
  readonly #file: FileHandle
  readonly #entries: ReadonlyMap<string, Entry>

  private constructor(file: FileHandle, entries: ReadonlyMap<string, Entry>) {
    this.#file = file
    this.#entries = entries
  }

  /** Throws `ArchiveInvalid`. */
  static async open(path: string): Promise<TarFile> {
    const file = await open(path, 'r')
    try {
      return new TarFile(file, await scan(file, path))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()]
  }

  sizeOf(name: string): number | undefined {
    return this.#find(name)?.sizeBytes
  }

  async *read(name: string, fromByte = 0): AsyncGenerator<Uint8Array> {
    const entry = this.#find(name)
    if (entry === undefined) throw new ArchiveInvalid(`the archive has no ${name}`)
    for (let at = fromByte; at < entry.sizeBytes; ) {
      const length = Math.min(READ_CHUNK_BYTES, entry.sizeBytes - at)
      const { bytesRead, buffer } = await this.#file.read(Buffer.allocUnsafe(length), 0, length, entry.offset + at)
      if (bytesRead === 0) throw new ArchiveInvalid(`the archive ends within ${name}`)
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }

  /** Links are followed inside the archive (old archives of docker have them for layers that are the same). */
  #find(name: string): Entry | undefined {
    let at = name
    for (let depth = 0; depth < LINK_DEPTH; depth++) {
      const entry = this.#entries.get(at)
      if (entry?.type !== 'link') return entry
      at = entry.target
    }
    return undefined
  }
}

async function scan(file: FileHandle, path: string): Promise<ReadonlyMap<string, Entry>> {
  const entries = new Map<string, Entry>()
  let next: { path?: string; target?: string; size?: number } = {}
  for (let offset = 0; ; ) {
    const header = await exactly(file, offset, BLOCK_BYTES)
    if (header === undefined || header.every((byte) => byte === 0)) break
    if (!hasChecksum(header))
      throw new ArchiveInvalid(`${path} is no tar archive, or a damaged one (at byte ${offset})`)
    const type = String.fromCharCode(header[156] ?? 0)
    const sizeBytes = next.size ?? numberIn(header, 124, 12)
    const body = offset + BLOCK_BYTES
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
      throw new ArchiveInvalid(`${path} has an entry of an impossible size (at byte ${offset})`)
    if (type === 'x' || type === 'L' || type === 'K') {
      if (sizeBytes > NAME_LIMIT_BYTES)
        throw new ArchiveInvalid(`${path} has a name of ${sizeBytes} bytes (at byte ${offset})`)
      const text = ((await exactly(file, body, sizeBytes)) ?? truncated(path)).toString('utf8')
      if (type === 'x') next = { ...next, ...paxFields(text) }
      else next = { ...next, [type === 'L' ? 'path' : 'target']: text.replace(/\0.*$/s, '') }
    } else if (type !== 'g') {
      const name = clean(next.path ?? nameIn(header))
      const target = next.target ?? textIn(header, 157, 100)
      if (type === '0' || type === '\0' || type === '7')
        entries.set(name, { type: 'file', offset: body, sizeBytes, target: '' })
      if (type === '1') entries.set(name, { type: 'link', offset: 0, sizeBytes: 0, target: clean(target) })
      if (type === '2')
        entries.set(name, {
          type: 'link',
          offset: 0,
          sizeBytes: 0,
          target: clean(posix.join(posix.dirname(name), target)),
        })
      if (entries.size > ENTRIES_LIMIT) throw new ArchiveInvalid(`${path} has more than ${ENTRIES_LIMIT} entries`)
      next = {}
    }
    offset = body + Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES
  }
  return entries
}

/** `undefined` if the file ends before. */
async function exactly(file: FileHandle, offset: number, length: number): Promise<Buffer | undefined> {
  const buffer = Buffer.alloc(length)
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(buffer, at, length - at, offset + at)
    if (bytesRead === 0) return undefined
    at += bytesRead
  }
  return buffer
}

const truncated = (path: string): never => {
  throw new ArchiveInvalid(`${path} ends within an entry`)
}

const clean = (name: string): string => posix.normalize(name).replace(/^(\.?\/)+/, '')

const textIn = (header: Buffer, at: number, length: number): string =>
  header.toString('utf8', at, at + length).replace(/\0.*$/s, '')

function nameIn(header: Buffer): string {
  const prefix = header.toString('latin1', 257, 262) === 'ustar' ? textIn(header, 345, 155) : ''
  return prefix === '' ? textIn(header, 0, 100) : `${prefix}/${textIn(header, 0, 100)}`
}

/** Octal, or binary where the first bit says so (GNU). */
function numberIn(header: Buffer, at: number, length: number): number {
  if ((header[at] ?? 0) & 0x80) return Number(BigInt(`0x${header.toString('hex', at + 1, at + length)}`))
  return Number.parseInt(textIn(header, at, length).trim() || '0', 8)
}

function hasChecksum(header: Buffer): boolean {
  let sum = 8 * 0x20
  for (let at = 0; at < BLOCK_BYTES; at++) if (at < 148 || at >= 156) sum += header[at] ?? 0
  return sum === numberIn(header, 148, 8)
}

function paxFields(text: string): { path?: string; target?: string; size?: number } {
  const fields: { path?: string; target?: string; size?: number } = {}
  for (const [, key, value] of text.matchAll(/^[0-9]+ ([^=\n]+)=(.*)$/gm)) {
    if (key === 'path' && value) fields.path = value
    if (key === 'linkpath' && value) fields.target = value
    if (key === 'size' && value) fields.size = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN
  }
  return fields
}
