import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { AddressUnusable } from './address.ts'
import { listen } from './listener.ts'
import { createLog } from './log.ts'
import { RefusalLog } from './refusals.ts'
import { exchange, RawConnection } from './testing/raw-http.ts'
import { serveListener } from './testing/served-listener.ts'

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-listener-'))
})
after(() => rm(directory, { recursive: true, force: true }))

const hello: RequestListener = (_, res) => void res.end('hello')
const GET = 'GET / HTTP/1.1\r\nHost: registry\r\n\r\n'

describe('listen', () => {
  it('says which port it got', async () => {
    await using listener = await serveListener(hello)
    assert.match(listener.url, /^http:\/\/127\.0\.0\.1:[1-9][0-9]*$/)
  })

  it('says which address is taken, and listens nowhere then', async () => {
    await using listener = await serveListener(hello)
    const taken = listener.addresses[0] ?? assert.fail()
    const free = { path: join(directory, 'free.sock') }
    const options = {
      refusals: new RefusalLog(createLog()),
      headersMs: 1,
      idleMs: 1,
      keepAliveMs: 1,
      maxConnections: 1,
    }
    await assert.rejects(
      listen(hello, [free, taken], options),
      (error: unknown) =>
        error instanceof AddressUnusable &&
        error.address === taken &&
        (error.cause as NodeJS.ErrnoException).code === 'EADDRINUSE',
    )
    await assert.rejects(stat(free.path), { code: 'ENOENT' })
  })

  it('answers bytes that are no request with 400 in JSON', async () => {
    await using listener = await serveListener(hello)
    for (const garbage of [
      '\x16\x03\x01\x02\x00\r\n\r\n',
      'BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n',
      'GET /\x00 HTTP/1.1\r\n\r\n',
    ]) {
      const answer = await exchange(listener.url, garbage)
      assert.match(answer, /^HTTP\/1\.1 400 /)
      assert.equal(JSON.parse(answer.split('\r\n\r\n')[1] ?? '').errors[0].code, 'BAD_REQUEST')
    }
  })

  it('answers headers beyond any use with 431', async () => {
    await using listener = await serveListener(hello)
    assert.match(
      await exchange(listener.url, `GET /${'a'.repeat(40_000)} HTTP/1.1\r\nHost: a\r\n\r\n`),
      /^HTTP\/1\.1 431 /,
    )
  })

  it('answers a request, then refuses the garbage pipelined behind it', async () => {
    await using listener = await serveListener(hello)
    const answer = await exchange(listener.url, `${GET}GARBAGE\r\n\r\n`)
    assert.match(answer, /^HTTP\/1\.1 200 OK[\s\S]*hello/)
  })

  it('never writes a refusal into a running answer', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    await using listener = await serveListener(async (_, res) => {
      res.writeHead(200, { 'Content-Length': 10 })
      res.write('hello')
      await held
      res.end('world')
    })
    await using connection = new RawConnection(listener.url)
    connection.write(GET)
    await connection.until(/hello/)
    connection.write('GARBAGE\r\n\r\n')
    await connection.closed
    release()
    assert.doesNotMatch(connection.received, /400/)
  })
})

describe('stop', () => {
  it('closes idle connections, lets running answers finish, and accepts no more', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    const { promise: began, resolve: begin } = Promise.withResolvers<void>()
    await using listener = await serveListener(async (req, res) => {
      if (req.url === '/slow') {
        begin()
        await held
      }
      res.end('hello')
    })
    await using idle = new RawConnection(listener.url)
    idle.write(GET)
    await idle.until(/hello/)
    await using slow = new RawConnection(listener.url)
    slow.write(GET.replace('/', '/slow'))
    await began

    const stopped = listener.stop(60_000, async () => assert.fail('nothing had to be cut'))
    await idle.closed
    release()
    await Promise.all([stopped, slow.closed])
    assert.match(slow.received, /Connection: close[\s\S]*hello$/)
    await using refused = new RawConnection(listener.url)
    await refused.closed
    assert.equal(refused.received, '')
  })

  it('gives a last call, then cuts what still runs when the time is over', async () => {
    const { promise: began, resolve: begin } = Promise.withResolvers<void>()
    await using listener = await serveListener(() => begin())
    await using stuck = new RawConnection(listener.url)
    stuck.write(GET)
    await began
    let called = false
    await listener.stop(50, async () => {
      called = true
    })
    await stuck.closed
    assert.ok(called)
  })
})
