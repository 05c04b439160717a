/** A foreign tree in a bucket, below the prefix of the settings. */
import type { Readable } from 'node:stream'
import { ForeignFileUnusable, type ForeignTree } from '../import/foreign-tree.ts'
import { openBody } from './body.ts'
import { Bucket } from './bucket.ts'
import type { S3Settings } from './settings.ts'

export class BucketTree implements ForeignTree {
  readonly #bucket: Bucket

  constructor(settings: S3Settings) {
    this.#bucket = new Bucket(settings)
  }

  list(folder: string): AsyncIterable<string> {
    return this.#bucket.list(folder)
  }

  async readSmall(path: string, mostBytes: number): Promise<Uint8Array | undefined> {
    const found = await this.#bucket.get(path, mostBytes)
    if (found && found.sizeBytes > mostBytes) {
      throw new ForeignFileUnusable(`it has ${found.sizeBytes} bytes, expected ${mostBytes} at most`)
    }
    return found?.bytes
  }

  async sizeOf(path: string): Promise<number | undefined> {
    return (await this.#bucket.head(path))?.sizeBytes
  }

  /** A connection that breaks is taken up where it broke. */
  async open(path: string): Promise<Readable | undefined> {
    const found = await this.#bucket.head(path)
    if (!found) return undefined
    const { sizeBytes, etag } = found
    return await openBody(this.#bucket, [{ key: path, sizeBytes, etag }], { start: 0, end: sizeBytes - 1 })
  }

  close(): void {
    this.#bucket.close()
  }
}
