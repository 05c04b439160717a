/** Never wrong bytes, where the bytes are another server's, whose disk may change them behind its back, dates and ETags as they were. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { open, readdir, truncate, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { until } from '../../conformance/support/commands.ts'
import { type S3Server, s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { BlobUnknown } from '../errors.ts'
import { blobKey } from '../layout.ts'
import { type Digest, digestOf } from '../model/digest.ts'
import { parseRepositoryName } from '../model/reference.ts'
import { openStore } from '../open.ts'
import type { Store } from '../store.ts'
import { pieces } from '../testing/sources.ts'
import { openS3Driver } from './driver.ts'

const MIB = 2 ** 20
const name = parseRepositoryName('a')
const { skip } = (await s3Kinds()).find(({ kind }) => kind === 'versitygw') ?? { skip: 'there is no versitygw' }

describe('a blob', { skip }, () => {
  let server: S3Server
  let store: Store
  const openAnother = async (): Promise<Store & AsyncDisposable> => {
    const opened = await openStore(await openS3Driver(server.settings()))
    return { ...opened, [Symbol.asyncDispose]: () => opened.close() }
  }
  before(async () => {
    server = await startS3('versitygw')
    store = await openAnother()
  })
  after(async () => {
    await store.close()
    await server[Symbol.asyncDispose]()
  })
  const push = async (content: Buffer): Promise<Digest> => {
    const digest = digestOf(content)
    const { id } = await store.uploads.start(name)
    await store.uploads.commit(name, id, digest, pieces([content]))
    return digest
  }
  /** The one file of the server that holds the blob's bytes. */
  const fileOf = async (content: Buffer): Promise<string> => {
    const entries = await readdir(server.folder, { recursive: true, withFileTypes: true })
    for (const entry of entries.filter((each) => each.isFile())) {
      const path = join(entry.parentPath, entry.name)
      await using file = await open(path)
      const { bytesRead, buffer } = await file.read(Buffer.alloc(64), 0, 64, 0)
      if (bytesRead === 64 && buffer.equals(content.subarray(0, 64))) return path
    }
    assert.fail('no file has these bytes')
  }
  const flipByte = async (path: string, position: number): Promise<void> => {
    await using file = await open(path, 'r+')
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, position)
    await file.write(Buffer.of((buffer[0] ?? 0) ^ 1), 0, 1, position)
  }
  const bytesFrom = async (where: Store, digest: Digest): Promise<Buffer> =>
    Buffer.concat(await Array.fromAsync((await where.repository(name).readBlob(digest)).body as AsyncIterable<Buffer>))
  const isUnknown = async (where: Store, digest: Digest): Promise<boolean> =>
    await where
      .repository(name)
      .statBlob(digest)
      .then(
        () => false,
        (error: unknown) => error instanceof BlobUnknown,
      )
  const inTheFuture = (): Date => new Date(Date.now() + 10_000)

  it('that the bucket has changed after it was published fails before its end, is unknown on all replicas, and is repaired by a push', async () => {
    const content = randomBytes(3 * MIB)
    const digest = await push(content)
    const path = await fileOf(content)
    await flipByte(path, MIB)
    await utimes(path, inTheFuture(), inTheFuture())
    await using other = await openAnother()
    await assert.rejects(bytesFrom(other, digest), /damaged/)
    assert.deepEqual([await isUnknown(other, digest), await isUnknown(store, digest)], [true, true])
    await push(content)
    assert.ok(content.equals(await bytesFrom(other, digest)))
  })

  it('that was written to and is right is verified once, for all replicas', async () => {
    const content = randomBytes(3 * MIB)
    const digest = await push(content)
    const soon = new Date(Date.now() + 2_000)
    await utimes(await fileOf(content), soon, soon)
    const isRemembered = async (): Promise<boolean> => {
      const driver = await openS3Driver(server.settings())
      const { body, verified } = await driver.read(blobKey(digest))
      body.destroy()
      await driver.close()
      return verified
    }
    assert.equal(await isRemembered(), false)
    // The record has to become younger than its data, which has a date of the future.
    await until('the data to be of the past', 10_000, () => (Date.now() > soon.getTime() + 1_000 ? true : undefined))
    await using other = await openAnother()
    assert.ok(content.equals(await bytesFrom(other, digest)))
    await until('it to be remembered', 10_000, async () => ((await isRemembered()) ? true : undefined))
  })

  it('that the bucket has cut short is unknown, and is repaired by a push', async () => {
    const content = randomBytes(3 * MIB)
    const digest = await push(content)
    await truncate(await fileOf(content), MIB)
    assert.equal(await isUnknown(store, digest), true)
    await assert.rejects(store.repository(name).readBlob(digest), BlobUnknown)
    await push(content)
    assert.ok(content.equals(await bytesFrom(store, digest)))
  })
})
