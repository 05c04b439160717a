/**
 * Connections that want no good: each must cost the registry little, be said in its log, and keep nobody else from being
 * served. What is asked here of a real process is asked of one with little room.
 */
import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { connect, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Listener, type ListenOptions, listen } from './listener.ts'
import { createLog } from './log.ts'
import { connectionsOf, openFilesLimit } from './open-files.ts'
import { RefusalLog } from './refusals.ts'
import { sha256, someBytes } from './testing/content.ts'
import { serveGantry } from './testing/gantry-process.ts'
import { exchange, RawConnection } from './testing/raw-http.ts'
import { serveApp } from './testing/served-app.ts'

const GET = 'GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n'

interface Served extends Listener, AsyncDisposable {
  readonly logged: Record<string, unknown>[]
}

async function serving(changes: Partial<ListenOptions>, app: RequestListener = answer): Promise<Served> {
  const logged: Record<string, unknown>[] = []
  const log = createLog({ write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) })
  const usual = { headersMs: 60_000, idleMs: 60_000, keepAliveMs: 60_000, maxConnections: 100 }
  const listener = await listen(app, [{ host: '127.0.0.1', port: 0 }], {
    refusals: new RefusalLog(log),
    ...usual,
    ...changes,
  })
  return { ...listener, logged, [Symbol.asyncDispose]: () => listener.stop(0, async () => {}) }
}

const answer: RequestListener = (req, res) => {
  req.resume()
  res.end('served')
}

async function servesOthers(url: string): Promise<void> {
  const response = await fetch(`${url}/v2/`, { headers: { Connection: 'close' } })
  assert.equal(response.status, 200)
  await response.arrayBuffer()
}

const reasons = (logged: readonly Record<string, unknown>[]): unknown[] =>
  logged.filter(({ msg }) => msg === 'connection refused').map(({ reason }) => reason)

describe('a connection that sends slowly', () => {
  it('is told 408 when its headers do not end, and others are served meanwhile', async () => {
    await using listener = await serving({ headersMs: 200 })
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
    assert.deepEqual(reasons(listener.logged), ['request took too long to arrive'])
  })

  it('is told 408 when it sends nothing at all', async () => {
    await using listener = await serving({ headersMs: 100 })
    await using silent = new RawConnection(listener.url)
    await silent.closed
    assert.match(silent.received, /^HTTP\/1\.1 408 /)
  })

  it('is cut in the middle of a body when nothing moves, and the log says why', async () => {
    await using listener = await serving({ idleMs: 200 }, (req) => void req.resume())
    await using stuck = new RawConnection(listener.url)
    stuck.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc')
    await stuck.closed
    assert.equal(stuck.received, '')
    assert.deepEqual(reasons(listener.logged), ['nothing moved for 0.2 s'])
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
    await using listener = await serving(
      { idleMs: 300 },
      (req, res) => void req.resume().once('end', () => res.end('served')),
    )
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
    await using listener = await serving(
      { idleMs: 50 },
      (req, res) => void req.resume().once('end', () => setTimeout(() => res.end('served'), 400)),
    )
    await using patient = new RawConnection(listener.url)
    patient.write('PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc')
    await patient.closed
    assert.match(patient.received, /^HTTP\/1\.1 200 [\s\S]*served$/)
    assert.deepEqual(listener.logged, [])
  })

  it('is closed without a word in the log when it merely waits between two requests', async () => {
    await using listener = await serving({ idleMs: 100, keepAliveMs: 100 })
    await using kept = new RawConnection(listener.url)
    kept.write(GET)
    await kept.closed
    assert.match(kept.received, /^HTTP\/1\.1 200 /)
    assert.deepEqual(listener.logged, [])
  })
})

describe('a connection that is half closed', () => {
  it('gets its answer when it has asked before', async () => {
    await using listener = await serving({})
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
    assert.deepEqual(reasons(app.logged), ['request is not well-formed HTTP'])
  })
})

