/**
 * What somebody may not see answers as what is not there: status, headers, body, and what was asked of the storage for it, which is
 * what an answer's time is made of. The rows are the route table's own.
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { StorageDriver } from '../../storage/driver.ts'
import { openFsDriver } from '../../storage/fs/driver.ts'
import { accessOf, addUser, askingAs, bearer, tokenFor } from '../testing/access.ts'
import { aManifest, MANIFEST_TYPE, pushBlob, pushManifest, sha256 } from '../testing/content.ts'
import { type Answer, type ServedApp, serveApp } from '../testing/served-app.ts'
import type { Policy } from './policy.ts'

const PASSWORD = 'correct horse'
const policy: Policy = {
  groups: {},
  immutableTags: [],
  rules: [
    {
      who: ['user:owner'],
      claims: {},
      repositories: ['*'],
      actions: ['pull', 'push', 'delete'],
      effect: 'allow',
    },
    {
      who: ['user:neighbour'],
      claims: {},
      repositories: ['open/*'],
      actions: ['pull', 'push', 'delete'],
      effect: 'allow',
    },
    { who: ['everyone'], claims: {}, repositories: ['public/*'], actions: ['pull'], effect: 'allow' },
  ],
}
const HIDDEN = 'hidden/there'
const ABSENT = 'hidden/never'
const SECRET = 'content that only the hidden repository has'
const NOWHERE = sha256('content that is nowhere')
const NO_SESSION = '01900000-0000-7000-8000-000000000000'

/** What was asked of the storage, by operation and kind of key. */
const asked: string[] = []
/** Accounts are remembered for seconds: whether one had to be read says nothing of what was asked for. */
const UNRELATED = /^(?:accounts|keys)$/
const watched = (driver: StorageDriver): StorageDriver =>
  new Proxy(driver, {
    get(target, name, receiver) {
      const value: unknown = Reflect.get(target, name, receiver)
      if (typeof value !== 'function') return value
      return (...args: unknown[]): unknown => {
        const [kind = ''] = typeof args[0] === 'string' ? args[0].split('/') : []
        if (!UNRELATED.test(kind)) asked.push(`${String(name)} ${kind}`)
        return Reflect.apply(value, target, args)
      }
    },
  })

let folder: string
let app: ServedApp
let owner: ServedApp
let session: string
let manifestDigest: string
const callers: Record<string, Readonly<Record<string, string>>> = {}
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gantry-existence-'))
  app = await serveApp({ access: accessOf({ policy }), driver: watched(await openFsDriver(folder)) })
  for (const name of ['owner', 'neighbour']) await addUser(app.accounts, name, PASSWORD)
  const names = [HIDDEN, ABSENT, 'open/a', 'public/a']
  const scopes = [...names.map((name) => `repository:${name}:pull,push,delete`), 'registry:catalog:*']
  const token = (login: string, ...wanted: readonly string[]): Promise<string> =>
    tokenFor(app, [login, PASSWORD], ...wanted)
  owner = askingAs(app, bearer(await token('owner', ...scopes)))
  callers['nobody without a token'] = {}
  callers['nobody'] = bearer(await tokenFor(app, undefined, ...scopes))
  callers['a neighbour'] = bearer(await token('neighbour', ...scopes, 'repository:*:pull'))
  callers['the owner with a token for elsewhere'] = bearer(await token('owner', 'repository:open/a:pull,push'))
  await pushBlob(owner, HIDDEN, SECRET)
  manifestDigest = await pushManifest(owner, HIDDEN, 'v1', { annotations: { hidden: 'yes' } })
  const subject = { mediaType: MANIFEST_TYPE, digest: manifestDigest, size: 1 }
  await owner.ask('PUT', `/v2/${HIDDEN}/manifests/signature`, {
    headers: { 'Content-Type': MANIFEST_TYPE },
    body: await aManifest(owner, HIDDEN, { subject }),
  })
  session = String((await owner.ask('POST', `/v2/${HIDDEN}/blobs/uploads/`)).headers['docker-upload-uuid'])
  await pushManifest(owner, 'open/a', 'v1')
})
after(async () => {
  await app[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true, maxRetries: 10 })
})

/** All that the client can see of an answer, and what it cost; names and ids that it sent itself are one. */
async function seen(
  headers: Readonly<Record<string, string>>,
  method: string,
  path: string,
  body?: string,
): Promise<object> {
  asked.length = 0
  const typed = path.includes('/manifests/') ? { 'Content-Type': MANIFEST_TYPE } : {}
  const answer: Answer = await app.ask(method, path, {
    headers: { ...typed, ...headers },
    ...(body === undefined ? {} : { body }),
  })
  const storage = [...asked]
  const { date: _, 'x-request-id': __, ...rest } = answer.headers
  const sent = new RegExp([HIDDEN, ABSENT, session, NO_SESSION, sha256(SECRET), NOWHERE, manifestDigest].join('|'), 'g')
  const own = answer.status === 202 ? new RegExp(String(rest['docker-upload-uuid']), 'g') : /(?!)/g
  const same = (text: string): string => text.replaceAll(sent, 'SENT').replaceAll(own, 'NEW')
  return JSON.parse(
    same(JSON.stringify({ status: answer.status, headers: rest, body: answer.body.toString(), storage })),
  ) as object
}

