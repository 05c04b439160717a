/** The listener with TLS: what it takes, what it says to others, and that nobody keeps it from serving. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { after, before, describe, it } from 'node:test'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import { Origins } from '../access/origin.ts'
import { accessOf } from '../testing/access.ts'
import { sha256, someBytes } from '../testing/content.ts'
import { exchange, RawConnection } from '../testing/raw-http.ts'
import { serveApp } from '../testing/served-app.ts'
import { eventually, reasonsIn, serveListener } from '../testing/served-listener.ts'
import { secureConnection, type TestTls, testTls } from '../testing/tls.ts'

const hello: RequestListener = (req, res) => {
  req.resume()
  res.end('hello')
}
const GET = 'GET / HTTP/1.1\r\nHost: registry\r\n\r\n'
const CLOSING = 'GET / HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n'

let tls: TestTls
let trusting: ConnectionOptions
before(async () => {
  tls = await testTls()
  trusting = { ca: tls.authority.certificate }
})
after(() => tls[Symbol.asyncDispose]())

/** All that is answered until the connection ends. */
async function received(socket: TLSSocket): Promise<string> {
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
  })
  await once(socket, 'close')
  return text
}

async function securely(url: string, bytes: string, options: ConnectionOptions = trusting): Promise<string> {
  const socket = await secureConnection(url, options)
  socket.write(bytes)
  return await received(socket)
}