describe('a connection that sends garbage', () => {
  it('is refused behind a thousand good requests, which are all answered', async () => {
    await using listener = await serving({})
    await using connection = new RawConnection(listener.url)
    connection.write(`${GET.repeat(1_000)}GARBAGE\r\n\r\n`)
    await connection.closed
    await servesOthers(listener.url)
    assert.deepEqual(reasons(listener.logged), ['request is not well-formed HTTP'])
  })

  it('fills no log, however often it comes', async () => {
    await using listener = await serving({})
    for (let i = 0; i < 50; i++) await exchange(listener.url, 'GARBAGE\r\n\r\n')
    assert.equal(listener.logged.length, 1)
  })

  it('is refused when it declares two lengths, or a length and chunks', async () => {
    await using listener = await serving({})
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
    await using listener = await serving({}, (req, res) => void req.resume().once('end', () => res.end()))
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
    assert.deepEqual(reasons(listener.logged), ['request line and headers are too large'])
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

describe('more connections than there is room for', () => {
  it('are told 503 and when to come again; those that are there go on, and a place that becomes free is given away', async () => {
    await using listener = await serving({ maxConnections: 3 })
    const held = Array.from({ length: 3 }, () => new RawConnection(listener.url))
    try {
      for (const connection of held) {
        connection.write('GET /v2/ HTTP/1.1\r\nHost: registry\r\n')
      }
      const refused = await eventually(() => exchange(listener.url, GET), /^HTTP\/1\.1 503 /)
      assert.match(refused, /Retry-After: \d+\r\n[\s\S]*"code":"UNAVAILABLE"/)
      assert.deepEqual(reasons(listener.logged), ['the registry has as many connections as it can keep'])
      const [first = assert.fail()] = held
      first.write('Connection: close\r\n\r\n')
      await first.closed
      assert.match(first.received, /^HTTP\/1\.1 200 /)
      await eventually(
        () => exchange(listener.url, GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')),
        /^HTTP\/1\.1 200 /,
      )
    } finally {
      for (const connection of held) await connection[Symbol.asyncDispose]()
    }
  })

  it('are let in at the cost of those that wait for nothing', async () => {
    await using listener = await serving({ maxConnections: 3 })
    const idle = Array.from({ length: 3 }, () => new RawConnection(listener.url))
    try {
      for (const connection of idle) {
        connection.write(GET)
        await connection.until(/served$/)
      }
      await eventually(
        () => exchange(listener.url, GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')),
        /^HTTP\/1\.1 200 /,
      )
    } finally {
      for (const connection of idle) await connection[Symbol.asyncDispose]()
    }
  })

  it('are refused, and the registry survives, when there are more of them than files it may open', async () => {
    await using gantry = await serveGantry({ openFiles: 200, args: ['--stop-timeout', '0'] })
    const flood = await openConnections(gantry.url, 400)
    try {
      const told = gantry
        .logged()
        .find(({ reason }) => reason === 'the registry has as many connections as it can keep')
      assert.equal(told?.['limit'], connectionsOf('auto', 1, 200))
    } finally {
      for (const socket of flood) socket.destroy()
    }
    await eventually(
      () => exchange(gantry.url, GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')),
      /^HTTP\/1\.1 200 /,
    )
    assert.equal(gantry.child.exitCode, null)
  })

  it('cannot be promised: asking for more connections than files is refused at the start', async () => {
    const started = serveGantry({ openFiles: 200, env: { GANTRY_LIMITS_CONNECTIONS: '1000' } })
    await assert.rejects(
      started,
      /limits\.connections is 1000, .* it may have 200\. Raise that .* at most \d+ connections/,
    )
  })
})

describe('ten thousand idle connections', () => {
  it('are kept, or refused beyond the limit, while others push and pull', async (t) => {
    await using gantry = await serveGantry()
    const limit = connectionsOf('auto', 1, await openFilesLimit())
    // Both ends are descriptors of this machine, ours of this process.
    const count = Math.min(10_000, (await openFilesLimit()) - 500)
    const idle = await openConnections(gantry.url, count)
    t.diagnostic(`${count} connections, room for ${limit}`)
    try {
      const content = someBytes(100_000)
      const digest = sha256(content)
      for (const socket of idle.splice(0, Math.max(0, count - limit) + 100)) socket.destroy()
      await eventually(
        () => exchange(gantry.url, GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')),
        /^HTTP\/1\.1 200 /,
      )
      const pushed = await fetch(`${gantry.url}/v2/a/blobs/uploads/?digest=${digest}`, {
        method: 'POST',
        body: content,
      })
      assert.equal(pushed.status, 201)
      const pulled = await fetch(`${gantry.url}/v2/a/blobs/${digest}`)
      assert.equal(sha256(Buffer.from(await pulled.arrayBuffer())), digest)
    } finally {
      for (const socket of idle) socket.destroy()
    }
  })
})

/** Connections that say nothing; those that the other side refuses count too. */
async function openConnections(url: string, count: number): Promise<Socket[]> {
  const { hostname, port } = new URL(url)
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const some = Array.from({ length: Math.min(200, count - sockets.length) }, () => connect(Number(port), hostname))
    await Promise.all(
      some.map((socket) => new Promise((resolve) => socket.once('connect', resolve).once('error', resolve))),
    )
    sockets.push(...some)
  }
  return sockets
}

async function eventually(work: () => Promise<string>, pattern: RegExp): Promise<string> {
  const end = Date.now() + 20_000
  for (;;) {
    const result = await work().catch(String)
    if (pattern.test(result)) return result
    assert.ok(Date.now() < end, result)
    await delay(20)
  }
}
