/**
 * Connections that want no good: each must cost the registry little, be said in its log, and keep nobody else from being
 * served.
 */
import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { sha256, someBytes } from './testing/content.ts'
import { exchange, RawConnection } from './testing/raw-http.ts'
import { serveApp } from './testing/served-app.ts'
import { eventually, reasonsIn, serveListener } from './testing/served-listener.ts'

const GET = 'GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n'

const answer: RequestListener = (req, res) => {
  req.resume()
  res.end('served')
}

async function servesOthers(url: string): Promise<void> {
  const response = await fetch(`${url}/v2/`, { headers: { Connection: 'close' } })
  assert.equal(response.status, 200)
  await response.arrayBuffer()
}

describe('a connection that sends slowly', () => {
  it('is told 408 when its headers do not end, and others are served meanwhile', async () => {
    await using listener = await serveListener(answer, { headersMs: 200 })
    await using slow = new RawConnection(listener.url)
    slow.write('GET / HTTP/1.1\r\nHost: a\r\n')
    const drip = setInterval(() => slow.write('X-More: 1\r\n'), 20)
    try {
      await servesOthers(listener.url)
      await slow.closed
    } finally {
      clearInterval(drip)
    }
    assert.match(slow.received, /^HTTP\/1\.1 408 /)
    assert.deepEqual(reasonsIn(listener.logged), ['request took too long to arrive'])
  })

  it('is told 408 when it sends nothing at all', async () => {
    await using listener = await serveListener(answer, { headersMs: 100 })
    await using silent = new RawConnection(listener.url)
    await silent.closed
    assert.match(silent.received, /^HTTP\/1\.1 408 /)
  })

  it('is cut in the middle of a body when nothing moves, and the log says why', async () => {
    await using listener = await serveListener((req) => void req.resume(), { idleMs: 200 })
    await using stuck = new RawConnection(listener.url)
    stuck.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc')
    await stuck.closed
    assert.equal(stuck.received, '')
    assert.deepEqual(reasonsIn(listener.logged), ['nothing moved for 0.2 s'])
  })

  it('keeps what it sent of an upload, and the line of its request says why it has no answer', async () => {
    await using app = await serveApp({ idleMs: 300 })
    const location = (await app.ask('POST', '/v2/a/blobs/uploads/')).headers.location ?? ''
    await using stuck = new RawConnection(app.url)
    stuck.write(`PATCH ${location} HTTP/1.1\r\nHost: a\r\nX-Request-Id: stuck\r\nContent-Length: 100\r\n\r\nabcdef`)
    await stuck.closed
    await eventually(async () => JSON.stringify(app.logged.find(({ id }) => id === 'stuck')), /"finished":false/)
    assert.equal(app.logged.find(({ id }) => id === 'stuck')?.['cut'], 'nothing moved for 0.3 s')
    await eventually(async () => `${(await app.ask('GET', location)).headers.range}`, /^0-5$/)
  })

  it('is left alone as long as its body moves, however slowly', async () => {
    await using listener = await serveListener((req, res) => void req.resume().once('end', () => res.end('served')), {
      idleMs: 300,
    })
    await using slow = new RawConnection(listener.url)
    slow.write('PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n')
    for (let i = 0; i < 10; i++) {
      await delay(60)
      slow.write('x')
    }
    await slow.closed
    assert.match(slow.received, /^HTTP\/1\.1 200 /)
    assert.deepEqual(listener.logged, [])
  })

  it('is not blamed for what takes the registry long', async () => {
    await using listener = await serveListener(
      (req, res) => void req.resume().once('end', () => setTimeout(() => res.end('served'), 400)),
      { idleMs: 50 },
    )
    await using patient = new RawConnection(listener.url)
    patient.write('PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc')
    await patient.closed
    assert.match(patient.received, /^HTTP\/1\.1 200 [\s\S]*served$/)
    assert.deepEqual(listener.logged, [])
  })

  it('is closed without a word in the log when it merely waits between two requests', async () => {
    await using listener = await serveListener(answer, { idleMs: 100, keepAliveMs: 100 })
    await using kept = new RawConnection(listener.url)
    kept.write(GET)
    await kept.closed
    assert.match(kept.received, /^HTTP\/1\.1 200 /)
    assert.deepEqual(listener.logged, [])
  })
})

