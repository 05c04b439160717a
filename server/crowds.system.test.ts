/** More connections than there is room for, and connections that only lie about: a registry survives them, and goes on serving. */
import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { connect, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { connectionsOf, openFilesLimit } from './open-files.ts'
import { sha256, someBytes } from './testing/content.ts'
import { serveGantry } from './testing/gantry-process.ts'
import { exchange, RawConnection } from './testing/raw-http.ts'
import { eventually, reasonsIn, serveListener } from './testing/served-listener.ts'

const GET = 'GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n'
const GET_AND_CLOSE = GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')

const answer: RequestListener = (req, res) => {
  req.resume()
  res.end('served')
}

describe('more connections than there is room for', () => {
  it('are told 503 and when to come again; those that are there go on, and a place that becomes free is given away', async () => {
    await using listener = await serveListener(answer, { maxConnections: 3 })
    const held = Array.from({ length: 3 }, () => new RawConnection(listener.url))
    try {
      for (const connection of held) {
        connection.write('GET /v2/ HTTP/1.1\r\nHost: registry\r\n')
      }
      const refused = await eventually(() => exchange(listener.url, GET), /^HTTP\/1\.1 503 /)
      assert.match(refused, /Retry-After: \d+\r\n[\s\S]*"code":"UNAVAILABLE"/)
      assert.deepEqual(reasonsIn(listener.logged), ['the registry has as many connections as it can keep'])
      const [first = assert.fail()] = held
      first.write('Connection: close\r\n\r\n')
      await first.closed
      assert.match(first.received, /^HTTP\/1\.1 200 /)
      await eventually(() => exchange(listener.url, GET_AND_CLOSE), /^HTTP\/1\.1 200 /)
    } finally {
      for (const connection of held) await connection[Symbol.asyncDispose]()
    }
  })

  it('are let in at the cost of those that wait for nothing', async () => {
    await using listener = await serveListener(answer, { maxConnections: 3 })
    const idle = Array.from({ length: 3 }, () => new RawConnection(listener.url))
    try {
      for (const connection of idle) {
        connection.write(GET)
        await connection.until(/served$/)
      }
      await eventually(() => exchange(listener.url, GET_AND_CLOSE), /^HTTP\/1\.1 200 /)
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
    await eventually(() => exchange(gantry.url, GET_AND_CLOSE), /^HTTP\/1\.1 200 /)
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
      await eventually(() => exchange(gantry.url, GET_AND_CLOSE), /^HTTP\/1\.1 200 /)
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
