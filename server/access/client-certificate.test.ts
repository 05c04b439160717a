import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { after, before, describe, it, mock } from 'node:test'
import type { ConnectionOptions } from 'node:tls'
import { accessOf, addUser, basic, bearer, tokenFor } from '../testing/access.ts'
import { pushBlob } from '../testing/content.ts'
import { type ServedApp, serveApp } from '../testing/served-app.ts'
import { secureConnection, type TestAuthority, type TestTls, testAuthority, testTls } from '../testing/tls.ts'
import type { Policy } from './policy.ts'

const policy: Policy = {
  groups: {},
  immutableTags: [],
  rules: [
    {
      who: ['cert:ci-*'],
      claims: { organization: 'team-a' },
      repositories: ['team-a/*'],
      actions: ['pull', 'push'],
      effect: 'allow',
    },
    {
      who: ['cert:spiffe://example/*', 'user:alice'],
      claims: {},
      repositories: ['spiffe/*'],
      actions: ['pull'],
      effect: 'allow',
    },
    { who: ['everyone'], claims: {}, repositories: ['public/*'], actions: ['pull'], effect: 'allow' },
  ],
}

let tls: TestTls
let app: ServedApp
before(async () => {
  tls = await testTls({ clientAuthorities: true })
  app = await serveApp({ tls: tls.keeper, access: accessOf({ policy }) })
  await addUser(app.accounts, 'alice', 'correct horse')
})
after(async () => {
  await app[Symbol.asyncDispose]()
  await tls[Symbol.asyncDispose]()
})

type Wish = Parameters<TestAuthority['issue']>[1]
const as = (wish: Wish, authority = tls.clients, purpose: 'client' | 'server' = 'client'): ConnectionOptions => {
  const { certificate, key } = authority.issue(purpose, wish)
  return { ca: tls.authority.certificate, cert: certificate, key }
}
const ci = (): ConnectionOptions => as({ subject: { commonName: 'ci-1', organization: 'team-a' } })
const nobody = (): ConnectionOptions => ({ ca: tls.authority.certificate })
const tags = async (repository: string, options: ConnectionOptions, headers = {}): Promise<number> =>
  (await app.ask('GET', `/v2/${repository}/tags/list`, { tls: options, headers })).status

describe('a client certificate', () => {
  it('is who the client is, within what the policy gives to that name and those claims', async () => {
    const asCi: ServedApp = { ...app, ask: (method, path, asked) => app.ask(method, path, { ...asked, tls: ci() }) }
    assert.equal((await asCi.ask('GET', '/v2/')).status, 200)
    await pushBlob(asCi, 'team-a/app', 'content')
    assert.equal(await tags('team-b/app', ci()), 403)
    assert.equal(await tags('team-a/app', as({ subject: { commonName: 'ci-1', organization: 'team-b' } })), 403)
    assert.equal(await tags('team-a/app', as({ subject: { commonName: 'ci-1' } })), 403)
    assert.equal(await tags('team-a/app', as({ subject: { commonName: 'cj-1', organization: 'team-a' } })), 403)
    const line = app.logged.find(({ subject, status }) => subject === 'cert:ci-1' && status === 201)
    assert.equal(line?.['client'], '127.0.0.1')
  })

  it('has the first of its other names, if it has no common one', async () => {
    const names = { uris: ['spiffe://example/builder'], hosts: ['ci-1'] }
    assert.equal(await tags('spiffe/x', as({ subject: { commonName: '' }, names })), 404)
    // A name within a name is none.
    const forged = { uris: ['urn:x, URI:spiffe://example/builder'], hosts: ['x'] }
    assert.equal(await tags('spiffe/x', as({ subject: { commonName: '' }, names: forged })), 403)
  })

  it('of somebody else, out of time, for another purpose, or without a name is refused, and the answer says why', async () => {
    const subject = { commonName: 'ci-1', organization: 'team-a' }
    for (const [options, reason] of [
      [as({ subject }, testAuthority('authority of clients')), /not believed: /],
      [as({ subject }, tls.authority), /not believed: /],
      [as({ subject, lastsMs: -1_000 }), /not believed: cert has expired/],
      [as({ subject }, tls.clients, 'server'), /not believed: invalid purpose/],
      [as({ subject: { commonName: '' } }), /not believed: it has no common name/],
      [as({ subject: { commonName: 'ci-1\nuser:alice' } }), /not believed: it has no common name/],
    ] as const) {
      const answer = await app.ask('GET', '/v2/team-a/app/tags/list', { tls: options })
      assert.equal(answer.status, 401)
      assert.match(answer.body.toString(), reason)
      assert.match(String(answer.headers['www-authenticate']), /^Bearer realm="https:/)
    }
  })

  it('is asked for, not demanded: without one people log in, and credentials count before it', async () => {
    assert.equal((await app.ask('GET', '/v2/', { tls: nobody() })).status, 401)
    const plain: ServedApp = {
      ...app,
      ask: (method, path, asked) => app.ask(method, path, { ...asked, tls: nobody() }),
    }
    const login = ['alice', 'correct horse'] as const
    const token = await tokenFor(plain, login, 'repository:spiffe/x:pull')
    assert.equal(await tags('spiffe/x', nobody(), bearer(token)), 404)
    assert.equal(await tags('spiffe/x', ci(), bearer(token)), 404)
    assert.equal(await tags('team-a/app', ci(), bearer(token)), 403)
    assert.equal(await tags('team-a/app', ci(), basic(...login)), 401)
    assert.equal(
      await tags('public/x', nobody(), bearer(await tokenFor(plain, undefined, 'repository:public/x:pull'))),
      404,
    )
  })

  it('that expires on an open connection is refused from then on', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const { hostname, port } = new URL(app.url)
    const options = as({ subject: { commonName: 'ci-1', organization: 'team-a' } })
    const status = async (): Promise<number> => {
      const asking = request({ hostname, port, path: '/v2/', agent, ...options }).end()
      const [answer] = await once(asking, 'response')
      answer.resume()
      await once(answer, 'end')
      return answer.statusCode
    }
    try {
      assert.equal(await status(), 200)
      mock.timers.enable({ apis: ['Date'], now: Date.now() + 2 * 60 * 60_000 })
      assert.equal(await status(), 401)
    } finally {
      mock.timers.reset()
      agent.destroy()
    }
  })

  it('of an authority that is trusted no more counts for nothing, also in a session that began before', async () => {
    await using own = await testTls({ clientAuthorities: true })
    await using served = await serveApp({ tls: own.keeper, access: accessOf({ policy }) })
    const { certificate, key } = own.clients.issue('client', { subject: { commonName: 'ci-1' } })
    const options = { ca: own.authority.certificate, cert: certificate, key }
    const ask = async (session?: Buffer): Promise<{ status: string; session: Buffer | undefined }> => {
      const socket = await secureConnection(served.url, { ...options, ...(session ? { session } : {}) })
      let given = session
      socket.on('session', (next: Buffer) => {
        given = next
      })
      socket.write('GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
      let answer = ''
      for await (const chunk of socket) answer += String(chunk)
      return { status: answer.slice(9, 12), session: given }
    }
    const before = await ask()
    assert.ok(before.session)
    assert.deepEqual([before.status, (await ask(before.session)).status], ['200', '200'])
    await writeFile(join(own.directory, 'clients'), testAuthority('another one').certificate)
    await own.keeper.look(true)
    assert.equal((await ask(before.session)).status, '401')
  })
})
