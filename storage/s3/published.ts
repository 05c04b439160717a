/**
 * Published content: records at their keys, and the data that they name. Nobody believes a record without a look at its
 * data, and so whatever is damaged is replaced by the next who brings the same content.
 */
import type { Readable } from 'node:stream'
import type {
  ByteRange,
  Key,
  ObjectAhead,
  ObjectRead,
  ObjectStat,
  SmallObject,
  Version,
  WriteCondition,
} from '../driver.ts'
import { ObjectNotFound, StagedBytesLost, StorageUnavailable } from '../errors.ts'
import { orConflict } from '../records.ts'
import {
  type BlobRecord,
  bytesBody,
  type Content,
  type DataObject,
  damagedRecord,
  formatBlobRecord,
  hasHeader,
  isBlobRecord,
  LOOK_BYTES,
  parseBlobRecord,
  plainRecord,
  rewritten,
} from './blob-record.ts'
import { DataBody, openBody } from './body.ts'
import type { Bucket } from './bucket.ts'
import type { ConditionalWrites } from './conditional-writes.ts'

interface Standing {
  readonly etag: string
  readonly modified: Date
  /** `undefined` for a record that cannot be read. An object that is no record at all is its own data. */
  readonly record: BlobRecord | undefined
}

/** Without a record of ours this much is moved aside by reading it; more than we would ever have put there. */
const MOST_ASIDE_BYTES = 64 * 1024 * 1024

export class PublishedBlobs {
  readonly #bucket: Bucket
  readonly #writes: ConditionalWrites

  constructor(bucket: Bucket, writes: ConditionalWrites) {
    this.#bucket = bucket
    this.#writes = writes
  }

  /** `undefined` also if not all data is there. */
  async stat(key: Key): Promise<ObjectStat | undefined> {
    for (let seen: string | undefined; ; ) {
      const standing = await this.#look(key)
      if (!isGood(standing?.record)) return undefined
      const { etag, modified, record } = standing
      if (await this.#isWhole(record)) return { sizeBytes: record.sizeBytes, modified }
      // Replaced while we looked, perhaps, and its data removed: it was there all the time.
      if (seen === etag) return undefined
      seen = etag
    }
  }

  /** Throws `ObjectNotFound`. */
  read(key: Key, range?: ByteRange): Promise<ObjectRead> {
    return this.#read(key, range, this.#look(key))
  }

  lookAhead(key: Key): ObjectAhead {
    const looked = this.#look(key)
    looked.catch(() => {}) // whoever reads is told
    return {
      // What was not there yet may have been published since.
      read: async (range) => this.#read(key, range, isGood((await looked)?.record) ? looked : this.#look(key)),
      readSmall: async () => {
        const standing = await looked
        const content = isGood(standing?.record) ? standing.record.content : undefined
        if (!standing || !content || !('bytes' in content)) return await this.readSmall(key)
        return { bytes: content.bytes, version: standing.etag as Version }
      },
    }
  }

  async #read(key: Key, range: ByteRange | undefined, looked: Promise<Standing | undefined>): Promise<ObjectRead> {
    for (let [seen, looking]: [string | undefined, typeof looked] = [undefined, looked]; ; looking = this.#look(key)) {
      const standing = await looking
      if (!isGood(standing?.record)) throw new ObjectNotFound(`nothing is stored under ${key}`)
      const { sizeBytes, content } = standing.record
      try {
        // Data that is younger than the record that names it is not what was published.
        const data = dataOf(standing.record)
        const known = data.length > 1 ? await this.#modifiedOf(data) : undefined
        const body = await bodyOf(this.#bucket, content, range ?? { start: 0, end: sizeBytes - 1 })
        const modified = known ?? (body instanceof DataBody ? body.modified?.getTime() : undefined) ?? 0
        const changed = data.length > 0 && modified > standing.modified.getTime()
        const identity = changed ? `${standing.etag} ${modified}` : standing.etag
        const relay = body instanceof DataBody ? body.relay : undefined
        return { body, sizeBytes, identity, verified: data.length > 0 && !changed, ...(relay ? { relay } : {}) }
      } catch (error) {
        // Replaced while we looked, perhaps: then what it names now is there.
        if (!(error instanceof ObjectNotFound) || seen === standing.etag) throw error
        seen = standing.etag
      }
    }
  }

  /** The whole of a small object, or of small content that was published. */
  async readSmall(key: Key): Promise<SmallObject | undefined> {
    const found = await this.#bucket.get(key)
    if (!found) return undefined
    const version = found.etag as Version
    if (!isBlobRecord(found.bytes)) return { bytes: found.bytes, version }
    const record = parseBlobRecord(found.bytes, { key, sizeBytes: found.sizeBytes, etag: found.etag })
    if (!isGood(record)) return undefined
    if ('bytes' in record.content) return { bytes: record.content.bytes, version }
    const body = await bodyOf(this.#bucket, record.content, { start: 0, end: record.sizeBytes - 1 })
    return { bytes: Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>)), version }
  }

