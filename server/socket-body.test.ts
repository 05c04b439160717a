/** Bodies that are read behind Node's back: whatever happens on the connection, it goes on as if Node had read them. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { TakenSocket } from '../storage/driver.ts'
import { openFsDriver } from '../storage/fs/driver.ts'
import type { AppendOptions, Store } from '../storage/store.ts'
import { watchedDriver } from '../storage/testing/watched-driver.ts'
import { sha256, sha512, someBytes } from './testing/content.ts'
import { RawConnection } from './testing/raw-http.ts'
import { type ServedApp, serveApp } from './testing/served-app.ts'
import { eventually } from './testing/served-listener.ts'

const SIZE = 3_000_000
const content = someBytes(SIZE)
const digest = sha256(content)

/** Whether the storage read a body from its socket; each body of the requests in turn. */
const taken: boolean[] = []

/** Just before the body is read from its socket. */
let beforeReading = (_body: TakenSocket): void => {}
const announced = (body: TakenSocket): TakenSocket => ({
  arrived: body.arrived,
  leftBytes: body.leftBytes,
  get descriptor() {
    beforeReading(body)
    return body.descriptor
  },
  watch: (reader) => body.watch(reader),
  ended: (...how) => body.ended(...how),
  [Symbol.dispose]: () => body[Symbol.dispose](),
})
/** Where the session is looked at, its body having been taken. */
let beforeLook = async (): Promise<void> => {}

const watched = (options: AppendOptions = {}): AppendOptions => {
  const { socket } = options
  if (!socket) return options
  const take = () => {
    const body = socket.take()
    taken.push(body !== undefined)
    return body && announced(body)
  }
  return { ...options, socket: { take } }
}

const watchedStore = (real: Store): Store => ({
  ...real,
  uploads: {
    start: (...asked) => real.uploads.start(...asked),
    push: (name, wanted, source, options) => real.uploads.push(name, wanted, source, watched(options)),
    status: (...asked) => real.uploads.status(...asked),
    append: (name, id, source, options) => real.uploads.append(name, id, source, watched(options)),
    commit: (name, id, wanted, source, options) => real.uploads.commit(name, id, wanted, source, watched(options)),
    cancel: (...asked) => real.uploads.cancel(...asked),
    checkpointAll: () => real.uploads.checkpointAll(),
  },
})

