/**
 * Requests of every kind through a real socket: whatever is sent, it is answered in the protocol's words or the connection ends; nothing is
 * a 500, nothing hangs, and the server goes on.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { fuzzRuns, hostileText } from '../storage/testing/fuzz.ts'
import { aManifest, MANIFEST_TYPE, pushBlob, pushManifest, sha256, sha512 } from './testing/content.ts'
import { RawConnection } from './testing/raw-http.ts'
import { type ServedApp, serveApp } from './testing/served-app.ts'

const RUNS = 250
/** pino's */
const ERROR_LEVEL = 50
/** Of one case; far more than any of them needs. */
const HANGS_AFTER_MS = 30_000

let app: ServedApp
/** Things that exist, to be named by requests; `Sn` stands for a session, which requests use up. */
let manifest = ''
let session = ''
const known: string[] = []

before(async () => {
  app = await serveApp()
  manifest = await aManifest(app, 'a')
  known.push(
    await pushBlob(app, 'a', 'content'),
    await pushManifest(app, 'a', 'v1'),
    sha256(manifest),
    sha512(manifest),
  )
})
after(() => app[Symbol.asyncDispose]())

async function aSession(): Promise<string> {
  const alive = session !== '' && (await app.ask('GET', session)).status === 204
  if (!alive) session = (await app.ask('POST', '/v2/a/blobs/uploads/')).headers.location ?? ''
  return session
}

/** Printable, so that it can stand in a request line or a header as it is. */
const printable = (text: string): string => text.replaceAll(/[^\x21-\x7e]/g, encodeURIComponentOr)
const encodeURIComponentOr = (character: string): string => {
  try {
    return encodeURIComponent(character)
  } catch {
    return '%ED%A0%80'
  }
}

const text = hostileText('a', 'v1', 'sha256:', 'latest', 'a/b', '5', '..;', '?', '&', '#', 'blobs', 'manifests').map(
  printable,
)
const shortText = text.map((whole) => whole.slice(0, 300))
const digest = fc.oneof(
  { weight: 3, arbitrary: fc.nat(3).map((place) => `K${place}`) },
  fc.constantFrom(sha256('absent'), 'sha256:short', `blake3:${'a'.repeat(64)}`),
  shortText,
)
const name = fc.oneof(
  { weight: 4, arbitrary: fc.constant('a') },
  fc.constantFrom('a/b', 'blobs', 'manifests/v1', 'tags/list', 'a/blobs/uploads', 'referrers', '%61', '_oci/ext'),
  shortText,
)
const path = fc.oneof(
  fc
    .tuple(name, fc.constantFrom('blobs', 'manifests', 'referrers', 'blobs/uploads'), digest)
    .map((parts) => `/v2/${parts.join('/')}`),
  fc
    .tuple(name, fc.constantFrom('manifests/v1', 'tags/list', 'blobs/uploads/', '_oci/ext/discover'))
    .map((parts) => `/v2/${parts.join('/')}`),
  fc.constantFrom('/v2/', '/v2', '/v2/_catalog', '/', '*', 'Sn', 'Sn/x', 'http://elsewhere/v2/'),
  fc.array(shortText, { maxLength: 6 }).map((parts) => `/${parts.join('/')}`),
  text,
)
const parameter = fc.tuple(
  fc.constantFrom('n', 'last', 'digest', 'mount', 'from', 'tag', 'digest-algorithm', 'artifactType', 'ns', 'state'),
  fc.oneof(digest, shortText, fc.constantFrom('5', '-1', 'a', 'sha512')),
)
const query = fc.array(parameter, { maxLength: 4 }).map((pairs) => pairs.map((pair) => pair.join('=')).join('&'))
const header = fc.tuple(
  fc.constantFrom(
    'Range',
    'Content-Range',
    'If-Match',
    'If-None-Match',
    'If-Range',
    'Content-Type',
    'Accept',
    'Expect',
    'X-Request-Id',
    'Accept-Encoding',
    'Authorization',
    'Upgrade',
  ),
  fc.oneof(shortText, fc.constantFrom('bytes=0-1', '0-6', '*', '"x"', MANIFEST_TYPE, '100-continue', 'Bearer x')),
)
const body = fc.oneof(
  fc.constant(undefined),
  fc.constantFrom('', 'content', 'M'),
  fc.json({ maxDepth: 3 }),
  fc.string({ unit: 'binary', maxLength: 2000 }),
)
const request = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'),
  path,
  query,
  headers: fc.array(header, { maxLength: 4 }),
  body,
  chunked: fc.boolean(),
})

