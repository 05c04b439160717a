/** The distribution specification rule by rule: discovering and deleting, and two who push at once (see `rules.test.ts`). */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { RegistryError } from './errors.ts'
import type { Right } from './routing.ts'
import { aManifest, MANIFEST_TYPE, pushBlob, pushManifest, sha256, sha512 } from './testing/content.ts'
import { type Answer, type ServedApp, serveApp } from './testing/served-app.ts'

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'

let app: ServedApp
before(async () => {
  app = await serveApp()
})
after(() => app[Symbol.asyncDispose]())

interface Listed {
  readonly tags?: readonly string[]
  readonly repositories?: readonly string[]
  readonly manifests?: readonly { readonly digest: string; readonly artifactType?: string }[]
}

const put = (path: string, body: string, type = MANIFEST_TYPE, headers: Record<string, string> = {}): Promise<Answer> =>
  app.ask('PUT', `/v2/${path}`, { body, headers: { 'Content-Type': type, ...headers } })
const next = ({ headers }: Answer): string | undefined =>
  /^<(.*)>; rel="next"$/.exec(String(headers['link'] ?? ''))?.[1]

/** Every page from `path` on, as long as there is a Link. */
async function pages(path: string): Promise<readonly Listed[]> {
  const found: Listed[] = []
  for (let at: string | undefined = path; at !== undefined; ) {
    const answer: Answer = await app.ask('GET', at)
    assert.equal(answer.status, 200, at)
    found.push(answer.json() as Listed)
    at = next(answer)
  }
  return found
}

async function referrersOf(name: string, subject: string, query = ''): Promise<readonly string[]> {
  const found = await pages(`/v2/${name}/referrers/${subject}${query}`)
  return found.flatMap(({ manifests = [] }) => manifests.map(({ digest }) => digest)).toSorted()
}

describe('a list of tags', () => {
  const tags = ['0', '10', '9', 'A', 'Z', '_', 'a', 'a-b', 'a.b', 'b']
  before(async () => {
    for (const tag of tags.toReversed()) await pushManifest(app, 'list', tag)
  })
  const list = async (query: string): Promise<[number, readonly string[] | undefined, string | undefined]> => {
    const answer = await app.ask('GET', `/v2/list/tags/list${query}`)
    return [answer.status, (answer.json() as Listed).tags, next(answer)]
  }

  it('T1: is in byte order, whole when no number is asked for, and never null', async () => {
    assert.deepEqual(await list(''), [200, tags, undefined])
    await pushManifest(app, 'emptied', 'v1')
    await app.ask('DELETE', '/v2/emptied/manifests/v1')
    assert.deepEqual((await app.ask('GET', '/v2/emptied/tags/list')).json(), { name: 'emptied', tags: [] })
  })

  it('T2: has n of them and a Link as long as there are more; none and no Link for 0', async () => {
    assert.deepEqual(await list('?n=0'), [200, [], undefined])
    assert.deepEqual(await list('?n=10'), [200, tags, undefined])
    assert.deepEqual(await list('?n=999999999999999'), [200, tags, undefined])
    assert.deepEqual((await list('?n=9')).slice(0, 2), [200, tags.slice(0, 9)])
    for (const n of [1, 3, 9]) {
      const found = await pages(`/v2/list/tags/list?n=${n}`)
      assert.deepEqual(
        found.flatMap((page) => page.tags),
        tags,
      )
      assert.equal(found.length, Math.ceil(tags.length / n))
    }
    for (const n of ['', '-1', '+1', '1.5', '1e3', '0x10', ' 1', '%00', '99999999999999999999', 'all']) {
      const answer = await app.ask('GET', `/v2/list/tags/list?n=${encodeURIComponent(n)}`)
      assert.deepEqual([answer.status, answer.errorCode()], [400, 'PAGINATION_NUMBER_INVALID'], n)
    }
  })

  it('T3: begins after last, which need not exist, with or without n', async () => {
    assert.deepEqual(await list('?last=Z'), [200, tags.slice(5), undefined])
    assert.deepEqual(await list('?last=B'), [200, tags.slice(4), undefined])
    assert.deepEqual(await list('?last=a&n=2'), [200, ['a-b', 'a.b'], '/v2/list/tags/list?n=2&last=a.b'])
    assert.deepEqual(await list('?last=b'), [200, [], undefined])
    assert.deepEqual(await list('?last='), [200, tags, undefined])
    for (const last of ['..', '/', '%00', '%ff', 'a%2Fb', '%C3%A9', '~', 'a'.repeat(2_000)]) {
      assert.equal((await list(`?last=${last}`))[0], 200, last)
    }
  })

  it('T4: of a repository that was never pushed to is NAME_UNKNOWN', async () => {
    for (const query of ['', '?n=0', '?n=1', '?last=a']) {
      assert.equal((await app.ask('GET', `/v2/never/tags/list${query}`)).errorCode(), 'NAME_UNKNOWN')
    }
  })
})

