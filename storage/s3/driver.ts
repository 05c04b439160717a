/**
 * Objects in an S3 bucket, for any number of replicas that share nothing else. Records are objects that change only by
 * conditional PUT; large content is uploaded once, to a name of its own, and published by a record that names it.
 */
import type {
  Block,
  ByteRange,
  Key,
  ListOptions,
  ObjectAhead,
  ObjectRead,
  ObjectStat,
  Staging,
  StagingState,
  StorageDriver,
  Version,
  WholeStaging,
  WriteCondition,
} from '../driver.ts'
import { StorageUnavailable } from '../errors.ts'
import { targetKey } from '../layout.ts'
import { v7 as uuidv7 } from '../uuid.ts'
import { Bucket } from './bucket.ts'
import { ConditionalWrites } from './conditional-writes.ts'
import { PartPool } from './part-pool.ts'
import { probeBucket } from './probe.ts'
import { PublishedBlobs } from './published.ts'
import { S3_DEFAULTS, type S3Settings } from './settings.ts'
import { stagedOf } from './staged.ts'
import { S3Staging } from './staging.ts'

/**
 * Opens a store in a bucket, after a look at what the bucket can do. Throws `StorageUnavailable` if it cannot be used: with the reason,
 * and what would be right.
 */
export async function openS3Driver(settings: S3Settings): Promise<StorageDriver> {
  const bucket = new Bucket(settings)
  try {
    const { findings, conditionalWrites } = await probeBucket(bucket)
    const fatal = findings.filter(({ works, needed }) => !works && needed)
    if (fatal.length > 0) {
      throw new StorageUnavailable(`this bucket cannot keep a store: ${fatal.map(({ says }) => says).join('; ')}`)
    }
    if (!conditionalWrites && settings.singleReplica !== true) {
      throw new StorageUnavailable(
        'this bucket does not honour conditional writes (If-None-Match, If-Match), without which two replicas overwrite each other: ' +
          'use a server that does, or promise with `singleReplica` that one process alone uses it',
      )
    }
    return new S3Driver(bucket, settings, conditionalWrites)
  } catch (error) {
    bucket.close()
    throw error
  }
}

class S3Driver implements StorageDriver {
  readonly name = 's3'
  readonly #bucket: Bucket
  readonly #writes: ConditionalWrites
  readonly #published: PublishedBlobs
  readonly #pool: PartPool
  readonly #parallelParts: number

  constructor(bucket: Bucket, settings: S3Settings, honoured: boolean) {
    const { partBytes, parallelParts, memoryBytes, attempts } = { ...S3_DEFAULTS, ...settings }
    this.#bucket = bucket
    this.#writes = new ConditionalWrites(bucket, attempts, { honoured })
    this.#published = new PublishedBlobs(bucket, this.#writes)
    this.#pool = new PartPool(partBytes, memoryBytes)
    this.#parallelParts = parallelParts
  }

  stat(key: Key): Promise<ObjectStat | undefined> {
    return this.#published.stat(key)
  }

  read(key: Key, range?: ByteRange): Promise<ObjectRead> {
    return this.#published.read(key, range)
  }

  readSmall(key: Key): Promise<{ bytes: Uint8Array; version: Version } | undefined> {
    return this.#published.readSmall(key)
  }

  lookAhead(key: Key): ObjectAhead {
    return this.#published.lookAhead(key)
  }

  write(key: Key, bytes: Uint8Array, condition: WriteCondition): Promise<Version> {
    return this.#writes.write(key, bytes, condition)
  }

  remember(key: Key, identity: string): Promise<void> {
    return this.#published.remember(key, identity)
  }

  setAside(key: Key, identity: string): Promise<string | undefined> {
    return this.#published.setAside(key, identity)
  }

  locate(key: Key): Promise<URL | undefined> {
    return this.#published.locate(key)
  }

  remove(key: Key): Promise<void> {
    return this.#bucket.remove(key)
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<string> {
    return this.#bucket.list(prefix, options)
  }

  listParts(prefix: string, options?: ListOptions): AsyncIterable<readonly string[]> {
    return this.#bucket.listParts(prefix, options)
  }

  stage(id: string, state?: StagingState): Staging {
    const place = { bucket: this.#bucket, pool: this.#pool, id }
    return new S3Staging(place, stagedOf(state, this.#pool.partBytes), this.#published, this.#parallelParts)
  }

  /** In memory until it is published, with its record: one request. Where it replaces data, the sweep finds as of a session what a crash leaves. */
  async stageWhole(content: Block): Promise<WholeStaging> {
    const bytes = Buffer.concat(content)
    return {
      publish: async (key) => {
        let aimed: Key | undefined
        const identity = await this.#published.enter(key, { sizeBytes: bytes.length, content: { bytes } }, async () => {
          if (aimed !== undefined) return
          aimed = targetKey(uuidv7())
          await this.#bucket.put(aimed, Buffer.from(key))
        })
        if (aimed !== undefined) await this.#bucket.remove(aimed)
        return identity
      },
      discard: async () => {},
    }
  }

  async close(): Promise<void> {
    this.#pool[Symbol.dispose]()
    this.#bucket.close()
  }
}
