/** Requests past the SDK's stack: what the first one asks and is told, the later ones ask and are told as well. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type FaultProxy, startFaultProxy } from '../../conformance/faults/fault-proxy.ts'
import { type S3Server, s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { bytesOf } from '../testing/sources.ts'
import { Bucket } from './bucket.ts'
import { classOf } from './failures.ts'

const ODD = "odd/!'()*~+=&:@,$ %41 %/é"

for (const { kind, skip } of await s3Kinds()) {
  describe(`requests to ${kind}`, { skip }, () => {
    let server: S3Server
    let proxy: FaultProxy
    let bucket: Bucket

    before(async () => {
      server = await startS3(kind)
      proxy = await startFaultProxy(server.endpoint)
      bucket = new Bucket(server.settings({ prefix: 'requests/', endpoint: proxy.url, attempts: 1 }))
      assert.equal(await bucket.head('first'), undefined)
    })
    beforeEach(() => proxy.forget())
    after(async () => {
      bucket?.close()
      await proxy?.[Symbol.asyncDispose]()
      await server?.[Symbol.asyncDispose]()
    })

    it('are signed for names of any signs', async () => {
      const etag = await bucket.put(ODD, bytesOf('content'))
      assert.equal((await bucket.head(ODD))?.etag, etag)
      const found = await bucket.get(ODD, 4)
      assert.deepEqual([found?.etag, found?.sizeBytes, found?.bytes.toString()], [etag, 7, 'cont'])
      await bucket.remove(ODD)
      assert.equal(await bucket.get(ODD), undefined)
    })

    it('carry parts, and hear that their upload is gone', async () => {
      const id = await bucket.createUpload(ODD)
      const part = Buffer.alloc(1_000, 7)
      const etag = await bucket.uploadPart(ODD, id, 1, part)
      assert.equal(etag.replaceAll('"', ''), createHash('md5').update(part).digest('hex'))
      assert.equal(await bucket.completeUpload(ODD, id, [[1, etag]]), 'done')
      assert.ok(part.equals((await bucket.get(ODD))?.bytes ?? Buffer.alloc(0)))
      assert.equal(await bucket.uploadPart(ODD, id, 2, part), 'uploadGone')
    })

    it('are asked once, whatever the answer means', async () => {
      assert.equal(await bucket.get('absent'), undefined)
      assert.equal(await bucket.head('absent'), undefined)
      await bucket.put('there', bytesOf('content'))
      const again = bucket.putOnce('there', bytesOf('other'), { ifAbsent: true })
      await assert.rejects(again, (error) => classOf(error) === 'conditionFailed')
      assert.deepEqual(
        proxy.requests.map((line) => line.slice(0, line.indexOf(' '))),
        ['GET', 'HEAD', 'PUT', 'PUT'],
      )
    })

    it('go on with the server’s time once it has said that ours is wrong', async (t) => {
      await bucket.put('timed', bytesOf('content'))
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 3_600_000 })
      await assert.rejects(bucket.get('timed'), { name: 'StorageUnavailable' })
      assert.equal((await bucket.get('timed'))?.bytes.toString(), 'content')
    })
  })
}