describe('a listener with TLS', () => {
  it('answers in HTTP/1.1 over TLS 1.3 and 1.2, with ciphers that keep what was sent yesterday secret', async () => {
    await using listener = await serveListener(hello, { tls: tls.keeper })
    assert.match(listener.url, /^https:/)
    for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
      const socket = await secureConnection(listener.url, {
        ...trusting,
        minVersion: version,
        maxVersion: version,
        ALPNProtocols: ['h2', 'http/1.1'],
      })
      assert.deepEqual([socket.getProtocol(), socket.alpnProtocol], [version, 'http/1.1'])
      socket.write(CLOSING)
      assert.match(await received(socket), /^HTTP\/1\.1 200 OK[\s\S]*hello$/)
    }
  })

  it('refuses older versions, weak ciphers and other protocols, and its log says why', async () => {
    await using listener = await serveListener(hello, { tls: tls.keeper })
    const refused = async (options: ConnectionOptions, reason: RegExp): Promise<void> => {
      await assert.rejects(secureConnection(listener.url, { ...trusting, ...options }))
      await eventually(async () => reasonsIn(listener.logged).join(), reason)
    }
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const
    await refused(old, /TLS handshake failed: the client speaks no version of TLS that we accept/)
    const weak = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:AES128-SHA' } as const
    await refused(weak, /TLS handshake failed: the client has no cipher that we accept/)
    await refused({ ALPNProtocols: ['h2'] }, /TLS handshake failed: the client does not speak HTTP\/1\.1/)
    assert.ok(listener.logged.every(({ level, remote }) => level === 30 && remote === '127.0.0.1'))
  })

  it('speaks 1.3 alone where the operator wants that', async () => {
    await using strict = await testTls({ minimum: '1.3' })
    await using listener = await serveListener(hello, { tls: strict.keeper })
    const ca = strict.authority.certificate
    await assert.rejects(secureConnection(listener.url, { ca, maxVersion: 'TLSv1.2' }))
    assert.match(await securely(listener.url, CLOSING, { ca }), /hello$/)
  })

  it('tells who speaks plain HTTP what is wrong, in plain HTTP', async () => {
    await using listener = await serveListener(hello, { tls: tls.keeper })
    for (const said of [GET, 'PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc', 'nonsense']) {
      const answer = await exchange(listener.url, said)
      assert.match(answer, /^HTTP\/1\.1 400 /)
      const [error] = JSON.parse(answer.split('\r\n\r\n')[1] ?? '').errors
      assert.equal(error.message, 'client sent plain HTTP to a port that speaks HTTPS')
      assert.equal(error.detail.reason, 'expected a URL that begins with https://')
    }
    assert.deepEqual(reasonsIn(listener.logged), ['plain HTTP, or something else that is not TLS'])
  })

  it('answers a client that has said all and closed its side', async () => {
    await using listener = await serveListener((_, res) => void setImmediate(() => res.end('late')), {
      tls: tls.keeper,
    })
    const socket = await secureConnection(listener.url, { ...trusting, allowHalfOpen: true } as ConnectionOptions)
    socket.end(CLOSING)
    assert.match(await received(socket), /late$/)
  })

  it('refuses garbage inside of TLS in JSON, and survives it in place of TLS', async () => {
    await using listener = await serveListener(hello, { tls: tls.keeper })
    const answer = await securely(listener.url, 'BREW /pot HTTP/1.1\r\n\r\n')
    assert.match(answer, /^HTTP\/1\.1 400 [\s\S]*BAD_REQUEST/)
    for (const garbage of [
      '\x16',
      '\x16\x03\x01\xff\xff',
      `\x16\x03\x01\x00\x05${'\x00'.repeat(5)}`,
      '\x16'.repeat(5_000),
    ]) {
      await using connection = new RawConnection(listener.url)
      connection.write(Buffer.from(garbage, 'latin1'))
      connection.socket.end()
      await connection.closed
      assert.doesNotMatch(connection.received, /HTTP/)
    }
    assert.match(await securely(listener.url, CLOSING), /hello$/)
  })

  it('cuts whoever does not finish the handshake in time, and whoever says nothing', async () => {
    await using listener = await serveListener(hello, { tls: tls.keeper, handshakeMs: 100 })
    await using silent = new RawConnection(listener.url)
    await using slow = new RawConnection(listener.url)
    slow.write(Buffer.from([0x16, 0x03, 0x01, 0x02]))
    await Promise.all([silent.closed, slow.closed])
    assert.deepEqual(reasonsIn(listener.logged), ['the TLS handshake took too long'])
    const kept = await secureConnection(listener.url, trusting)
    await new Promise((resolve) => setTimeout(resolve, 300)) // it has shaken hands: what it does then is HTTP's business
    kept.write(CLOSING)
    assert.match(await received(kept), /hello$/)
  })

  it('lets those that only hold connections open push each other out, and serves who means it', async () => {
    await using listener = await serveListener(hello, { tls: tls.keeper, maxHandshakes: 3 })
    const held = Array.from({ length: 3 }, () => new RawConnection(listener.url))
    await Promise.all(
      held.map(({ socket }) => socket.closed || socket.readyState === 'open' || once(socket, 'connect')),
    )
    assert.match(await securely(listener.url, CLOSING), /hello$/)
    await Promise.race(held.map(({ closed }) => closed))
    assert.deepEqual(reasonsIn(listener.logged), ['more TLS handshakes than can be kept waiting'])
    for (const connection of held) await connection[Symbol.asyncDispose]()
  })

  it('is not filled by connections that wait, however few it may have', async () => {
    await using listener = await serveListener(hello, { tls: tls.keeper, maxConnections: 4 })
    const held = Array.from({ length: 8 }, () => new RawConnection(listener.url))
    await Promise.all(held.map(({ socket }) => socket.readyState === 'open' || once(socket, 'connect')))
    assert.match(await securely(listener.url, CLOSING), /hello$/)
    for (const connection of held) await connection[Symbol.asyncDispose]()
  })

  it('tells a connection beyond the limit that it is one, over TLS', async () => {
    await using listener = await serveListener(hello, { tls: tls.keeper, maxConnections: 1 })
    const first = await secureConnection(listener.url, trusting)
    first.write('GET / HT') // or it would have to make room
    assert.match(await securely(listener.url, GET), /^HTTP\/1\.1 503 [\s\S]*at most 1 at once/)
    first.write('TP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(await received(first), /hello$/)
    await eventually(() => securely(listener.url, CLOSING), /hello$/)
  })

  it('cuts a request in the middle when nothing moves, and says why', async () => {
    await using listener = await serveListener((req) => void req.resume(), { tls: tls.keeper, idleMs: 200 })
    const socket = await secureConnection(listener.url, trusting)
    socket.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc')
    socket.on('error', () => {})
    assert.equal(await received(socket), '')
    assert.deepEqual(reasonsIn(listener.logged), ['nothing moved for 0.2 s'])
  })

  it('stops: closes those that never asked, in a handshake or behind it, and lets answers finish', async () => {
    const { promise: began, resolve: begin } = Promise.withResolvers<void>()
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    await using listener = await serveListener(
      async (_, res) => {
        begin()
        await held
        res.end('hello')
      },
      { tls: tls.keeper },
    )
    await using silent = new RawConnection(listener.url)
    const idle = await secureConnection(listener.url, trusting)
    const busy = await secureConnection(listener.url, trusting)
    const answer = received(busy)
    busy.write(GET)
    await began
    const stopped = listener.stop(60_000, async () => assert.fail('nothing had to be cut'))
    idle.resume()
    await Promise.all([silent.closed, idle.closed || once(idle, 'close')])
    release()
    assert.match(await answer, /Connection: close[\s\S]*hello$/)
    await stopped
  })
})

