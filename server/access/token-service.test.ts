import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import jwt from 'jsonwebtoken'
import { accessOf, addRobot, addUser, basic, bearer, disable, type TokenAnswer, tokenFor } from '../testing/access.ts'
import { type ServedApp, serveApp } from '../testing/served-app.ts'
import { SEEN_WITHIN_MS } from './directory.ts'
import type { Policy } from './policy.ts'

const ALICE = ['alice', 'correct horse'] as const
const CI = ['robot+ci', 'gantry_secret-of-ci'] as const

const policy: Policy = {
  groups: {},
  immutableTags: [],
  rules: [
    { who: ['user:alice'], claims: {}, repositories: ['team/*'], actions: ['pull', 'push'], effect: 'allow' },
    { who: ['everyone'], claims: {}, repositories: ['public/*'], actions: ['pull'], effect: 'allow' },
  ],
}

let app: ServedApp
before(async () => {
  app = await serveApp({ access: accessOf({ policy }) })
  await addUser(app.accounts, ...ALICE)
  await addRobot(app.accounts, 'ci', CI[1], [{ repositories: 'team/app', actions: ['pull', 'push'] }])
})
after(() => app[Symbol.asyncDispose]())

interface Payload {
  readonly access: readonly { readonly name: string; readonly actions: readonly string[] }[]
  readonly [claim: string]: unknown
}
const payloadOf = (token: string): Payload => jwt.decode(token) as unknown as Payload

const form = (fields: Record<string, string>): { headers: Record<string, string>; body: string } => ({
  headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams({ service: 'gantry', client_id: 'test', ...fields }).toString(),
})

describe('GET /token', () => {
  it('answers what docker reads, and a token with what K11 asks for', async () => {
    const before = Math.floor(Date.now() / 1_000)
    const answer = await app.ask(
      'GET',
      '/token?service=gantry&scope=repository:team/a:pull,push&account=alice&client_id=docker',
      {
        headers: basic(...ALICE),
      },
    )
    assert.equal(answer.status, 200)
    assert.equal(answer.headers['cache-control'], 'no-store')
    const { token, access_token, expires_in, issued_at, refresh_token } = answer.json() as TokenAnswer
    assert.deepEqual([access_token, expires_in, refresh_token], [token, 300, undefined])
    assert.ok(!Number.isNaN(Date.parse(issued_at)))
    const decoded = jwt.decode(token, { complete: true })
    assert.equal(decoded?.header.alg, 'ES256')
    assert.match(String(decoded?.header.kid), /^[0-9a-f-]{36}$/)
    const { iss, sub, aud, iat, nbf, exp, jti, access } = payloadOf(token)
    assert.deepEqual([iss, sub, aud], ['gantry', 'user:alice', 'gantry'])
    assert.ok(Number(iat) >= before && Number(nbf) <= Number(iat) && Number(exp) === Number(iat) + 300)
    assert.match(String(jti), /^[0-9a-f-]{36}$/)
    assert.deepEqual(access, [{ type: 'repository', name: 'team/a', actions: ['pull', 'push'] }])
  })

  it('gives the part of the scopes that the policy allows, without an error', async () => {
    const scopes = [
      'repository:team/a:pull,push,delete',
      'repository(plugin):team/plugin:pull',
      'repository:public/x:pull,push repository:team/b:*',
      'repository:other/a:pull',
      'repository:registry.example:5000/a:pull',
      'registry:catalog:*',
      'nonsense',
      'repository::pull',
      'repository:UPPER:pull',
      'repository:*:pull,push,delete',
      'repository:team/c:',
    ]
    assert.deepEqual(payloadOf(await tokenFor(app, ALICE, ...scopes)).access, [
      { type: 'repository', name: 'team/a', actions: ['pull', 'push'] },
      { type: 'repository', name: 'team/plugin', actions: ['pull'] },
      { type: 'repository', name: 'public/x', actions: ['pull'] },
      { type: 'repository', name: 'team/b', actions: ['pull', 'push'] },
      { type: 'registry', name: 'catalog', actions: ['*'] },
      { type: 'repository', name: '*', actions: ['pull'] },
    ])
  })

  it('gives nobody what everybody may, and a robot what it was made with', async () => {
    assert.deepEqual(
      payloadOf(await tokenFor(app, undefined, 'repository:public/x:pull,push', 'repository:team/a:pull')).access,
      [{ type: 'repository', name: 'public/x', actions: ['pull'] }],
    )
    const robot = payloadOf(await tokenFor(app, CI, 'repository:team/app:pull,push', 'repository:team/a:pull'))
    assert.equal(robot['sub'], 'robot:ci')
    assert.deepEqual(robot.access, [{ type: 'repository', name: 'team/app', actions: ['pull', 'push'] }])
  })

  it('refuses wrong credentials with 401, all in the same words', async () => {
    const texts = new Set<string>()
    for (const [login, secret] of [
      ['alice', 'wrong'],
      ['nobody', 'wrong'],
      ['robot+ci', 'wrong'],
      ['robot+nobody', 'wrong'],
      ['../../keys/x', 'wrong'],
    ] as const) {
      const answer = await app.ask('GET', '/token?service=gantry', { headers: basic(login, secret) })
      assert.equal(answer.status, 401, login)
      assert.equal(answer.headers['www-authenticate'], 'Basic realm="gantry",charset="UTF-8"')
      texts.add(answer.body.toString())
    }
    assert.equal(texts.size, 1)
  })

  for (const [attack, header] of [
    ['Basic that is not base64', 'Basic %%%'],
    ['Basic without a colon', `Basic ${Buffer.from('alice').toString('base64')}`],
    ['an empty Basic', 'Basic '],
    ['a scheme that nobody knows', 'Digest username="alice"'],
    ['a token for a token', 'Bearer abc'],
  ] as const) {
    it(`refuses ${attack} with 401`, async () => {
      assert.equal((await app.ask('GET', '/token', { headers: { Authorization: header } })).status, 401)
    })
  }

  it('takes an empty name with an empty password for nobody, and half of that for wrong', async () => {
    const given = async (login: string, secret: string) =>
      await app.ask('GET', '/token?scope=repository:public/x:pull', { headers: basic(login, secret) })
    const answer = await given('', '')
    assert.equal(answer.status, 200)
    assert.equal(payloadOf((answer.json() as TokenAnswer).token)['sub'], 'anonymous')
    assert.deepEqual([(await given('', 'x')).status, (await given('alice', '')).status], [401, 401])
  })

  it('refuses another service, and scopes by the thousand, with 400', async () => {
    assert.equal((await app.ask('GET', '/token?service=other', { headers: basic(...ALICE) })).status, 400)
    const scopes = Array.from({ length: 101 }, (_, index) => `repository:a/${index}:pull`)
    const many = await app.ask('GET', `/token?scope=${scopes.join('%20')}`, { headers: basic(...ALICE) })
    assert.equal(many.status, 400)
    const long = await app.ask(
      'POST',
      '/token',
      form({
        grant_type: 'password',
        username: ALICE[0],
        password: ALICE[1],
        scope: 'repository:a:pull '.repeat(2_000),
      }),
    )
    assert.equal(long.status, 400)
  })

  it('gives nothing to nobody where nobody may do anything', async () => {
    await using closed = await serveApp({ access: accessOf() })
    assert.equal((await closed.ask('GET', '/token?scope=repository:a:pull')).status, 401)
  })
})

