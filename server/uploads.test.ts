import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { pushBlob, sha256, sha512, someBytes } from './testing/content.ts'
import { exchange, RawConnection } from './testing/raw-http.ts'
import { type Answer, type ServedApp, serveApp } from './testing/served-app.ts'

let app: ServedApp
before(async () => {
  app = await serveApp()
})
after(() => app[Symbol.asyncDispose]())

const locationOf = (answer: Answer): string => answer.headers.location ?? assert.fail('no Location')

async function startSession(name = 'a', query = ''): Promise<string> {
  const answer = await app.ask('POST', `/v2/${name}/blobs/uploads/${query}`)
  assert.equal(answer.status, 202)
  assert.equal(answer.headers.range, '0-0')
  assert.match(locationOf(answer), new RegExp(`^/v2/${name}/blobs/uploads/[0-9a-f-]{36}/0$`))
  assert.ok(locationOf(answer).includes(String(answer.headers['docker-upload-uuid'])))
  return locationOf(answer)
}

const patch = (location: string, body: Uint8Array | string, headers: Record<string, string> = {}): Promise<Answer> =>
  app.ask('PATCH', location, { body, headers })
const finish = (
  location: string,
  digest: string,
  body?: Uint8Array | string,
  headers: Record<string, string> = {},
): Promise<Answer> =>
  app.ask('PUT', `${location}?digest=${digest}`, { headers, ...(body === undefined ? {} : { body }) })

async function assertPulls(answer: Answer, content: Uint8Array | string): Promise<void> {
  assert.equal(answer.status, 201, answer.body.toString())
  const got = await app.ask('GET', locationOf(answer))
  assert.equal(got.status, 200)
  assert.deepEqual(got.body, Buffer.from(content))
  assert.equal(got.headers['docker-content-digest'], answer.headers['docker-content-digest'])
}

describe('a blob can be pushed', () => {
  const content = someBytes(100_000)
  const digest = sha256(content)

  it('in one POST', async () => {
    await assertPulls(await app.ask('POST', `/v2/post/blobs/uploads/?digest=${digest}`, { body: content }), content)
  })
  it('by POST and PUT', async () => {
    await assertPulls(await finish(await startSession('put'), digest, content), content)
  })
  it('by POST, one chunked PATCH without length, and an empty PUT, as docker does', async () => {
    const appended = await patch(await startSession('stream'), content, { 'Transfer-Encoding': 'chunked' })
    assert.equal(appended.status, 202)
    assert.equal(appended.headers.range, '0-99999')
    await assertPulls(await finish(locationOf(appended), digest), content)
  })
  it('in chunks, the last of them with the PUT', async () => {
    let location = await startSession('chunks')
    for (let start = 0; start < 80_000; start += 40_000) {
      const answer = await patch(location, content.subarray(start, start + 40_000), {
        'Content-Range': `${start}-${start + 39_999}`,
      })
      assert.equal(answer.status, 202, answer.body.toString())
      location = locationOf(answer)
    }
    await assertPulls(
      await finish(location, digest, content.subarray(80_000), { 'Content-Range': '80000-99999' }),
      content,
    )
  })
  it('empty, in every way', async () => {
    const empty = sha256('')
    await assertPulls(await app.ask('POST', `/v2/empty/blobs/uploads/?digest=${empty}`, { body: '' }), '')
    await assertPulls(await finish(await startSession('empty'), empty), '')
    await assertPulls(await finish(locationOf(await patch(await startSession('empty'), '')), empty, ''), '')
    const streamed = await patch(await startSession('empty'), '', { 'Transfer-Encoding': 'chunked' })
    await assertPulls(await finish(locationOf(streamed), empty), '')
  })
  it('under its sha512, announced or not', async () => {
    const strong = sha512(content)
    await assertPulls(await app.ask('POST', `/v2/strong/blobs/uploads/?digest=${strong}`, { body: content }), content)
    await assertPulls(await finish(await startSession('strong1', '?digest-algorithm=sha512'), strong, content), content)
    await assertPulls(await finish(await startSession('strong2'), strong, content), content)
  })
  it('by a mount, with and without naming the source', async () => {
    const digest = await pushBlob(app, 'source', 'mounted')
    await assertPulls(await app.ask('POST', `/v2/mount1/blobs/uploads/?mount=${digest}&from=source`), 'mounted')
    await assertPulls(await app.ask('POST', `/v2/mount2/blobs/uploads/?mount=${digest}`), 'mounted')
  })
  it('after a mount that found nothing, in the session that came instead', async () => {
    const answer = await app.ask('POST', `/v2/mount3/blobs/uploads/?mount=${sha256('elsewhere')}&from=source`)
    assert.equal(answer.status, 202)
    await assertPulls(await finish(locationOf(answer), sha256('elsewhere'), 'elsewhere'), 'elsewhere')
  })
})

