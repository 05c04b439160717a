import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type FaultProxy, startFaultProxy } from '../../conformance/faults/fault-proxy.ts'
import { type S3Server, s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import type { Key } from '../driver.ts'
import { StorageUnavailable, VersionConflict } from '../errors.ts'
import { bytesOf } from '../testing/sources.ts'
import { Bucket } from './bucket.ts'
import { openS3Driver } from './driver.ts'
import { probeS3 } from './probe.ts'

const [{ skip } = { skip: 'no S3 server' }] = await s3Kinds()

describe('the probe of a bucket', { skip }, () => {
  let server: S3Server
  let proxy: FaultProxy
  before(async () => {
    server = await startS3()
    proxy = await startFaultProxy(server.endpoint)
  })
  beforeEach(() => proxy.forget())
  after(async () => {
    await proxy?.[Symbol.asyncDispose]()
    await server?.[Symbol.asyncDispose]()
  })
  const throughProxy = () => server.settings({ endpoint: proxy.url, timeoutMs: 20_000, attempts: 2 })
  const failing = async (): Promise<string[]> =>
    (await probeS3(throughProxy())).findings.filter(({ works }) => !works).map(({ what, says }) => `${what}: ${says}`)
  /** Every PUT is done without its condition. */
  const ignoreConditions = (): void => {
    const bucket = new Bucket(server.settings())
    const instead = (path: string, body: Buffer): Promise<string> =>
      bucket.putOnce(path.replace('/registry/', ''), body)
    proxy.next(/^PUT .*\/(probe|single)\/[^?]*(\?x-id=PutObject)?$/, { instead }, 10_000)
  }

  it('finds that a good server can do everything', async () => {
    const { findings, conditionalWrites } = await probeS3(server.settings())
    assert.deepEqual(
      findings.filter(({ works }) => !works),
      [],
    )
    assert.equal(findings.length, 6)
    assert.equal(conditionalWrites, true)
  })

  it('finds that conditions are ignored, and what that means', async () => {
    ignoreConditions()
    const [created, replaced] = await failing()
    assert.match(
      created ?? '',
      /^conditional create: If-None-Match: \* is not honoured: 8 of 8 writers won, so only a single replica/,
    )
    assert.match(replaced ?? '', /^conditional replace: If-Match is not honoured/)
  })

  it('finds a server that keeps no multipart upload', async () => {
    proxy.next(/^POST .*uploadId/, { answer: 400, code: 'InvalidPart' }, 10)
    assert.match((await failing()).join(), /^multipart upload: .*partWrong/)
  })

  it('says why a bucket cannot be used at all', async () => {
    await assert.rejects(probeS3(server.settings({ bucket: 'no-such-bucket' })), (error: Error) => {
      return error instanceof StorageUnavailable && /NoSuchBucket/.test(error.message)
    })
    const credentials = { accessKeyId: 'nobody', secretAccessKey: 'nothing' }
    await assert.rejects(openS3Driver(server.settings({ credentials })), /refuses these credentials/)
    const gone = server.settings({ endpoint: 'http://127.0.0.1:1', attempts: 1 })
    await assert.rejects(openS3Driver(gone), /cannot be reached.*ECONNREFUSED/)
  })

  it('keeps a driver from opening where replicas would overwrite each other, unless there is one alone', async () => {
    ignoreConditions()
    await assert.rejects(openS3Driver(throughProxy()), /does not honour conditional writes/)
    const driver = await openS3Driver({ ...throughProxy(), singleReplica: true })
    const at = 'single/counter' as Key
    const version = await driver.write(at, bytesOf('0'), { ifAbsent: true })
    const racing = Array.from({ length: 8 }, (_, n) => driver.write(at, bytesOf(`1 ${n}`), { ifVersion: version }))
    const settled = await Promise.allSettled(racing)
    assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
    for (const result of settled) if (result.status === 'rejected') assert.ok(result.reason instanceof VersionConflict)
    await assert.rejects(driver.write(at, bytesOf('2'), { ifAbsent: true }), VersionConflict)
    await driver.close()
  })
})
