import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { Blobs } from './blobs.ts'
import { BLOCK_BYTES, type ByteRange, type Staging, type StorageDriver } from './driver.ts'
import {
  BlobUnknown,
  DigestMismatch,
  OffsetMismatch,
  SessionTaken,
  SizeMismatch,
  StorageFact,
  StorageUnavailable,
  UploadUnknown,
} from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { type Digest, digestOf } from './model/digest.ts'
import { parseRepositoryName } from './model/reference.ts'
import { openStore } from './open.ts'
import type { Store } from './store.ts'
import { bytesOf, halfOpen, pieces } from './testing/sources.ts'
import { watchedDriver } from './testing/watched-driver.ts'
import { openUploads } from './uploads.ts'

const name = parseRepositoryName('some/repository')
const other = parseRepositoryName('some/other')

describe('upload sessions', () => {
  let folder: string
  let store: Store
  const open = async (): Promise<Store> => await openStore(await openFsDriver(folder))
  const contentOf = async (digest: Digest): Promise<Buffer> =>
    Buffer.concat(
      await Array.fromAsync((await store.repository(name).readBlob(digest)).body as AsyncIterable<Uint8Array>),
    )

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-uploads-'))
    store = await open()
  })
  after(async () => {
    await store.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('become the blob whose digest they were closed with, wherever they were cut', async () => {
    const content = randomBytes(3_000_000)
    const { id } = await store.uploads.start(name)
    for (const [start, end] of [
      [0, 1],
      [1, 1_500_000],
      [1_500_000, 3_000_000],
    ] as const) {
      const status = await store.uploads.append(name, id, pieces([content.subarray(start, end)]), { offset: start })
      assert.equal(status.offset, end)
    }
    await store.uploads.commit(name, id, digestOf(content))
    assert.deepEqual(await contentOf(digestOf(content)), content)
  })

  it('go on in another process without a look at what they have: no byte is hashed twice', async () => {
    const content = randomBytes(3 * BLOCK_BYTES + 77)
    const { id } = await store.uploads.start(name)
    await store.uploads.append(name, id, pieces([content.subarray(0, 2_000_000)]))
    const driver = await openFsDriver(folder)
    const read: string[] = []
    const stage: StorageDriver['stage'] = (staged, state) => {
      const staging = driver.stage(staged, state)
      return Object.assign(Object.create(staging) as Staging, {
        append: staging.append.bind(staging),
        discard: () => staging.discard(),
        seal: async (sizeBytes: number) => {
          const sealed = await staging.seal(sizeBytes)
          const noted = (range?: ByteRange): Promise<Readable> => {
            read.push(JSON.stringify(range))
            return sealed.read(range)
          }
          return { ...sealed, read: noted }
        },
      })
    }
    const handler: ProxyHandler<StorageDriver> = {
      get(target, name) {
        if (name === 'stage') return stage
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    }
    const watched = new Proxy(driver, handler)
    const uploads = openUploads(watched, new Blobs(watched))
    await uploads.append(name, id, pieces([content.subarray(2_000_000, 2_500_000)]), { offset: 2_000_000 })
    await uploads.commit(name, id, digestOf(content), pieces([content.subarray(2_500_000)]))
    assert.deepEqual(read, [])
    const late = await store.uploads.start(name)
    await store.uploads.append(name, late.id, pieces([content]))
    await uploads.commit(name, late.id, digestOf(content, 'sha512')) // not announced: the one case where it has to
    assert.equal(read.length, 1)
    await driver.close()
  })

  it('answer a repeated close as they answered the first', async () => {
    const { id } = await store.uploads.start(name)
    const first = await store.uploads.commit(name, id, digestOf(bytesOf('twice')), pieces([bytesOf('twice')]))
    assert.deepEqual(await store.uploads.commit(name, id, digestOf(bytesOf('twice'))), first)
    await assert.rejects(store.uploads.commit(name, id, digestOf(bytesOf('other'))), DigestMismatch)
    await assert.rejects(store.uploads.append(name, id, pieces([bytesOf('x')])), UploadUnknown)
  })

  it('close with all of a small blob at once, and again if the answer was lost', async () => {
    const { id } = await store.uploads.start(name)
    const content = randomBytes(5_000)
    const close = async (lengthBytes = content.length): Promise<unknown> =>
      await store.uploads.commit(name, id, digestOf(content), pieces([content]), { offset: 0, lengthBytes })
    for (const wrong of [content.length - 1, content.length + 1]) await assert.rejects(close(wrong), SizeMismatch)
    assert.equal((await store.uploads.status(name, id)).offset, 0)
    const first = await close()
    assert.deepEqual(await contentOf(digestOf(content)), content)
    await assert.rejects(store.uploads.status(name, id), UploadUnknown)
    assert.deepEqual(await close(), first)
    await assert.rejects(store.uploads.append(name, id, pieces([content])), UploadUnknown)
  })

  it('end with a small blob that is not what it was said to be', async () => {
    const { id } = await store.uploads.start(name)
    const digest = digestOf(bytesOf('right'))
    await assert.rejects(
      store.uploads.commit(name, id, digest, pieces([bytesOf('wrong')]), { lengthBytes: 5 }),
      DigestMismatch,
    )
    await assert.rejects(store.uploads.status(name, id), UploadUnknown)
    await assert.rejects(store.repository(name).statBlob(digest), BlobUnknown)
  })

  it('let a small blob that was begun go when somebody else takes them', async () => {
    const { id } = await store.uploads.start(name)
    const { promise: sent, resolve: send } = Promise.withResolvers<void>()
    const source = async function* (): AsyncGenerator<Uint8Array> {
      send()
      yield* halfOpen([bytesOf('begun ')])
    }
    const closing = store.uploads.commit(name, id, digestOf(bytesOf('begun and ended')), source(), { lengthBytes: 15 })
    const refused = assert.rejects(closing, SessionTaken)
    await sent
    await store.uploads.append(name, id, pieces([bytesOf('anew')]), { offset: 0 })
    await refused
    assert.equal((await store.uploads.status(name, id)).offset, 4)
  })

  it('are not needed for a blob that comes whole, and leave nothing of one that does not', async () => {
    const before = (await readdir(join(folder, 'sessions'))).length
    for (const size of [0, 1, 5_000, 1024 * 1024, 1024 * 1024 + 1]) {
      const content = randomBytes(size)
      await store.uploads.push(name, digestOf(content), pieces([content]), { lengthBytes: size })
      assert.deepEqual(await contentOf(digestOf(content)), content)
      const other = digestOf(randomBytes(10))
      await assert.rejects(store.uploads.push(name, other, pieces([content]), { lengthBytes: size }), DigestMismatch)
    }
    const many = Array.from({ length: 2_000 }, (_, index) => bytesOf(`${index} `))
    const whole = Buffer.concat(many)
    await store.uploads.push(name, digestOf(whole), pieces(many), { lengthBytes: whole.length })
    assert.deepEqual(await contentOf(digestOf(whole)), whole)
    assert.deepEqual(await readdir(join(folder, 'tmp')), [])
    assert.ok((await readdir(join(folder, 'sessions'))).length <= before + 2, 'only the two that were too large')
  })

  it('that a crash left torn are swept when they are old', async () => {
    const driver = await openFsDriver(folder)
    const { id } = await store.uploads.start(name)
    await truncate(join(folder, 'sessions', id, 'state'), 10)
    const uploads = openUploads(driver, new Blobs(driver))
    await uploads.sweep(Date.now())
    assert.ok((await readdir(join(folder, 'sessions'))).includes(id))
    await uploads.sweep(Date.now() + 61 * 60 * 1000)
    assert.ok(!(await readdir(join(folder, 'sessions'))).includes(id))
  })

  it('empty the pieces that are given to them, and none that share their memory or are somebody else’s', async () => {
    const content = randomBytes(6 * BLOCK_BYTES)
    const parts = (): Buffer[] =>
      [0, 1, 2, 3, 4, 5].map((part) => Buffer.from(content.buffer.slice(part * BLOCK_BYTES, (part + 1) * BLOCK_BYTES)))
    for (const mayEmptyPieces of [true, false]) {
      const given = parts()
      const shared = content.subarray(0, BLOCK_BYTES)
      const { id } = await store.uploads.start(name)
      await store.uploads.append(name, id, pieces([shared, ...given]), { mayEmptyPieces })
      const whole = Buffer.concat([content.subarray(0, BLOCK_BYTES), content])
      await store.uploads.commit(name, id, digestOf(whole))
      assert.deepEqual(await contentOf(digestOf(whole)), whole)
      assert.equal(shared.length, BLOCK_BYTES)
      assert.equal(given[0]?.length, mayEmptyPieces ? 0 : BLOCK_BYTES)
    }
  })

  it('of a blob that comes whole empty its pieces too, once they are written', async () => {
    for (const mayEmptyPieces of [true, false]) {
      const content = randomBytes(400_000)
      const given = Buffer.from(content.buffer.slice(content.byteOffset, content.byteOffset + content.length))
      const { id } = await store.uploads.start(name)
      const options = { lengthBytes: content.length, mayEmptyPieces }
      await store.uploads.commit(name, id, digestOf(content), pieces([given]), options)
      assert.deepEqual(await contentOf(digestOf(content)), content)
      assert.equal(given.length, mayEmptyPieces ? 0 : content.length)
    }
  })

  it('whose blob comes whole and finds the disk full are still there, and are closed by the same request again', async () => {
    const driver = await openFsDriver(folder)
    let full = true
    const filling = watchedDriver(driver, async (operation, key) => {
      if (full && operation === 'write' && key.startsWith('links/')) throw new StorageUnavailable('the disk is full')
    })
    const uploads = openUploads(filling, new Blobs(filling))
    const content = randomBytes(5_000)
    const [digest, options] = [digestOf(content), { lengthBytes: content.length }]
    const { id } = await uploads.start(name)
    const close = (): Promise<unknown> => uploads.commit(name, id, digest, pieces([content]), options)
    await assert.rejects(close(), StorageUnavailable)
    assert.deepEqual(await uploads.status(name, id), { id, offset: 0 })
    full = false
    await close()
    assert.deepEqual(await contentOf(digest), content)
    await assert.rejects(uploads.status(name, id), UploadUnknown)
    await uploads.commit(name, id, digest)
    await driver.close()
  })

  it('are found only in their own repository', async () => {
    const { id } = await store.uploads.start(name)
    await assert.rejects(store.uploads.status(other, id), UploadUnknown)
    await store.uploads.cancel(name, id)
    await assert.rejects(store.uploads.status(name, id), UploadUnknown)
  })

  it('refuse bytes for another place, and take none of them', async () => {
    const { id } = await store.uploads.start(name)
    await store.uploads.append(name, id, pieces([bytesOf('abc')]))
    for (const offset of [0, 2, 4]) {
      const refused = store.uploads.append(name, id, pieces([bytesOf('x')]), { offset })
      await assert.rejects(refused, (error) => error instanceof OffsetMismatch && error.offset === 3)
    }
    assert.equal((await store.uploads.status(name, id)).offset, 3)
  })

  it('keep what a body brought that was shorter or longer than it declared', async () => {
    const { id } = await store.uploads.start(name)
    await assert.rejects(store.uploads.append(name, id, pieces([bytesOf('abc')]), { lengthBytes: 5 }), SizeMismatch)
    assert.equal((await store.uploads.status(name, id)).offset, 3)
    await assert.rejects(store.uploads.append(name, id, pieces([bytesOf('defg')]), { lengthBytes: 2 }), SizeMismatch)
    await store.uploads.commit(name, id, digestOf(bytesOf('abcde')))
  })

  it('end, and leave no bytes, when the digest is another', async () => {
    const { id } = await store.uploads.start(name)
    const wrong = digestOf(bytesOf('right'))
    await assert.rejects(store.uploads.commit(name, id, wrong, pieces([bytesOf('wrong')])), DigestMismatch)
    await assert.rejects(store.uploads.status(name, id), UploadUnknown)
    await assert.rejects(store.repository(name).statBlob(wrong), BlobUnknown)
    assert.deepEqual(await readdir(join(folder, 'sessions', id)), ['state'])
  })

  it('take sha512, announced or not', async () => {
    for (const announced of ['sha512', undefined] as const) {
      const content = randomBytes(200_000)
      const { id } = await store.uploads.start(name, announced)
      await store.uploads.commit(name, id, digestOf(content, 'sha512'), pieces([content]))
      assert.deepEqual(await contentOf(digestOf(content, 'sha512')), content)
    }
  })

  it('let a newcomer in, although the holder’s connection is open and silent, in this process and in another', async () => {
    const elsewhere = await open()
    for (const newcomer of [store, elsewhere]) {
      const { id } = await store.uploads.start(name)
      const held = store.uploads.append(name, id, halfOpen([bytesOf('abc')]))
      const lost = assert.rejects(held, SessionTaken)
      await new Promise((resolve) => setTimeout(resolve, 50)) // the holder has taken it
      const { offset } = await newcomer.uploads.status(name, id)
      const content = Buffer.from('whole content')
      await newcomer.uploads.append(name, id, pieces([content.subarray(offset)]))
      await lost
      const status = await newcomer.uploads.status(name, id)
      if (status.offset === content.length) await newcomer.uploads.commit(name, id, digestOf(content))
      else assert.equal(status.offset, content.length + 3, 'the holder recorded its own bytes before it let go')
    }
    await elsewhere.close()
  })

  it('lose nothing of a newcomer to a holder who was still waiting to write', async () => {
    const driver = await openFsDriver(folder)
    const waiting = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    // What a holder in another process sees when the staging's lock comes to it last.
    const slow = new Proxy(driver, {
      get(target, field) {
        if (field === 'stage') {
          return (...which: Parameters<typeof driver.stage>) => {
            const staging = target.stage(...which)
            return {
              async *append(...what: Parameters<typeof staging.append>) {
                waiting.resolve()
                await gate.promise
                yield* staging.append(...what)
              },
            }
          }
        }
        const value: unknown = Reflect.get(target, field)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    const late = openUploads(slow, new Blobs(slow))
    const { id } = await store.uploads.start(name)
    await store.uploads.append(name, id, pieces([bytesOf('begin ')]))
    const lost = assert.rejects(late.append(name, id, pieces([bytesOf('late! ')])), SessionTaken)
    await waiting.promise
    const { offset } = await store.uploads.append(name, id, pieces([bytesOf('newer ')]))
    gate.resolve()
    await lost
    const content = bytesOf('begin newer end')
    await store.uploads.commit(name, id, digestOf(content), pieces([bytesOf('end')]), { offset })
    assert.deepEqual(await contentOf(digestOf(content)), content)
    await driver.close()
  })

  it('are recorded in the middle of a long request', async () => {
    const { id } = await store.uploads.start(name)
    const much = new Uint8Array(17 * 1024 * 1024)
    async function* slowly(): AsyncGenerator<Uint8Array> {
      yield much
      await new Promise((resolve) => setTimeout(resolve, 1_050)) // a quicker one needs no checkpoint before its end
      yield* halfOpen([much])
    }
    const lost = assert.rejects(store.uploads.append(name, id, slowly()), SessionTaken)
    const isRecorded = async (): Promise<boolean> => (await store.uploads.status(name, id)).offset >= much.length
    for (const end = Date.now() + 20_000; !(await isRecorded()); ) {
      assert.ok(Date.now() < end)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    await store.uploads.cancel(name, id)
    await lost
  })

  it('are recorded as far as they came when the registry stops', async () => {
    const { id } = await store.uploads.start(name)
    const cut = assert.rejects(store.uploads.append(name, id, halfOpen([bytesOf('abc')])), /stopping/)
    await new Promise((resolve) => setTimeout(resolve, 50))
    await store.uploads.checkpointAll()
    await cut
    assert.equal((await store.uploads.status(name, id)).offset, 3)
  })

  it('are swept with their bytes when nobody comes back', async () => {
    const driver = await openFsDriver(folder)
    const uploads = openUploads(driver, new Blobs(driver))
    const { id } = await uploads.start(name)
    await uploads.append(name, id, pieces([bytesOf('abc')]))
    await uploads.sweep(Date.now() + 60_000)
    assert.equal((await uploads.status(name, id)).offset, 3)
    await uploads.sweep(Date.now() + 8 * 24 * 60 * 60 * 1000)
    await assert.rejects(uploads.status(name, id), UploadUnknown)
    assert.deepEqual(await readdir(join(folder, 'sessions')), [])
  })

  it('end with exactly the bytes that were sent, or with an error and nothing visible, whatever happens on the way', async () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('send' as const),
        bytes: fc.uint8Array({ maxLength: 3000 }),
        breaks: fc.boolean(),
      }),
      fc.record({ kind: fc.constant('misplaced' as const), by: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ kind: fc.constant('crash' as const) }),
      fc.record({ kind: fc.constant('cancel' as const) }),
    )
    const history = fc.array(step, { maxLength: 10 })
    await fc.assert(
      fc.asyncProperty(history, fc.boolean(), async (steps, rightDigest) => {
        let current = await open()
        const sent: Uint8Array[] = []
        let length = 0
        let gone = false
        const { id } = await current.uploads.start(name)
        for (const one of steps) {
          if (one.kind === 'crash') {
            current = await open() // the one before is left as it stands
          } else if (one.kind === 'cancel') {
            await current.uploads.cancel(name, id).catch(demandFact)
            gone = true
          } else if (one.kind === 'misplaced') {
            const refused = current.uploads.append(name, id, pieces([bytesOf('x')]), { offset: length + one.by })
            await assert.rejects(refused, gone ? UploadUnknown : OffsetMismatch)
          } else {
            const failure = one.breaks ? new Error('connection reset') : undefined
            const append = current.uploads.append(name, id, pieces([one.bytes], failure), { offset: length })
            if (gone) await assert.rejects(append, UploadUnknown)
            else if (failure) await assert.rejects(append, failure)
            else await append
            if (!gone) {
              sent.push(one.bytes)
              length += one.bytes.length
              assert.equal((await current.uploads.status(name, id)).offset, length)
            }
          }
        }
        const content = Buffer.concat([...sent, createHash('sha256').update(id).digest()])
        const digest = digestOf(rightDigest ? content : Buffer.concat([content, content]))
        const close = current.uploads.commit(name, id, digest, pieces([content.subarray(length)]))
        if (gone) await assert.rejects(close, UploadUnknown)
        else if (!rightDigest) await assert.rejects(close, DigestMismatch)
        else {
          await close
          assert.deepEqual(await contentOf(digest), content)
        }
        if (gone || !rightDigest) await assert.rejects(store.repository(name).statBlob(digest), BlobUnknown)
        await current.close()
      }),
      { numRuns: 60 },
    )
  })
})

function demandFact(error: unknown): void {
  assert.ok(error instanceof StorageFact, String(error))
}