describe('a mount', () => {
  it('from where the caller may not pull is an ordinary upload', async () => {
    const { RegistryError } = await import('./errors.ts')
    await using guarded = await serveApp({
      authorize: async (_, right, name) => {
        if (['pull', 'mount'].includes(right) && name === 'secret') throw new RegistryError('denied')
      },
    })
    const digest = await pushBlob(guarded, 'secret', 'hidden')
    for (const query of [`mount=${digest}&from=secret`, `mount=${digest}`]) {
      const answer = await guarded.ask('POST', `/v2/mine/blobs/uploads/?${query}`)
      assert.equal(answer.status, 202)
      assert.equal((await guarded.ask('HEAD', `/v2/mine/blobs/${digest}`)).status, 404)
    }
    await pushBlob(guarded, 'shared', 'hidden')
    assert.equal((await guarded.ask('POST', `/v2/mine/blobs/uploads/?mount=${digest}`)).status, 201, 'one may be read')
  })
})

describe('a chunk in the wrong place', () => {
  it('is 416 with Location and Range, and the session goes on', async () => {
    const content = someBytes(3000)
    const first = await startSession('order')
    const early = await patch(first, content.subarray(1024, 2048), { 'Content-Range': '1024-2047' })
    assert.equal(early.status, 416)
    assert.equal(early.errorCode(), 'BLOB_UPLOAD_INVALID')
    assert.equal(early.headers.range, '0-0')

    const begun = await patch(locationOf(early), content.subarray(0, 1024), { 'Content-Range': '0-1023' })
    assert.equal(begun.status, 202)
    const again = await patch(locationOf(begun), content.subarray(0, 1024), { 'Content-Range': '0-1023' })
    assert.equal(again.status, 416)
    assert.equal(again.headers.range, '0-1023')
    const gap = await finish(locationOf(begun), sha256(content), content.subarray(2048), {
      'Content-Range': '2048-2999',
    })
    assert.equal(gap.status, 416)
    await assertPulls(
      await finish(locationOf(gap), sha256(content), content.subarray(1024), { 'Content-Range': '1024-2999' }),
      content,
    )
  })

  it('is noticed by the Location alone when there is no Content-Range', async () => {
    const first = await startSession('order')
    const second = locationOf(await patch(first, 'abc'))
    assert.equal((await patch(first, 'abc')).status, 416)
    assert.equal((await finish(first, sha256('abcabc'), 'abc')).status, 416)
    assert.equal((await patch(first, 'def', { 'Content-Range': '3-5' })).status, 202, 'a matching Content-Range wins')
    assert.equal((await app.ask('GET', first)).headers.range, '0-5')
    assert.equal((await patch(second, 'x')).status, 416)
    await assertPulls(await finish(first, sha256('abcdef')), 'abcdef')
  })

  it('is 400 when its Content-Range is malformed or does not fit its length', async () => {
    const location = await startSession('order')
    assert.equal((await patch(location, 'abc', { 'Content-Range': '2-1' })).errorCode(), 'BLOB_UPLOAD_INVALID')
    const misfit = await patch(location, 'abc', { 'Content-Range': '0-9' })
    assert.equal(misfit.status, 400)
    assert.equal(misfit.errorCode(), 'SIZE_INVALID')
    assert.equal((await app.ask('GET', location)).headers.range, '0-0')
  })

  it('is SIZE_INVALID when it is longer or shorter than it said', async () => {
    for (const body of ['abcdef', 'ab']) {
      const location = await startSession('order')
      const answer = await patch(location, body, { 'Content-Range': '0-3', 'Transfer-Encoding': 'chunked' })
      assert.equal(answer.status, 400, body)
      assert.equal(answer.errorCode(), 'SIZE_INVALID')
    }
  })
})