describe('referrers', () => {
  const subject = { mediaType: MANIFEST_TYPE, digest: sha256('the subject'), size: 11 }
  const attach = async (name: string, label: string, fields: object = {}): Promise<string> => {
    const body = await aManifest(app, name, { subject, annotations: { label }, ...fields })
    assert.equal((await put(`${name}/manifests/${sha256(body)}`, body)).headers['oci-subject'], subject.digest)
    return sha256(body)
  }

  it('R1: are an index, empty for whatever was never pushed, and 400 for what is no digest', async () => {
    for (const digest of [subject.digest, sha512('x'), `blake3:${'a'.repeat(64)}`]) {
      const answer = await app.ask('GET', `/v2/never/referrers/${digest}`)
      assert.deepEqual([answer.status, answer.headers['content-type']], [200, INDEX_TYPE])
      assert.deepEqual(answer.json(), { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [] })
    }
    for (const digest of ['sha256:x', 'latest', 'a:', ':b', `sha256:${'A'.repeat(64)}`]) {
      const answer = await app.ask('GET', `/v2/never/referrers/${digest}`)
      assert.deepEqual([answer.status, answer.errorCode()], [400, 'DIGEST_INVALID'], digest)
    }
  })

  it('R2: are described with their type, the type of their artifact and their annotations', async () => {
    const own = await aManifest(app, 'described', { subject, artifactType: 'a/own', annotations: { a: '1' } })
    const fromConfig = await aManifest(app, 'described', { subject })
    const index = JSON.stringify({ schemaVersion: 2, manifests: [], subject })
    const pushed = [
      [own, MANIFEST_TYPE, { artifactType: 'a/own', annotations: { a: '1' } }],
      [fromConfig, MANIFEST_TYPE, { artifactType: 'application/vnd.oci.empty.v1+json' }],
      [index, INDEX_TYPE, {}],
    ] as const
    for (const [body, type] of pushed) await put(`described/manifests/${sha256(body)}`, body, type)
    const [{ manifests = [] } = {}] = await pages(`/v2/described/referrers/${subject.digest}`)
    const expected = pushed.map(([body, mediaType, more]) => ({
      mediaType,
      digest: sha256(body),
      size: body.length,
      ...more,
    }))
    const byDigest = (a: { digest: string }, b: { digest: string }): number => (a.digest < b.digest ? -1 : 1)
    assert.deepEqual([...manifests].sort(byDigest), expected.sort(byDigest))
  })

  it('R3: come in pages, filtered by type where that is asked for, which the answer says', async () => {
    const wanted: string[] = []
    for (const label of ['a', 'b', 'c', 'd', 'e', 'f']) {
      const annotations = { label, padding: label.repeat(1_500_000) } // three of them are more than a page
      const digest = await attach('paged', label, { artifactType: label < 'd' ? 'a/one' : 'a/two', annotations })
      if (label < 'd') wanted.push(digest)
    }
    assert.ok((await pages(`/v2/paged/referrers/${subject.digest}`)).length > 1)
    assert.equal((await referrersOf('paged', subject.digest)).length, 6)
    assert.deepEqual(await referrersOf('paged', subject.digest, '?artifactType=a/one'), wanted.toSorted())
    const one = await app.ask('GET', `/v2/paged/referrers/${subject.digest}?artifactType=a/one`)
    assert.equal(one.headers['oci-filters-applied'], 'artifactType')
    assert.deepEqual(await referrersOf('paged', subject.digest, '?artifactType=none'), [])
    assert.equal(
      (await app.ask('GET', `/v2/paged/referrers/${subject.digest}`)).headers['oci-filters-applied'],
      undefined,
    )
    for (const last of ['~', '!', '%00', '%C3%A9', '0'.repeat(3_000)]) {
      assert.equal((await app.ask('GET', `/v2/paged/referrers/${subject.digest}?last=${last}`)).status, 200)
    }
  })

  it('R4: that an index under the tag of the tag schema lists are among them at once, and no longer when it is gone', async () => {
    const old = await pushManifest(app, 'schema', 'old', { annotations: { from: 'elsewhere' } })
    const native = await attach('schema', 'native')
    const listed = [old, native, sha256('absent')].map((digest) => ({ mediaType: MANIFEST_TYPE, digest, size: 1 }))
    const tag = subject.digest.replace(':', '-')
    assert.deepEqual(await referrersOf('schema', subject.digest), [native])
    await put(`schema/manifests/${tag}`, JSON.stringify({ schemaVersion: 2, manifests: listed }), INDEX_TYPE)
    assert.deepEqual(await referrersOf('schema', subject.digest), [old, native].toSorted())
    await put(`schema/manifests/${tag}`, JSON.stringify({ schemaVersion: 2, manifests: [] }), INDEX_TYPE)
    assert.deepEqual(await referrersOf('schema', subject.digest), [native])
    await put(`schema/manifests/${tag}`, JSON.stringify({ schemaVersion: 2, manifests: listed }), INDEX_TYPE)
    await app.ask('DELETE', `/v2/schema/manifests/${tag}`)
    assert.deepEqual(await referrersOf('schema', subject.digest), [native])
  })

  it('R5: go when they are deleted and come back when they are pushed again, whatever becomes of the subject', async () => {
    const target = await pushManifest(app, 'r5', 'v1')
    const its = { mediaType: MANIFEST_TYPE, digest: target, size: 1 }
    const [kept = '', body = ''] = await Promise.all(
      ['kept', 'deleted'].map((label) => aManifest(app, 'r5', { subject: its, annotations: { label } })),
    )
    for (const each of [kept, body]) await put(`r5/manifests/${sha256(each)}`, each)
    const both = [kept, body].map((each) => sha256(each)).toSorted()
    await app.ask('DELETE', `/v2/r5/manifests/${target}`)
    assert.deepEqual(await referrersOf('r5', target), both)
    for (let round = 0; round < 3; round += 1) {
      assert.equal((await app.ask('DELETE', `/v2/r5/manifests/${sha256(body)}`)).status, 202)
      assert.deepEqual(await referrersOf('r5', target), [sha256(kept)])
      await put('r5/manifests/again', body)
      assert.deepEqual(await referrersOf('r5', target), both)
    }
  })
})

