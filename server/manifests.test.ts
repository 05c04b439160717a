import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { MOST_TAGS } from './manifests.ts'
import { DEFAULT_RULES } from './rules.ts'
import { aManifest, MANIFEST_TYPE, pushManifest, sha256, sha512 } from './testing/content.ts'
import { type Answer, type ServedApp, serveApp } from './testing/served-app.ts'

let app: ServedApp
before(async () => {
  app = await serveApp()
})
after(() => app[Symbol.asyncDispose]())

const put = (path: string, body: string, headers: Record<string, string> = {}): Promise<Answer> =>
  app.ask('PUT', `/v2/${path}`, { body, headers: { 'Content-Type': MANIFEST_TYPE, ...headers } })

describe('a manifest', () => {
  it('is pulled by tag and by digest as it was pushed, byte for byte', async () => {
    const body = `${await aManifest(app, 'a/b', { annotations: { unknown: '☃' } })}\n\n`
    const pushed = await put('a/b/manifests/v1', body)
    assert.equal(pushed.status, 201)
    assert.equal(pushed.headers['docker-content-digest'], sha256(body))
    assert.equal(pushed.headers.location, '/v2/a/b/manifests/v1')
    for (const reference of ['v1', sha256(body)]) {
      const got = await app.ask('GET', `/v2/a/b/manifests/${reference}`, { headers: { Accept: 'application/json' } })
      assert.equal(got.body.toString(), body)
      const head = await app.ask('HEAD', `/v2/a/b/manifests/${reference}`)
      assert.equal(head.body.length, 0)
      for (const { status, headers } of [got, head]) {
        assert.equal(status, 200)
        assert.equal(headers['content-type'], MANIFEST_TYPE)
        assert.equal(headers['content-length'], String(Buffer.byteLength(body)))
        assert.equal(headers['docker-content-digest'], sha256(body))
      }
    }
  })

  it('answers 304 while it is the same', async () => {
    const digest = await pushManifest(app, 'etag', 'v1')
    const ask = (tag: string): Promise<Answer> =>
      app.ask('GET', '/v2/etag/manifests/v1', { headers: { 'If-None-Match': tag } })
    const same = await ask(`W/"${digest}"`)
    assert.deepEqual([same.status, same.body.length, same.headers['docker-content-digest']], [304, 0, digest])
    assert.equal((await ask('"other"')).status, 200)
  })

  it('is MANIFEST_UNKNOWN or NAME_UNKNOWN where it is not', async () => {
    await pushManifest(app, 'known', 'v1')
    assert.equal((await app.ask('GET', '/v2/known/manifests/v2')).errorCode(), 'MANIFEST_UNKNOWN')
    assert.equal((await app.ask('GET', `/v2/known/manifests/${sha256('no')}`)).errorCode(), 'MANIFEST_UNKNOWN')
    const answer = await app.ask('GET', '/v2/unknown/manifests/v1')
    assert.equal(answer.status, 404)
    assert.match(answer.errorCode(), /^(NAME|MANIFEST)_UNKNOWN$/)
  })

  it('is refused when it is not what it says', async () => {
    const body = await aManifest(app, 'bad')
    const cases: [string, Promise<Answer>, string][] = [
      ['wrong digest', put(`bad/manifests/${sha256('other')}`, body), 'DIGEST_INVALID'],
      ['no JSON', put('bad/manifests/v1', '{"schemaVersion":'), 'MANIFEST_INVALID'],
      ['no body', put('bad/manifests/v1', ''), 'MANIFEST_INVALID'],
      [
        'other type inside',
        put('bad/manifests/v1', body, { 'Content-Type': 'application/vnd.docker.distribution.manifest.v2+json' }),
        'MANIFEST_INVALID',
      ],
      [
        'schema 1',
        put('bad/manifests/v1', '{"schemaVersion":1}', {
          'Content-Type': 'application/vnd.docker.distribution.manifest.v1+json',
        }),
        'MANIFEST_INVALID',
      ],
      ['no type', put('bad/manifests/v1', body, { 'Content-Type': '' }), 'MANIFEST_INVALID'],
      [
        'missing layer',
        put(
          'bad/manifests/v1',
          JSON.stringify({ ...JSON.parse(body), layers: [{ mediaType: 'a/b', digest: sha256('gone'), size: 4 }] }),
        ),
        'MANIFEST_BLOB_UNKNOWN',
      ],
      ['bad tag', put('bad/manifests/-v1', body), 'TAG_INVALID'],
      ['bad digest', put('bad/manifests/sha256:12', body), 'DIGEST_INVALID'],
    ]
    for (const [what, pending, code] of cases) {
      const answer = await pending
      assert.equal(answer.status, 400, `${what}: ${answer.body.toString()}`)
      assert.equal(answer.errorCode(), code, what)
    }
    assert.equal((await app.ask('GET', '/v2/bad/manifests/v1')).status, 404)
  })

  it('may be 4 MB, and is 413 when it is too large, whether it says so or not', async () => {
    const large = await aManifest(app, 'large', { annotations: { padding: 'x'.repeat(4_000_000) } })
    assert.equal((await put('large/manifests/v1', large)).status, 201)
    const tooLarge = 'x'.repeat(DEFAULT_RULES.manifestBytes + 1)
    assert.equal((await put('large/manifests/v2', tooLarge)).status, 413)
    assert.equal((await put('large/manifests/v2', tooLarge, { 'Transfer-Encoding': 'chunked' })).status, 413)
  })

  it('pushed with a subject names it, and the subject lists it', async () => {
    const subject = { mediaType: MANIFEST_TYPE, digest: sha256('subject'), size: 7 }
    const body = await aManifest(app, 'refs', { subject, artifactType: 'a/sbom', annotations: { k: 'v' } })
    const pushed = await put(`refs/manifests/${sha256(body)}`, body)
    assert.equal(pushed.headers['oci-subject'], subject.digest)
    const listed = await app.ask('GET', `/v2/refs/referrers/${subject.digest}?artifactType=a/sbom`)
    assert.equal(listed.headers['oci-filters-applied'], 'artifactType')
    assert.equal(listed.headers['content-type'], 'application/vnd.oci.image.index.v1+json')
    assert.deepEqual((listed.json() as { manifests: unknown }).manifests, [
      {
        mediaType: MANIFEST_TYPE,
        digest: sha256(body),
        size: body.length,
        artifactType: 'a/sbom',
        annotations: { k: 'v' },
      },
    ])
    const other = await app.ask('GET', `/v2/refs/referrers/${subject.digest}?artifactType=other`)
    assert.deepEqual((other.json() as { manifests: unknown }).manifests, [])
  })

  it('can be pushed under its sha512', async () => {
    const body = await aManifest(app, 'strong')
    const pushed = await put(`strong/manifests/${sha512(body)}`, body)
    assert.equal(pushed.status, 201)
    assert.equal(pushed.headers['docker-content-digest'], sha512(body))
    assert.equal((await app.ask('GET', `/v2/strong/manifests/${sha512(body)}`)).body.toString(), body)
  })
})