describe('an upload session', () => {
  it('says how far it is, and is gone after a cancel', async () => {
    const location = await startSession()
    const next = locationOf(await patch(location, 'abc'))
    const status = await app.ask('GET', location)
    assert.deepEqual([status.status, status.headers.range, status.headers.location], [204, '0-2', next])
    assert.equal((await app.ask('DELETE', location)).status, 204)
    for (const [method, body] of [['GET'], ['DELETE'], ['PATCH', 'x']] as const) {
      const answer = await app.ask(method, next, body === undefined ? {} : { body })
      assert.equal(answer.status, 404)
      assert.equal(answer.errorCode(), 'BLOB_UPLOAD_UNKNOWN')
    }
  })

  it('is unknown to other repositories', async () => {
    const location = await startSession('mine')
    const answer = await app.ask('GET', location.replace('/mine/', '/yours/'))
    assert.equal(answer.errorCode(), 'BLOB_UPLOAD_UNKNOWN')
  })

  it('is unknown when its id is not one', async () => {
    for (const id of ['x', '../../etc', '%2e%2e', '00000000-0000-0000-0000-000000000000', 'a'.repeat(300)]) {
      const answer = await app.ask('GET', `/v2/a/blobs/uploads/${id}/0`)
      assert.equal(answer.status, 404, id)
    }
  })

  it('keeps what arrived when the client goes away, and takes the rest', async () => {
    const content = someBytes(600_000)
    const location = await startSession('broken')
    await using connection = new RawConnection(app.url)
    connection.write(`PATCH ${location} HTTP/1.1\r\nHost: a\r\nContent-Length: ${content.length}\r\n\r\n`)
    connection.write(content.subarray(0, 400_000))
    await new Promise<void>((resolve) => connection.socket.end(resolve))
    await connection.closed

    let offset = 0
    while (offset <= 1) offset = Number(/-(\d+)$/.exec((await app.ask('GET', location)).headers.range ?? '')?.[1]) + 1
    assert.equal(offset, 400_000)
    const status = await app.ask('GET', location)
    await assertPulls(await finish(locationOf(status), sha256(content), content.subarray(offset)), content)
  })

  it('repeats its success when the closing PUT is repeated', async () => {
    const location = await startSession()
    assert.equal((await finish(location, sha256('twice'), 'twice')).status, 201)
    assert.equal((await finish(location, sha256('twice'))).status, 201)
  })
})

