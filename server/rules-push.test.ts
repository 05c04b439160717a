/** The distribution specification rule by rule: pushing blobs and manifests (see `rules.test.ts`). */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { StorageUnavailable } from '../storage/errors.ts'
import type { ReferencePolicy } from '../storage/repository.ts'
import type { Store } from '../storage/store.ts'
import { MOST_TAGS } from './manifests.ts'
import { aManifest, MANIFEST_TYPE, pushBlob, pushManifest, sha256, sha512, someBytes } from './testing/content.ts'
import { exchange } from './testing/raw-http.ts'
import { type Answer, type ServedApp, serveApp } from './testing/served-app.ts'

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const DOCKER_TYPE = 'application/vnd.docker.distribution.manifest.v2+json'
const LIST_TYPE = 'application/vnd.docker.distribution.manifest.list.v2+json'

let app: ServedApp
before(async () => {
  app = await serveApp()
})
after(() => app[Symbol.asyncDispose]())

const put = (path: string, body: string, headers: Record<string, string> = {}): Promise<Answer> =>
  app.ask('PUT', `/v2/${path}`, { body, headers: { 'Content-Type': MANIFEST_TYPE, ...headers } })
const locationOf = ({ headers }: Answer): string => headers.location ?? assert.fail('no Location')
const start = async (name: string): Promise<string> => locationOf(await app.ask('POST', `/v2/${name}/blobs/uploads/`))