describe('a deletion', () => {
  it('D1: of a tag leaves the digest and every other tag', async () => {
    const digest = await pushManifest(app, 'd1', 'a')
    await pushManifest(app, 'd1', 'b')
    assert.equal((await app.ask('DELETE', '/v2/d1/manifests/a')).status, 202)
    for (const [reference, status] of [
      ['a', 404],
      ['b', 200],
      [digest, 200],
    ] as const) {
      assert.equal((await app.ask('HEAD', `/v2/d1/manifests/${reference}`)).status, status, reference)
    }
    assert.equal((await app.ask('DELETE', '/v2/d1/manifests/a')).errorCode(), 'MANIFEST_UNKNOWN')
    assert.equal((await app.ask('DELETE', '/v2/never/manifests/a')).errorCode(), 'NAME_UNKNOWN')
  })

  it('D2: of a digest takes all of its tags, and none comes back with it', async () => {
    const body = await aManifest(app, 'd2')
    await put(`d2/manifests/${sha256(body)}?tag=a&tag=b&tag=c`, body)
    assert.equal((await app.ask('DELETE', `/v2/d2/manifests/${sha256(body)}`)).status, 202)
    for (const reference of ['a', 'b', 'c', sha256(body)]) {
      assert.equal((await app.ask('HEAD', `/v2/d2/manifests/${reference}`)).status, 404, reference)
    }
    await put('d2/manifests/b', body)
    assert.deepEqual((await app.ask('GET', '/v2/d2/tags/list')).json(), { name: 'd2', tags: ['b'] })
    assert.equal((await app.ask('DELETE', `/v2/never/manifests/${sha256(body)}`)).errorCode(), 'NAME_UNKNOWN')
  })

  it('D3: of a blob is seen at once, by this repository alone', async () => {
    const digest = await pushBlob(app, 'd3', 'shared')
    await pushBlob(app, 'd3/other', 'shared')
    assert.equal((await app.ask('DELETE', `/v2/d3/blobs/${digest}`)).status, 202)
    assert.equal((await app.ask('HEAD', `/v2/d3/blobs/${digest}`)).status, 404)
    assert.equal((await app.ask('HEAD', `/v2/d3/other/blobs/${digest}`)).status, 200)
    assert.equal((await app.ask('DELETE', `/v2/d3/blobs/${digest}`)).errorCode(), 'BLOB_UNKNOWN')
  })

  it('may be on condition, of what the tag stands for', async () => {
    const digest = await pushManifest(app, 'dc', 'v1')
    const remove = (reference: string, match: string): Promise<Answer> =>
      app.ask('DELETE', `/v2/dc/manifests/${reference}`, { headers: { 'If-Match': match } })
    assert.equal((await remove('v1', `"${sha256('x')}"`)).status, 412)
    assert.equal((await remove(digest, `"${sha256('x')}"`)).status, 412)
    assert.equal((await remove('v1', 'x')).status, 400)
    assert.equal((await remove('absent', `"${digest}"`)).status, 404)
    assert.equal((await remove('v1', `"${digest}"`)).status, 202)
    assert.equal((await remove(digest, `"${digest}"`)).status, 202)
  })
})