let app: ServedApp
let folder: string
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gantry-bodies-'))
  const driver = watchedDriver(await openFsDriver(folder), async (_operation, key) => {
    if (taken.length > 0 && key.startsWith('sessions/')) await beforeLook()
  })
  app = await serveApp({ store: watchedStore, driver, idleMs: 1_000 })
})
after(async () => {
  await app[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})
beforeEach(() => {
  taken.length = 0
  beforeReading = () => {}
  beforeLook = async () => {}
})

async function startSession(query = ''): Promise<string> {
  const { headers } = await app.ask('POST', `/v2/a/blobs/uploads/${query}`)
  return headers.location ?? assert.fail('no Location')
}
const patchHead = (location: string, length: number, more = ''): string =>
  `PATCH ${location} HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n${more}\r\n`
const rangeOf = async (location: string): Promise<string> => (await app.ask('GET', location)).headers.range ?? ''
async function demandPulls(wanted: string, bytes: Uint8Array): Promise<void> {
  const { body, status } = await app.ask('GET', `/v2/a/blobs/${wanted}`)
  assert.equal(status, 200)
  assert.ok(body.equals(bytes))
}

describe('a large body of known length', () => {
  it('goes from the socket into storage, and the log knows its size', async () => {
    const answer = await app.ask('PUT', `${await startSession()}?digest=${digest}`, { body: content })
    assert.equal(answer.status, 201, answer.body.toString())
    assert.deepEqual(taken, [true])
    await demandPulls(digest, content)
    const logged = app.logged.findLast(({ method }) => method === 'PUT')
    assert.equal(logged?.['bytesIn'], SIZE)
  })

  it('may be hashed by both algorithms, and be longer than several checkpoints', async () => {
    const long = Buffer.concat([someBytes(7), Buffer.alloc(50_000_000, content)])
    const location = await startSession('?digest-algorithm=sha512')
    const answer = await app.ask('PUT', `${location}?digest=${sha512(long)}`, { body: long })
    assert.equal(answer.status, 201, answer.body.toString())
    assert.deepEqual(taken, [true])
    await demandPulls(sha512(long), long)
  })

  it('is recorded while it comes, if it takes longer than a second', async () => {
    const location = await startSession()
    const much = someBytes(17 * 1024 * 1024)
    await using connection = new RawConnection(app.url)
    connection.write(patchHead(location, 60 * much.length))
    connection.write(much)
    const drip = (): void => connection.write(much.subarray(0, 1)) // a silent one would be cut, and recorded then
    for (let i = 0; i < 11; i++) {
      await delay(100)
      drip()
    }
    await eventually(() => {
      connection.write(much) // on a busy machine its second begins when ours is over
      return rangeOf(location)
    }, /^0-\d{8,9}$/)
    assert.deepEqual(taken, [true])
  })

  it('ends where it ends: what is pipelined behind it is the next request', async () => {
    const location = await startSession()
    await using connection = new RawConnection(app.url)
    const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
    connection.write(
      Buffer.concat([
        Buffer.from(get('/v2/')),
        Buffer.from(patchHead(location, SIZE)),
        content,
        Buffer.from(get(location)),
        Buffer.from(patchHead(`${location.slice(0, -1)}${SIZE}`, SIZE)),
        content,
        Buffer.from(get(location)),
      ]),
    )
    await connection.until(/(HTTP\/1\.1 [\s\S]*?\r\n\r\n[^H]*){5}$/)
    assert.equal(await rangeOf(location), `0-${2 * SIZE - 1}`)
    const statuses = [...connection.received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
    assert.deepEqual(statuses, ['200', '202', '204', '202', '204'])
    assert.ok(taken.includes(true))
    const closed = await app.ask('PUT', `${location}?digest=${sha256(Buffer.concat([content, content]))}`)
    assert.equal(closed.status, 201, closed.body.toString())
  })

  it('may come in pieces of any size, at any time', async () => {
    const location = await startSession()
    await using connection = new RawConnection(app.url)
    connection.socket.setNoDelay()
    connection.write(patchHead(location, SIZE))
    for (let from = 0, size = 1; from < SIZE; from += size, size = Math.min(size * 3, 700_001)) {
      await new Promise((resolve) => connection.socket.write(content.subarray(from, from + size), resolve))
    }
    await connection.until(/^HTTP\/1\.1 202 /)
    assert.deepEqual(taken, [true])
    assert.equal((await app.ask('PUT', `${location}?digest=${digest}`)).status, 201)
    await demandPulls(digest, content)
  })

  it('is asked for when the client waits to be asked', async () => {
    const location = await startSession()
    await using connection = new RawConnection(app.url)
    connection.write(patchHead(location, SIZE, 'Expect: 100-continue\r\n'))
    await connection.until(/^HTTP\/1\.1 100 Continue/)
    connection.write(content)
    await connection.until(/HTTP\/1\.1 202 /)
    assert.deepEqual(taken, [true])
  })

  it('is kept as far as it came when the client resets the connection, and when it stops in the middle', async () => {
    for (const leave of [
      (one: RawConnection) => one.socket.resetAndDestroy(),
      (one: RawConnection) => one.socket.end(),
    ]) {
      const location = await startSession()
      await using connection = new RawConnection(app.url)
      connection.write(patchHead(location, SIZE))
      await new Promise((resolve) => connection.socket.write(content.subarray(0, 1_000_000), resolve))
      await eventually(async () => `${taken.length}`, /1/)
      leave(connection)
      await connection.closed
      // A reset takes from the kernel what nobody has read yet.
      const range = await eventually(() => rangeOf(location), /^0-[1-9]\d+$/)
      const offset = Number(range.slice(2)) + 1
      const rest = await app.ask('PUT', `${location}?digest=${digest}`, {
        body: content.subarray(offset),
        headers: { 'Content-Range': `${offset}-${SIZE - 1}` },
      })
      assert.equal(rest.status, 201, rest.body.toString())
      await demandPulls(digest, content)
      taken.length = 0
    }
  })

  it('does not keep a newcomer waiting: the holder is told, on a connection that is still good for the answer', async () => {
    const location = await startSession()
    await using holder = new RawConnection(app.url)
    holder.write(patchHead(location, SIZE))
    holder.write(content.subarray(0, 1_000_000))
    await eventually(async () => `${taken.length}`, /1/)
    const answer = await app.ask('PATCH', location, { body: content, headers: { 'Content-Range': `0-${SIZE - 1}` } })
    assert.equal(answer.status, 202, answer.body.toString())
    await holder.until(/^HTTP\/1\.1 4\d\d /)
    assert.equal((await app.ask('PUT', `${location}?digest=${digest}`)).status, 201)
    await demandPulls(digest, content)
  })

  it('of a connection that is closed before it is read takes nothing from those that come after, and have its descriptor', async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    beforeLook = () => released
    const location = await startSession()
    await using gone = new RawConnection(app.url)
    gone.write(patchHead(location, SIZE))
    gone.write(content.subarray(0, 1_000))
    await gone.closed // too long idle
    assert.deepEqual(taken, [true])

    const others: RawConnection[] = []
    try {
      const get = 'GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n'
      // One after the other: both ends are in this process, and it is the server's that should have the number.
      while (others.length < 10) {
        const other = new RawConnection(app.url)
        others.push(other)
        other.write(get)
        await other.until(/^HTTP\/1\.1 200 /)
      }
      const { promise: read, resolve } = Promise.withResolvers<() => number>()
      beforeReading = (body) => {
        for (const other of others) other.write(get) // they are in the kernel, and Node has no turn to read them
        resolve(() => body.descriptor)
      }
      release()
      assert.throws(await read, { code: 'ECONNRESET' })
      for (const other of others) await other.until(/(HTTP\/1\.1 200 [\s\S]*){2}/)
    } finally {
      for (const other of others) await other[Symbol.asyncDispose]()
    }
    assert.match(await eventually(() => rangeOf(location), /./), /^0-0$/)
  })

  it('that stops coming is cut like any other, and what came is kept', async () => {
    const location = await startSession()
    await using connection = new RawConnection(app.url)
    connection.write(patchHead(location, SIZE))
    connection.write(content.subarray(0, 1_000_000))
    await connection.closed
    assert.equal(await eventually(() => rangeOf(location), /^0-[1-9]\d+$/), '0-999999')
  })
})

it('a short body, and one of unknown length, are read as usual', async () => {
  const short = content.subarray(0, 100_000)
  assert.equal((await app.ask('PATCH', await startSession(), { body: short })).status, 202)
  const headers = { 'Transfer-Encoding': 'chunked' }
  assert.equal((await app.ask('PATCH', await startSession(), { body: content, headers })).status, 202)
  assert.deepEqual(taken, [false])
})
