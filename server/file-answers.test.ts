/** Large blobs, whose bytes the kernel sends: the answers are those that Node would have given. */
import assert from 'node:assert/strict'
import { truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { pushBlob, someBytes } from './testing/content.ts'
import { RawConnection } from './testing/raw-http.ts'
import { type ServedApp, serveApp } from './testing/served-app.ts'

const SIZE = 30_000_000 // more than sockets hold
/** Short, and longer than a loaded machine takes between two turns of this process, which is server and client. */
const IDLE_MS = 1_500

describe('a blob that lies in a file', () => {
  let app: ServedApp
  let digest: string
  let path: string
  const content = someBytes(SIZE)
  before(async () => {
    app = await serveApp({ idleMs: IDLE_MS })
    digest = await pushBlob(app, 'a', content)
    path = `/v2/a/blobs/${digest}`
  })
  after(() => app[Symbol.asyncDispose]())

  const lineOf = async (id: string): Promise<Record<string, unknown>> => {
    for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 5) {
      const line = app.logged.find((logged) => logged['id'] === id && logged['msg'] === 'request')
      if (line) return line
      await delay(5)
    }
    return assert.fail(`no line for ${id}`)
  }

  it('is followed by other answers on the same connection, also to requests that did not wait', async () => {
    await using connection = new RawConnection(app.url)
    const ask = (target: string, headers = ''): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`
    connection.write(ask(path) + ask(path, 'Range: bytes=1000-20000999\r\n') + ask('/v2/', 'Connection: close\r\n'))
    await connection.closed
    const received = Buffer.from(connection.received, 'latin1')
    const first = received.indexOf('\r\n\r\n') + 4
    assert.ok(content.equals(received.subarray(first, first + SIZE)))
    const second = received.indexOf('\r\n\r\n', first + SIZE) + 4
    assert.match(
      received.toString('latin1', first + SIZE, second),
      /^HTTP\/1\.1 206 [\s\S]*bytes 1000-20000999\/30000000/,
    )
    assert.ok(content.subarray(1_000, 20_001_000).equals(received.subarray(second, second + 20_000_000)))
    assert.match(received.toString('latin1', second + 20_000_000), /^HTTP\/1\.1 200 [\s\S]*\{\}$/)
  })

  it('is counted in the access log as what went over the wire', async () => {
    const answer = await app.ask('GET', path, { headers: { 'X-Request-Id': 'counted' } })
    assert.ok(content.equals(answer.body))
    const { bytesOut, finished } = await lineOf('counted')
    assert.ok((bytesOut as number) > SIZE && (bytesOut as number) < SIZE + 2_000, `${bytesOut}`)
    assert.equal(finished, true)
  })

  it('goes on for as long as the client reads, however slowly, and ends when nothing moves', async () => {
    await using slow = new RawConnection(app.url)
    slow.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: slow\r\nConnection: close\r\n\r\n`)
    const paused = setInterval(
      () => (slow.socket.isPaused() ? slow.socket.resume() : slow.socket.pause()),
      IDLE_MS / 40,
    )
    await slow.closed
    clearInterval(paused)
    assert.equal(slow.received.length - slow.received.indexOf('\r\n\r\n') - 4, SIZE)
    assert.equal((await lineOf('slow'))['finished'], true)

    await using stuck = new RawConnection(app.url)
    stuck.socket.pause()
    stuck.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: stuck\r\n\r\n`)
    const line = await lineOf('stuck')
    assert.equal(line['finished'], false)
    assert.match(line['cut'] as string, /nothing moved/)
  })

  it('is let go of when the client goes away', async () => {
    const leaving = new RawConnection(app.url)
    leaving.socket.pause()
    leaving.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: left\r\n\r\n`)
    await delay(50)
    leaving.socket.resetAndDestroy()
    const line = await lineOf('left')
    assert.equal(line['finished'], false)
    assert.equal(line['cut'], undefined)
  })

  it('is broken off, and not ended early, when the file becomes shorter', async () => {
    await using connection = new RawConnection(app.url)
    connection.socket.pause()
    connection.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: cut\r\n\r\n`)
    await delay(50)
    const [file = ''] = (await app.files()).filter((name) => name.startsWith('blobs/'))
    await truncate(join(app.directory, file), 1_000)
    connection.socket.resume()
    await connection.closed
    assert.ok(connection.received.length < SIZE)
    assert.equal((await lineOf('cut'))['finished'], false)
    assert.ok(app.logged.some(({ msg, err }) => msg === 'answer broken off' && /ended/.test(JSON.stringify(err))))
  })
})
