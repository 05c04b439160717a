import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import jwt from 'jsonwebtoken'
import { createLog } from '../log.ts'
import { accessOf, addUser, basic, bearer, type TokenAnswer, tokenFor } from '../testing/access.ts'
import { type Answer, type ServedApp, serveApp } from '../testing/served-app.ts'
import { auditLog } from './audit.ts'
import { ANONYMOUS } from './identity.ts'
import { Origins } from './origin.ts'
import { TokenRefused } from './tokens.ts'

const PASSWORD = 'correct horse'
const FROM = { 'X-Forwarded-For': '203.0.113.9' }
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const issuedFor = (repository: string): string =>
  jwt.sign({ repository }, privateKey, { algorithm: 'ES256', issuer: 'https://issuer.example' })

let app: ServedApp
const lines: Record<string, unknown>[] = []

before(async () => {
  const log = createLog({ write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) })
  app = await serveApp({
    access: accessOf({ basic: 'also', origins: new Origins(['127.0.0.1'], undefined) }),
    observers: [auditLog(log)],
    foreignTokens: async (token) => {
      const { repository } = jwt.decode(token) as { repository?: string }
      if (repository === undefined) throw new TokenRefused('it is not of ours')
      return { identity: { ...ANONYMOUS, kind: 'oidc', name: 'ci', claims: { repository } }, generation: '' }
    },
  })
  await addUser(app.accounts, 'alice', PASSWORD)
})
after(() => app[Symbol.asyncDispose]())

/** The lines about a request, once it is over. */
async function audited(asking: Promise<Answer>): Promise<Record<string, unknown>[]> {
  const id = (await asking).headers['x-request-id']
  const isAbout = (line: Record<string, unknown>): boolean => line['id'] === id
  while (!app.logged.some(isAbout)) await new Promise((resolve) => setImmediate(resolve))
  return lines.filter(isAbout)
}

const said = (all: readonly Record<string, unknown>[]): unknown[] =>
  all.map(({ event, result, subject, client }) => [event, result, subject, client])

describe('the audit log', () => {
  it('has a line for each way to log in, with who and from where', async () => {
    const login = [['login', 'done', 'user:alice', '203.0.113.9']]
    const direct = { headers: { ...basic('alice', PASSWORD), ...FROM } }
    const first = app.ask('GET', '/token?service=gantry&offline_token=true', direct)
    assert.deepEqual(said(await audited(first)), login)
    const { refresh_token = '' } = (await first).json() as TokenAnswer
    const form = new URLSearchParams({ grant_type: 'refresh_token', service: 'gantry', refresh_token })
    assert.deepEqual(said(await audited(app.ask('POST', '/token', { headers: FROM, body: `${form}` }))), login)
    assert.deepEqual(said(await audited(app.ask('GET', '/v2/', direct))), login)
    const access = await tokenFor(app, ['alice', PASSWORD])
    assert.deepEqual(await audited(app.ask('GET', '/v2/', { headers: bearer(access) })), [], 'it was one login')
  })

  it('says which job it was that an issuer vouches for', async () => {
    const headers = { ...basic('ci', issuedFor('acme/app')), ...FROM }
    const [line] = await audited(app.ask('GET', '/token?service=gantry', { headers }))
    assert.deepEqual(said([line ?? {}]), [['login', 'done', 'oidc:ci', '203.0.113.9']])
    assert.deepEqual(line?.['claims'], { repository: 'acme/app' })
    const [refused] = await audited(
      app.ask('DELETE', '/v2/a/b/manifests/x', { headers: bearer(issuedFor('acme/app')) }),
    )
    assert.deepEqual([refused?.['event'], refused?.['claims']], ['refusal', { repository: 'acme/app' }])
  })

  it('has a line for whatever proves nothing, also when it is not looked at any more', async () => {
    const login = ['login', 'refused', 'unproved', '203.0.113.9']
    const refusal = ['refusal', 'refused', 'unproved', '203.0.113.9']
    const ask = (path: string, headers: Record<string, string>) =>
      app.ask('GET', path, { headers: { ...headers, ...FROM } })
    const foreign = jwt.sign({}, privateKey, { algorithm: 'ES256', issuer: 'https://issuer.example' })
    for (const headers of [basic('ci', foreign), { Authorization: 'Basic %' }, bearer('x')]) {
      assert.deepEqual(said(await audited(ask('/token', headers))), [login])
    }
    for (const headers of [bearer('x'), { Authorization: 'Basic %' }, basic('alice', 'wrong')]) {
      assert.deepEqual(said(await audited(ask('/v2/a/b/tags/list', headers))), [refusal])
    }
    for (let attempt = 0; attempt < 5; attempt++) await ask('/v2/', basic('alice', 'wrong'))
    for (const path of ['/v2/', '/v2/a/b/tags/list', '/token']) {
      const [line] = await audited(ask(path, basic('alice', 'wrong')))
      assert.deepEqual(said([line ?? {}]), [path === '/token' ? login : refusal])
      assert.equal(line?.['status'], 429)
    }
  })

  it('knows where a request came from also when its client is gone before the answer', async () => {
    const socket = connect(Number(new URL(app.url).port), '127.0.0.1')
    lines.length = 0
    const login = Buffer.from('alice:wrong again').toString('base64')
    socket.write(`GET /token HTTP/1.1\r\nHost: a\r\nAuthorization: Basic ${login}\r\n\r\n`, () => socket.destroy())
    while (lines.length === 0) await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual([lines[0]?.['client'], app.logged.at(-1)?.['remote']], ['127.0.0.1', '127.0.0.1'])
  })
})