describe('content that is not what its digest says', () => {
  it('is refused in every way, cannot be pulled, and leaves nothing', async () => {
    await using fresh = await serveApp()
    const before = await fresh.files()
    const wrong = sha256('something else')
    const start = async (): Promise<string> => locationOf(await fresh.ask('POST', '/v2/a/blobs/uploads/'))
    const patched = await fresh.ask('PATCH', await start(), { body: 'content' })
    const answers = [
      await fresh.ask('POST', `/v2/a/blobs/uploads/?digest=${wrong}`, { body: 'content' }),
      await fresh.ask('PUT', `${await start()}?digest=${wrong}`, { body: 'content' }),
      await fresh.ask('PUT', `${locationOf(patched)}?digest=${wrong}`),
    ]
    for (const answer of answers) {
      assert.equal(answer.status, 400)
      assert.equal(answer.errorCode(), 'DIGEST_INVALID')
      assert.ok(answer.body.includes(wrong), 'the refusal names the digest')
    }
    for (const digest of [wrong, sha256('content')])
      assert.equal((await fresh.ask('HEAD', `/v2/a/blobs/${digest}`)).status, 404)
    const left = (await fresh.files()).filter((file) => !before.includes(file) && !file.endsWith('/state'))
    assert.deepEqual(left, [])
  })
  it('is refused when the digest is missing, malformed, or of an algorithm that nobody has', async () => {
    const location = await startSession()
    for (const query of ['', '?digest=', '?digest=sha256:baddigeststring', `?digest=whirlpool:${'0'.repeat(64)}`]) {
      const answer = await app.ask('PUT', location + query)
      assert.equal(answer.status, 400, query)
      assert.equal(answer.errorCode(), 'DIGEST_INVALID', query)
    }
    assert.equal((await app.ask('POST', '/v2/a/blobs/uploads/?digest-algorithm=rot13')).status, 400)
    assert.equal((await app.ask('GET', location)).status, 204, 'the session survives')
  })
})

describe('a body that is not wanted', () => {
  it('does not hide the answer, although the client is still sending, and is not read to its end', async () => {
    await using connection = new RawConnection(app.url)
    connection.write('PUT /v2/a/blobs/uploads/x/0?digest=bad HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n')
    const piece = Buffer.alloc(256 * 1024)
    while (!connection.socket.destroyed && connection.socket.bytesWritten < 64 * 1024 * 1024) {
      if (!connection.socket.write(piece)) {
        await Promise.race([new Promise((resolve) => connection.socket.once('drain', resolve)), connection.closed])
      }
    }
    assert.match(connection.received, /^HTTP\/1\.1 404 [\s\S]*Connection: close[\s\S]*BLOB_UPLOAD_UNKNOWN/i)
    assert.ok(connection.socket.bytesWritten < 32 * 1024 * 1024)
  })

  it('does not hide the answer either when it is short, comes late, and the connection is not to be kept', async () => {
    const location = await startSession()
    await using connection = new RawConnection(app.url)
    connection.socket.pause() // as a proxy that sends first and looks for the answer then
    const headers = 'Host: a\r\nConnection: close\r\nContent-Range: 5000-5003\r\nContent-Length: 4\r\n\r\n'
    connection.write(`PATCH ${location} HTTP/1.1\r\n${headers}`)
    for (const piece of ['ab', 'cd']) {
      await delay(50) // the answer is out before the first piece, and a reset would be back before the second
      connection.write(piece)
    }
    await delay(50)
    connection.socket.resume()
    await connection.until(/^HTTP\/1\.1 416 [\s\S]*Connection: close/i)
    await connection.closed
    assert.equal(connection.socket.errored, null)
  })

  it('is refused before it is sent, when the client asks first', async () => {
    const expecting = 'Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n'
    const refused = await exchange(app.url, `PUT /v2/a/blobs/uploads/x/0?digest=bad HTTP/1.1\r\n${expecting}`)
    assert.match(refused, /^HTTP\/1\.1 404 /)

    await using connection = new RawConnection(app.url)
    connection.write(`POST /v2/a/blobs/uploads/?digest=${sha256('hello')} HTTP/1.1\r\n${expecting}`)
    await connection.until(/^HTTP\/1\.1 100 Continue/)
    connection.write('hello')
    await connection.until(/HTTP\/1\.1 201 Created/)
  })

  it('that breaks its own framing is refused, and the session keeps what came before', async () => {
    const location = await startSession('framing')
    await using connection = new RawConnection(app.url)
    connection.write(`PATCH ${location} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`)
    await delay(100) // what arrives together with the garbage may go down with it
    connection.write('nonsense\r\n')
    await connection.until(/^HTTP\/1\.1 400 /)
    let range = ''
    while (range !== '0-2') range = (await app.ask('GET', location)).headers.range ?? ''
  })
})
