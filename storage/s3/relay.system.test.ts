/** Large content from the bucket to a client, whose bytes the kernel moves: whatever happens on the way, what arrives is what it would have been. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type FaultProxy, startFaultProxy } from '../../conformance/faults/fault-proxy.ts'
import { type S3Server, s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { pushBlob, someBytes } from '../../server/testing/content.ts'
import { RawConnection } from '../../server/testing/raw-http.ts'
import { type ServedApp, serveApp } from '../../server/testing/served-app.ts'
import type { StorageDriver } from '../driver.ts'
import { blobKey } from '../layout.ts'
import { parseDigest } from '../model/digest.ts'
import { openS3Driver } from './driver.ts'

const SIZE = 12_000_000 // more than sockets hold for a client that does not read
const TIMEOUT_MS = 1_000
const DATA = /^GET .*\/data\//

for (const { kind, skip } of await s3Kinds()) {
  describe(`large content in ${kind}`, { skip }, () => {
    let server: S3Server
    let proxy: FaultProxy
    let driver: StorageDriver
    let app: ServedApp
    let path: string
    const content = someBytes(SIZE)

    before(async () => {
      server = await startS3(kind, { ...process.env, VGW_KEEP_ALIVE: 'true' })
      proxy = await startFaultProxy(server.endpoint)
      driver = await openS3Driver(server.settings({ prefix: 'relay/', endpoint: proxy.url, timeoutMs: TIMEOUT_MS }))
      app = await serveApp({ driver })
      path = `/v2/a/blobs/${await pushBlob(app, 'a', content)}`
    })
    beforeEach(() => proxy.forget())
    after(async () => {
      await app?.[Symbol.asyncDispose]()
      await proxy?.[Symbol.asyncDispose]()
      await server?.[Symbol.asyncDispose]()
    })

    const rangesAsked = (): number => proxy.requests.filter((line) => DATA.test(line)).length

    it('leaves without being read, whole and in ranges, with other answers behind it on the connection', async () => {
      const { body, relay } = await driver.read(blobKey(parseDigest(path.slice(path.lastIndexOf('/') + 1))))
      body.destroy()
      assert.equal(relay?.lengthBytes, SIZE)
      await using connection = new RawConnection(app.url)
      const ask = (target: string, headers = ''): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`
      connection.write(ask(path) + ask(path, 'Range: bytes=1000-10000999\r\n') + ask('/v2/', 'Connection: close\r\n'))
      await connection.closed
      const received = Buffer.from(connection.received, 'latin1')
      const first = received.indexOf('\r\n\r\n') + 4
      assert.ok(content.equals(received.subarray(first, first + SIZE)))
      const second = received.indexOf('\r\n\r\n', first + SIZE) + 4
      assert.ok(content.subarray(1_000, 10_001_000).equals(received.subarray(second, second + 10_000_000)))
      assert.match(received.toString('latin1', second + 10_000_000), /^HTTP\/1\.1 200 [\s\S]*\{\}$/)
    })

    it('leaves the bucket’s connections to those who ask next', async () => {
      for (const headers of [{}, { Range: 'bytes=1000000-8000000' }, {}, {}]) {
        const answer = await app.ask('GET', path, { headers })
        const wanted = 'Range' in headers ? content.subarray(1_000_000, 8_000_001) : content
        assert.ok(wanted.equals(answer.body))
      }
      assert.equal(rangesAsked(), 4)
      assert.ok(new Set(proxy.connections).size <= 2, `${proxy.connections}`) // link and record are asked for together
    })

    it('asks again when the bucket closes a connection that it had left open, and nobody sees it', async () => {
      await app.ask('GET', path)
      proxy.next(DATA, 'lose the request')
      assert.ok(content.equals((await app.ask('GET', path)).body))
      assert.equal(rangesAsked(), 3)
    })

    for (const fault of ['halve the body', 'stop half-way', 'cut the length short'] as const) {
      it(`goes on where an answer broke off: ${fault}, twice`, async () => {
        proxy.next(DATA, fault, 2)
        const answer = await app.ask('GET', path)
        assert.ok(content.equals(answer.body))
        assert.equal(rangesAsked(), 3)
      })
    }

    it('is cut, and never looks whole, when the bucket does not come back, or has something else by then', async () => {
      for (const then of [{ answer: 403, code: 'AccessDenied' }, 'lie about the ETag'] as const) {
        proxy.next(DATA, 'halve the body')
        proxy.next(DATA, then)
        await assert.rejects(app.ask('GET', path), { code: 'ECONNRESET' })
        assert.equal(rangesAsked(), 2)
        proxy.forget()
      }
      assert.ok(app.logged.some(({ msg }) => msg === 'answer broken off'))
    })

    it('lets go of the bucket’s connection when the client goes away', async () => {
      proxy.next(DATA, 'stop half-way')
      const leaving = new RawConnection(app.url)
      leaving.socket.once('data', () => leaving.socket.resetAndDestroy())
      leaving.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      await leaving.closed
      await proxy.settled()
      assert.equal(rangesAsked(), 1)
    })
  })
}