describe('a connection that is half closed', () => {
  it('gets its answer when it has asked before', async () => {
    await using listener = await serveListener(answer)
    await using half = new RawConnection(listener.url)
    half.socket.end(GET)
    await half.closed
    assert.match(half.received, /^HTTP\/1\.1 200 [\s\S]*served$/)
  })

  it('keeps what it sent of an upload, and is told that this is no end', async () => {
    await using app = await serveApp()
    const started = await app.ask('POST', '/v2/a/blobs/uploads/')
    const location = started.headers.location ?? ''
    await using half = new RawConnection(app.url)
    half.write(`PATCH ${location} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n`)
    await half.until(/100 Continue/) // it is reading
    half.write('abcdef')
    await servesOthers(app.url) // by now it has taken what came before
    half.socket.end()
    await half.closed
    assert.match(half.received, /\r\nHTTP\/1\.1 400 [\s\S]*Invalid EOF state/)
    await eventually(async () => `${(await app.ask('GET', location)).headers.range}`, /^0-5$/)
    assert.deepEqual(reasonsIn(app.logged), ['request is not well-formed HTTP'])
  })
})

describe('a connection that sends garbage', () => {
  it('is refused behind a thousand good requests, which are all answered', async () => {
    await using listener = await serveListener(answer)
    await using connection = new RawConnection(listener.url)
    connection.write(`${GET.repeat(1_000)}GARBAGE\r\n\r\n`)
    await connection.closed
    await servesOthers(listener.url)
    assert.deepEqual(reasonsIn(listener.logged), ['request is not well-formed HTTP'])
  })

  it('fills no log, however often it comes', async () => {
    await using listener = await serveListener(answer)
    for (let i = 0; i < 50; i++) await exchange(listener.url, 'GARBAGE\r\n\r\n')
    assert.equal(listener.logged.length, 1)
  })

  it('is refused when it declares two lengths, or a length and chunks', async () => {
    await using listener = await serveListener(answer)
    for (const headers of [
      'Content-Length: 3\r\nContent-Length: 4',
      'Content-Length: 3\r\nTransfer-Encoding: chunked',
      'Transfer-Encoding: chunked, gzip',
      'Content-Length: -1',
      'Content-Length: 99999999999999999999999',
      'Transfer-Encoding : chunked',
    ]) {
      const received = await exchange(listener.url, `PUT / HTTP/1.1\r\nHost: a\r\n${headers}\r\n\r\nabcd`)
      assert.match(received, /^HTTP\/1\.1 400 /, headers)
    }
    await servesOthers(listener.url)
  })

  it('is refused with 431 when it floods headers, in number or in size, or extensions of chunks', async () => {
    await using listener = await serveListener((req, res) => void req.resume().once('end', () => res.end()))
    const chunked = 'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
    for (const flood of [
      `GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(20_000)}\r\n`,
      `GET / HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(40_000)}\r\n\r\n`,
      `${chunked}1;${'x'.repeat(40_000)}\r\na\r\n0\r\n\r\n`,
    ]) {
      // Some of the flood may be unread when the connection ends, and the reset overtakes the answer: then the log has it.
      await exchange(listener.url, flood)
      await servesOthers(listener.url)
    }
    assert.deepEqual(reasonsIn(listener.logged), ['request line and headers are too large'])
  })
})

describe('a body that is not what was declared', () => {
  it('is SIZE_INVALID when the next bytes on the connection show it to be longer, and the rest is no request', async () => {
    await using app = await serveApp()
    const content = 'abcdef'
    await using longer = new RawConnection(app.url)
    longer.write(
      `POST /v2/a/blobs/uploads/?digest=${sha256(content)} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n${content}`,
    )
    await longer.closed
    assert.match(longer.received, /^HTTP\/1\.1 400 /)
    assert.equal((await app.ask('HEAD', `/v2/a/blobs/${sha256(content)}`)).status, 404)
    await servesOthers(app.url)
  })

  it('leaves nothing when it is shorter, and the access log says that nobody got the answer', async () => {
    await using app = await serveApp()
    const content = someBytes(1_000)
    await using shorter = new RawConnection(app.url)
    shorter.write(
      `POST /v2/a/blobs/uploads/?digest=${sha256(content)} HTTP/1.1\r\nHost: a\r\nX-Request-Id: short\r\nContent-Length: 2000\r\n\r\n`,
    )
    shorter.write(content)
    await delay(50)
    shorter.socket.resetAndDestroy()
    await eventually(async () => JSON.stringify(app.logged.find(({ id }) => id === 'short')), /"finished":false/)
    assert.equal((await app.ask('HEAD', `/v2/a/blobs/${sha256(content)}`)).status, 404)
    assert.deepEqual(
      (await app.files()).filter((path) => path.startsWith('blobs/')),
      [],
    )
  })
})