describe('tag parameters', () => {
  it('give a manifest pushed by digest all of its tags at once', async () => {
    const body = await aManifest(app, 'many')
    const tags = Array.from({ length: 50 }, (_, i) => `t${i}`)
    const pushed = await put(`many/manifests/${sha256(body)}?${tags.map((tag) => `tag=${tag}`).join('&')}`, body)
    assert.equal(pushed.status, 201)
    assert.deepEqual(pushed.headers['oci-tag'], tags.join(', '))
    for (const tag of ['t0', 't49'])
      assert.equal((await app.ask('GET', `/v2/many/manifests/${tag}`)).body.toString(), body)
  })
  it('are all or nothing, and bounded', async () => {
    const body = await aManifest(app, 'none')
    const path = `none/manifests/${sha256(body)}`
    assert.equal((await put(`${path}?tag=good&tag=-bad`, body)).errorCode(), 'TAG_INVALID')
    assert.equal((await app.ask('GET', '/v2/none/manifests/good')).status, 404)
    const many = Array.from({ length: MOST_TAGS + 1 }, (_, i) => `tag=t${i}`).join('&')
    assert.equal((await put(`${path}?${many}`, body)).status, 414)
  })
})

describe('a tag', () => {
  it('moves only as the condition says', async () => {
    const first = await pushManifest(app, 'cond', 'v1')
    const second = await aManifest(app, 'cond', { annotations: { n: '2' } })
    assert.equal((await put('cond/manifests/v1', second, { 'If-None-Match': '*' })).status, 412)
    assert.equal((await put('cond/manifests/v1', second, { 'If-Match': `"${sha256('x')}"` })).status, 412)
    assert.equal((await app.ask('HEAD', '/v2/cond/manifests/v1')).headers['docker-content-digest'], first)
    assert.equal((await put('cond/manifests/v1', second, { 'If-Match': `"${first}"` })).status, 201)
    assert.equal((await put('cond/manifests/new', second, { 'If-None-Match': '*' })).status, 201)
  })
  it('goes alone when it is deleted, and with its manifest when that is', async () => {
    const digest = await pushManifest(app, 'gone', 'v1')
    await pushManifest(app, 'gone', 'v2')
    assert.equal((await app.ask('DELETE', '/v2/gone/manifests/v1')).status, 202)
    assert.equal((await app.ask('GET', '/v2/gone/manifests/v1')).status, 404)
    assert.equal((await app.ask('GET', `/v2/gone/manifests/${digest}`)).status, 200)
    assert.equal((await app.ask('DELETE', `/v2/gone/manifests/${digest}`)).status, 202)
    for (const reference of [digest, 'v2'])
      assert.equal((await app.ask('HEAD', `/v2/gone/manifests/${reference}`)).status, 404)
    assert.deepEqual((await app.ask('GET', '/v2/gone/tags/list')).json(), { name: 'gone', tags: [] })
    assert.equal((await app.ask('DELETE', `/v2/gone/manifests/${digest}`)).status, 404)
  })
})