describe('a push of a blob', () => {
  it('B1, K2: begins with a session of its own, whose answers docker can read', async () => {
    const answers = await Promise.all([1, 2].map(() => app.ask('POST', '/v2/push/blobs/uploads/')))
    const ids = answers.map(({ status, headers }) => {
      assert.equal(status, 202)
      const id = String(headers['docker-upload-uuid'])
      assert.match(id, /^[0-9a-f-]{36}$/)
      assert.ok(headers.location?.includes(id))
      assert.match(String(headers['range']), /^0-[0-9]+$/)
      return id
    })
    assert.equal(new Set(ids).size, 2)
    assert.equal(answers[0]?.headers['oci-chunk-min-length'], undefined, 'B4: a chunk may have any length')
  })

  it('B2, B3, B11: ends with a Location that can be pulled, and its digest', async () => {
    const content = someBytes(2_000)
    const digest = sha256(content)
    const ended = [
      await app.ask('POST', `/v2/ends/a/blobs/uploads/?digest=${digest}`, { body: content }),
      await app.ask('PUT', `${await start('ends/b')}?digest=${digest}`, { body: content }),
      await app.ask('POST', `/v2/ends/c/blobs/uploads/?mount=${digest}&from=ends/a`),
      await app.ask('POST', `/v2/ends/d/blobs/uploads/?mount=${digest}`),
      await app.ask('POST', `/v2/ends/e/blobs/uploads/?mount=${digest}&from=`),
    ]
    for (const answer of ended) {
      assert.deepEqual([answer.status, answer.headers['docker-content-digest']], [201, digest])
      assert.deepEqual((await app.ask('GET', locationOf(answer))).body, content)
    }
  })

  it('B4, B5: comes in chunks of any size, of an algorithm that nobody announced', async () => {
    const content = someBytes(1_000)
    let location = await start('chunks')
    for (const [from, to] of [
      [0, 1],
      [1, 3],
      [3, 900],
      [900, 1_000],
    ] as const) {
      const headers = { 'Content-Range': `${from}-${to - 1}` }
      const answer = await app.ask('PATCH', location, { body: content.subarray(from, to), headers })
      assert.deepEqual([answer.status, answer.headers['range']], [202, `0-${to - 1}`])
      location = locationOf(answer)
    }
    const ended = await app.ask('PUT', `${location}?digest=${sha512(content)}`)
    assert.deepEqual([ended.status, ended.headers['docker-content-digest']], [201, sha512(content)])
  })

  it('B7: out of order is 416 for every verb that carries content, which is not taken, and the session goes on', async () => {
    const location = await start('order')
    const content = 'abcdef'
    const digest = sha256(content)
    const early = { 'Content-Range': '3-5' }
    const refused = [
      await app.ask('PATCH', location, { body: 'def', headers: early }),
      await app.ask('PUT', `${location}?digest=${digest}`, { body: 'def', headers: early }),
    ]
    const first = await app.ask('PATCH', location, { body: 'abc', headers: { 'Content-Range': '0-2' } })
    refused.push(
      await app.ask('PATCH', locationOf(first), { body: 'abc', headers: { 'Content-Range': '0-2' } }),
      await app.ask('PUT', `${locationOf(first)}?digest=${digest}`, {
        body: 'abc',
        headers: { 'Content-Range': '0-2' },
      }),
      await app.ask('PATCH', location, { body: 'abc' }), // the path of the first Location says 0
    )
    for (const [place, answer] of refused.entries()) {
      assert.deepEqual([answer.status, answer.errorCode()], [416, 'BLOB_UPLOAD_INVALID'])
      assert.equal(answer.headers['range'], place < 2 ? '0-0' : '0-2')
      assert.ok(answer.headers.location)
    }
    assert.equal((await app.ask('GET', location)).headers['range'], '0-2')
    const ended = await app.ask('PUT', `${location}?digest=${digest}`, { body: 'def', headers: early })
    assert.equal(ended.status, 201, 'a matching Content-Range wins over the offset in the path')
  })

  it('B8, B10: says how far it is, ends on DELETE, and both take any earlier Location, as an empty closing PUT does', async () => {
    const first = await start('earlier')
    const empty = await app.ask('GET', first)
    assert.deepEqual([empty.status, empty.headers['range']], [204, '0-0'])
    await app.ask('PATCH', first, { body: 'abc' })
    const status = await app.ask('GET', first)
    assert.deepEqual([status.status, status.headers['range']], [204, '0-2'])
    assert.equal((await app.ask('PUT', `${first}?digest=${sha256('abc')}`, { body: '' })).status, 201)

    const second = await start('earlier')
    await app.ask('PATCH', second, { body: 'abc' })
    assert.equal((await app.ask('DELETE', second)).status, 204)
    for (const method of ['GET', 'DELETE', 'PATCH', 'PUT']) {
      const answer = await app.ask(method, `${second}?digest=${sha256('abc')}`)
      assert.deepEqual([answer.status, answer.errorCode()], [404, 'BLOB_UPLOAD_UNKNOWN'], method)
    }
  })

  it('B9: is refused with another digest or length than it has, and says so', async () => {
    for (const digest of [sha256('other'), 'sha256:baddigeststring', `md5:${'a'.repeat(32)}`, '']) {
      const answer = await app.ask('PUT', `${await start('bad')}?digest=${digest}`, { body: 'content' })
      assert.deepEqual([answer.status, answer.errorCode()], [400, 'DIGEST_INVALID'], digest)
    }
    const headers = { 'Content-Range': '0-9' }
    const short = await app.ask('PUT', `${await start('bad')}?digest=${sha256('abc')}`, { body: 'abc', headers })
    assert.deepEqual([short.status, short.errorCode()], [400, 'SIZE_INVALID'])
  })

  it('B11, K6: falls back to a session when there is nothing to mount, which then takes the blob', async () => {
    const content = 'not here yet'
    const answer = await app.ask('POST', `/v2/fallback/blobs/uploads/?mount=${sha256(content)}&from=push`)
    assert.equal(answer.status, 202)
    assert.equal(
      (await app.ask('PUT', `${locationOf(answer)}?digest=${sha256(content)}`, { body: content })).status,
      201,
    )
    const malformed = await app.ask('POST', `/v2/fallback/blobs/uploads/?mount=sha256:x&from=push`)
    assert.deepEqual([malformed.status, malformed.errorCode()], [400, 'DIGEST_INVALID'])
  })

  it('is not stopped by an expectation that nobody can meet', async () => {
    const request = `POST /v2/expect/blobs/uploads/?digest=${sha256('hello')} HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n`
    const answer = await exchange(app.url, `${request}Connection: close\r\nContent-Length: 5\r\n\r\nhello`)
    assert.match(answer, /^HTTP\/1\.1 201 /)
  })
})

