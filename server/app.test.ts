import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { StorageUnavailable } from '../storage/errors.ts'
import { parseDigest } from '../storage/model/digest.ts'
import type { Repository, Store } from '../storage/store.ts'
import { pushBlob, pushManifest, sha256 } from './testing/content.ts'
import { RawConnection } from './testing/raw-http.ts'
import { type ServedApp, serveApp } from './testing/served-app.ts'

let app: ServedApp
before(async () => {
  app = await serveApp()
})
after(() => app[Symbol.asyncDispose]())

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(2)
}

describe('/v2/', () => {
  it('says that this is a registry', async () => {
    for (const path of ['/v2/', '/v2']) {
      const answer = await app.ask('GET', path)
      assert.equal(answer.status, 200)
      assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0')
    }
  })
})

describe('a path', () => {
  it('is matched from the right: repositories may be called like parts of the protocol', async () => {
    const names = [
      'blobs',
      'manifests',
      'tags/list',
      'a/tags/list',
      'a/blobs/uploads',
      'uploads',
      'blobs/uploads',
      'a/manifests/v1',
      'referrers',
      'v2',
      'v2/v2',
    ]
    for (const name of names) {
      const digest = await pushBlob(app, name, name)
      assert.equal((await app.ask('GET', `/v2/${name}/blobs/${digest}`)).body.toString(), name)
      const session = await app.ask('POST', `/v2/${name}/blobs/uploads/`)
      assert.equal(
        (await app.ask('PUT', `${session.headers.location}?digest=${digest}`, { body: name })).status,
        201,
        name,
      )
      for (const tag of ['list', '5', 'uploads']) await pushManifest(app, name, tag)
      assert.deepEqual((await app.ask('GET', `/v2/${name}/tags/list`)).json(), { name, tags: ['5', 'list', 'uploads'] })
    }
  })

  it('with another verb is 405, and says which verbs there are', async () => {
    for (const [method, path, allow] of [
      ['POST', '/v2/', 'GET, HEAD'],
      ['PUT', `/v2/a/blobs/${sha256('')}`, 'GET, HEAD, DELETE'],
      ['GET', '/v2/a/blobs/uploads/', 'POST'],
      ['POST', '/v2/a/manifests/v1', 'GET, HEAD, PUT, DELETE'],
      ['OPTIONS', '/v2/a/tags/list', 'GET, HEAD'],
      ['PROPFIND', '/v2/a/tags/list', 'GET, HEAD'],
      ['POST', '/v2/a/blobs/uploads/x/0', 'PATCH, PUT, GET, HEAD, DELETE'],
    ] as const) {
      const answer = await app.ask(method, path)
      assert.equal(answer.status, 405, path)
      assert.equal(answer.headers.allow, allow)
      assert.equal(answer.errorCode(), 'UNSUPPORTED')
      assert.equal(answer.headers['content-type'], 'application/json')
    }
  })

  it('that means nothing is 404 in the same form as every error', async () => {
    for (const path of [
      '/',
      '/v1/',
      '/v2/a',
      '/v2/manifests/v1',
      '/v2/a/b/c',
      '/v2/a/manifests/',
      '/v2/a/manifests/v1/',
      '//v2/',
      '/v2//',
      '/favicon.ico',
      '*',
    ]) {
      const answer = await app.ask('GET', path)
      assert.equal(answer.status, 404, path)
      assert.equal(answer.errorCode(), 'NOT_FOUND', path)
    }
    assert.equal((await app.ask('HEAD', '/nothing')).body.length, 0)
  })

  for (const [attack, name] of [
    ['dot segments', '../../etc'],
    ['encoded dot segments', '%2e%2e/%2e%2e/etc'],
    ['encoded slashes', '..%2f..%2fetc'],
    ['doubly encoded dots', '%252e%252e/etc'],
    ['an empty component', 'a//b'],
    ['a leading slash', '/etc'],
    ['a NUL', 'a%00b'],
    ['a line break', 'a%0d%0aSet-Cookie:x'],
    ['broken percent-encoding', 'a%zzb'],
    ['percent-encoding that is no UTF-8', '%ff%fe'],
    ['upper case', 'Library/A'],
    ['a backslash', 'a%5cb'],
    ['an exclamation mark, which separates on disk', 'a!b'],
    ['a component that no disk takes', 'a'.repeat(300)],
    ['endless components', `${'a/'.repeat(1000)}a`],
  ] as const) {
    it(`with ${attack} in the name is refused as invalid, everywhere`, async () => {
      const before = await app.files()
      for (const [method, rest] of [
        ['GET', 'manifests/v1'],
        ['PUT', 'manifests/v1'],
        ['GET', 'tags/list'],
        ['GET', `blobs/${sha256('')}`],
        ['POST', 'blobs/uploads/'],
        ['GET', `referrers/${sha256('')}`],
      ] as const) {
        const answer = await app.ask(method, `/v2/${name}/${rest}`)
        assert.equal(answer.status, 400, `${rest}: ${answer.body.toString()}`)
        assert.equal(answer.errorCode(), 'NAME_INVALID')
      }
      assert.deepEqual(await app.files(), before)
    })
  }

  it('of any kind is never a 500', async () => {
    const segment = fc.oneof(
      fc.constantFrom(
        'v2',
        'a',
        'blobs',
        'manifests',
        'tags',
        'list',
        'uploads',
        'referrers',
        '_catalog',
        '..',
        '.',
        '',
        '%2e',
        '%',
        '%00',
        '0',
        sha256(''),
      ),
      fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)), maxLength: 8 }),
    )
    const path = fc.array(segment, { maxLength: 7 }).map((segments) => `/v2/${segments.join('/')}`)
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE'),
        path,
        async (method, target) => {
          const { status } = await app.ask(method, target)
          assert.ok(status < 500, `${method} ${target}: ${status}`)
        },
      ),
      { numRuns: 150 },
    )
  })
})

