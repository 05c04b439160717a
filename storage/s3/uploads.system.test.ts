/** Upload sessions over a bucket, by several replicas that share nothing else. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type S3Server, s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { Blobs } from '../blobs.ts'
import type { StorageDriver } from '../driver.ts'
import { SessionTaken } from '../errors.ts'
import { digestOf } from '../model/digest.ts'
import { parseRepositoryName } from '../model/reference.ts'
import { halfOpen, pieces } from '../testing/sources.ts'
import { openUploads } from '../uploads.ts'
import { Bucket } from './bucket.ts'
import { openS3Driver } from './driver.ts'
import type { S3Settings } from './settings.ts'

const MIB = 1024 * 1024
const PART = 5 * MIB
const DAY_MS = 24 * 60 * 60 * 1000
const name = parseRepositoryName('s3/uploads')
const [{ skip } = { skip: 'no S3 server' }] = await s3Kinds()

describe('upload sessions over a bucket', { skip }, () => {
  let server: S3Server
  const drivers: StorageDriver[] = []
  before(async () => {
    server = await startS3()
  })
  after(async () => {
    for (const driver of drivers) await driver.close()
    await server?.[Symbol.asyncDispose]()
  })

  async function replica(changes: Partial<S3Settings> = {}) {
    const driver = await openS3Driver(server.settings({ partBytes: PART, ...changes }))
    drivers.push(driver)
    const blobs = new Blobs(driver)
    return { blobs, uploads: openUploads(driver, blobs) }
  }
  type Replica = Awaited<ReturnType<typeof replica>>

  async function contentOf({ blobs }: Replica, content: Buffer): Promise<Buffer> {
    const { body } = await blobs.read(name, digestOf(content))
    return Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>))
  }

  /** All that is there of sessions, and data that nobody names: none of these tests leaves more than `blobs` of them. */
  async function left(): Promise<string[]> {
    const bucket = new Bucket(server.settings())
    try {
      const folders = await Array.fromAsync(bucket.list('data/'))
      const data = await Promise.all(folders.map((folder) => Array.fromAsync(bucket.list(`data/${folder}`))))
      return [...(await Array.fromAsync(bucket.list('sessions/'))), ...data.flat(), ...(await server.parts())]
    } finally {
      bucket.close()
    }
  }

  it('are swept with everything that they brought when nobody comes back, whichever replica it was that died', async () => {
    const [dead, other] = [await replica(), await replica()]
    const before = (await left()).length
    for (const sizeBytes of [10, 100_000, PART + 10, 3 * PART + 100_000]) {
      const { id } = await dead.uploads.start(name)
      await dead.uploads.append(name, id, pieces([randomBytes(sizeBytes)]))
    }
    // Dies in the middle of an append: parts in the bucket, which no record names.
    const { id } = await dead.uploads.start(name)
    const dying = dead.uploads.append(name, id, halfOpen([randomBytes(3 * PART)]))
    dying.catch(() => {})
    for (let waited = 0; (await server.parts()).length === 0 && waited < 10_000; waited += 20) await delay(20)
    assert.ok((await left()).length > before)
    await other.uploads.sweep(Date.now() + 8 * DAY_MS)
    await assert.rejects(dying, SessionTaken)
    await other.uploads.sweep(Date.now() + 16 * DAY_MS)
    assert.equal((await left()).length, before)
  })

  it('leave their data when they are swept after they became a blob', async () => {
    const one = await replica()
    const contents = [10, 100_000, PART + 10, 2 * PART + 100_000].map((sizeBytes) => randomBytes(sizeBytes))
    for (const content of contents) {
      const { id } = await one.uploads.start(name)
      await one.uploads.commit(name, id, digestOf(content), pieces([content]))
    }
    await one.uploads.sweep(Date.now() + DAY_MS)
    assert.deepEqual(
      (await left()).filter((entry) => entry.endsWith('/')),
      [],
    )
    const other = await replica()
    for (const content of contents) assert.deepEqual(await contentOf(other, content), content)
  })

  it('go to the newcomer on another replica, whom the old holder cannot spoil', async () => {
    const [old, newcomer] = [await replica(), await replica()]
    const content = randomBytes(6 * PART)
    const { id } = await old.uploads.start(name)
    const held = old.uploads.append(name, id, halfOpen([content.subarray(0, 5 * PART - 1)]))
    held.catch(() => {})
    let { offset } = await newcomer.uploads.status(name, id)
    for (let waited = 0; offset === 0 && waited < 20_000; waited += 50) {
      await delay(50)
      offset = (await newcomer.uploads.status(name, id)).offset
    }
    assert.ok(offset >= 4 * PART, `${offset}`)
    const digest = digestOf(content)
    await newcomer.uploads.commit(name, id, digest, pieces([content.subarray(offset)]), { offset })
    await assert.rejects(held, SessionTaken)
    assert.deepEqual(await contentOf(newcomer, content), content)
  })

  it('become one blob when two replicas close them with the same content at once, and it is read by both', async () => {
    const replicas = [await replica(), await replica()]
    const content = randomBytes(PART + 50_000)
    const digest = digestOf(content)
    for (let round = 0; round < 3; round += 1) {
      await Promise.all(
        replicas.map(async ({ uploads }) => {
          const { id } = await uploads.start(name)
          await uploads.commit(name, id, digest, pieces([content]))
        }),
      )
      for (const one of replicas) assert.deepEqual(await contentOf(one, content), content)
    }
  })

  it('share memory for two parts, though there are many of them, and though one client is silent', async () => {
    const { blobs, uploads } = await replica({ memoryBytes: 2 * PART })
    const silent = await uploads.start(name)
    const waiting = uploads.append(name, silent.id, halfOpen([randomBytes(100_000)]))
    waiting.catch(() => {})
    const contents = Array.from({ length: 6 }, () => randomBytes(PART + 70_000))
    await Promise.all(
      contents.map(async (content) => {
        const { id } = await uploads.start(name)
        await uploads.commit(name, id, digestOf(content), pieces([content]))
      }),
    )
    for (const content of contents) assert.equal((await blobs.stat(name, digestOf(content))).sizeBytes, content.length)
    await uploads.cancel(name, silent.id)
    await assert.rejects(waiting, SessionTaken)
  })

  it('take bytes in pieces of any size, on any replica, with breaks', async () => {
    const replicas = [await replica(), await replica(), await replica()]
    const content = randomBytes(4 * PART + 333)
    const { id } = await (replicas[0] as Replica).uploads.start(name)
    const sizes = [1, 40_000, PART - 40_001, 2 * MIB, PART + 5, 7, 2 * PART]
    for (let turn = 0, offset = 0; offset < content.length; turn += 1) {
      const { uploads } = replicas[turn % replicas.length] as Replica
      const end = Math.min(offset + (sizes[turn % sizes.length] ?? 1), content.length)
      const broken = turn % 2 === 0 ? new Error('connection reset') : undefined
      const appending = uploads.append(name, id, pieces([content.subarray(offset, end)], broken), { offset })
      if (broken) await assert.rejects(appending, broken)
      else await appending
      offset = (await uploads.status(name, id)).offset
      assert.equal(offset, end)
    }
    const [first] = replicas
    await first?.uploads.commit(name, id, digestOf(content, 'sha512'))
    const { body } = await (replicas[1] as Replica).blobs.read(name, digestOf(content, 'sha512'))
    assert.deepEqual(Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>)), content)
  })
})