describe('a push of a manifest', () => {
  it('M1, K2: names a Location that gives the bytes back, and the digest, of the algorithm that was asked for', async () => {
    const body = `${await aManifest(app, 'm')} `
    for (const [reference, digest] of [
      ['v1', sha256(body)],
      [sha256(body), sha256(body)],
      [sha512(body), sha512(body)],
      ['v2?digest-algorithm=sha512', sha512(body)],
    ] as const) {
      const pushed = await put(`m/manifests/${reference}`, body)
      assert.deepEqual([pushed.status, pushed.headers['docker-content-digest']], [201, digest])
      const got = await app.ask('GET', locationOf(pushed))
      assert.deepEqual([got.body.toString(), got.headers['content-length']], [body, String(body.length)])
      assert.equal(got.headers['content-type'], MANIFEST_TYPE)
    }
    const odd = await put('m/manifests/v3?digest-algorithm=blake3', body)
    assert.deepEqual([odd.status, odd.errorCode()], [400, 'DIGEST_INVALID'])
  })

  it('M2, K3, K4: takes the types of OCI and of docker schema 2 as they are, and refuses schema 1 and what is no manifest', async () => {
    const { mediaType: _, ...image } = JSON.parse(await aManifest(app, 'kinds')) as Record<string, unknown>
    const index = { schemaVersion: 2, manifests: [] }
    for (const [type, document] of [
      [MANIFEST_TYPE, image],
      [DOCKER_TYPE, image],
      [INDEX_TYPE, index],
      [LIST_TYPE, index],
    ] as const) {
      const body = JSON.stringify({ ...document, mediaType: type })
      for (const declared of [type, `${type}; charset=utf-8`, type.toUpperCase()]) {
        assert.equal((await put('kinds/manifests/v1', body, { 'Content-Type': declared })).status, 201, declared)
      }
      assert.equal((await app.ask('GET', '/v2/kinds/manifests/v1')).headers['content-type'], type)
    }
    for (const type of [
      'application/json',
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
      'text/plain',
      'x',
      '',
    ]) {
      const answer = await put('kinds/manifests/old', JSON.stringify({ schemaVersion: 1 }), { 'Content-Type': type })
      assert.deepEqual([answer.status, answer.errorCode()], [400, 'MANIFEST_INVALID'], type)
    }
  })

  it('M2: is refused with the place in the document, what is there and what would be right', async () => {
    const body = JSON.parse(await aManifest(app, 'place')) as Record<string, unknown>
    const layer = { mediaType: 'a/b', digest: await pushBlob(app, 'place', 'layer'), size: 4 }
    for (const [document, path, found] of [
      [{ ...body, layers: [layer] }, 'layers[0].size', '4'],
      [{ ...body, layers: [{ ...layer, digest: 'sha256:x' }] }, 'layers[0].digest', '"sha256:x"'],
      [{ ...body, mediaType: INDEX_TYPE }, 'mediaType', `"${INDEX_TYPE}"`],
      [{ ...body, manifests: [] }, '$', 'both "manifests" and "layers"'],
    ] as const) {
      const answer = await put('place/manifests/v1', JSON.stringify(document))
      assert.equal(answer.status, 400)
      const [error] = (answer.json() as { errors: { code: string; detail: Record<string, string> }[] }).errors
      assert.deepEqual([error?.code, error?.detail['path'], error?.detail['found']], ['MANIFEST_INVALID', path, found])
      assert.ok(error?.detail['expected'])
    }
  })

  it('M3: may have a subject that is missing; of everything else that is missing each is an error of its own', async () => {
    const subject = { mediaType: MANIFEST_TYPE, digest: sha256('no subject'), size: 3 }
    const pushed = await put('holes/manifests/v1', await aManifest(app, 'holes', { subject }))
    assert.deepEqual([pushed.status, pushed.headers['oci-subject']], [201, subject.digest])
    const layers = ['one', 'two'].map((content) => ({ mediaType: 'a/b', digest: sha256(content), size: 3 }))
    const refused = await put('holes/manifests/v1', await aManifest(app, 'holes', { layers }))
    const { errors } = refused.json() as { errors: { code: string; detail: { digest: string; path: string } }[] }
    assert.deepEqual(
      errors.map(({ code, detail }) => [code, detail.path, detail.digest]),
      layers.map(({ digest }, place) => ['MANIFEST_BLOB_UNKNOWN', `layers[${place}]`, digest]),
    )
  })

  it('M3: may have holes as its repository allows', async () => {
    const policies: Readonly<Record<string, ReferencePolicy>> = {
      strict: 'strict',
      index: 'sparse-index',
      sparse: 'sparse',
    }
    await using each = await serveApp({ references: (name) => policies[name.split('/')[0] ?? ''] ?? 'strict' })
    const hole = { mediaType: MANIFEST_TYPE, digest: sha256('hole'), size: 4 }
    for (const [name, image, index] of [
      ['strict/a', 400, 400],
      ['index/a', 400, 201],
      ['sparse/a', 201, 201],
    ] as const) {
      const body = await aManifest(each, name, { layers: [hole] })
      const headers = { 'Content-Type': MANIFEST_TYPE }
      assert.equal((await each.ask('PUT', `/v2/${name}/manifests/v1`, { body, headers })).status, image, name)
      const list = JSON.stringify({ schemaVersion: 2, manifests: [hole] })
      const asIndex = { body: list, headers: { 'Content-Type': INDEX_TYPE } }
      assert.equal((await each.ask('PUT', `/v2/${name}/manifests/v2`, asIndex)).status, index, name)
    }
  })

  it('M4, K5: may have no layers, unknown fields, embedded data, foreign layers and ten thousand annotations', async () => {
    const data = { mediaType: 'a/b', digest: await pushBlob(app, 'rich', 'data'), size: 4, data: 'ZGF0YQ==' }
    const foreign = {
      mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
      digest: sha256('f'),
      size: 1,
    }
    const annotations = Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`com.example.${n}`, `${n}`]))
    for (const fields of [
      { layers: [] },
      { org: { deep: [1] } },
      { layers: [data] },
      { layers: [foreign] },
      { annotations },
    ]) {
      const body = await aManifest(app, 'rich', fields)
      assert.equal((await put('rich/manifests/v1', body)).status, 201, Object.keys(fields).join())
      assert.equal((await app.ask('GET', '/v2/rich/manifests/v1')).body.toString(), body)
    }
    const nested = JSON.stringify({
      schemaVersion: 2,
      manifests: [{ ...data, mediaType: INDEX_TYPE, data: undefined }],
    })
    assert.equal((await put('rich/manifests/v1', nested, { 'Content-Type': INDEX_TYPE })).status, 201)
  })

  it('M5: may have as many bytes as the registry says, at least 4 MB; with more it is 413 before they are sent', async () => {
    await using small = await serveApp({ rules: { manifestBytes: 1_000 } })
    const body = await aManifest(small, 'size', { annotations: { padding: 'x'.repeat(900) } })
    assert.ok(body.length > 1_000)
    const path = '/v2/size/manifests/v1'
    assert.equal((await small.ask('PUT', path, { body, headers: { 'Content-Type': MANIFEST_TYPE } })).status, 413)
    const unsent = `PUT ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: ${MANIFEST_TYPE}\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n`
    const answer = await exchange(small.url, unsent)
    assert.match(answer, /^HTTP\/1\.1 413 /)
    assert.match(answer, /at most 1000 bytes/)
    const padding = 'x'.repeat(4 * 1024 * 1024)
    assert.equal(
      (await put('size/manifests/v1', await aManifest(app, 'size', { annotations: { padding } }))).status,
      201,
    )
  })

  it('M6: gives ten and fifty tags at once, each named in OCI-Tag; with too many it is 414', async () => {
    const body = await aManifest(app, 'tags')
    for (const [digest, many] of [
      [sha256(body), 10],
      [sha512(body), 50],
    ] as const) {
      const tags = Array.from({ length: many }, (_, n) => `t${n}`)
      const pushed = await put(`tags/manifests/${digest}?${tags.map((tag) => `tag=${tag}`).join('&')}`, body)
      assert.deepEqual([pushed.status, String(pushed.headers['oci-tag']).split(', ')], [201, tags])
      for (const tag of tags) {
        assert.equal((await app.ask('HEAD', `/v2/tags/manifests/${tag}`)).headers['docker-content-digest'], digest)
      }
    }
    const query = Array.from({ length: MOST_TAGS + 1 }, (_, n) => `tag=n${n}`).join('&')
    assert.equal((await put(`tags/manifests/${sha256(body)}?${query}`, body)).status, 414)
    assert.equal((await app.ask('HEAD', '/v2/tags/manifests/n0')).status, 404)
  })

  it('M6: moves all tags or none, when one is malformed, a condition fails, or storage does', async () => {
    const first = await pushManifest(app, 'atomic', 'a')
    await pushManifest(app, 'atomic', 'c', { annotations: { other: 'one' } })
    const body = await aManifest(app, 'atomic', { annotations: { second: 'one' } })
    const path = `atomic/manifests/${sha256(body)}`
    assert.equal((await put(`${path}?tag=a&tag=b&tag=-`, body)).errorCode(), 'TAG_INVALID')
    const failed = await put(`${path}?tag=a&tag=c`, body, { 'If-Match': `"${first}"` })
    assert.deepEqual([failed.status, failed.errorCode()], [412, 'PRECONDITION_FAILED'])
    assert.match(failed.body.toString(), /the tag c is sha256:/)
    assert.equal((await app.ask('HEAD', '/v2/atomic/manifests/a')).headers['docker-content-digest'], first)
    assert.deepEqual((await app.ask('GET', '/v2/atomic/tags/list')).json(), { name: 'atomic', tags: ['a', 'c'] })
    const full = async (): Promise<never> => {
      throw new StorageUnavailable('full', { cause: Object.assign(new Error('no space'), { code: 'ENOSPC' }) })
    }
    await using broken = await serveApp({
      store: (real: Store) =>
        Object.assign(Object.create(real), { repository: () => ({ putManifest: full }) }) as Store,
    })
    const headers = { 'Content-Type': MANIFEST_TYPE }
    assert.equal((await broken.ask('PUT', `/v2/${path}?tag=a`, { body, headers })).status, 507)
  })

  it('M7: with a subject says so, image and index', async () => {
    const subject = { mediaType: MANIFEST_TYPE, digest: sha512('subject'), size: 7 }
    const index = JSON.stringify({ schemaVersion: 2, manifests: [], subject })
    for (const [body, type] of [
      [await aManifest(app, 'subjects', { subject }), MANIFEST_TYPE],
      [index, INDEX_TYPE],
    ] as const) {
      assert.equal(
        (await put('subjects/manifests/v1', body, { 'Content-Type': type })).headers['oci-subject'],
        subject.digest,
      )
    }
  })

  it('moves its tag on condition, only a failed one is 412, and one that cannot be read is 400 and moves nothing', async () => {
    const first = await pushManifest(app, 'cond', 'v1')
    const other = sha256('other')
    const next = await aManifest(app, 'cond', { annotations: { next: '1' } })
    for (const [headers, tag, status] of [
      [{ 'If-Match': `"${other}"` }, 'v1', 412],
      [{ 'If-Match': '*' }, 'absent', 412],
      [{ 'If-None-Match': '*' }, 'v1', 412],
      [{ 'If-None-Match': `"${first}"` }, 'v1', 412],
      [{ 'If-Match': first }, 'v1', 400],
      [{ 'If-None-Match': `"${first}` }, 'v1', 400],
      [{ 'If-Match': `"${other}", W/"${first}"` }, 'v1', 201],
      [{ 'If-None-Match': '*' }, 'new', 201],
      [{ 'If-None-Match': `"${first}"` }, 'v1', 412],
    ] as const) {
      const body = status === 201 ? next : await aManifest(app, 'cond', { annotations: { never: 'stored' } })
      assert.equal((await put(`cond/manifests/${tag}`, body, headers)).status, status, JSON.stringify([headers, tag]))
      if (status === 201) await pushManifest(app, 'cond', 'v1')
    }
    assert.equal((await app.ask('HEAD', '/v2/cond/manifests/v1')).headers['docker-content-digest'], first)
  })
})