describe('the catalog', () => {
  it('Z2: names the repositories page by page', async () => {
    await using fresh = await serveApp()
    const names = ['a', 'a/b', 'a-c', 'b', 'b/c/d']
    for (const name of names) await pushManifest(fresh, name, 'v1')
    const seen: string[] = []
    for (let at: string | undefined = '/v2/_catalog?n=2'; at !== undefined; ) {
      const answer: Answer = await fresh.ask('GET', at)
      seen.push(...((answer.json() as Listed).repositories ?? []))
      at = next(answer)
    }
    assert.deepEqual(seen.toSorted(), names.toSorted())
    assert.deepEqual((await fresh.ask('GET', '/v2/_catalog')).json(), { repositories: seen })
    assert.deepEqual((await fresh.ask('GET', '/v2/_catalog?n=0')).json(), { repositories: [] })
    assert.equal((await fresh.ask('GET', '/v2/_catalog?n=x')).errorCode(), 'PAGINATION_NUMBER_INVALID')
  })
})

describe('rights', () => {
  it('K6, K12: follow from the verb; ending an upload is pushing; a mount reads its source, or else is an upload', async () => {
    const asked: string[] = []
    await using guarded = await serveApp({
      authorize: async (_, right: Right, name) => {
        asked.push(`${right} ${name ?? ''}`.trim())
        if (name === 'secret' && right === 'mount') throw new RegistryError('denied')
      },
    })
    const digest = sha256('x')
    for (const [method, path, rights] of [
      ['GET', '/v2/', 'open'],
      ['GET', '/v2/_catalog', 'catalog'],
      ['GET', '/v2/_oci/ext/discover', 'open'],
      ['GET', '/v2/a/_oci/ext/discover', 'pull a'],
      ['HEAD', '/v2/a/manifests/v1', 'pull a'],
      ['GET', `/v2/a/blobs/${digest}`, 'pull a'],
      ['GET', '/v2/a/tags/list', 'pull a'],
      ['GET', `/v2/a/referrers/${digest}`, 'pull a'],
      ['PUT', '/v2/a/manifests/v1', 'push a'],
      ['POST', '/v2/a/blobs/uploads/', 'push a'],
      ['PATCH', '/v2/a/blobs/uploads/01900000-0000-7000-8000-000000000000/0', 'push a'],
      ['DELETE', '/v2/a/blobs/uploads/01900000-0000-7000-8000-000000000000/0', 'push a'],
      ['DELETE', '/v2/a/manifests/v1', 'delete a, delete-tag a'],
      ['DELETE', `/v2/a/blobs/${digest}`, 'delete a'],
      ['POST', `/v2/a/blobs/uploads/?mount=${digest}&from=b`, 'push a, mount b'],
      ['POST', `/v2/a/blobs/uploads/?mount=${digest}`, 'push a, mount'],
      ['POST', `/v2/a/blobs/uploads/?mount=${digest}&from=secret`, 'push a, mount secret'],
    ] as const) {
      asked.length = 0
      const answer = await guarded.ask(method, path)
      assert.equal(asked.join(', '), rights, `${method} ${path}`)
      if (path.includes('mount=')) assert.equal(answer.status, 202, 'a right that is missing is no reason to refuse')
    }
  })
})

describe('two pushers of one tag', () => {
  it('both succeed, and every reader sees the same one last', async () => {
    const bodies = await Promise.all(
      Array.from({ length: 16 }, (_, n) => aManifest(app, 'race', { annotations: { n: `${n}` } })),
    )
    const answers = await Promise.all(bodies.map((body) => put('race/manifests/latest', body)))
    assert.ok(answers.every(({ status }) => status === 201))
    const readers = await Promise.all(bodies.map(() => app.ask('HEAD', '/v2/race/manifests/latest')))
    const seen = new Set(readers.map(({ headers }) => headers['docker-content-digest']))
    assert.equal(seen.size, 1)
    assert.ok(bodies.map((body) => sha256(body)).includes(String([...seen][0])))
    const only = await Promise.all(
      bodies.map((body) => put('race/manifests/once', body, MANIFEST_TYPE, { 'If-None-Match': '*' })),
    )
    assert.deepEqual(only.map(({ status }) => status).toSorted(), [201, ...Array.from({ length: 15 }, () => 412)])
  })
})