function requests(verb: string, path: string, name: string): readonly (readonly [string, string | undefined])[] {
  const there = name === HIDDEN
  const fill = (reference: string): string =>
    path
      .replace('/?', '/')
      .replace(':name', name)
      .replace(':digest', there ? sha256(SECRET) : NOWHERE)
      .replace(':subject', there ? manifestDigest : NOWHERE)
      .replace(':reference', reference)
      .replace(':upload', there ? session : NO_SESSION)
      .replace(':offset', '0')
  const body = ['PUT', 'PATCH'].includes(verb) ? '{}' : undefined
  const query = path.includes('uploads') && verb === 'PUT' ? `?digest=${sha256('{}')}` : ''
  if (path.includes(':reference')) {
    return [
      [fill('v1'), body],
      [fill(there ? manifestDigest : NOWHERE), body],
    ]
  }
  return [[fill('') + query, body]]
}

describe('what one may not see is as what is not there', () => {
  it('in every route of the table, whoever asks', async () => {
    await owner.ask('GET', `/v2/${HIDDEN}/manifests/v1`)
    assert.ok(asked.includes('readSmall r'), asked.join())
    const rows = app.routes.filter(({ path }) => path.includes(':name'))
    assert.ok(rows.length > 10)
    for (const [who, headers] of Object.entries(callers)) {
      for (const { verb, path } of rows) {
        for (const method of verb === 'GET' ? ['GET', 'HEAD'] : [verb]) {
          const absent = requests(verb, path, ABSENT)
          for (const [index, [there, body]] of requests(verb, path, HIDDEN).entries()) {
            const found = await seen(headers, method, there, body)
            assert.deepEqual(
              found,
              await seen(headers, method, ...(absent[index] ?? ['', ''])),
              `${who}: ${method} ${there}`,
            )
            assert.ok([401, 403].includes((found as Answer).status), `${who}: ${method} ${there}`)
            assert.deepEqual((found as { storage: unknown }).storage, [], 'nothing was looked up')
          }
        }
      }
    }
  })

  for (const [what, method, there, nowhere] of [
    ['a blob of a hidden repository', 'GET', `blobs/${sha256(SECRET)}`, `blobs/${NOWHERE}`],
    ['asking whether it is there', 'HEAD', `blobs/${sha256(SECRET)}`, `blobs/${NOWHERE}`],
    ['deleting it', 'DELETE', `blobs/${sha256(SECRET)}`, `blobs/${NOWHERE}`],
    ['its manifest', 'GET', 'manifests/MANIFEST', `manifests/${NOWHERE}`],
    ['its referrers', 'GET', 'referrers/MANIFEST', `referrers/${NOWHERE}`],
    ['a mount', 'POST', `blobs/uploads/?mount=${sha256(SECRET)}`, `blobs/uploads/?mount=${NOWHERE}`],
    [
      'a mount that names it',
      'POST',
      `blobs/uploads/?mount=${sha256(SECRET)}&from=${HIDDEN}`,
      `blobs/uploads/?mount=${NOWHERE}&from=${ABSENT}`,
    ],
    ['its upload session', 'GET', 'blobs/uploads/SESSION/0', `blobs/uploads/${NO_SESSION}/0`],
    ['adding to it', 'PATCH', 'blobs/uploads/SESSION/0', `blobs/uploads/${NO_SESSION}/0`],
    ['closing it', 'PUT', `blobs/uploads/SESSION?digest=${NOWHERE}`, `blobs/uploads/${NO_SESSION}?digest=${NOWHERE}`],
    ['cancelling it', 'DELETE', 'blobs/uploads/SESSION', `blobs/uploads/${NO_SESSION}`],
  ] as const) {
    it(`by way of a repository that one may use: ${what}`, async () => {
      const caller = callers['a neighbour'] ?? {}
      const path = `/v2/open/a/${there}`.replace('MANIFEST', manifestDigest).replace('SESSION', session)
      const found = await seen(caller, method, path)
      assert.deepEqual(found, await seen(caller, method, `/v2/open/a/${nowhere}`))
      assert.equal((await owner.ask('GET', `/v2/${HIDDEN}/blobs/uploads/${session}`)).status, 204, 'it still goes on')
    })
  }

  it('by way of a manifest that names its blobs, or a push of the same bytes', async () => {
    const caller = callers['a neighbour'] ?? {}
    const naming = (digest: string): string =>
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST_TYPE,
        config: { mediaType: 'application/vnd.oci.empty.v1+json', digest, size: SECRET.length },
        layers: [],
      })
    const refused = await seen(caller, 'PUT', '/v2/open/a/manifests/v2', naming(sha256(SECRET)))
    assert.deepEqual(refused, await seen(caller, 'PUT', '/v2/open/a/manifests/v2', naming(NOWHERE)))
    assert.equal((refused as Answer).status, 400)
    const push = (bytes: string): Promise<object> =>
      seen(caller, 'POST', `/v2/open/a/blobs/uploads/?digest=${sha256(bytes)}`, bytes)
    const known = await push(SECRET)
    assert.deepEqual(known, await push('content that is nowhere'))
  })
})
