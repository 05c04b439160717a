import assert from 'node:assert/strict'
import { createHmac, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import jwt from 'jsonwebtoken'
import {
  accessOf,
  addRobot,
  addUser,
  askingAs,
  basic,
  bearer,
  claimsOf,
  forgedToken,
  tokenFor,
} from '../testing/access.ts'
import { aManifest, MANIFEST_TYPE, pushBlob, pushManifest, sha256 } from '../testing/content.ts'
import { type Answer, type ServedApp, serveApp } from '../testing/served-app.ts'
import type { Action, Policy, Rule } from './policy.ts'

const PASSWORD = 'correct horse'
const rule = (who: string, repositories: string, ...actions: readonly Action[]): Rule => ({
  who: [who],
  claims: {},
  repositories: [repositories],
  actions,
  effect: 'allow',
})
const policy: Policy = {
  groups: {},
  immutableTags: [{ repositories: ['*'], tags: ['release-*'] }],
  rules: [
    rule('user:owner', '*', 'pull', 'push', 'delete'),
    rule('user:creator', 'team/*', 'pull', 'push', 'create-tag'),
    rule('user:mover', 'team/*', 'pull', 'push', 'move-tag'),
    rule('user:creator', 'public/*', 'pull'),
    rule('everyone', 'public/*', 'pull'),
  ],
}

let app: ServedApp
const as = async (name: string, ...scopes: readonly string[]): Promise<ServedApp> =>
  askingAs(app, bearer(await tokenFor(app, [name, PASSWORD], ...scopes)))
const scopeOf = (name: string): string => `repository:${name}:pull,push,delete`

before(async () => {
  app = await serveApp({ access: accessOf({ policy }) })
  for (const name of ['owner', 'creator', 'mover']) await addUser(app.accounts, name, PASSWORD)
})
after(() => app[Symbol.asyncDispose]())

async function putManifest(as: ServedApp, path: string, fields: object): Promise<Answer> {
  const [, , ...rest] = path.split('/')
  const name = rest.slice(0, rest.indexOf('manifests')).join('/')
  const body = await aManifest(as, name, fields)
  return await as.ask('PUT', path, { headers: { 'Content-Type': MANIFEST_TYPE }, body })
}

describe('a tag', () => {
  it('is created and moved by those who may do that, and by no others; each of the tag parameters counts', async () => {
    const owner = await as('owner', scopeOf('team/tags'))
    const creator = await as('creator', scopeOf('team/tags'))
    const mover = await as('mover', scopeOf('team/tags'))
    const digest = await pushManifest(owner, 'team/tags', 'old')
    const [created, moved] = [{ annotations: { a: '1' } }, { annotations: { a: '2' } }]

    assert.equal((await putManifest(creator, '/v2/team/tags/manifests/new', created)).status, 201)
    assert.equal((await putManifest(creator, '/v2/team/tags/manifests/new', created)).status, 201, 'nothing moves')
    assert.equal((await putManifest(creator, '/v2/team/tags/manifests/old', created)).status, 403)
    assert.equal((await putManifest(creator, '/v2/team/tags/manifests/new2?tag=old', created)).status, 403)
    assert.equal((await owner.ask('GET', '/v2/team/tags/manifests/new2')).status, 404, 'all or nothing')

    assert.equal((await putManifest(mover, '/v2/team/tags/manifests/old', moved)).status, 201)
    assert.equal((await putManifest(mover, '/v2/team/tags/manifests/new3', moved)).status, 403)
    assert.equal((await putManifest(mover, '/v2/team/tags/manifests/old?tag=new3', moved)).status, 403)
    const byDigest = sha256(await aManifest(mover, 'team/tags', moved))
    assert.equal((await putManifest(mover, `/v2/team/tags/manifests/${byDigest}`, moved)).status, 201)
    assert.notEqual((await owner.ask('GET', '/v2/team/tags/manifests/old')).headers['docker-content-digest'], digest)
  })

  it('that is immutable neither moves nor goes, by itself or with its manifest, whoever asks', async () => {
    const owner = await as('owner', scopeOf('team/fixed'))
    const digest = await pushManifest(owner, 'team/fixed', 'release-1')
    const other = { annotations: { a: 'other' } }
    for (const answer of [
      await putManifest(owner, '/v2/team/fixed/manifests/release-1', other),
      await putManifest(owner, '/v2/team/fixed/manifests/latest?tag=release-1', other),
      await owner.ask('DELETE', '/v2/team/fixed/manifests/release-1'),
      await owner.ask('DELETE', `/v2/team/fixed/manifests/${digest}`),
    ]) {
      assert.equal(answer.status, 403)
      assert.match(answer.body.toString(), /immutable/)
    }
    assert.equal(
      (await owner.ask('GET', '/v2/team/fixed/manifests/release-1')).headers['docker-content-digest'],
      digest,
    )
    assert.equal(await pushManifest(owner, 'team/fixed', 'release-1'), digest, 'what it is may be pushed again')
  })
})

describe('a mount', () => {
  it('takes from where the caller may pull, and otherwise begins an upload as if there were nothing', async () => {
    const owner = await as('owner', scopeOf('hidden/a'), scopeOf('public/a'))
    const hidden = await pushBlob(owner, 'hidden/a', 'hidden content')
    const open = await pushBlob(owner, 'public/a', 'open content')
    const anywhere = 'repository:*:pull'
    const creator = await as(
      'creator',
      scopeOf('team/mount'),
      scopeOf('hidden/a'),
      'repository:public/a:pull',
      anywhere,
    )
    const mount = (query: string): Promise<Answer> =>
      creator.ask('POST', `/v2/team/mount/blobs/uploads/?mount=${query}`)
    assert.equal((await mount(`${hidden}&from=hidden/a`)).status, 202)
    assert.equal((await mount(`${hidden}&from=hidden/absent`)).status, 202)
    assert.equal((await mount(hidden)).status, 202)
    assert.equal((await mount(sha256('nowhere'))).status, 202)
    assert.equal((await creator.ask('HEAD', `/v2/team/mount/blobs/${hidden}`)).status, 404)
    assert.equal((await mount(`${open}&from=public/a`)).status, 201)
    await owner.ask('DELETE', `/v2/team/mount/blobs/${open}`)
    assert.equal((await mount(open)).status, 201)
  })

  it('wants a token for its source, and says so the same whether the blob is there or not; what the policy refuses is absent', async () => {
    const owner = await as('owner', scopeOf('public/kept'), scopeOf('hidden/kept'))
    const open = await pushBlob(owner, 'public/kept', 'kept content')
    const hidden = await pushBlob(owner, 'hidden/kept', 'kept out of sight')
    const creator = await as('creator', scopeOf('team/kept'))
    const mount = (query: string): Promise<Answer> => creator.ask('POST', `/v2/team/kept/blobs/uploads/?mount=${query}`)
    const scopes = async (query: string): Promise<readonly [number, string | undefined]> => {
      const { status, headers } = await mount(query)
      return [status, /scope="(.*)",error="insufficient_scope"/.exec(String(headers['www-authenticate']))?.[1]]
    }
    const named = [401, 'repository:team/kept:pull,push repository:public/kept:pull'] as const
    assert.deepEqual(await scopes(`${open}&from=public/kept`), named)
    assert.deepEqual(await scopes(`${sha256('nowhere')}&from=public/kept`), named)
    const unnamed = [401, 'repository:team/kept:pull,push repository:*:pull'] as const
    assert.deepEqual(await scopes(open), unnamed)
    assert.deepEqual(await scopes(sha256('nowhere')), unnamed)
    assert.deepEqual(await scopes(`${hidden}&from=hidden/kept`), [202, undefined])
    assert.equal((await creator.ask('HEAD', `/v2/team/kept/blobs/${open}`)).status, 404)
  })

  it('is challenged with both scopes, and with all sources where none is named', async () => {
    const challenge = async (query: string): Promise<string> => {
      const answer = await app.ask('POST', `/v2/team/x/blobs/uploads/?mount=${sha256('')}${query}`)
      return /scope="([^"]*)"/.exec(String(answer.headers['www-authenticate']))?.[1] ?? ''
    }
    assert.equal(await challenge('&from=public/a'), 'repository:team/x:pull,push repository:public/a:pull')
    assert.equal(await challenge(''), 'repository:team/x:pull,push repository:*:pull')
  })
})

