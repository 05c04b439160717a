/**
 * Every route by everybody: the rows are the route table's own, so that a new route without a row here fails. A refusal is the
 * same whether what was asked for exists or not, and changes nothing.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Right } from '../routing.ts'
import {
  accessOf,
  addUser,
  askingAs,
  basic,
  bearer,
  claimsOf,
  disable,
  forgedToken,
  tokenFor,
} from '../testing/access.ts'
import { aManifest, MANIFEST_TYPE, pushBlob, pushManifest, sha256 } from '../testing/content.ts'
import { type Answer, type ServedApp, serveApp } from '../testing/served-app.ts'
import { SEEN_WITHIN_MS } from './directory.ts'
import type { Policy, Rule } from './policy.ts'

const ROWS: Readonly<Record<string, Right>> = {
  'GET /v2/?': 'open',
  'GET /v2/_catalog': 'catalog',
  'GET /v2/_oci/ext/discover': 'open',
  'GET /v2/:name/_oci/ext/discover': 'pull',
  'GET /v2/:name/blobs/:digest': 'pull',
  'DELETE /v2/:name/blobs/:digest': 'delete',
  'POST /v2/:name/blobs/uploads/?': 'push',
  'PATCH /v2/:name/blobs/uploads/:upload': 'push',
  'PUT /v2/:name/blobs/uploads/:upload': 'push',
  'GET /v2/:name/blobs/uploads/:upload': 'push',
  'DELETE /v2/:name/blobs/uploads/:upload': 'push',
  'PATCH /v2/:name/blobs/uploads/:upload/:offset': 'push',
  'PUT /v2/:name/blobs/uploads/:upload/:offset': 'push',
  'GET /v2/:name/blobs/uploads/:upload/:offset': 'push',
  'DELETE /v2/:name/blobs/uploads/:upload/:offset': 'push',
  'GET /v2/:name/manifests/:reference': 'pull',
  'PUT /v2/:name/manifests/:reference': 'push',
  'DELETE /v2/:name/manifests/:reference': 'delete',
  'GET /v2/:name/tags/list': 'pull',
  'GET /v2/:name/referrers/:subject': 'pull',
  'GET /token': 'public',
  'POST /token': 'public',
  'GET /.well-known/jwks.json': 'public',
}

const rule = (who: string, actions: Rule['actions']): Rule => ({
  who: [who],
  claims: {},
  repositories: ['team/*'],
  actions,
  effect: 'allow',
})
const policy: Policy = {
  groups: {},
  immutableTags: [],
  rules: [
    rule('user:owner', ['pull', 'push', 'delete']),
    rule('user:revoked', ['pull', 'push', 'delete']),
    rule('user:reader', ['pull']),
    rule('user:writer', ['push']),
    rule('user:remover', ['delete']),
    { who: ['anonymous'], claims: {}, repositories: ['public/*'], actions: ['pull'], effect: 'allow' },
  ],
}
const PASSWORD = 'correct horse'
const NAME = 'team/a'
const ALL = [`repository:${NAME}:pull,push,delete`, 'repository:team/absent:pull,push,delete', 'registry:catalog:*']
const BLOB = 'a blob'

let app: ServedApp
let owner: ServedApp
let manifest: string
const tokens: Record<string, string> = {}

before(async () => {
  app = await serveApp({ access: accessOf({ policy }) })
  for (const name of ['owner', 'revoked', 'reader', 'writer', 'remover', 'stranger']) {
    await addUser(app.accounts, name, PASSWORD)
    tokens[name] = await tokenFor(app, [name, PASSWORD], ...ALL)
  }
  const good = claimsOf(tokens['owner'] ?? '')
  tokens['nobody'] = await tokenFor(app, undefined, ...ALL)
  tokens['other repository'] = await tokenFor(app, ['owner', PASSWORD], 'repository:team/b:pull,push,delete')
  tokens['expired'] = await forgedToken(app, { ...good, iat: 1, nbf: 1, exp: Math.floor(Date.now() / 1_000) - 120 })
  tokens['another service'] = await forgedToken(app, { ...good, aud: 'elsewhere' })
  tokens['spoiled'] = `${tokens['owner']?.slice(0, -4)}AAAA`
  owner = askingAs(app, bearer(tokens['owner'] ?? ''))
  await disable(app.accounts, { kind: 'user', name: 'revoked' })
  await new Promise((resolve) => setTimeout(resolve, SEEN_WITHIN_MS + 100))
  await pushBlob(owner, NAME, BLOB)
  await pushManifest(owner, NAME, 'v1')
  manifest = await aManifest(owner, NAME, { annotations: { of: 'the matrix' } })
})
after(() => app[Symbol.asyncDispose]())

interface Asked {
  readonly verb: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body: string | undefined
}

/** A request to the route that would do something. `name` takes the place of the repository. */
function requestTo(row: string, upload: string, name: string): Asked {
  const [verb = '', path = ''] = row.split(' ')
  const filled = path
    .replace('/?', '/')
    .replace(':name', name)
    .replace(':digest', sha256(BLOB))
    .replace(':subject', sha256(BLOB))
    .replace(':reference', 'v1')
    .replace(':upload', upload)
    .replace(':offset', '0')
  if (row === 'POST /token') {
    return {
      verb,
      path,
      headers: {},
      body: `grant_type=password&username=owner&password=${encodeURIComponent(PASSWORD)}`,
    }
  }
  if (path.includes('manifests') && verb === 'PUT') {
    return { verb, path: filled, headers: { 'Content-Type': MANIFEST_TYPE }, body: manifest }
  }
  const query = verb === 'PUT' ? `?digest=${sha256('content')}` : ''
  return { verb, path: filled + query, headers: {}, body: verb === 'PUT' || verb === 'PATCH' ? 'content' : undefined }
}

