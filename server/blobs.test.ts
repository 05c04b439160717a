import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { parseDigest } from '../storage/model/digest.ts'
import { parseRepositoryName } from '../storage/model/reference.ts'
import { pushBlob, sha256, someBytes } from './testing/content.ts'
import { type ServedApp, serveApp } from './testing/served-app.ts'

let app: ServedApp
before(async () => {
  app = await serveApp()
})
after(() => app[Symbol.asyncDispose]())

const ABSENT = sha256('never pushed')

describe('GET and HEAD of a blob', () => {
  it('give the bytes, their length and their digest', async () => {
    const content = someBytes(300_000)
    const digest = await pushBlob(app, 'library/a', content)
    const got = await app.ask('GET', `/v2/library/a/blobs/${digest}`)
    assert.equal(got.status, 200)
    assert.deepEqual(got.body, content)
    const head = await app.ask('HEAD', `/v2/library/a/blobs/${digest}`, { headers: { Range: 'bytes=0-1' } })
    assert.equal(head.status, 200)
    assert.equal(head.body.length, 0)
    for (const { headers } of [got, head]) {
      assert.equal(headers['content-length'], '300000')
      assert.equal(headers['docker-content-digest'], digest)
      assert.equal(headers['content-type'], 'application/octet-stream')
      assert.equal(headers['accept-ranges'], 'bytes')
      assert.equal(headers['docker-distribution-api-version'], 'registry/2.0')
    }
  })

  it('give empty content too', async () => {
    const digest = await pushBlob(app, 'a', '')
    const got = await app.ask('GET', `/v2/a/blobs/${digest}`, { headers: { Range: 'bytes=0-' } })
    assert.equal(got.status, 200)
    assert.equal(got.headers['content-length'], '0')
  })

  it('say BLOB_UNKNOWN for a blob that only another repository has', async () => {
    const digest = await pushBlob(app, 'owner', someBytes(10))
    const answer = await app.ask('GET', `/v2/stranger/blobs/${digest}`)
    assert.equal(answer.status, 404)
    assert.equal(answer.errorCode(), 'BLOB_UNKNOWN')
    assert.equal((await app.ask('HEAD', `/v2/stranger/blobs/${digest}`)).status, 404)
  })

  it('say DIGEST_INVALID for what is no digest', async () => {
    for (const digest of ['sha256:baddigeststring', 'sha256:', 'latest', `sha256:${'A'.repeat(64)}`, 'md5:00', '%00']) {
      const answer = await app.ask('GET', `/v2/a/blobs/${digest}`)
      assert.equal(answer.status, 400, digest)
      assert.equal(answer.errorCode(), 'DIGEST_INVALID', digest)
    }
  })

  it('keep a blob from growing old only when a pusher asks whether it is there', async (t) => {
    const digest = await pushBlob(app, 'aged', someBytes(10))
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 13 * 60 * 60 * 1000 })
    const isAging = async (): Promise<boolean> =>
      (await app.store.repository(parseRepositoryName('aged')).statBlob(parseDigest(digest))).aging
    await app.ask('GET', `/v2/aged/blobs/${digest}`)
    assert.equal(await isAging(), true)
    await app.ask('HEAD', `/v2/aged/blobs/${digest}`)
    assert.equal(await isAging(), false)
  })

  it('answer 304 to whoever has it already', async () => {
    const digest = await pushBlob(app, 'a', 'cached')
    const answer = await app.ask('GET', `/v2/a/blobs/${digest}`, { headers: { 'If-None-Match': `"${digest}"` } })
    assert.equal(answer.status, 304)
    assert.equal(answer.body.length, 0)
  })

  it('are not compressed and keep their type, whatever the client would accept', async () => {
    const digest = await pushBlob(app, 'a', 'a'.repeat(10_000))
    const headers = { 'Accept-Encoding': 'zstd;q=1.0, gzip;q=0.8', Accept: 'application/x-nothing' }
    const answer = await app.ask('GET', `/v2/a/blobs/${digest}`, { headers })
    assert.equal(answer.status, 200)
    assert.equal(answer.headers['content-encoding'], undefined)
    assert.equal(answer.body.length, 10_000)
  })
})

describe('a range of a blob', () => {
  it('is the same slice that the whole has', async () => {
    const content = someBytes(2500)
    const path = `/v2/a/blobs/${await pushBlob(app, 'a', content)}`
    await fc.assert(
      fc.asyncProperty(fc.nat(2600), fc.nat(2600), async (first, last) => {
        const answer = await app.ask('GET', path, { headers: { Range: `bytes=${first}-${last}` } })
        if (first >= content.length || last < first) {
          assert.equal(answer.status, 416)
          assert.equal(answer.headers['content-range'], 'bytes */2500')
          assert.equal(answer.errorCode(), 'RANGE_INVALID')
          return
        }
        const expected = content.subarray(first, last + 1)
        assert.equal(answer.status, 206)
        assert.deepEqual(answer.body, expected)
        assert.equal(answer.headers['content-length'], String(expected.length))
        assert.equal(answer.headers['content-range'], `bytes ${first}-${first + expected.length - 1}/2500`)
      }),
      { numRuns: 60 },
    )
    const suffix = await app.ask('GET', path, { headers: { Range: 'bytes=-500' } })
    assert.deepEqual([suffix.status, suffix.body], [206, content.subarray(2000)])
  })

  it('is the whole when the condition names other content', async () => {
    const digest = await pushBlob(app, 'a', 'conditional')
    const ask = (condition: string): ReturnType<ServedApp['ask']> =>
      app.ask('GET', `/v2/a/blobs/${digest}`, { headers: { Range: 'bytes=0-2', 'If-Range': condition } })
    assert.equal((await ask(`"${digest}"`)).status, 206)
    assert.equal((await ask('"other"')).status, 200)
  })
})

describe('DELETE of a blob', () => {
  it('takes it out of this repository only, at once', async () => {
    const digest = await pushBlob(app, 'one', 'shared')
    await pushBlob(app, 'two', 'shared')
    assert.equal((await app.ask('DELETE', `/v2/one/blobs/${digest}`)).status, 202)
    assert.equal((await app.ask('HEAD', `/v2/one/blobs/${digest}`)).status, 404)
    assert.equal((await app.ask('HEAD', `/v2/two/blobs/${digest}`)).status, 200)
    assert.equal((await app.ask('DELETE', `/v2/one/blobs/${digest}`)).status, 404)
  })
  it('of what was never there is 404', async () => {
    const answer = await app.ask('DELETE', `/v2/one/blobs/${ABSENT}`)
    assert.equal(answer.status, 404)
    assert.equal(answer.errorCode(), 'BLOB_UNKNOWN')
  })
})