describe('the catalog', () => {
  it('names what the caller may pull, page by page, and nothing else', async () => {
    const names = ['public/cat-a', 'hidden/cat', 'public/cat-b', 'team/cat', 'zoo/cat']
    const owner = await as('owner', ...names.map(scopeOf), 'registry:catalog:*')
    for (const name of names) await pushManifest(owner, name, 'v1')
    const list = async (who: ServedApp, query = ''): Promise<string[]> => {
      const answer = await who.ask('GET', `/v2/_catalog${query}`)
      return (answer.json() as { repositories: string[] }).repositories.filter((name) => name.includes('cat'))
    }
    const nobody = askingAs(app, bearer(await tokenFor(app, undefined, 'registry:catalog:*')))
    assert.deepEqual(await list(owner), names.toSorted())
    assert.deepEqual(await list(nobody), ['public/cat-a', 'public/cat-b'])
    const creator = await as('creator', 'registry:catalog:*')
    assert.deepEqual(await list(creator), ['public/cat-a', 'public/cat-b', 'team/cat'])
    const page = await nobody.ask('GET', '/v2/_catalog?n=1&last=public/cat')
    assert.deepEqual((page.json() as { repositories: string[] }).repositories, ['public/cat-a'])
    assert.equal(page.headers['link'], '</v2/_catalog?n=1&last=public%2Fcat-a>; rel="next"')
  })
})