  /**
   * Creates the record, or replaces the one that stands, whose data goes: it may be damaged where no look at it can tell, and what is
   * brought here was hashed on its way. Resolves to the identity of what stands. `aim` is awaited before data loses its record: a sweep
   * must be able to tell from what it leaves that it has to look here (`keeps`).
   */
  async enter(key: Key, record: BlobRecord, aim: () => Promise<void>): Promise<string> {
    let condition: WriteCondition = { ifAbsent: true }
    let replaced: readonly string[] = []
    for (;;) {
      const bytes = formatBlobRecord({ ...record, replaced })
      if (replaced.length > 0) await aim()
      const entered = await orConflict(() => this.#writes.write(key, bytes, condition))
      if (entered !== undefined) {
        await this.#drop(replaced, record)
        return entered
      }
      const standing = await this.#look(key)
      await this.#drop(standing?.record?.replaced, standing?.record) // by somebody who may have died behind the record
      if (isGood(standing?.record) && sameContent(standing.record, record)) return standing.etag // an earlier attempt of ours
      // Replaced by somebody else after an earlier attempt of ours, and its data removed.
      if (!(await this.#isWhole(record))) return await this.standing(key, record.sizeBytes)
      replaced = standing?.record ? dataOf(standing.record).map((data) => data.key) : []
      condition = standing ? { ifVersion: standing.etag as Version } : { ifAbsent: true }
    }
  }

  /** Of content that is one data object, and is what was published as far as can be seen from outside. */
  async locate(key: Key): Promise<URL | undefined> {
    const standing = await this.#look(key)
    if (!isGood(standing?.record)) return undefined
    const [only, ...others] = dataOf(standing.record)
    if (!only || others.length > 0) return undefined
    const found = await this.#bucket.head(only.key)
    const same = found?.etag === only.etag && found.sizeBytes === only.sizeBytes
    return same && found.modified <= standing.modified ? await this.#bucket.readableUrl(only.key) : undefined
  }

  /** Data that was written to after it was published, and is right: the record becomes younger than it. Everything else tells by itself. */
  async remember(key: Key, identity: string): Promise<void> {
    const [etag, modified] = identity.split(' ')
    if (modified === undefined) return
    const found = await this.#bucket.get(key)
    const record = found && parseBlobRecord(found.bytes, { key, sizeBytes: found.sizeBytes, etag: found.etag })
    if (!found || !isGood(record) || found.etag !== etag) return
    if ((await this.#modifiedOf(dataOf(record))) !== Number(modified)) return
    const bytes = rewritten(found.bytes, { damaged: false })
    if (bytes) await orConflict(() => this.#writes.write(key, bytes, { ifVersion: found.etag as Version }))
  }

  /** A state of the record, whose data stays until it is replaced. Resolves to the key; `undefined` if something else stands there. */
  async setAside(key: Key, identity: string): Promise<string | undefined> {
    const [etag] = identity.split(' ')
    const head = await this.#bucket.head(key)
    if (!head || head.etag !== etag) return undefined
    if (head.sizeBytes > MOST_ASIDE_BYTES) throw new StorageUnavailable(`${key} is no record of ours, and large`)
    const found = await this.#bucket.get(key)
    if (!found || found.etag !== etag) return undefined
    const bytes = rewritten(found.bytes, { damaged: true }) ?? damagedRecord(found.bytes)
    const done = await orConflict(() => this.#writes.write(key, bytes, { ifVersion: etag as Version }))
    return done === undefined ? undefined : key
  }

  /** For who has lost its own data: somebody else's, if it is all there. Nobody here has hashed it: the identity is no object's. */
  async standing(key: Key, sizeBytes: number): Promise<string> {
    if ((await this.stat(key))?.sizeBytes === sizeBytes) return ''
    throw new StagedBytesLost(`the data for ${key} is gone: bring it again`)
  }

  /** Which data must not be removed, because the record under `key` names it. What that has replaced goes. */
  async keeps(key: Key): Promise<(data: string) => boolean> {
    const standing = await this.#look(key)
    if (!standing) return () => false
    const { record } = standing
    await this.#drop(record?.replaced, record)
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

  /** Milliseconds, of the youngest. Throws `ObjectNotFound` if one is gone. */
  async #modifiedOf(data: readonly DataObject[]): Promise<number> {
    const times = data.map(async ({ key }) => {
      const found = await this.#bucket.head(key)
      if (!found) throw new ObjectNotFound(`the data ${key} is gone`)
      return found.modified.getTime()
    })
    return Math.max(...(await Promise.all(times)))
  }

  async #drop(data: readonly string[] = [], standing?: BlobRecord): Promise<void> {
    for (const key of data) {
      if (standing && !isNamed(standing, key)) await this.#bucket.remove(key)
    }
  }
}

export async function bodyOf(bucket: Bucket, content: Content, range: ByteRange): Promise<Readable> {
  if ('bytes' in content) return bytesBody(content.bytes, range)
  return await openBody(bucket, 'data' in content ? content.data : [content.inside], range)
}

/** What may be given to somebody. */
const isGood = (record: BlobRecord | undefined): record is BlobRecord => record !== undefined && record.damaged !== true

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
