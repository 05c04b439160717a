/**
 * Requests with large bodies on one connection, cut into packets anywhere, cut off, or longer or shorter than announced: each session
 * gets the bytes behind its own request's head, in their order and nothing else, and each request that is whole has its answer.
 */
import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { after, before, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { fuzzRuns } from '../storage/testing/fuzz.ts'
import { sha256, someBytes } from './testing/content.ts'
import { RawConnection } from './testing/raw-http.ts'
import { type ServedApp, serveApp } from './testing/served-app.ts'

const RUNS = 25
let app: ServedApp
/** Of the server: what a client sent before it went away is read, and handled, when it has gone. */
const connected = new Set<Socket>()
let handled = 0
const accepted = (message: unknown): void => {
  const { socket } = message as { readonly socket: Socket }
  connected.add(socket)
  socket.once('close', () => connected.delete(socket))
}
before(async () => {
  subscribe('net.server.socket', accepted)
  app = await serveApp({
    async admit(_, next) {
      handled += 1
      try {
        await next()
      } finally {
        handled -= 1
      }
    },
  })
})
after(async () => {
  await app[Symbol.asyncDispose]()
  unsubscribe('net.server.socket', accepted)
})

/** Nothing that was sent is still to come. */
async function serverIsDone(): Promise<void> {
  for (let tries = 0; connected.size > 0 || handled > 0; tries += 1) {
    assert.ok(tries < 5_000, `${connected.size} connections, ${handled} requests after all clients have gone`)
    await delay(2)
  }
}

const content = someBytes(1_500_000)

const request = fc.record({
  /** Around what is worth taking from the socket, mostly. */
  size: fc.constantFrom(0, 1, 100_000, 524_287, 524_288, 524_289, 600_000, 900_000, 1_400_000),
  from: fc.nat(1_000),
  /** How far the announced length is from the true one. */
  lie: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: -5, max: 5 })),
  header: fc.constantFrom('', '', '', 'Expect: 100-continue\r\n', 'Expect: nonsense\r\n', 'Connection: keep-alive\r\n'),
})
const sequence = fc.record({
  requests: fc.array(request, { minLength: 1, maxLength: 4 }),
  cuts: fc.array(
    fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), waitMs: fc.constantFrom(0, 0, 1, 5, 30) }),
    {
      maxLength: 4,
    },
  ),
  sent: fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, fc.double({ min: 0, max: 1, noNaN: true })),
  ending: fc.constantFrom('wait', 'half-close', 'reset'),
})
type Sequence = typeof sequence extends fc.Arbitrary<infer T> ? T : never

interface Sent {
  readonly location: string
  /** What belongs to it, as far as it was announced and sent. */
  readonly body: Buffer
}

/** What goes over the wire, and what of it should be whose. */
async function written({
  requests,
  sent,
}: Sequence): Promise<{ readonly bytes: Buffer; readonly of: readonly Sent[] }> {
  const pieces: Buffer[] = []
  const places: { readonly location: string; readonly start: number; readonly length: number }[] = []
  let size = 0
  const add = (piece: Buffer): void => {
    pieces.push(piece)
    size += piece.length
  }
  for (const { size: bodyBytes, from, lie, header: wanted } of requests) {
    const { headers } = await app.ask('POST', '/v2/a/blobs/uploads/')
    const location = headers.location ?? assert.fail('no Location')
    const length = Math.max(0, bodyBytes + lie)
    const header = length === 0 ? '' : wanted // Node closes the connection of who waits to be asked for nothing
    add(Buffer.from(`PATCH ${location} HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n${header}\r\n`))
    places.push({ location, start: size, length })
    add(content.subarray(from, from + bodyBytes))
  }
  add(Buffer.from('GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'))
  const bytes = Buffer.concat(pieces).subarray(0, Math.floor(size * sent))
  return {
    bytes,
    of: places.map(({ location, start, length }) => ({ location, body: bytes.subarray(start, start + length) })),
  }
}

/** Whether it is what it says it is, to its end: only then can the server know that nothing more comes. */
const isHonest = ({ requests, sent }: Sequence): boolean =>
  sent === 1 && requests.every(({ size, lie }) => Math.max(0, size + lie) === size)

async function send(connection: RawConnection, bytes: Buffer, tried: Sequence): Promise<void> {
  const { cuts, ending } = tried
  let from = 0
  for (const { at, waitMs } of [...cuts].sort((one, other) => one.at - other.at)) {
    const to = Math.floor(at * bytes.length)
    connection.write(bytes.subarray(from, to))
    from = to
    await delay(waitMs)
  }
  connection.write(bytes.subarray(from))
  if (ending === 'half-close' || !isHonest(tried)) connection.socket.end()
  if (ending === 'reset') {
    await delay(20)
    connection.socket.resetAndDestroy()
  }
  await connection.closed
}

async function lengthOf(location: string): Promise<number> {
  const { status, headers } = await app.ask('PATCH', location.replace(/\/0$/, ''))
  assert.equal(status, 202)
  const [, end] = /^0-(\d+)$/.exec(headers.range ?? '') ?? []
  const length = Number(end) + 1
  return length === 1 && headers.location?.endsWith('/0') ? 0 : length // of nothing the range is 0-0, too
}

it('each session gets what was sent to it, and each whole request is answered, in order', async () => {
  const property = fc.asyncProperty(sequence, async (tried) => {
    const { bytes, of } = await written(tried)
    await using connection = new RawConnection(app.url)
    await send(connection, bytes, tried)
    await serverIsDone()
    const answers = [...connection.received.matchAll(/HTTP\/1\.1 (?!100)(\d+)/g)].map(([, status]) => status)
    if (isHonest(tried) && tried.ending !== 'reset') {
      assert.deepEqual(answers, [...tried.requests.map(() => '202'), '200'], connection.received)
    }
    for (const [place, { location, body }] of of.entries()) {
      const length = await lengthOf(location)
      assert.ok(length <= body.length)
      if (answers[place] === '202') assert.equal(length, body.length)
      const closed = await app.ask('PUT', `${location.replace(/\/0$/, '')}?digest=${sha256(body.subarray(0, length))}`)
      assert.equal(closed.status, 201, `${place}: ${closed.body}`)
    }
  })
  await fc.assert(property, fuzzRuns(RUNS))
})
