/** Tar archives byte by byte, also such as no program would write: each header has a right checksum, whatever else it says. */

export interface HeaderFields {
  readonly name?: string | Uint8Array
  readonly mode?: string
  readonly uid?: string
  readonly gid?: string
  /** The field as it stands there, or a number. */
  readonly size?: string | number
  readonly mtime?: string
  readonly type?: string
  readonly link?: string | Uint8Array
  readonly magic?: string
  readonly major?: string
  readonly minor?: string
  /** What stands at byte 345. */
  readonly prefix?: string | Uint8Array
}

export interface ArchiveAttributes {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly mtime?: string
  readonly xattrs?: Readonly<Record<string, Uint8Array | string>>
}

const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`
const bytesOf = (text: string | Uint8Array): Buffer =>
  typeof text === 'string' ? Buffer.from(text, 'latin1') : Buffer.from(text)

export function header(fields: HeaderFields = {}): Buffer {
  const block = Buffer.alloc(512)
  const put = (value: string | Uint8Array, at: number): void => void bytesOf(value).copy(block, at)
  put(fields.name ?? 'file', 0)
  put(fields.mode ?? '0000644\0', 100)
  put(fields.uid ?? '0000000\0', 108)
  put(fields.gid ?? '0000000\0', 116)
  put(typeof fields.size === 'number' ? octal(fields.size, 11) : (fields.size ?? '00000000000\0'), 124)
  put(fields.mtime ?? '00000000000\0', 136)
  put(fields.type ?? '0', 156)
  put(fields.link ?? '', 157)
  put(fields.magic ?? 'ustar\x0000', 257)
  put(fields.major ?? '0000000\0', 329)
  put(fields.minor ?? '0000000\0', 337)
  put(fields.prefix ?? '', 345)
  return withChecksum(block)
}

export function withChecksum(block: Buffer): Buffer {
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

export function paxRecord(key: string, value: Uint8Array | string): Buffer {
  const tail = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')])
  let length = tail.length + 1
  while (`${length}`.length + tail.length !== length) length = `${length}`.length + tail.length
  return Buffer.concat([Buffer.from(`${length}`), tail])
}

export const padded = (body: Uint8Array): Buffer =>
  Buffer.concat([body, Buffer.alloc((512 - (body.length % 512)) % 512)])

export const paxHeader = (body: Uint8Array, type: 'x' | 'g' = 'x'): Buffer =>
  Buffer.concat([header({ type, size: body.length }), padded(body)])

export const END = Buffer.alloc(1024)

/** Entries one after the other; what the fields of a header cannot say is said in a pax header before it. */
export class Archive {
  readonly #blocks: Buffer[] = []

  raw(...blocks: readonly Uint8Array[]): this {
    this.#blocks.push(...blocks.map((block) => Buffer.from(block)))
    return this
  }
  file(path: string, content: string | Uint8Array = path, attributes: ArchiveAttributes = {}): this {
    const bytes = Buffer.from(content as string)
    return this.#entry({ type: '0', size: bytes.length }, path, '', { mode: 0o644, ...attributes }).raw(padded(bytes))
  }
  directory(path: string, attributes: ArchiveAttributes = {}): this {
    return this.#entry({ type: '5' }, path, '', attributes)
  }
  symlink(path: string, target: string, attributes: ArchiveAttributes = {}): this {
    return this.#entry({ type: '2' }, path, target, attributes)
  }
  hardlink(path: string, target: string, attributes: ArchiveAttributes = {}): this {
    return this.#entry({ type: '1' }, path, target, attributes)
  }
  node(
    path: string,
    type: 'character' | 'block' | 'fifo',
    major = 0,
    minor = 0,
    attributes: ArchiveAttributes = {},
  ): this {
    const flag = { character: '3', block: '4', fifo: '6' }[type]
    return this.#entry({ type: flag, major: octal(major, 7), minor: octal(minor, 7) }, path, '', attributes)
  }
  whiteout(path: string): this {
    const slash = path.lastIndexOf('/') + 1
    return this.file(`${path.slice(0, slash)}.wh.${path.slice(slash)}`, '')
  }
  opaque(directory: string): this {
    return this.file(directory === '' ? '.wh..wh..opq' : `${directory}/.wh..wh..opq`, '')
  }
  bytes(): Buffer {
    return Buffer.concat([...this.#blocks, END])
  }

  #entry(fields: HeaderFields, path: string, link: string, attributes: ArchiveAttributes): this {
    const { mode = 0o755, uid = 0, gid = 0, mtime = '1600000000.123456789', xattrs = {} } = attributes
    const records = [
      paxRecord('path', path),
      paxRecord('mtime', mtime),
      ...(link === '' ? [] : [paxRecord('linkpath', link)]),
      ...(uid > 0o7777777 ? [paxRecord('uid', `${uid}`)] : []),
      ...Object.entries(xattrs).map(([name, value]) => paxRecord(`SCHILY.xattr.${name}`, value)),
    ]
    const owner = { uid: octal(Math.min(uid, 0o7777777), 7), gid: octal(gid, 7) }
    return this.raw(paxHeader(Buffer.concat(records)), header({ ...fields, ...owner, mode: octal(mode, 7) }))
  }
}
