/**
 * The distribution specification rule by rule, against the whole application: what holds for every endpoint, and pulling.
 * The letters and numbers are ours, one for each MUST, SHOULD and MAY. `rules-push.test.ts` and `rules-manage.test.ts` go on.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { aManifest, MANIFEST_TYPE, pushBlob, pushManifest, sha256, sha512 } from './testing/content.ts'
import { exchange } from './testing/raw-http.ts'
import { type Answer, type ServedApp, serveApp } from './testing/served-app.ts'

let app: ServedApp
let blob = ''
let manifest = ''
let digest = ''

before(async () => {
  app = await serveApp()
  blob = await pushBlob(app, 'lib/image', 'some layer')
  manifest = await aManifest(app, 'lib/image')
  digest = await pushManifest(app, 'lib/image', 'v1')
})
after(() => app[Symbol.asyncDispose]())

const put = (path: string, body: string, headers: Record<string, string> = {}): Promise<Answer> =>
  app.ask('PUT', path, { body, headers: { 'Content-Type': MANIFEST_TYPE, ...headers } })

describe('every endpoint', () => {
  it('G2, G3: takes names and tags of the grammar only, and says which of the two is wrong', async () => {
    for (const name of ['a..b', 'a.', '_a', 'a/', 'a___b', 'A', `${'a/'.repeat(127)}bc`]) {
      assert.equal((await app.ask('GET', `/v2/${name}/tags/list`)).errorCode(), 'NAME_INVALID', name)
    }
    for (const name of ['a--b', 'a__b', '0', 'a.b_c-d/e', `${'a/'.repeat(127)}b`]) {
      assert.equal((await app.ask('GET', `/v2/${name}/tags/list`)).errorCode(), 'NAME_UNKNOWN', name)
    }
    for (const tag of ['.a', '-a', 'a%2Fb', 'a%00', '%2e%2e', 'a'.repeat(129), 'a+b']) {
      assert.equal((await app.ask('GET', `/v2/lib/image/manifests/${tag}`)).errorCode(), 'TAG_INVALID', tag)
    }
    for (const tag of ['_', 'A.b-c', '0', 'a'.repeat(128)]) {
      assert.equal((await app.ask('GET', `/v2/lib/image/manifests/${tag}`)).errorCode(), 'MANIFEST_UNKNOWN', tag)
    }
  })

  it('G4: knows the grammar of every digest, and says what it does not compute', async () => {
    const blake3 = `blake3:${'a'.repeat(64)}`
    for (const path of [`blobs/${blake3}`, `manifests/${blake3}`]) {
      const answer = await app.ask('GET', `/v2/lib/image/${path}`)
      assert.deepEqual([answer.status, answer.errorCode()], [400, 'DIGEST_INVALID'])
      assert.match(answer.body.toString(), /one of the algorithms sha256, sha512/)
    }
    assert.equal((await app.ask('POST', `/v2/lib/image/blobs/uploads/?digest=${blake3}`, { body: 'x' })).status, 400)
    assert.equal((await app.ask('GET', `/v2/lib/image/referrers/${blake3}`)).status, 200)
    assert.equal((await app.ask('GET', `/v2/lib/image/blobs/${digest.replace(':', '%3A')}`)).status, 404)
  })

  it('G5: answers HEAD as GET, without the body', async () => {
    const session = (await app.ask('POST', '/v2/lib/image/blobs/uploads/')).headers.location ?? ''
    for (const path of [
      '/v2/',
      '/v2/_catalog',
      '/v2/_catalog?n=1',
      '/v2/_oci/ext/discover',
      '/v2/lib/image/_oci/ext/discover',
      `/v2/lib/image/blobs/${blob}`,
      `/v2/lib/image/blobs/${sha256('absent')}`,
      '/v2/lib/image/manifests/v1',
      `/v2/lib/image/manifests/${digest}`,
      '/v2/lib/image/manifests/absent',
      '/v2/lib/image/tags/list',
      '/v2/lib/image/tags/list?n=0',
      '/v2/lib/image/tags/list?n=x',
      `/v2/lib/image/referrers/${digest}`,
      `/v2/lib/image/referrers/${digest}?artifactType=a`,
      '/v2/nowhere/tags/list',
      '/nothing',
      session,
    ]) {
      const got = await app.ask('GET', path)
      const head = await app.ask('HEAD', path)
      const comparable = ({ headers, status }: Answer): object => {
        const { date, 'x-request-id': id, 'transfer-encoding': encoding, ...same } = headers
        return { ...same, status }
      }
      assert.deepEqual(comparable(head), comparable(got), path)
      assert.equal(head.body.length, 0)
      if (got.status !== 204) assert.ok(got.headers['content-type'], path)
      assert.doesNotMatch(got.headers['content-type'] ?? '', /;/, 'no parameters')
    }
  })

  it('G6: carries the warnings of the operator: code 299, no agent, no date, quoted', async () => {
    await using warning = await serveApp({ rules: { warnings: ['moves on friday', 'say "hi" to c:\\'] } })
    for (const path of ['/v2/', '/v2/a/manifests/v1', '/v2/%ff/tags/list', '/nothing']) {
      const answer = await warning.ask('GET', path)
      assert.equal(answer.headers['warning'], '299 - "moves on friday", 299 - "say \\"hi\\" to c:\\\\"')
    }
    assert.equal((await app.ask('GET', '/v2/')).headers['warning'], undefined)
  })

  it('K1: names the version of the API, in refusals too', async () => {
    for (const path of ['/v2/', '/v2', '/v2/a/manifests/v1', '/v2/%00/tags/list', '/v2/_x/y']) {
      assert.equal((await app.ask('GET', path)).headers['docker-distribution-api-version'], 'registry/2.0', path)
    }
  })

  it('E1, E2: refuses in the envelope of the specification, with what was wrong and what would be right', async () => {
    const cases: readonly (readonly [string, string, number, string])[] = [
      ['GET', `/v2/lib/image/blobs/${sha256('absent')}`, 404, 'BLOB_UNKNOWN'],
      ['PATCH', '/v2/lib/image/blobs/uploads/x/0', 404, 'BLOB_UPLOAD_UNKNOWN'],
      ['GET', '/v2/lib/image/blobs/sha256:x', 400, 'DIGEST_INVALID'],
      ['PUT', '/v2/lib/image/manifests/v1', 400, 'MANIFEST_INVALID'],
      ['GET', '/v2/lib/image/manifests/absent', 404, 'MANIFEST_UNKNOWN'],
      ['GET', '/v2/NAME/manifests/v1', 400, 'NAME_INVALID'],
      ['GET', '/v2/nowhere/manifests/v1', 404, 'NAME_UNKNOWN'],
      ['POST', '/v2/lib/image/tags/list', 405, 'UNSUPPORTED'],
      ['GET', '/v2/lib/image/tags/list?n=-1', 400, 'PAGINATION_NUMBER_INVALID'],
      ['GET', '/v2/lib/image/_x/y', 404, 'EXTENSION_UNKNOWN'],
    ]
    for (const [method, path, status, code] of cases) {
      const answer = await app.ask(method, path)
      const { errors } = answer.json() as { errors: { code: string; message: string; detail: object }[] }
      assert.deepEqual([answer.status, errors[0]?.code], [status, code], path)
      assert.ok(errors[0]?.message && errors[0].detail, path)
      assert.equal(answer.headers['content-type'], 'application/json')
    }
  })

  it('X1: takes ns, which mirrors are asked with, for what it is to a registry that is no mirror: nothing', async () => {
    for (const path of ['manifests/v1', `blobs/${blob}`, 'tags/list']) {
      const answer = await app.ask('GET', `/v2/lib/image/${path}?ns=docker.io`)
      assert.deepEqual([answer.status, answer.headers['oci-namespace']], [200, undefined])
    }
  })

  it('Z1: tells which extensions there are, and refuses the others as unknown', async () => {
    for (const path of ['/v2/_oci/ext/discover', '/v2/lib/image/_oci/ext/discover']) {
      const answer = await app.ask('GET', path)
      assert.deepEqual([answer.status, answer.json()], [200, { extensions: [] }])
    }
    assert.equal((await app.ask('GET', '/v2/nowhere/_oci/ext/discover')).errorCode(), 'NAME_UNKNOWN')
    for (const path of ['/v2/_zot/ext/search', '/v2/lib/image/_oci/tag-history/v1', '/v2/_oci/ext', '/v2/_']) {
      assert.equal((await app.ask('GET', path)).status, 404)
      if (path !== '/v2/_') assert.equal((await app.ask('GET', path)).errorCode(), 'EXTENSION_UNKNOWN', path)
    }
  })

  it('reads paths as they are sent: what a client would have normalised means nothing, and %2F is the slash of a name', async () => {
    const ask = async (target: string): Promise<string> =>
      await exchange(app.url, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    for (const [target, status, code] of [
      ['/v2/lib/image/../image/tags/list', 400, 'NAME_INVALID'],
      ['/v2/lib/./image/tags/list', 400, 'NAME_INVALID'],
      ['/v2/lib//image/tags/list', 400, 'NAME_INVALID'],
      ['/v2//lib/image/tags/list', 400, 'NAME_INVALID'],
      ['//v2/lib/image/tags/list', 404, 'NOT_FOUND'],
      ['/v2/lib/image/tags/list/', 404, 'NOT_FOUND'],
      ['/v2/lib/image/tags//list', 404, 'NOT_FOUND'],
      ['/v2/lib/image/manifests/..', 400, 'TAG_INVALID'],
      ['/v2/lib/image/manifests/%2e%2e%2f%2e%2e', 400, 'TAG_INVALID'],
      ['/v2/lib/image/manifests/v1%00', 400, 'TAG_INVALID'],
      ['/v2/lib/image/blobs/..%2f..%2fgantry.json', 400, 'DIGEST_INVALID'],
      ['/v2/lib/image/blobs/uploads/..%2f..', 404, 'BLOB_UPLOAD_UNKNOWN'],
      ['/v2/lib%5c..%5cimage/tags/list', 400, 'NAME_INVALID'],
      [`/v2/${'a'.repeat(256)}/tags/list`, 400, 'NAME_INVALID'],
      [`/v2/${'a/'.repeat(4000)}a/tags/list`, 400, 'NAME_INVALID'],
      ['/V2/lib/image/tags/list', 404, 'NOT_FOUND'],
    ] as const) {
      const answer = await ask(target)
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*"code":"${code}"`), `${target}: ${answer}`)
    }
    for (const target of ['http://elsewhere/v2/lib/image/tags/list', 'HTTPS://a:b@c:99999/v2/lib/image/tags/list#x']) {
      assert.match(await ask(target), /"name":"lib\/image"/)
    }
    for (const target of ['http://%ff@a', 'http://a?x=%ED%A0%80', 'ftp://%ff@b/v2/', 'http://[::1/', '*', '/#%ff']) {
      assert.match(await ask(target), /^HTTP\/1\.1 404 /, target)
    }
    assert.match(await ask('/v2/lib%2Fimage/tags/list'), /"name":"lib\/image"/)
    assert.match(await ask('/v2/a\0b/tags/list'), /^HTTP\/1\.1 400 /)
  })

  it('keeps a repository apart from the words of the protocol in its name', async () => {
    for (const name of [
      'tags/list',
      'blobs/uploads',
      'manifests/v1',
      `blobs/${'a'.repeat(64)}`,
      'referrers',
      'uploads/x/0',
    ]) {
      const pushed = await pushManifest(app, name, 'list')
      assert.equal((await app.ask('GET', `/v2/${name}/manifests/list`)).headers['docker-content-digest'], pushed)
      assert.deepEqual((await app.ask('GET', `/v2/${name}/tags/list`)).json(), { name, tags: ['list'] })
      assert.equal((await app.ask('GET', `/v2/${name}/referrers/${pushed}`)).status, 200)
      const session = (await app.ask('POST', `/v2/${name}/blobs/uploads/`)).headers.location ?? ''
      assert.equal((await app.ask('GET', session)).status, 204)
      assert.equal((await app.ask('DELETE', session)).status, 204)
    }
  })

  it('reads, and refuses to write, when the registry is read-only; a mount, a session and a HEAD write nothing either', async () => {
    let writing = ''
    await using frozen = await serveApp({
      rules: { readonly: true },
      authorize: async (_, right) => {
        if (right === 'push' || right === 'delete') writing = right // nobody is asked about rights that nobody has
      },
    })
    const files = await frozen.files()
    const id = '01900000-0000-7000-8000-000000000000'
    for (const [method, path, allow] of [
      ['PUT', 'manifests/v1', 'GET, HEAD'],
      ['DELETE', 'manifests/v1', 'GET, HEAD'],
      ['DELETE', `blobs/${blob}`, 'GET, HEAD'],
      ['POST', 'blobs/uploads/', ''],
      ['POST', `blobs/uploads/?mount=${blob}&from=b`, ''],
      ['PATCH', `blobs/uploads/${id}/0`, ''],
      ['GET', `blobs/uploads/${id}/0`, ''],
    ] as const) {
      const answer = await frozen.ask(method, `/v2/lib/image/${path}`, method === 'PUT' ? { body: manifest } : {})
      assert.deepEqual([answer.status, answer.errorCode(), answer.headers.allow], [405, 'UNSUPPORTED', allow], path)
      assert.match(answer.body.toString(), /read-only/)
    }
    assert.equal((await frozen.ask('GET', '/v2/')).status, 200)
    assert.equal((await frozen.ask('GET', '/v2/_catalog')).status, 200)
    assert.equal((await frozen.ask('HEAD', `/v2/lib/image/blobs/${blob}`)).status, 404)
    assert.deepEqual(await frozen.files(), files)
    assert.equal(writing, '')
  })
})

describe('a pull', () => {
  it('P1, P2, P3, P7: gives a manifest as it was pushed, whatever the client accepts', async () => {
    const { mediaType: _, ...untyped } = JSON.parse(manifest) as Record<string, unknown>
    const bytes = `${JSON.stringify(untyped)}\n`
    for (const [name, type] of [
      ['types/oci', MANIFEST_TYPE],
      ['types/docker', 'application/vnd.docker.distribution.manifest.v2+json'],
    ] as const) {
      await pushBlob(app, name, '{}')
      const path = `/v2/${name}/manifests/v1`
      assert.equal((await put(path, bytes, { 'Content-Type': `${type}; charset=utf-8` })).status, 201)
      for (const accept of [
        '',
        '*/*',
        'application/json',
        'text/html;q=0.5',
        'application/vnd.oci.image.index.v1+json',
      ]) {
        const got = await app.ask('GET', path, { headers: accept === '' ? {} : { Accept: accept } })
        assert.deepEqual([got.status, got.body.toString()], [200, bytes])
        assert.deepEqual([got.headers['content-type'], got.headers['docker-content-digest']], [type, sha256(bytes)])
      }
    }
  })

  it('P2: names the digest that was asked for, in its own algorithm', async () => {
    for (const [wanted, content] of [
      [sha512(manifest), manifest],
      [sha256(manifest), manifest],
    ] as const) {
      await put(`/v2/lib/image/manifests/${wanted}`, content)
      const got = await app.ask('GET', `/v2/lib/image/manifests/${wanted}`)
      assert.deepEqual([got.headers['docker-content-digest'], got.headers['etag']], [wanted, `"${wanted}"`])
    }
  })

  it('P4, P5, P6: gives a blob, its ranges and its size', async () => {
    const path = `/v2/lib/image/blobs/${blob}`
    const whole = await app.ask('GET', path)
    assert.deepEqual(
      [whole.status, whole.body.toString(), whole.headers['accept-ranges']],
      [200, 'some layer', 'bytes'],
    )
    for (const [range, status, content] of [
      ['bytes=0-3', 206, 'some'],
      ['bytes=5-', 206, 'layer'],
      ['bytes=-5', 206, 'layer'],
      ['bytes=5-1000', 206, 'layer'],
      ['bytes=3-1', 416, undefined],
      ['bytes=10-20', 416, undefined],
      ['bytes=0-0,2-3', 200, 'some layer'],
      ['pages=1-2', 200, 'some layer'],
    ] as const) {
      const part = await app.ask('GET', path, { headers: { Range: range } })
      assert.equal(part.status, status, range)
      if (content !== undefined) assert.equal(part.body.toString(), content)
      else assert.equal(part.headers['content-range'], 'bytes */10')
    }
    const absent = await app.ask('HEAD', `/v2/lib/image/blobs/${sha256('absent')}`)
    assert.equal(absent.status, 404)
  })

  it('is conditional: 304 while the tag is the same, 412 when it is not what the client wants', async () => {
    const ask = (headers: Record<string, string>): Promise<Answer> =>
      app.ask('GET', '/v2/lib/image/manifests/v1', { headers })
    const etag = (await ask({})).headers['etag'] ?? ''
    assert.equal(etag, `"${digest}"`)
    for (const list of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const same = await ask({ 'If-None-Match': list })
      assert.deepEqual([same.status, same.body.length, same.headers['etag']], [304, 0, etag], list)
      assert.equal((await ask({ 'If-Match': list })).status, 200)
    }
    assert.equal((await ask({ 'If-None-Match': '"x"' })).status, 200)
    assert.equal((await ask({ 'If-Match': '"x"' })).errorCode(), 'PRECONDITION_FAILED')
  })

  it('M8, E2: of what is not there says whether the repository or the manifest is unknown', async () => {
    assert.equal((await app.ask('GET', '/v2/nowhere/manifests/v1')).errorCode(), 'NAME_UNKNOWN')
    assert.equal((await app.ask('GET', `/v2/nowhere/manifests/${digest}`)).errorCode(), 'NAME_UNKNOWN')
    assert.equal((await app.ask('GET', `/v2/lib/image/manifests/${sha256('absent')}`)).errorCode(), 'MANIFEST_UNKNOWN')
  })
})