describe('listings', () => {
  it('page through the tags in byte order', async () => {
    for (const tag of ['b', 'a', 'Z', '_', '10', '9']) await pushManifest(app, 'list', tag)
    assert.deepEqual((await app.ask('GET', '/v2/list/tags/list')).json(), {
      name: 'list',
      tags: ['10', '9', 'Z', '_', 'a', 'b'],
    })
    const seen: string[] = []
    let path: string | undefined = '/v2/list/tags/list?n=4'
    while (path !== undefined) {
      const answer: Answer = await app.ask('GET', path)
      seen.push(...(answer.json() as { tags: string[] }).tags)
      path = /^<(.*)>; rel="next"$/.exec(String(answer.headers['link'] ?? ''))?.[1]
    }
    assert.deepEqual(seen, ['10', '9', 'Z', '_', 'a', 'b'])
    const none = await app.ask('GET', '/v2/list/tags/list?n=0')
    assert.deepEqual([none.json(), none.headers['link']], [{ name: 'list', tags: [] }, undefined])
    assert.deepEqual((await app.ask('GET', '/v2/list/tags/list?last=Y')).json(), {
      name: 'list',
      tags: ['Z', '_', 'a', 'b'],
    })
    assert.equal((await app.ask('GET', '/v2/list/tags/list?n=-1')).errorCode(), 'PAGINATION_NUMBER_INVALID')
  })
  it('of tags tell of each change at once, however often they were asked for before, and of each tag once', async () => {
    const path = '/v2/again/tags/list'
    const listed = async (): Promise<unknown> => {
      const [first, second] = [await app.ask('GET', path), await app.ask('GET', path)]
      assert.deepEqual(second.body, first.body)
      assert.equal(first.headers['content-type'], 'application/json')
      return (first.json() as { readonly tags: unknown }).tags
    }
    const digest = await pushManifest(app, 'again', 'b')
    assert.deepEqual(await listed(), ['b'])
    await pushManifest(app, 'again', 'a')
    assert.deepEqual(await listed(), ['a', 'b'])
    // As a pusher leaves it who was interrupted, or lost a race.
    await writeFile(join(app.directory, 'r/again/taglist', `a!${'f'.repeat(24)}`), '')
    assert.deepEqual(await listed(), ['a', 'b'])
    assert.equal((await app.ask('DELETE', '/v2/again/manifests/b')).status, 202)
    assert.deepEqual(await listed(), ['a'])
    assert.equal((await app.ask('DELETE', `/v2/again/manifests/${digest}`)).status, 202)
  })
  it('of an unknown repository are NAME_UNKNOWN, but its referrers are none', async () => {
    for (const query of ['', '?n=0', '?n=5']) {
      const answer = await app.ask('GET', `/v2/nobody/tags/list${query}`)
      assert.equal(answer.status, 404)
      assert.equal(answer.errorCode(), 'NAME_UNKNOWN')
    }
    const referrers = await app.ask('GET', `/v2/nobody/referrers/${sha256('x')}`)
    assert.equal(referrers.status, 200)
    assert.deepEqual(referrers.json(), {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [],
    })
    assert.equal((await app.ask('GET', '/v2/nobody/referrers/sha256:12')).errorCode(), 'DIGEST_INVALID')
  })
  it('name the repositories', async () => {
    await using fresh = await serveApp()
    for (const name of ['b', 'a/b', 'a', 'a-c']) await pushManifest(fresh, name, 'v1')
    const { repositories } = (await fresh.ask('GET', '/v2/_catalog')).json() as { repositories: string[] }
    assert.deepEqual(repositories.toSorted(), ['a', 'a-c', 'a/b', 'b'])
    const page = await fresh.ask('GET', '/v2/_catalog?n=3')
    assert.deepEqual((page.json() as { repositories: string[] }).repositories, repositories.slice(0, 3))
    assert.ok(page.headers['link'])
  })
})