const send = ({ verb, path, headers, body }: Asked, given: Record<string, string>): Promise<Answer> =>
  app.ask(verb, path, { headers: { ...headers, ...given }, ...(body === undefined ? {} : { body }) })

async function newSession(): Promise<string> {
  const { headers, status } = await owner.ask('POST', `/v2/${NAME}/blobs/uploads/`)
  assert.equal(status, 202)
  return String(headers['docker-upload-uuid'])
}

const withoutIds = ({ body }: Answer, name: string): string => body.toString().replaceAll(name, 'NAME')

describe('the matrix of routes and rights', () => {
  it('has a row for every route, with the right that it needs', () => {
    assert.deepEqual(Object.fromEntries(app.routes.map(({ verb, path, right }) => [`${verb} ${path}`, right])), ROWS)
  })

  for (const [row, right] of Object.entries(ROWS)) {
    const repository = row.includes(':name')
    if (right === 'public') {
      it(`${row} is for everybody`, async () => {
        const answer = await send(requestTo(row, '', NAME), {})
        assert.equal(answer.status, 200)
      })
      continue
    }

    it(`${row} is refused to who cannot prove who they are: 401, with a challenge`, async () => {
      const session = await newSession()
      const before = await app.files()
      const given: Record<string, Record<string, string>> = {
        'no credentials': {},
        'a password, for the token service alone': basic('owner', PASSWORD),
        'a header that is nothing': { Authorization: 'Bearer' },
        ...Object.fromEntries(
          ['expired', 'another service', 'spoiled', 'revoked'].map((name) => [name, bearer(tokens[name] ?? '')]),
        ),
      }
      for (const [what, headers] of Object.entries(given)) {
        const answer = await send(requestTo(row, session, NAME), headers)
        assert.equal(answer.status, 401, `${what}: ${answer.body}`)
        assert.equal(answer.errorCode(), 'UNAUTHORIZED')
        assert.match(
          String(answer.headers['www-authenticate']),
          /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token",service="gantry"/,
        )
        assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0')
        const absent = await send(requestTo(row, session, 'team/absent'), headers)
        assert.deepEqual([absent.status, withoutIds(absent, 'team/absent')], [401, withoutIds(answer, NAME)], what)
      }
      assert.deepEqual(await app.files(), before)
    })

    if (!repository) {
      it(`${row} is answered to whoever is known, be it as nobody`, async () => {
        for (const who of ['owner', 'stranger', 'nobody']) {
          assert.equal((await send(requestTo(row, '', NAME), bearer(tokens[who] ?? ''))).status, 200, who)
        }
        const elsewhere = await send(requestTo(row, '', NAME), bearer(tokens['other repository'] ?? ''))
        assert.equal(elsewhere.status, right === 'catalog' ? 401 : 200)
      })
      continue
    }

    it(`${row} is refused to a token for another repository: 401, with the scope to ask for`, async () => {
      const session = await newSession()
      const answer = await send(requestTo(row, session, NAME), bearer(tokens['other repository'] ?? ''))
      assert.equal(answer.status, 401)
      const actions = right === 'push' ? 'pull,push' : right
      assert.ok(
        String(answer.headers['www-authenticate']).endsWith(
          `,scope="repository:${NAME}:${actions}",error="insufficient_scope"`,
        ),
        String(answer.headers['www-authenticate']),
      )
    })

    it(`${row} is refused to those whom the policy refuses: 403, and 401 to nobody`, async () => {
      const session = await newSession()
      const before = await app.files()
      const others = { pull: ['writer', 'remover'], push: ['reader', 'remover'], delete: ['reader', 'writer'] }
      for (const who of ['stranger', ...others[right as keyof typeof others]]) {
        const answer = await send(requestTo(row, session, NAME), bearer(tokens[who] ?? ''))
        assert.deepEqual([answer.status, answer.errorCode()], [403, 'DENIED'], who)
        assert.match(
          String(answer.headers['www-authenticate']),
          /error="insufficient_scope",error_description="user:\w+ may not /,
        )
        const absent = await send(requestTo(row, session, 'team/absent'), bearer(tokens[who] ?? ''))
        assert.deepEqual([absent.status, withoutIds(absent, 'team/absent')], [403, withoutIds(answer, NAME)], who)
      }
      assert.equal((await send(requestTo(row, session, NAME), bearer(tokens['nobody'] ?? ''))).status, 401)
      assert.deepEqual(await app.files(), before)
    })

    it(`${row} is answered to who has the right`, async () => {
      await pushBlob(owner, NAME, BLOB)
      await pushManifest(owner, NAME, 'v1')
      const answer = await send(requestTo(row, await newSession(), NAME), bearer(tokens['owner'] ?? ''))
      assert.ok(answer.status < 300, `${answer.status}: ${answer.body}`)
    })
  }
})
