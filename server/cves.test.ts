/** What was found in other registries, done to this one: each test is named after the advisory whose attack it performs. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import jwt from 'jsonwebtoken'
import { SEEN_WITHIN_MS } from './access/directory.ts'
import { trustedIssuers } from './access/oidc.ts'
import type { Action, Policy, Rule } from './access/policy.ts'
import { accessOf, addRobot, addUser, askingAs, basic, bearer, claimsOf, tokenFor } from './testing/access.ts'
import { aManifest, MANIFEST_TYPE, pushBlob, pushManifest, sha256 } from './testing/content.ts'
import { RawConnection } from './testing/raw-http.ts'
import { type Answer, type ServedApp, serveApp } from './testing/served-app.ts'

const PASSWORD = 'correct horse'
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const rule = (who: string, repositories: string, ...actions: readonly Action[]): Rule => ({
  who: [who],
  claims: {},
  repositories: [repositories],
  actions,
  effect: 'allow',
})
const policy: Policy = {
  groups: {},
  immutableTags: [],
  rules: [
    rule('user:owner', '*', 'pull', 'push', 'delete'),
    rule('user:maker', 'team/*', 'pull', 'push', 'create-tag'),
    rule('group:staff', 'staff/*', 'pull'),
    rule('everyone', 'public/*', 'pull'),
  ],
}

let app: ServedApp
let owner: ServedApp
let maker: ServedApp
before(async () => {
  app = await serveApp({ access: accessOf({ policy }) })
  for (const name of ['owner', 'maker']) await addUser(app.accounts, name, PASSWORD)
  await addUser(app.accounts, 'member', PASSWORD, ['staff'])
  await addRobot(app.accounts, 'ci', 'gantry_ci', [{ repositories: 'team/app', actions: ['pull', 'push'] }])
  const names = ['team/a', 'team/b', 'secret/a', 'staff/a', 'public/a']
  owner = await as('owner', ...names.map((name) => `repository:${name}:pull,push,delete`))
  maker = await as('maker', 'repository:team/a:pull,push', 'repository:*:pull', 'repository:secret/a:pull')
})
after(() => app[Symbol.asyncDispose]())

const as = async (name: string, ...scopes: readonly string[]): Promise<ServedApp> =>
  askingAs(app, bearer(await tokenFor(app, [name, PASSWORD], ...scopes)))

const put = (by: ServedApp, path: string, body: string, type = MANIFEST_TYPE): Promise<Answer> =>
  by.ask('PUT', path, { headers: { 'Content-Type': type }, body })

describe('distribution', () => {
  it('CVE-2017-11468: a manifest without end is refused while it comes, and not kept in memory', async () => {
    await using served = await serveApp()
    await using connection = new RawConnection(served.url)
    connection.write(
      `PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: a\r\nContent-Type: ${MANIFEST_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n`,
    )
    const chunk = `100000\r\n${' '.repeat(1024 * 1024)}\r\n`
    for (let sent = 0; sent < 64 && connection.received === '' && !connection.socket.destroyed; sent++) {
      if (!connection.socket.write(chunk)) await Promise.race([once(connection.socket, 'drain'), connection.closed])
    }
    await connection.until(/^HTTP\/1\.1 413 /)
  })

  it('CVE-2021-41190: content that is an image to one reader and an index to another is refused as either', async () => {
    const image = JSON.parse(await aManifest(owner, 'team/a')) as Record<string, unknown>
    const both = { ...image, manifests: [] }
    for (const [type, body] of [
      [MANIFEST_TYPE, both],
      [INDEX_TYPE, { ...both, mediaType: INDEX_TYPE }],
      [INDEX_TYPE, image],
      [MANIFEST_TYPE, { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [] }],
    ] as const) {
      const answer = await put(owner, '/v2/team/a/manifests/both', JSON.stringify(body), type)
      assert.deepEqual([answer.status, answer.errorCode()], [400, 'MANIFEST_INVALID'], JSON.stringify(body))
    }
  })

  it('CVE-2023-2253: a page of a thousand million names costs what there is', async () => {
    await using served = await serveApp()
    await pushManifest(served, 'team/a', 'v1')
    for (const path of ['/v2/_catalog', '/v2/team/a/tags/list']) {
      const before = process.resourceUsage().maxRSS
      const answer = await served.ask('GET', `${path}?n=1000000000`)
      const grownKiB = process.resourceUsage().maxRSS - before
      assert.equal(answer.status, 200)
      assert.ok(answer.body.length < 100)
      assert.ok(grownKiB < 64 * 1024, `${grownKiB} KiB`)
      assert.equal((await served.ask('GET', `${path}?n=99999999999999999999`)).status, 400)
      assert.equal((await served.ask('GET', `${path}?n=-1`)).status, 400)
    }
  })

  it('CVE-2025-24976: a key that a token brings along verifies nothing, also under the kid of a trusted one', async () => {
    const good = await tokenFor(app, ['owner', PASSWORD])
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const kid = jwt.decode(good, { complete: true })?.header.kid ?? ''
    const jwk = { ...publicKey.export({ format: 'jwk' }), kid }
    const header = { alg: 'ES256', kid, jwk } as unknown as jwt.JwtHeader
    const forged = jwt.sign(claimsOf(good), privateKey, { algorithm: 'ES256', header })
    assert.equal((await app.ask('GET', '/v2/', { headers: bearer(good) })).status, 200)
    assert.equal((await app.ask('GET', '/v2/', { headers: bearer(forged) })).status, 401)
  })

  it('CVE-2026-33540: no document of somebody else sends this registry to another host', async () => {
    const visited: string[] = []
    const internal = createServer((req, res) => {
      visited.push(req.url ?? '')
      res.end('{"keys":[]}')
    }).listen(0, '127.0.0.1')
    const evil = createServer((req, res) => {
      const self = `http://${req.headers.host}`
      const jwks_uri = `http://127.0.0.1:${(internal.address() as AddressInfo).port}/keys`
      if (req.url?.startsWith('/redirecting')) return res.writeHead(307, { Location: jwks_uri }).end()
      res.end(JSON.stringify({ issuer: self, jwks_uri }))
    }).listen(0, '127.0.0.1')
    try {
      await Promise.all([once(internal, 'listening'), once(evil, 'listening')])
      const origin = `http://127.0.0.1:${(evil.address() as AddressInfo).port}`
      const warned: string[] = []
      const log = { info() {}, error() {}, warn: (fields: object) => void warned.push(JSON.stringify(fields)) }
      for (const issuer of [origin, `${origin}/redirecting`]) {
        const tokens = trustedIssuers([{ name: 'ci', issuer, audience: 'a', keys: 'auto' }], new Set(), log)
        const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
        const token = jwt.sign({ iss: issuer, aud: 'a' }, privateKey, {
          algorithm: 'ES256',
          keyid: 'x',
          expiresIn: 60,
        })
        await assert.rejects(tokens(token, issuer), { name: 'TokenRefused' })
      }
      assert.deepEqual(visited, [])
      assert.equal(warned.length, 2)
      assert.match(warned[0] ?? '', /on another origin/)
    } finally {
      internal.close()
      evil.close()
    }
  })

  it('CVE-2026-35172: a blob that was taken from one repository is gone there, whoever else has it', async () => {
    const digest = await pushBlob(owner, 'team/a', 'shared by two')
    await pushBlob(owner, 'team/b', 'shared by two')
    for (const method of ['GET', 'HEAD']) {
      assert.equal((await owner.ask(method, `/v2/team/a/blobs/${digest}`)).status, 200) // whatever remembers, has seen it
    }
    assert.equal((await owner.ask('DELETE', `/v2/team/a/blobs/${digest}`)).status, 202)
    for (const method of ['GET', 'HEAD']) {
      assert.equal((await owner.ask(method, `/v2/team/a/blobs/${digest}`)).status, 404, method)
      assert.equal((await owner.ask(method, `/v2/team/b/blobs/${digest}`)).status, 200, method)
    }
  })

  it('CVE-2026-41888: a tag cannot be deleted where nothing may be, nor by who may only push', async () => {
    await using readonly = await serveApp({ rules: { readonly: true } })
    assert.equal((await readonly.ask('DELETE', '/v2/a/manifests/v1')).status, 405)
    const digest = await pushManifest(owner, 'team/a', 'kept')
    const pusher = await as('maker', 'repository:team/a:pull,push,delete')
    assert.equal((await pusher.ask('DELETE', '/v2/team/a/manifests/kept')).status, 403)
    assert.equal((await pusher.ask('DELETE', `/v2/team/a/manifests/${digest}`)).status, 403)
    assert.equal((await owner.ask('GET', '/v2/team/a/manifests/kept')).status, 200)
  })
})

describe('zot', () => {
  it('CVE-2024-39897: knowing the digest of a blob elsewhere gives nothing, by HEAD, by mount or by GET after them', async () => {
    const digest = await pushBlob(owner, 'secret/a', 'known by its digest alone')
    assert.equal((await maker.ask('HEAD', `/v2/team/a/blobs/${digest}`)).status, 404)
    for (const source of ['', '&from=secret/a']) {
      const answer = await maker.ask('POST', `/v2/team/a/blobs/uploads/?mount=${digest}${source}`)
      assert.equal(answer.status, 202, source)
    }
    assert.equal((await maker.ask('GET', `/v2/team/a/blobs/${digest}`)).status, 404)
    const closing = await maker.ask('POST', '/v2/team/a/blobs/uploads/')
    const empty = await maker.ask('PUT', `${closing.headers.location}?digest=${digest}`)
    assert.equal(empty.status, 400, 'an upload of nothing is not the blob')
  })

  it('CVE-2025-23208: who is taken out of a group is out, with the token that was given before', async () => {
    await pushManifest(owner, 'staff/a', 'v1')
    const member = await as('member', 'repository:staff/a:pull')
    const asked = async (): Promise<number> => (await member.ask('GET', '/v2/staff/a/manifests/v1')).status
    assert.equal(await asked(), 200)
    await app.accounts.change({ kind: 'user', name: 'member' }, () => ({ groups: [] }))
    await new Promise((resolve) => setTimeout(resolve, SEEN_WITHIN_MS + 100))
    assert.equal(await asked(), 403)
    const { access } = claimsOf(await tokenFor(app, ['member', PASSWORD], 'repository:staff/a:pull'))
    assert.deepEqual(access, [])
  })

  for (const [advisory, path] of [
    ['CVE-2026-31801: who may only create tags cannot move one, `latest` neither', '/v2/team/a/manifests/latest'],
    ['#4266: nor by a parameter of a push under another tag', '/v2/team/a/manifests/other?tag=latest'],
    ['#4266: nor by a parameter of a push by digest', '/v2/team/a/manifests/DIGEST?tag=latest'],
  ] as const) {
    it(advisory, async () => {
      const digest = await pushManifest(owner, 'team/a', 'latest')
      const body = await aManifest(maker, 'team/a', { annotations: { moved: advisory } })
      const answer = await put(maker, path.replace('DIGEST', sha256(body)), body)
      assert.deepEqual([answer.status, answer.errorCode()], [403, 'DENIED'])
      const { headers } = await owner.ask('GET', '/v2/team/a/manifests/latest')
      assert.equal(headers['docker-content-digest'], digest)
    })
  }

  it('#3844, #4238: nothing that a client sends becomes a place on another host to go to', async () => {
    await using served = await serveApp()
    const hostile = ['evil.example', 'evil.example/x', 'evil.example"', 'a@evil.example', '\\evil.example']
    for (const host of hostile) {
      const headers = { Host: host, 'X-Forwarded-Host': 'evil.example', Forwarded: 'host=evil.example' }
      for (const path of [
        '/v2/a/blobs/uploads/',
        '/v2//evil.example/blobs/uploads/',
        '//evil.example/v2/',
        '/\\evil',
      ]) {
        const answer = await served.ask('POST', path, { headers })
        const location = answer.headers.location
        assert.ok(location === undefined || /^\/v2\/a\/blobs\/uploads\/[^/\\]/.test(location), `${path}: ${location}`)
      }
      const challenge = await app.ask('GET', '/v2/', { headers: { ...headers, Host: 'real.example' } })
      assert.match(
        String(challenge.headers['www-authenticate']),
        /^Bearer realm="http:\/\/real\.example\/token",service/,
      )
      const odd = await app.ask('GET', '/v2/', { headers })
      assert.match(
        String(odd.headers['www-authenticate']),
        /^Bearer realm="http:\/\/(?:evil\.example|localhost)\/token",service="gantry"$/,
      )
    }
  })
})

describe('Harbor', () => {
  it('CVE-2019-19030: what one may not see answers as what is not there, to nobody, strangers and robots', async () => {
    await pushManifest(owner, 'secret/a', 'v1')
    const scopes = ['repository:secret/a:pull', 'repository:secret/z:pull']
    const everybody = [undefined, ['robot+ci', 'gantry_ci'], ['maker', PASSWORD], ['member', PASSWORD]] as const
    for (const login of everybody) {
      const given = bearer(await tokenFor(app, login, ...scopes))
      for (const path of ['manifests/v1', 'tags/list', `referrers/${sha256('x')}`, `blobs/${sha256('x')}`]) {
        const there = await app.ask('GET', `/v2/secret/a/${path}`, { headers: given })
        const absent = await app.ask('GET', `/v2/secret/z/${path}`, { headers: given })
        assert.equal(there.status, absent.status)
        assert.equal(there.body.toString().replaceAll('secret/a', 'secret/z'), absent.body.toString())
      }
    }
  })

  it('CVE-2020-29662: the catalog is for who may list, and is filtered for them', async () => {
    await pushManifest(owner, 'secret/a', 'v1')
    await pushManifest(owner, 'public/a', 'v1')
    assert.equal((await app.ask('GET', '/v2/_catalog')).status, 401)
    assert.equal((await app.ask('GET', '/v2/_catalog/')).status, 404)
    assert.equal(
      (await app.ask('GET', '/v2/_catalog', { headers: bearer(await tokenFor(app, undefined)) })).status,
      401,
    )
    const nobody = await tokenFor(app, undefined, 'registry:catalog:*')
    const { repositories } = (await app.ask('GET', '/v2/_catalog', { headers: bearer(nobody) })).json() as {
      repositories: string[]
    }
    assert.deepEqual(repositories, ['public/a'])
  })

  it('CVE-2022-31667, CVE-2022-31669: no request changes an account, a robot or what is immutable', async () => {
    const records = async (): Promise<string> => JSON.stringify(await Array.fromAsync(app.accounts.list()))
    const before = await records()
    const paths = ['/v2/robots/1', '/api/v2.0/robots/1', '/v2/accounts/!ci', '/accounts/ci', '/v2/../accounts/ci']
    for (const path of paths) {
      for (const method of ['PUT', 'POST', 'PATCH', 'DELETE']) {
        const answer = await owner.ask(method, path, { body: '{"grants":[]}' })
        assert.ok(answer.status === 404 || answer.status === 405, `${method} ${path}: ${answer.status}`)
      }
    }
    assert.equal(await records(), before)
    assert.equal((await app.ask('GET', '/token', { headers: basic('admin', 'Harbor12345') })).status, 401)
  })
})