describe('an upload session', () => {
  it('goes on for who may push there, and is unknown under any other repository', async () => {
    const creator = await as('creator', scopeOf('team/up'), scopeOf('team/down'))
    const { headers } = await creator.ask('POST', '/v2/team/up/blobs/uploads/')
    const location = String(headers.location)
    assert.equal((await creator.ask('GET', location)).status, 204)
    assert.equal((await creator.ask('GET', location.replace('team/up', 'team/down'))).status, 404)
    const elsewhere = await as('mover', scopeOf('team/down'))
    assert.equal((await elsewhere.ask('PATCH', location, { body: 'x' })).status, 401)
  })
})

describe('a token', () => {
  const ask = async (token: string): Promise<number> =>
    (await app.ask('GET', '/v2/', { headers: bearer(token) })).status
  let good: Record<string, unknown>
  before(async () => {
    good = claimsOf(await tokenFor(app, ['owner', PASSWORD]))
  })
  const now = (): number => Math.floor(Date.now() / 1_000)

  it('may be of a clock that is a minute off, and no more', async () => {
    assert.equal(await ask(await forgedToken(app, { ...good, exp: now() - 30 })), 200)
    assert.equal(await ask(await forgedToken(app, { ...good, exp: now() - 90 })), 401)
    assert.equal(await ask(await forgedToken(app, { ...good, nbf: now() + 30 })), 200)
    assert.equal(await ask(await forgedToken(app, { ...good, nbf: now() + 90 })), 401)
  })

  for (const [attack, forge] of [
    ['alg none', async () => unsigned({ alg: 'none' }, good)],
    ['alg none in other letters, with a known key', async () => unsigned({ alg: 'nOnE', kid: await kid() }, good)],
    ['an HMAC with the public key as secret', async () => await hmacWithPublicKey(good)],
    [
      'a key of the attacker under a known kid',
      async () => jwt.sign(good, otherKey(), { algorithm: 'ES256', keyid: await kid() }),
    ],
    [
      'a key in the header',
      async () =>
        jwt.sign(good, otherKey(), {
          algorithm: 'ES256',
          header: { alg: 'ES256', kid: 'mine', jwk: {} } as unknown as jwt.JwtHeader,
        }),
    ],
    [
      'a kid that is a path',
      async () => jwt.sign(good, otherKey(), { algorithm: 'ES256', keyid: '../../../../dev/null' }),
    ],
    ['a kid that is an object', async () => unsigned({ alg: 'ES256', kid: {} }, good)],
    ['a kid that every object has', async () => unsigned({ alg: 'ES256', kid: '__proto__' }, good)],
    ['no kid', async () => jwt.sign(good, otherKey(), { algorithm: 'ES256' })],
    ['another issuer', async () => await forgedToken(app, { ...good, iss: 'https://evil.example' })],
    ['another audience', async () => await forgedToken(app, { ...good, aud: 'another' })],
    ['a subject of an unknown kind', async () => await forgedToken(app, { ...good, sub: 'root:owner' })],
    ['a subject without account', async () => await forgedToken(app, { ...good, sub: 'user:nobody' })],
    ['another generation', async () => await forgedToken(app, { ...good, gen: '0.guess' })],
    ['access that is no list', async () => await forgedToken(app, { ...good, access: 'all' })],
    ['twenty thousand characters', async () => await forgedToken(app, { ...good, padding: 'x'.repeat(20_000) })],
    ['no token at all', async () => 'a.b.c'],
    ['a payload that is no JSON', async () => `${Buffer.from('{"alg":"ES256"}').toString('base64url')}.x.y`],
  ] as const satisfies readonly (readonly [string, () => Promise<string>])[]) {
    it(`with ${attack} is refused, and nothing is logged as our failure`, async () => {
      app.logged.length = 0
      assert.equal(await ask(await forge()), 401)
      assert.deepEqual(
        app.logged.filter(({ level }) => Number(level) >= 50),
        [],
      )
    })
  }

  it('of a revoked key is refused soon', async () => {
    await using other = await serveApp({ access: accessOf() })
    await addUser(other.accounts, 'owner', PASSWORD)
    const token = await tokenFor(other, ['owner', PASSWORD])
    const status = async (each: string): Promise<number> =>
      (await other.ask('GET', '/v2/', { headers: bearer(each) })).status
    assert.equal(await status(token), 200)
    const [key] = await other.signingKeys.all()
    await other.signingKeys.revoke(key?.kid ?? '', new Date())
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    await status(jwt.sign(good, otherKey(), { algorithm: 'ES256', keyid: 'unknown' })) // makes it look again
    assert.equal(await status(token), 401)
  })

  const kid = async (): Promise<string> => (await app.signingKeys.all())[0]?.kid ?? ''
  const otherKey = (): string =>
    generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    }).privateKey
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const unsigned = (header: object, claims: object): string => `${part(header)}.${part(claims)}.`
  async function hmacWithPublicKey(claims: object): Promise<string> {
    const [key] = await app.signingKeys.all()
    const secret = createPublicKey(key?.publicKey ?? '').export({ type: 'spki', format: 'pem' })
    const text = `${part({ alg: 'HS256', typ: 'JWT', kid: key?.kid })}.${part(claims)}`
    return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
  }
})