describe('each request', () => {
  it("has an id: the client's if it is sane, else a new one", async () => {
    const own = await app.ask('GET', '/v2/', { headers: { 'X-Request-Id': 'trace-1.2:3' } })
    assert.equal(own.headers['x-request-id'], 'trace-1.2:3')
    for (const id of ['a b', '"}', 'x'.repeat(200), '']) {
      const answer = await app.ask('GET', '/v2/', { headers: { 'X-Request-Id': id } })
      assert.match(String(answer.headers['x-request-id']), /^[0-9a-f-]{36}$/)
    }
  })

  it('is logged in one line', async () => {
    const headers = { 'X-Request-Id': 'logged', Authorization: 'Basic c2VjcmV0' }
    const body = 'hello'
    await app.ask('POST', `/v2/log/me/blobs/uploads/?digest=${sha256(body)}`, { headers, body })
    const lines = app.logged.filter(({ id }) => id === 'logged')
    assert.equal(lines.length, 1)
    const { method, path, status, bytesIn, bytesOut, durationMs, repository, finished } = lines[0] ?? {}
    assert.deepEqual(
      [method, path, status, bytesIn, repository, finished],
      ['POST', '/v2/log/me/blobs/uploads/', 201, 5, 'log/me', true],
    )
    assert.ok(Number(bytesOut) > 100 && Number(durationMs) > 0)
    assert.doesNotMatch(JSON.stringify(app.logged), /c2VjcmV0/)
  })
})

describe('a failure that nobody foresaw', () => {
  it("is answered 500 without detail, and logged with its cause under the request's id", async () => {
    await using broken = await serveApp({
      authorize: async () => {
        throw new Error('password is hunter2', { cause: new Error('deep cause') })
      },
    })
    const answer = await broken.ask('GET', '/v2/', { headers: { 'X-Request-Id': 'broken-1' } })
    assert.equal(answer.status, 500)
    assert.equal(answer.errorCode(), 'UNKNOWN')
    assert.doesNotMatch(answer.body.toString(), /hunter2|cause of/)
    assert.equal(answer.headers['x-request-id'], 'broken-1')
    assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0')
    const logged = JSON.stringify(broken.logged.find(({ id, err }) => id === 'broken-1' && err !== undefined))
    assert.match(logged, /hunter2/)
    assert.match(logged, /deep cause/)
  })
})

describe('storage that fails', () => {
  const failing =
    (fault: Partial<Repository>) =>
    (real: Store): Store => ({
      repository: (name) => Object.assign(Object.create(real.repository(name)) as Repository, fault),
      listRepositories: (page) => real.listRepositories(page),
      uploads: real.uploads,
      close: () => real.close(),
    })

  it('for want of space is 507, out of reach is 503, and both are logged', async () => {
    for (const [code, status] of [
      ['ENOSPC', 507],
      ['EIO', 503],
    ] as const) {
      const cause = Object.assign(new Error(code), { code })
      const fault = async (): Promise<never> => {
        throw new StorageUnavailable('reading', { cause })
      }
      await using broken = await serveApp({ store: failing({ readBlob: fault }) })
      const answer = await broken.ask('GET', `/v2/a/blobs/${sha256('')}`)
      assert.equal(answer.status, status)
      assert.equal(answer.errorCode(), 'UNAVAILABLE')
      assert.ok(answer.headers['retry-after'])
      assert.ok(JSON.stringify(broken.logged).includes(code))
    }
  })

  it('in the middle of a blob breaks the answer off, instead of ending it early', async () => {
    const body = Readable.from(
      (async function* () {
        yield Buffer.alloc(1000)
        throw new Error('bad sector')
      })(),
    )
    const blob = { digest: parseDigest(sha256('')), sizeBytes: 5000, aging: false }
    await using broken = await serveApp({
      store: failing({
        statBlob: async () => blob,
        readBlob: async () => ({ body, sizeBytes: 5000, range: undefined }),
      }),
    })
    await assert.rejects(broken.ask('GET', `/v2/a/blobs/${blob.digest}`), { code: 'ECONNRESET' })
    await until(() => JSON.stringify(broken.logged).includes('bad sector'))
    await until(() => broken.logged.some(({ finished }) => finished === false))
  })
})

describe('one connection', () => {
  it('gets its answer also when the client has closed its own half behind the request', async () => {
    for (const request of [
      'GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n',
      'POST /v2/half/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n',
    ]) {
      await using connection = new RawConnection(app.url)
      connection.socket.end(request)
      await connection.closed
      assert.match(connection.received, /^HTTP\/1\.1 20[02] /)
    }
  })

  it('takes request after request, also after refusals with small bodies', async () => {
    await using connection = new RawConnection(app.url)
    for (let i = 1; i <= 3; i++) {
      connection.write('PUT /v2/A/manifests/v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello')
      await connection.until(new RegExp(`(?:HTTP/1\\.1 400[\\s\\S]*?NAME_INVALID[\\s\\S]*?){${i}}`))
    }
    assert.doesNotMatch(connection.received, /Connection: close/i)
  })
})