type Asked = typeof request extends fc.Arbitrary<infer T> ? T : never

async function printed({ method, path, query, headers, body, chunked }: Asked): Promise<Buffer> {
  const target = (path + (query === '' ? '' : `?${query}`))
    .replaceAll(/K([0-3])/g, (_, place: string) => known[Number(place)] ?? '')
    .replace('Sn', path.startsWith('Sn') ? await aSession() : 'Sn')
  const content = Buffer.from(body === 'M' ? manifest : (body ?? ''))
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'Host: registry',
    ...headers.map(([field, value]) => `${field}: ${value}`),
    ...(body === undefined ? [] : [chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${content.length}`]),
    'Connection: close',
  ]
  const framed = chunked
    ? [
        Buffer.from(`${content.length.toString(16)}\r\n`),
        content,
        Buffer.from(content.length > 0 ? '\r\n0\r\n\r\n' : '\r\n'),
      ]
    : [content]
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), ...(body === undefined ? [] : framed)])
}

/** Everything that comes back until the connection ends, which it must. */
async function answerTo(bytes: Uint8Array, halfClose: boolean): Promise<string> {
  await using connection = new RawConnection(app.url)
  connection.write(bytes)
  if (halfClose) connection.socket.end()
  const stop = new AbortController()
  const hangs = delay(HANGS_AFTER_MS, 'hangs', { signal: stop.signal }).catch(() => 'over')
  const outcome = await Promise.race([connection.closed, hangs])
  stop.abort()
  assert.notEqual(outcome, 'hangs', `no end after: ${connection.received.slice(0, 500)}`)
  return connection.received
}

function assertNothingFailed(): void {
  const failures = app.logged
    .splice(0)
    .filter(({ level, status }) => Number(level) >= ERROR_LEVEL || Number(status) >= 500)
  assert.deepEqual(failures, [])
}

describe('any request', () => {
  it('that is well-formed is answered, and a refusal has its code in the envelope', async () => {
    const property = fc.asyncProperty(request, async (asked) => {
      const answer = await answerTo(await printed(asked), false)
      const [head = '', ...rest] = answer.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '').split('\r\n\r\n')
      const status = Number(/^HTTP\/1\.1 ([0-9]{3}) /.exec(head)?.[1])
      assert.ok(status >= 200 && status < 500, answer.slice(0, 500))
      assert.match(head, /^docker-distribution-api-version: registry\/2\.0$/im)
      if (status >= 400 && asked.method !== 'HEAD') {
        const { errors } = JSON.parse(rest.join('\r\n\r\n')) as { errors: { code: string }[] }
        for (const { code } of errors) assert.match(code, /^[A-Z_]+$/)
        assert.ok(errors.length > 0)
      }
      assertNothingFailed()
    })
    await fc.assert(property, fuzzRuns(RUNS))
  })

  it('that is broken in any place ends its connection and nothing else', async () => {
    const damage = fc.array(
      fc.tuple(fc.nat(600), fc.constantFrom('', '\r\n', '\0', ' ', ':', '\r\n\r\n', '\x80', '0', '-')),
      { maxLength: 5 },
    )
    const property = fc.asyncProperty(request, damage, fc.nat(600), fc.boolean(), async (asked, places, end, cut) => {
      let bytes = (await printed(asked)).toString('latin1')
      for (const [place, inserted] of places) bytes = bytes.slice(0, place) + inserted + bytes.slice(place + 1)
      const answer = await answerTo(Buffer.from(cut ? bytes.slice(0, end) : bytes, 'latin1'), true)
      assert.ok(answer === '' || /^HTTP\/1\.1 [1-4][0-9]{2} /.test(answer), answer.slice(0, 500))
      assertNothingFailed()
    })
    await fc.assert(property, fuzzRuns(RUNS))
    assert.equal((await app.ask('GET', '/v2/')).status, 200)
  })
})
