/**
 * Writes one layer into a folder in overlayfs's form. Whatever names and links an image brings, nothing outside the folder is read or
 * written. Names are bytes. Errors carry `code`, `errno` and `step`, which names the entry.
 */
import { loadAddon } from './addon.ts'

const BATCH_BYTES = 256 * 1024
const XATTR_NAME_LIMIT_BYTES = 255
const XATTR_VALUE_LIMIT_BYTES = 64 * 1024
const NANOSECONDS = 1_000_000_000n

export interface EntryAttributes {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Since 1970. */
  readonly modifiedNanoseconds: bigint
  /** overlayfs's own attributes among them are left out. */
  readonly xattrs?: ReadonlyMap<string, Uint8Array>
}

export type NodeType = 'character-device' | 'block-device' | 'fifo'

type Packed = readonly (number | string | Uint8Array)[]

interface NativeWriter {
  open(directory: string): Promise<boolean>
  directory(path: Uint8Array, attributes: Packed): Promise<boolean>
  symlink(path: Uint8Array, target: Uint8Array, attributes: Packed): Promise<boolean>
  hardlink(path: Uint8Array, target: Uint8Array): Promise<boolean>
  node(path: Uint8Array, type: NodeType, major: number, minor: number, attributes: Packed): Promise<boolean>
  wholeFile(path: Uint8Array, content: Uint8Array, attributes: Packed): Promise<boolean>
  beginFile(path: Uint8Array): Promise<boolean>
  appendFile(content: Uint8Array): Promise<boolean>
  finishFile(attributes: Packed): Promise<boolean>
  whiteout(path: Uint8Array): Promise<boolean>
  opaque(path: Uint8Array): Promise<boolean>
  finish(): Promise<boolean>
  completeAgainst(lowerTopFirst: readonly string[]): Promise<boolean>
  close(): Promise<boolean>
}

const native = loadAddon<{ readonly LayerWriter: new () => NativeWriter }>()

/** Calls run one after the other, in the order in which they are made. */
export class LayerWriter {
  readonly #native = new native.LayerWriter()
  #last: Promise<unknown> = Promise.resolve()

  private constructor() {}

  /** `directory` exists and is empty. */
  static async open(directory: string): Promise<LayerWriter> {
    const writer = new LayerWriter()
    await writer.#native.open(directory)
    return writer
  }

  /** Over a directory of this layer it replaces the attributes only. The empty path and `.` are the root. */
  async directory(path: Uint8Array, attributes: EntryAttributes): Promise<void> {
    const packed = pack(attributes)
    await this.#next(() => this.#native.directory(path, packed))
  }

  async symlink(path: Uint8Array, target: Uint8Array, attributes: EntryAttributes): Promise<void> {
    const packed = pack(attributes)
    await this.#next(() => this.#native.symlink(path, target, packed))
  }

  /** A target that this layer does not have is taken from below by `completeAgainst`. */
  async hardlink(path: Uint8Array, target: Uint8Array): Promise<void> {
    await this.#next(() => this.#native.hardlink(path, target))
  }

  async node(
    path: Uint8Array,
    type: NodeType,
    major: number,
    minor: number,
    attributes: EntryAttributes,
  ): Promise<void> {
    const packed = pack(attributes)
    await this.#next(() => this.#native.node(path, type, major, minor, packed))
  }

  /** Throws if the content is not `sizeBytes` long. */
  async file(
    path: Uint8Array,
    sizeBytes: number,
    content: AsyncIterable<Uint8Array>,
    attributes: EntryAttributes,
  ): Promise<void> {
    const packed = pack(attributes)
    await this.#next(() => this.#write(path, sizeBytes, content, packed))
  }

  /** Hides what lower layers have there, never what this layer brings. */
  async whiteout(path: Uint8Array): Promise<void> {
    await this.#next(() => this.#native.whiteout(path))
  }

  /** Hides all that lower layers have in this directory. */
  async opaque(directoryPath: Uint8Array): Promise<void> {
    await this.#next(() => this.#native.opaque(directoryPath))
  }

  /** Writes what had to wait for the last entry, and syncs the filesystem. */
  async finish(): Promise<{ readonly needsLower: boolean }> {
    return { needsLower: await this.#next(() => this.#native.finish()) }
  }

  /** After `finish`, if it said so. `lower`: the folders of the layers below, complete themselves, the lowest first. */
  async completeAgainst(lower: readonly string[]): Promise<void> {
    await this.#next(() => this.#native.completeAgainst(lower.toReversed()))
  }

  /** What was written stays. */
  async close(): Promise<void> {
    await this.#next(() => this.#native.close())
  }

  #next<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#last.then(call)
    this.#last = result.catch(() => undefined)
    return result
  }

  async #write(
    path: Uint8Array,
    sizeBytes: number,
    content: AsyncIterable<Uint8Array>,
    attributes: Packed,
  ): Promise<void> {
    const isSmall = sizeBytes <= BATCH_BYTES
    if (!isSmall) await this.#native.beginFile(path)
    let batch: Uint8Array[] = []
    let batchBytes = 0
    let total = 0
    for await (const chunk of content) {
      total += chunk.length
      if (total > sizeBytes) break
      batch.push(chunk)
      batchBytes += chunk.length
      if (isSmall || batchBytes < BATCH_BYTES) continue
      await this.#native.appendFile(joined(batch))
      batch = []
      batchBytes = 0
    }
    if (total !== sizeBytes) throw new Error(`the file's content is not the ${sizeBytes} bytes that were announced`)
    if (isSmall) {
      await this.#native.wholeFile(path, joined(batch), attributes)
      return
    }
    await this.#native.appendFile(joined(batch))
    await this.#native.finishFile(attributes)
  }
}

const joined = (chunks: readonly Uint8Array[]): Uint8Array =>
  chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)

function pack({ mode, uid, gid, modifiedNanoseconds, xattrs }: EntryAttributes): Packed {
  const nanoseconds = ((modifiedNanoseconds % NANOSECONDS) + NANOSECONDS) % NANOSECONDS
  const seconds = (modifiedNanoseconds - nanoseconds) / NANOSECONDS
  const packed: (number | string | Uint8Array)[] = [mode, uid, gid, Number(seconds), Number(nanoseconds)]
  for (const [name, value] of xattrs ?? []) {
    const length = Buffer.byteLength(name)
    if (length === 0 || length > XATTR_NAME_LIMIT_BYTES || name.includes('\0'))
      throw new Error(`an extended attribute's name of ${length} bytes, or with a NUL in it`)
    if (value.length > XATTR_VALUE_LIMIT_BYTES) throw new Error(`an extended attribute of ${value.length} bytes`)
    packed.push(name, value)
  }
  return packed
}