describe('Basic on each request', () => {
  it('works beside tokens or instead of them, as configured', async () => {
    for (const mode of ['also', 'only'] as const) {
      await using served = await serveApp({ access: accessOf({ basic: mode }) })
      await addUser(served.accounts, 'alice', PASSWORD)
      await addRobot(served.accounts, 'ci', 'gantry_x', [])
      assert.equal((await served.ask('GET', '/v2/', { headers: basic('alice', PASSWORD) })).status, 200)
      assert.equal((await served.ask('GET', '/v2/', { headers: basic('robot+ci', 'gantry_x') })).status, 200)
      const refused = await served.ask('GET', '/v2/', { headers: basic('alice', 'wrong') })
      assert.equal(refused.status, 401)
      const challenge = String(refused.headers['www-authenticate'])
      assert.match(challenge, mode === 'only' ? /^Basic realm="gantry"/ : /^Bearer realm=.*, Basic realm="gantry"/)
      assert.equal((await served.ask('GET', '/token')).status, mode === 'only' ? 404 : 401)
      assert.equal(
        (await served.ask('POST', '/v2/a/blobs/uploads/', { headers: basic('alice', PASSWORD) })).status,
        202,
      )
    }
  })
})

describe('secrets', () => {
  it('are in no log', () => {
    const text = JSON.stringify(app.logged)
    for (const secret of [PASSWORD, Buffer.from(`owner:${PASSWORD}`).toString('base64'), 'eyJ']) {
      assert.ok(!text.includes(secret), secret)
    }
  })
})