describe('a registry with TLS', () => {
  const MIB = 1024 * 1024

  it('takes and gives the same bytes: whole, in chunks, in ranges, small and large', async () => {
    await using app = await serveApp({ tls: tls.keeper })
    for (const size of [1, 70_000, 9 * MIB + 13]) {
      const content = someBytes(size)
      const digest = sha256(content)
      const { headers } = await app.ask('POST', '/v2/a/blobs/uploads/', { tls: trusting })
      let location = headers.location ?? assert.fail()
      assert.match(location, /^\/v2\//)
      const middle = Math.floor(size / 2)
      for (const [from, to] of [
        [0, middle],
        [middle, size],
      ] as const) {
        const range = { 'Content-Range': `${from}-${Math.max(from, to - 1)}`, 'Transfer-Encoding': 'chunked' }
        if (from === to) continue
        const patched = await app.ask('PATCH', location, {
          tls: trusting,
          headers: range,
          body: content.subarray(from, to),
        })
        assert.equal(patched.status, 202, patched.body.toString())
        location = patched.headers.location ?? assert.fail()
      }
      assert.equal((await app.ask('PUT', `${location}?digest=${digest}`, { tls: trusting })).status, 201)
      const blob = `/v2/a/blobs/${digest}`
      for (let turn = 0; turn < 2; turn++) {
        const got = await app.ask('GET', blob, { tls: trusting })
        assert.equal(sha256(got.body), digest)
        const part = await app.ask('GET', blob, { tls: trusting, headers: { Range: `bytes=${middle}-` } })
        assert.equal(part.status, 206)
        assert.ok(part.body.equals(content.subarray(middle)))
      }
    }
    const content = someBytes(3 * MIB)
    const pushed = await app.ask('POST', `/v2/a/blobs/uploads/?digest=${sha256(content)}`, {
      tls: trusting,
      body: content,
    })
    assert.equal(pushed.status, 201)
    assert.ok((await app.ask('GET', `/v2/a/blobs/${sha256(content)}`, { tls: trusting })).body.equals(content))
  })

  it('is where its challenge says, and where a proxy that is believed says', async () => {
    await using app = await serveApp({
      tls: tls.keeper,
      access: accessOf({ origins: new Origins(['127.0.0.1'], undefined) }),
    })
    const realm = async (headers: Record<string, string>): Promise<string> => {
      const answer = await app.ask('GET', '/v2/', { tls: { ...trusting, servername: 'localhost' }, headers })
      return /realm="([^"]*)"/.exec(String(answer.headers['www-authenticate']))?.[1] ?? ''
    }
    assert.equal(await realm({ Host: 'registry.example' }), 'https://registry.example/token')
    assert.equal(
      await realm({ Forwarded: 'for=1.2.3.4;proto=https;host=r.example:8443' }),
      'https://r.example:8443/token',
    )
  })
})
