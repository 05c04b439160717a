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
  isBlobRecord,
  LOOK_BYTES,
  parseBlobRecord,
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
        return { body: await bodyOf(this.#bucket, content, range ?? { start: 0, end: sizeBytes - 1 }), sizeBytes }
      } catch (error) {
        // Replaced while we looked, perhaps: then what it names now is there.
        if (!(error instanceof ObjectNotFound) || seen === standing.etag) throw error
        seen = standing.etag
      }
    }
  }

  /** Creates the record, or finds one that is whole, and then drops its own data; or replaces one that is not. */
  async enter(key: Key, record: BlobRecord): Promise<void> {
    const bytes = formatBlobRecord(record)
    let condition: WriteCondition = { ifAbsent: true }
    let replaced: readonly DataObject[] = []
    while (!(await orConflict(() => this.#writes.write(key, bytes, condition)))) {
      const standing = await this.#look(key)
      if (standing?.record && sameContent(standing.record, record)) return // an earlier attempt of ours, or equal bytes
      if (standing?.record?.sizeBytes === record.sizeBytes && (await this.#isWhole(standing.record))) {
        return await this.#drop(dataOf(record), standing.record)
      }
      if (!(await this.#isWhole(record))) throw new StagedBytesLost(`the data for ${key} is gone: bring it again`)
      replaced = standing?.record ? dataOf(standing.record) : []
      condition = standing ? { ifVersion: standing.etag as Version } : { ifAbsent: true }
    }
    await this.#drop(replaced, record)
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
    const { etag, modified, sizeBytes, bytes } = found
    if (!isBlobRecord(bytes)) {
      const content = bytes.length === sizeBytes ? { bytes } : { data: [{ key, sizeBytes, etag }] }
      return { etag, modified, record: { sizeBytes, content } }
    }
    const all = bytes.length === sizeBytes ? bytes : (await this.#bucket.get(key))?.bytes
    return { etag, modified, record: all && parseBlobRecord(all) }
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
  return 'bytes' in content ? bytesBody(content.bytes, range) : await openBody(bucket, content.data, range)
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
