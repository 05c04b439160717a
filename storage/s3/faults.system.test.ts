/** Every kind of answer that an S3 server, or something in front of it, can give, and what comes of it. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type Fault, type FaultProxy, startFaultProxy } from '../../conformance/faults/fault-proxy.ts'
import { until } from '../../conformance/support/commands.ts'
import { type S3Server, s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { Blobs } from '../blobs.ts'
import type { Block, Checkpoint, Key, Sealed, StagingState, StorageDriver } from '../driver.ts'
import { ObjectNotFound, StagedBytesLost, StorageUnavailable, VersionConflict } from '../errors.ts'
import { dataPrefix, linkKey } from '../layout.ts'
import { digestOf } from '../model/digest.ts'
import { parseRepositoryName, type RepositoryName } from '../model/reference.ts'
import type { UploadId, Uploads } from '../store.ts'
import { bytesOf, pieces } from '../testing/sources.ts'
import { openUploads } from '../uploads.ts'
import { openS3Driver } from './driver.ts'

const MIB = 1024 * 1024
const PART = 5 * MIB
const ATTEMPTS = 3
const key = (text: string): Key => text as Key
const textOf = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString()

type ErrorClass = abstract new (...args: never[]) => Error

/** Fault, how often, then what a write says: nothing (it succeeded), or a fact; and whether the object is there afterwards. */
const WRITES: readonly (readonly [what: string, fault: Fault, times: number, expected: ErrorClass | 'written'])[] = [
  ['the request is lost', 'lose the request', 1, 'written'],
  ['the answer is lost', 'lose the answer', 1, 'written'],
  ['the answer never comes', 'be silent', 1, 'written'],
  ['something on the way repeats the request', 'repeat the request', 1, 'written'],
  ['the answer has no ETag', 'drop the ETag', 1, 'written'],
  ['every answer is lost', 'lose the answer', 9, 'written'],
  ['every request is lost', 'lose the request', 9, StorageUnavailable],
  ['409, two writes met', { answer: 409, code: 'ConditionalRequestConflict' }, 1, 'written'],
  ['409, for ever', { answer: 409, code: 'OperationAborted' }, 9, StorageUnavailable],
  ['412 although nothing is there', { answer: 412, code: 'PreconditionFailed' }, 1, 'written'],
  ['429', { answer: 429 }, 1, 'written'],
  ['500', { answer: 500, code: 'InternalError' }, 1, 'written'],
  ['500, for ever', { answer: 500, code: 'InternalError' }, 9, StorageUnavailable],
  ['502, a load balancer’s page', { answer: 502 }, 1, 'written'],
  ['503 SlowDown', { answer: 503, code: 'SlowDown' }, 1, 'written'],
  ['503 SlowDown, for ever', { answer: 503, code: 'SlowDown' }, 9, StorageUnavailable],
  ['400 RequestTimeout', { answer: 400, code: 'RequestTimeout' }, 1, 'written'],
  ['403 AccessDenied', { answer: 403, code: 'AccessDenied' }, 1, StorageUnavailable],
  ['403 without a code', { answer: 403 }, 1, StorageUnavailable],
  ['403 RequestTimeTooSkewed', { answer: 403, code: 'RequestTimeTooSkewed' }, 1, StorageUnavailable],
  ['404 NoSuchBucket', { answer: 404, code: 'NoSuchBucket' }, 1, StorageUnavailable],
  ['501 NotImplemented', { answer: 501, code: 'NotImplemented' }, 1, StorageUnavailable],
  ['507, the disk of the server is full', { answer: 507, code: 'XMinioStorageFull' }, 1, StorageUnavailable],
]

const READS: readonly (readonly [
  what: string,
  fault: Fault,
  times: number,
  expected: ErrorClass | 'read' | 'absent',
])[] = [
  ['the request is lost', 'lose the request', 1, 'read'],
  ['the answer is lost', 'lose the answer', 1, 'read'],
  ['half of the body comes', 'halve the body', 1, 'read'],
  ['half of the body comes, for ever', 'halve the body', 9, StorageUnavailable],
  ['the answer never comes', 'be silent', 1, 'read'],
  ['the answer has no ETag', 'drop the ETag', 1, 'read'],
  ['404 NoSuchKey', { answer: 404, code: 'NoSuchKey' }, 1, 'absent'],
  ['404 NotFound', { answer: 404, code: 'NotFound' }, 1, 'absent'],
  ['404 without a code, the page of something in front', { answer: 404 }, 1, 'read'],
  ['404 without a code, for ever', { answer: 404 }, 9, StorageUnavailable],
  ['404 of another kind, such as no user', { answer: 404, code: 'XAdminUserNotFound' }, 1, StorageUnavailable],
  ['404 NoSuchBucket', { answer: 404, code: 'NoSuchBucket' }, 1, StorageUnavailable],
  ['403, which is not absence', { answer: 403, code: 'AccessDenied' }, 1, StorageUnavailable],
  ['429, for ever', { answer: 429, code: 'TooManyRequests' }, 9, StorageUnavailable],
  ['500', { answer: 500 }, 1, 'read'],
  ['503', { answer: 503, code: 'ServiceUnavailable' }, 2, 'read'],
]

