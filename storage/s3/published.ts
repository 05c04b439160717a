/**
 * Published content: records at their keys, and the data that they name. Nobody believes a record without a look at its
 * data, and so whatever is damaged is replaced by the next who brings the same content.
 */
import type { Readable } from 'node:stream'
import type { ByteRange, Key, ObjectRead, ObjectStat, Version, WriteCondition } from '../driver.ts'
import { ObjectNotFound, StagedBytesLost } from '../errors.ts'
import { orConflict } from '../records.ts'
import {
  type BlobRecord,
  bytesBody,
  type Content,
  type DataObject,
  formatBlobRecord,
  hasHeader,
  isBlobRecord,
  LOOK_BYTES,
  parseBlobRecord,
  plainRecord,
} from './blob-record.ts'
import { openBody } from './body.ts'
import type { Bucket } from './bucket.ts'
import type { ConditionalWrites } from './conditional-writes.ts'

interface Standing {
  readonly etag: string
  readonly modified: Date
  /** `undefined` for a record that is damaged. An object that is no record at all is its own data. */
  readonly record: BlobRecord | undefined
}

export class PublishedBlobs {
  readonly #bucket: Bucket
  readonly #writes: ConditionalWrites

  constructor(bucket: Bucket, writes: ConditionalWrites) {
    this.#bucket = bucket
    this.#writes = writes
  }

  /** `undefined` also if not all data is there. */
  async stat(key: Key): Promise<ObjectStat | undefined> {
    const standing = await this.#look(key)
    if (!standing?.record || !(await this.#isWhole(standing.record))) return undefined
    return { sizeBytes: standing.record.sizeBytes, modified: standing.modified }
  }

  /** Throws `ObjectNotFound`. */
  async read(key: Key, range?: ByteRange): Promise<ObjectRead> {
    for (let seen: string | undefined; ; ) {
      const standing = await this.#look(key)
      if (!standing?.record) throw new ObjectNotFound(`nothing is stored under ${key}`)
      const { sizeBytes, content } = standing.record
      try {
        const body = await bodyOf(this.#bucket, content, range ?? { start: 0, end: sizeBytes - 1 })
        return { body, sizeBytes, identity: standing.etag }
      } catch (error) {
        // Replaced while we looked, perhaps: then what it names now is there.
        if (!(error instanceof ObjectNotFound) || seen === standing.etag) throw error
        seen = standing.etag
      }
    }
  }

  /** The whole of a small object, or of small content that was published. */
  async readSmall(key: Key): Promise<{ readonly bytes: Uint8Array; readonly version: Version } | undefined> {
    const found = await this.#bucket.get(key)
    if (!found) return undefined
    const version = found.etag as Version
    if (!isBlobRecord(found.bytes)) return { bytes: found.bytes, version }
    const record = parseBlobRecord(found.bytes, { key, sizeBytes: found.sizeBytes, etag: found.etag })
    if (!record) return undefined
    if ('bytes' in record.content) return { bytes: record.content.bytes, version }
    const body = await bodyOf(this.#bucket, record.content, { start: 0, end: record.sizeBytes - 1 })
    return { bytes: Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>)), version }
  }

  /**
   * Creates the record, or replaces the one that stands, whose data goes: it may be damaged where no look at it can tell, and what is
   * brought here was hashed on its way. Resolves to the identity of what stands.
   */
  async enter(key: Key, record: BlobRecord): Promise<string> {
    const bytes = formatBlobRecord(record)
    let condition: WriteCondition = { ifAbsent: true }
    let replaced: readonly DataObject[] = []
    for (;;) {
      const entered = await orConflict(() => this.#writes.write(key, bytes, condition))
      if (entered !== undefined) {
        await this.#drop(replaced, record)
        return entered
      }
      const standing = await this.#look(key)
      if (standing?.record && sameContent(standing.record, record)) return standing.etag // an earlier attempt of ours
      // Replaced by somebody else after an earlier attempt of ours, and its data removed.
      if (!(await this.#isWhole(record))) return await this.standing(key, record.sizeBytes)
      replaced = standing?.record ? dataOf(standing.record) : []
      condition = standing ? { ifVersion: standing.etag as Version } : { ifAbsent: true }
    }
  }

  /** For who has lost its own data: somebody else's, if it is all there. Nobody here has hashed it: the identity is no object's. */
  async standing(key: Key, sizeBytes: number): Promise<string> {
    if ((await this.stat(key))?.sizeBytes === sizeBytes) return ''
    throw new StagedBytesLost(`the data for ${key} is gone: bring it again`)
  }

  /** Which data must not be removed, because the record under `key` names it. */
  async keeps(key: Key): Promise<(data: string) => boolean> {
    const standing = await this.#look(key)
    if (!standing) return () => false
    const { record } = standing
    return (data) => !record || isNamed(record, data)
  }

  async #look(key: Key): Promise<Standing | undefined> {
    const found = await this.#bucket.get(key, LOOK_BYTES)
    if (!found) return undefined
    const { etag, modified, sizeBytes } = found
    const object = { key, sizeBytes, etag }
    if (!isBlobRecord(found.bytes)) return { etag, modified, record: plainRecord(found.bytes, object) }
    const all = hasHeader(found.bytes) ? found.bytes : ((await this.#bucket.get(key))?.bytes ?? found.bytes)
    return { etag, modified, record: parseBlobRecord(all, object) }
  }

  async #isWhole(record: BlobRecord): Promise<boolean> {
    const heads = await Promise.all(
      dataOf(record).map(async ({ key, sizeBytes, etag }) => {
        const found = await this.#bucket.head(key)
        return found?.sizeBytes === sizeBytes && found.etag === etag
      }),
    )
    return heads.every((whole) => whole)
  }

  async #drop(data: readonly DataObject[], standing: BlobRecord): Promise<void> {
    for (const { key } of data) {
      if (!isNamed(standing, key)) await this.#bucket.remove(key)
    }
  }
}

export async function bodyOf(bucket: Bucket, content: Content, range: ByteRange): Promise<Readable> {
  if ('bytes' in content) return bytesBody(content.bytes, range)
  return await openBody(bucket, 'data' in content ? content.data : [content.inside], range)
}

const dataOf = ({ content }: BlobRecord): readonly DataObject[] => ('data' in content ? content.data : [])

const isNamed = (record: BlobRecord, data: string): boolean => dataOf(record).some(({ key }) => key === data)

function sameContent(one: BlobRecord, other: BlobRecord): boolean {
  if (one.sizeBytes !== other.sizeBytes) return false
  if ('bytes' in one.content && 'bytes' in other.content) {
    return Buffer.compare(one.content.bytes, other.content.bytes.subarray(0, other.sizeBytes)) === 0
  }
  const [mine, theirs] = [dataOf(one), dataOf(other)]
  return mine.length > 0 && mine.length === theirs.length && mine.every(({ key }, place) => key === theirs[place]?.key)
}