describe('POST /token', () => {
  it('takes a password, and gives a refresh token to who wants to stay', async () => {
    const scope = 'repository:team/a:pull'
    const password = { grant_type: 'password', username: ALICE[0], password: ALICE[1], scope }
    assert.equal(((await app.ask('POST', '/token', form(password))).json() as TokenAnswer).refresh_token, undefined)
    const offline = (
      await app.ask('POST', '/token', form({ ...password, access_type: 'offline' }))
    ).json() as TokenAnswer
    assert.equal(offline.scope, scope)
    const refresh_token = offline.refresh_token ?? ''
    const again = await app.ask('POST', '/token', form({ grant_type: 'refresh_token', refresh_token, scope }))
    assert.equal(again.status, 200)
    const { access_token, refresh_token: kept } = again.json() as TokenAnswer
    assert.equal(kept, refresh_token)
    assert.equal((await app.ask('GET', '/v2/', { headers: bearer(access_token) })).status, 200)
  })

  it('refuses an access token as refresh token, and a refresh token as access token', async () => {
    const access = await tokenFor(app, ALICE)
    const asRefresh = await app.ask('POST', '/token', form({ grant_type: 'refresh_token', refresh_token: access }))
    assert.equal(asRefresh.status, 401)
    const offline = await app.ask('GET', '/token?offline_token=true', { headers: basic(...ALICE) })
    const { refresh_token = '' } = offline.json() as TokenAnswer
    assert.equal((await app.ask('GET', '/v2/', { headers: bearer(refresh_token) })).status, 401)
  })

  it('refuses other grants with 400, and a form that never ends with 413', async () => {
    assert.equal((await app.ask('POST', '/token', form({ grant_type: 'authorization_code' }))).status, 400)
    assert.equal((await app.ask('POST', '/token', { body: '' })).status, 400)
    assert.equal((await app.ask('POST', '/token', { body: 'a'.repeat(70_000) })).status, 413)
  })

  it('gives nothing more for a refresh token once its account is disabled, its password changed, or both undone', async () => {
    await addUser(app.accounts, 'bob', 'battery staple')
    const bob = { kind: 'user', name: 'bob' } as const
    const offline = await app.ask('GET', '/token?offline_token=true', { headers: basic('bob', 'battery staple') })
    const { refresh_token = '' } = offline.json() as TokenAnswer
    const refreshed = async (): Promise<number> =>
      (await app.ask('POST', '/token', form({ grant_type: 'refresh_token', refresh_token }))).status
    assert.equal(await refreshed(), 200)
    await disable(app.accounts, bob)
    await new Promise((resolve) => setTimeout(resolve, SEEN_WITHIN_MS + 100))
    assert.equal(await refreshed(), 401)
    await app.accounts.change(bob, () => ({ enabled: true }))
    await new Promise((resolve) => setTimeout(resolve, SEEN_WITHIN_MS + 100))
    assert.equal(await refreshed(), 401)
    assert.equal((await app.ask('GET', '/token', { headers: basic('bob', 'battery staple') })).status, 200)
  })
})

describe('the key set', () => {
  it('verifies tokens of this registry, and has no private part', async () => {
    const answer = await app.ask('GET', '/.well-known/jwks.json')
    const { keys } = answer.json() as { keys: Record<string, string>[] }
    assert.equal(keys.length, 1)
    assert.deepEqual(Object.keys(keys[0] ?? {}).toSorted(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
    assert.equal(jwt.decode(await tokenFor(app, ALICE), { complete: true })?.header.kid, keys[0]?.['kid'])
  })
})