// On MinIO too where time matters less: the answers are the script's, and what stands behind them seldom matters.
const kinds = (await s3Kinds()).filter(
  ({ kind }) => kind === 'versitygw' || process.env['GANTRY_TEST_MATRIX'] === 'full',
)

for (const { kind, skip } of kinds) {
  describe(`answers of ${kind}, spoiled`, { skip }, () => {
    let server: S3Server
    let proxy: FaultProxy
    let driver: StorageDriver
    let direct: StorageDriver

    before(async () => {
      server = await startS3(kind)
      proxy = await startFaultProxy(server.endpoint)
      const settings = { prefix: 'faults/', partBytes: PART }
      direct = await openS3Driver(server.settings(settings))
      driver = await openS3Driver(
        server.settings({ ...settings, attempts: ATTEMPTS, timeoutMs: 2_000, endpoint: proxy.url }),
      )
    })
    beforeEach(() => proxy.forget())
    after(async () => {
      await driver?.close()
      await direct?.close()
      await proxy?.[Symbol.asyncDispose]()
      await server?.[Symbol.asyncDispose]()
    })

    for (const [what, fault, times, expected] of WRITES) {
      it(`a conditional write: ${what}`, async () => {
        const [created, replaced] = [key(`w/${randomUUID()}`), key(`w/${randomUUID()}`)]
        const version = await direct.write(replaced, bytesOf('before'), { ifAbsent: true })
        for (const [at, condition] of [
          [created, { ifAbsent: true }],
          [replaced, { ifVersion: version }],
        ] as const) {
          proxy.forget()
          proxy.next(/^PUT /, fault, times)
          const writing = driver.write(at, bytesOf('after'), condition)
          if (expected === 'written') {
            const won = await writing
            const found = await direct.readSmall(at)
            assert.deepEqual([textOf(found?.bytes), found?.version], ['after', won])
          } else {
            await assert.rejects(writing, expected)
            assert.notEqual(textOf((await direct.readSmall(at))?.bytes), 'after')
          }
          const puts = proxy.requests.filter((line) => line.startsWith('PUT ')).length
          assert.ok(puts <= (times === 1 ? 2 : ATTEMPTS), `${puts} attempts`)
        }
      })
    }

    it('a conditional write loses to somebody else, also when its answers are spoiled', async () => {
      const at = key(`w/${randomUUID()}`)
      await direct.write(at, bytesOf('theirs'), { ifAbsent: true })
      for (const fault of ['lose the answer', 'lose the request', { answer: 409, code: 'OperationAborted' }] as const) {
        proxy.next(/^PUT /, fault)
        await assert.rejects(driver.write(at, bytesOf('ours'), { ifAbsent: true }), VersionConflict)
      }
      assert.equal(textOf((await direct.readSmall(at))?.bytes), 'theirs')
    })

    it('the first write of a name that nobody knew, late, does not bring back what was replaced', async () => {
      const at = key(`w/${randomUUID()}`)
      proxy.next(/^PUT /, { doneLaterMs: 500 })
      const first = await driver.write(at, bytesOf('first'), { unique: true })
      await driver.write(at, bytesOf('second'), { ifVersion: first })
      await proxy.settled()
      assert.equal(textOf((await direct.readSmall(at))?.bytes), 'second')
    })

    it('a full bucket is known as full', async () => {
      proxy.next(/^PUT /, { answer: 507, code: 'XMinioStorageFull' })
      await assert.rejects(driver.write(key('w/full'), bytesOf('x'), { ifAbsent: true }), (error: Error) => {
        return error instanceof StorageUnavailable && (error.cause as NodeJS.ErrnoException).code === 'ENOSPC'
      })
    })

    for (const [what, fault, times, expected] of READS) {
      it(`a read: ${what}`, async () => {
        const at = key(`r/${randomUUID()}`)
        await direct.write(at, bytesOf('content'), { ifAbsent: true })
        for (const read of [
          async () => textOf((await driver.readSmall(at))?.bytes),
          async () => ((await driver.stat(at)) ? 'content' : undefined),
        ]) {
          proxy.forget()
          proxy.next(/^(GET|HEAD) /, fault, times)
          if (typeof expected === 'string') assert.equal(await read(), expected === 'read' ? 'content' : undefined)
          else await assert.rejects(read(), expected)
        }
        proxy.forget()
        proxy.next(/^GET /, fault, times)
        if (expected === 'absent') await assert.rejects(driver.read(at), ObjectNotFound)
      })
    }

    it('a listing and a removal are made again', async () => {
      const at = key(`l/${randomUUID()}`)
      await direct.write(at, bytesOf('x'), { ifAbsent: true })
      for (const fault of ['lose the answer', 'halve the body', { answer: 503, code: 'SlowDown' }] as const) {
        proxy.next(/^GET .*list-type=2/, fault)
        assert.deepEqual(await Array.fromAsync(driver.list('l/')), [at.slice(2)])
      }
      proxy.next(/^DELETE /, 'lose the answer')
      await driver.remove(at)
      assert.deepEqual(await Array.fromAsync(driver.list('l/')), [])
    })

    it('a push that is answered, be it with a failure, has nothing under way', async () => {
      const [name, content] = [parseRepositoryName('some/repository'), randomBytes(100)]
      const digest = digestOf(content, 'sha256')
      proxy.next(/^PUT .*\/links\//, { delayedMs: 500 })
      proxy.next(/^PUT .*\/blobs\//, { answer: 403, code: 'AccessDenied' })
      const pushing = openUploads(driver, new Blobs(driver)).push(name, digest, pieces([content]), { lengthBytes: 100 })
      await assert.rejects(pushing, StorageUnavailable)
      assert.ok(await direct.readSmall(linkKey(digest, name)))
    })

    it('an upload that is cancelled while it is being closed takes nothing from others', async () => {
      const [mine, others] = [parseRepositoryName('some/repository'), parseRepositoryName('some/other')]
      const content = randomBytes(70_000)
      const digest = digestOf(content, 'sha256')
      const uploads = openUploads(driver, new Blobs(driver))
      const elsewhere = openUploads(direct, new Blobs(direct))
      const closing = async (through: Uploads, name: RepositoryName, id: UploadId): Promise<unknown> => {
        await through.append(name, id, pieces([content]))
        return await through.commit(name, id, digest)
      }
      const { id: before } = await elsewhere.start(others)
      await closing(elsewhere, others, before)
      const { id } = await uploads.start(mine)
      const replaces = /^PUT .*\/blobs\//
      proxy.next(replaces, { answer: 412, code: 'PreconditionFailed' }) // of the first, which creates
      proxy.next(replaces, { delayedMs: 1_000 })
      const closed = closing(uploads, mine, id).catch((error: unknown) => error)
      await until(
        'the record to be on its way',
        10_000,
        () => proxy.requests.filter((line) => replaces.test(line)).length > 1 || undefined,
      )
      await elsewhere.cancel(mine, id)
      await closed
      const { body } = await new Blobs(direct).read(others, digest)
      assert.deepEqual(Buffer.concat(await body.toArray()), content)
    })

    describe('large content', () => {
      const content = randomBytes(2 * PART + 70_000)

      it('arrives whole although answers and requests are lost on the way', async () => {
        for (const fault of ['lose the request', 'lose the answer', { answer: 500 }] as const) {
          proxy.forget()
          for (const what of [
            /^POST .*uploads/,
            /^PUT .*partNumber/,
            /^PUT .*tail-/,
            /^POST .*uploadId/,
            /^PUT .*target/,
            /^PUT .*\/l\//,
            /^HEAD /,
          ]) {
            proxy.next(what, fault)
          }
          const at = key(`l/${randomUUID()}`)
          const id = randomUUID()
          const last = await append(driver, id, content)
          await (await driver.stage(id, last.state).seal(content.length)).publish(at)
          await driver.stage(id, last.state).discard()
          assert.deepEqual(await read(direct, at), content)
        }
        assert.deepEqual(await server.parts(), [])
      })

      it('is read on where the connection broke, but never from another object', async () => {
        const id = randomUUID()
        const { state } = await append(direct, id, content)
        await (await direct.stage(id, state).seal(content.length)).publish(key('l/large'))
        proxy.next(/^GET .*\/data\//, 'halve the body', 3)
        assert.deepEqual(await read(driver, key('l/large')), content)
        proxy.next(/^GET .*\/data\//, 'halve the body')
        proxy.next(/^GET .*\/data\//, 'lose the answer', 99)
        await assert.rejects(read(driver, key('l/large')), StorageUnavailable)
        proxy.forget()
        proxy.next(/^GET .*\/data\//, 'halve the body')
        proxy.next(/^GET .*\/data\//, { answer: 404, code: 'NoSuchKey' })
        await assert.rejects(read(driver, key('l/large')), ObjectNotFound)
      })

      it('is known all the time while somebody else brings it again', async () => {
        const at = key('l/again')
        const bring = async (): Promise<void> => {
          const id = randomUUID()
          const { state } = await append(direct, id, content)
          await (await direct.stage(id, state).seal(content.length)).publish(at)
        }
        await bring()
        proxy.next(/^HEAD .*\/data\//, { delayedMs: 1_000 })
        const looking = driver.stat(at)
        await until(
          'it to look at the data',
          10_000,
          () => proxy.requests.some((line) => /^HEAD /.test(line)) || undefined,
        )
        await bring() // what is looked at goes
        assert.equal((await looking)?.sizeBytes, content.length)
      })

      it('is published again by who died behind its record, while somebody else is replacing it', async () => {
        const at = key(`l/${randomUUID()}`)
        const staged = async (through: StorageDriver): Promise<Sealed> => {
          const id = randomUUID()
          return await through.stage(id, (await append(through, id, content)).state).seal(content.length)
        }
        const [first, second] = [await staged(direct), await staged(driver)]
        await first.publish(at)
        const removes = /^DELETE .*\/data\//
        proxy.next(removes, { delayedMs: 1_000 })
        const replacing = second.publish(at)
        await until(
          'the old data to be on its way out',
          10_000,
          () => proxy.requests.some((line) => removes.test(line)) || undefined,
        )
        await first.publish(at)
        await replacing
        assert.equal((await direct.stat(at))?.sizeBytes, content.length)
      })

      for (const by of ['an upload', 'one request'] as const) {
        it(`goes when it is replaced by ${by}, also if whoever replaces it dies before it can remove it`, async () => {
          const at = key(`l/${randomUUID()}`)
          const [first, second] = [randomUUID(), randomUUID()]
          const { state } = await append(direct, first, content)
          await (await direct.stage(first, state).seal(content.length)).publish(at)
          await direct.stage(first, state).discard()
          assert.equal((await Array.fromAsync(direct.list(dataPrefix(first)))).length, 1)

          const next = await append(driver, second, content)
          proxy.next(/^DELETE .*\/data\//, { answer: 403, code: 'AccessDenied' })
          const publish =
            by === 'an upload'
              ? (await driver.stage(second, next.state).seal(content.length)).publish(at)
              : (await driver.stageWhole([content])).publish(at)
          await assert.rejects(publish, StorageUnavailable)

          await direct.stage(second, next.state).discard()
          await openUploads(direct, new Blobs(direct)).sweep(Date.now() + 24 * 60 * 60 * 1000)
          assert.deepEqual(await Array.fromAsync(direct.list(dataPrefix(first))), [])
          assert.equal((await direct.stat(at))?.sizeBytes, content.length)
        })
      }

      it('is kept as far as it came when the bucket fails, and goes on from there', async () => {
        const id = randomUUID()
        proxy.next(/^PUT .*partNumber=2&/, { answer: 500, code: 'InternalError' }, ATTEMPTS)
        const checkpoints: Checkpoint[] = []
        await assert.rejects(async () => {
          for await (const one of driver.stage(id).append(blocksOf(content), 0)) checkpoints.push(one)
        }, StorageUnavailable)
        const kept = checkpoints.at(-1)
        assert.equal(kept?.offset, PART)
        const last = await append(driver, id, content, kept)
        await (await driver.stage(id, last.state).seal(content.length)).publish(key('l/resumed'))
        assert.deepEqual(await read(direct, key('l/resumed')), content)
      })

      it('that the bucket has forgotten is a fact, not a failure of ours', async () => {
        for (const sizeBytes of [70_000, PART + 1, PART + 70_000]) {
          const id = randomUUID()
          const last = await append(driver, id, content.subarray(0, sizeBytes))
          await direct.stage(id).discard() // as a rule for old uploads would
          await assert.rejects(append(driver, id, content, last), StagedBytesLost)
          const sealed = await driver.stage(id, last.state).seal(sizeBytes)
          await assert.rejects(sealed.publish(key('l/forgotten')), StagedBytesLost)
          await direct.stage(id).discard()
        }
        assert.equal(await direct.stat(key('l/forgotten')), undefined)
      })
    })
  })
}

async function* blocksOf(content: Buffer, from = 0): AsyncGenerator<Block> {
  for (let at = from; at < content.length; at = at - (at % MIB) + MIB)
    yield [content.subarray(at, at - (at % MIB) + MIB)]
}

async function append(
  driver: StorageDriver,
  id: string,
  content: Buffer,
  from: { readonly offset: number; readonly state?: StagingState } = { offset: 0 },
): Promise<Checkpoint> {
  let last: Checkpoint | undefined
  for await (const checkpoint of driver.stage(id, from.state).append(blocksOf(content, from.offset), from.offset))
    last = checkpoint
  assert.equal(last?.offset, content.length)
  return last
}

async function read(driver: StorageDriver, at: Key): Promise<Buffer> {
  const { body } = await driver.read(at)
  return Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>))
}
