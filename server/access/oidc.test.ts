import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import jwt from 'jsonwebtoken'
import { accessOf, basic, bearer, type TokenAnswer } from '../testing/access.ts'
import { pushBlob } from '../testing/content.ts'
import { serveApp } from '../testing/served-app.ts'
import { type Issuer, trustedIssuers } from './oidc.ts'
import { claimsAskedFor, type Policy } from './policy.ts'
import { TokenRefused } from './tokens.ts'

const quiet = { info() {}, warn() {}, error() {} }
const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const weak = generateKeyPairSync('rsa', { modulusLength: 1_024 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })

const jwkOf = (key: KeyObject, kid: string): object => ({ ...key.export({ format: 'jwk' }), kid, use: 'sig' })
const KEYS = {
  keys: [
    jwkOf(rsa.publicKey, 'rsa'),
    jwkOf(ec.publicKey, 'ec'),
    jwkOf(weak.publicKey, 'weak'),
    { kid: 'odd', kty: 'EC' },
  ],
}

interface LocalIssuer extends AsyncDisposable {
  readonly settings: Issuer
  readonly asked: string[]
  sign(claims?: object, options?: jwt.SignOptions, key?: KeyObject): string
}

/** An issuer on this machine; `answers` by path, instead of what it usually says. */
async function anIssuer(answers: Readonly<Record<string, RequestListener>> = {}): Promise<LocalIssuer> {
  const asked: string[] = []
  const server = createServer((req, res) => {
    asked.push(req.url ?? '')
    const own = answers[req.url ?? '']
    if (own) return own(req, res)
    if (req.url === '/keys') return res.end(JSON.stringify(KEYS))
    if (req.url !== '/.well-known/openid-configuration') return res.writeHead(404).end()
    res.end(JSON.stringify({ issuer, jwks_uri: `${issuer}/keys` }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    settings: { name: 'ci', issuer, audience: 'registry', keys: 'auto' },
    asked,
    sign: (claims = {}, options = {}, key = rsa.privateKey) =>
      jwt.sign({ sub: 'repo:acme/app', repository: 'acme/app', attempt: 3, ...claims }, key, {
        algorithm: 'RS256',
        keyid: 'rsa',
        issuer,
        audience: 'registry',
        expiresIn: 60,
        ...options,
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

const CLAIMS = new Set(['repository', 'attempt', 'toString'])

describe('a trusted issuer', () => {
  it('vouches for whom it signed, with the claims that the policy asks for, and is asked for its keys once', async () => {
    await using issuer = await anIssuer()
    const tokens = trustedIssuers([issuer.settings], CLAIMS, quiet)
    const token = issuer.sign({ secret: 'not asked for' })
    const known = await tokens(token, issuer.settings.issuer)
    assert.deepEqual(known?.identity, {
      kind: 'oidc',
      name: 'ci',
      groups: [],
      grants: [],
      claims: { repository: 'acme/app', attempt: '3', sub: 'repo:acme/app' },
    })
    await tokens(issuer.sign({}, { algorithm: 'ES256', keyid: 'ec' }, ec.privateKey), issuer.settings.issuer)
    await tokens(token, issuer.settings.issuer)
    assert.deepEqual(issuer.asked, ['/.well-known/openid-configuration', '/keys'])
    assert.equal(await tokens(token, 'https://somebody.else'), undefined)
  })

  it('is asked for an unknown key once in a while, whoever makes up how many', async () => {
    await using issuer = await anIssuer()
    const tokens = trustedIssuers([issuer.settings], CLAIMS, quiet)
    for (let i = 0; i < 20; i++) {
      const made = issuer.sign({}, { keyid: `made-up-${i}` })
      await assert.rejects(tokens(made, issuer.settings.issuer), TokenRefused)
    }
    assert.equal(issuer.asked.length, 2)
  })

  it('vouches for nobody any more by a key that it withdrew, also for whom it did before', async (t) => {
    let keys = KEYS.keys
    await using issuer = await anIssuer({ '/keys': (_req, res) => res.end(JSON.stringify({ keys })) })
    const tokens = trustedIssuers([issuer.settings], CLAIMS, quiet)
    const token = issuer.sign()
    await tokens(token, issuer.settings.issuer)
    keys = keys.slice(1)
    later(t, 31_000)
    await assert.rejects(tokens(issuer.sign({}, { keyid: 'new' }), issuer.settings.issuer), TokenRefused)
    await assert.rejects(tokens(token, issuer.settings.issuer), /a key that \S+ does not publish/)
  })

  it('is not waited for by those whose key is known', async (t) => {
    let answers = true
    await using issuer = await anIssuer({ '/keys': (_req, res) => answers && res.end(JSON.stringify(KEYS)) })
    const tokens = trustedIssuers([issuer.settings], CLAIMS, quiet)
    await tokens(issuer.sign(), issuer.settings.issuer)
    answers = false
    later(t, 31_000)
    let [refused, asked] = [false, issuer.asked.length]
    const unknown = tokens(issuer.sign({}, { keyid: 'made-up' }), issuer.settings.issuer).catch(() => (refused = true))
    while (issuer.asked.length < asked + 2) await new Promise((resolve) => setImmediate(resolve))
    assert.ok(await tokens(issuer.sign({ attempt: 4 }), issuer.settings.issuer))
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(refused, false, 'the issuer is still silent')
    await issuer[Symbol.asyncDispose]()
    await unknown
  })

  for (const [attack, forge] of [
    ['another audience', (issuer) => issuer.sign({}, { audience: 'elsewhere' })],
    [
      'no expiry',
      ({ settings }) =>
        jwt.sign({ iss: settings.issuer, aud: 'registry' }, rsa.privateKey, { algorithm: 'RS256', keyid: 'rsa' }),
    ],
    ['an expiry in the past', (issuer) => issuer.sign({}, { expiresIn: -90 })],
    ['a time before it is good', (issuer) => issuer.sign({}, { notBefore: 90 })],
    [
      'the key of somebody else under its kid',
      (issuer) => issuer.sign({}, {}, generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey),
    ],
    [
      'an HMAC with a known kid',
      (issuer) => jwt.sign({ iss: issuer.settings.issuer, aud: 'registry' }, 'secret', { keyid: 'rsa', expiresIn: 60 }),
    ],
    [
      'an algorithm of another kind of key',
      (issuer) => issuer.sign({}, { algorithm: 'ES256', keyid: 'rsa' }, ec.privateKey),
    ],
    [
      'a key that is too short',
      (issuer) => issuer.sign({}, { keyid: 'weak', allowInsecureKeySizes: true }, weak.privateKey),
    ],
    ['a key that is none', (issuer) => issuer.sign({}, { keyid: 'odd' })],
    [
      'a claim that is too long to be compared',
      (issuer) => issuer.sign({ repository: `acme/app${'x'.repeat(1_024)}` }),
    ],
  ] as const satisfies readonly (readonly [string, (issuer: LocalIssuer) => string])[]) {
    it(`does not vouch for a token with ${attack}`, async () => {
      await using issuer = await anIssuer()
      const tokens = trustedIssuers([issuer.settings], CLAIMS, quiet)
      const token = forge(issuer)
      await assert.rejects(tokens(token, issuer.settings.issuer), TokenRefused)
    })
  }

  for (const [attack, answers] of [
    ['whose keys never end', { '/keys': (_req, res) => void endless(res) }],
    ['that answers with no JSON', { '/keys': (_req, res) => res.end('<html>') }],
    ['that answers 500', { '/keys': (_req, res) => res.writeHead(500).end() }],
    ['that redirects', { '/keys': (_req, res) => res.writeHead(302, { Location: 'http://127.0.0.1:1/keys' }).end() }],
    [
      'whose discovery sends elsewhere',
      {
        '/.well-known/openid-configuration': (req, res) =>
          res.end(JSON.stringify({ issuer: `http://${req.headers.host}`, jwks_uri: 'http://127.0.0.1:1/keys' })),
      },
    ],
    [
      'whose discovery is of somebody else',
      {
        '/.well-known/openid-configuration': (_req, res) =>
          res.end(JSON.stringify({ issuer: 'https://evil.example', jwks_uri: 'https://evil.example/keys' })),
      },
    ],
    ['that never answers', { '/keys': () => {} }],
  ] as const satisfies readonly (readonly [string, Record<string, RequestListener>])[]) {
    it(`${attack} vouches for nobody, and the operator hears of it`, async () => {
      await using issuer = await anIssuer(answers)
      const warned: object[] = []
      const tokens = trustedIssuers([issuer.settings], CLAIMS, { ...quiet, warn: (fields) => void warned.push(fields) })
      await assert.rejects(tokens(issuer.sign(), issuer.settings.issuer), TokenRefused)
      assert.equal(warned.length, 1)
    })
  }
})

function later(t: TestContext, ms: number): void {
  const now = performance.now.bind(performance)
  t.mock.method(performance, 'now', () => now() + ms)
}

function endless(res: Parameters<RequestListener>[1]): void {
  const piece = 'x'.repeat(64 * 1024)
  const more = (): void => {
    while (!res.destroyed && res.write(piece)) {}
  }
  res.on('drain', more).on('error', () => {})
  more()
}

describe('a pipeline without a stored secret', () => {
  it('pushes with the token of its job, directly or by the token service, where its claims allow it', async () => {
    await using issuer = await anIssuer()
    const policy: Policy = {
      groups: {},
      immutableTags: [],
      rules: [
        {
          who: ['oidc:ci'],
          claims: { repository: 'acme/*' },
          repositories: ['acme/*'],
          actions: ['pull', 'push'],
          effect: 'allow',
        },
      ],
    }
    const foreignTokens = trustedIssuers([issuer.settings], claimsAskedFor(policy), quiet)
    await using app = await serveApp({ access: accessOf({ policy }), foreignTokens })
    const job = issuer.sign()
    const stranger = issuer.sign({ repository: 'evil/app' })
    const post = (token: string): Promise<number> =>
      app.ask('POST', '/v2/acme/app/blobs/uploads/', { headers: bearer(token) }).then(({ status }) => status)
    assert.deepEqual([await post(job), await post(stranger)], [202, 403])

    const answer = await app.ask('GET', '/token?scope=repository:acme/app:pull,push&offline_token=true', {
      headers: basic('ci', job),
    })
    const { token, refresh_token } = answer.json() as TokenAnswer
    assert.equal(refresh_token, undefined, 'it does not outlast the job')
    await pushBlob({ ...app, ask: (m, p, a) => app.ask(m, p, { ...a, headers: bearer(token) }) }, 'acme/app', 'content')
    const refused = await app.ask('GET', '/token', { headers: basic('ci', `${job.slice(0, -6)}AAAAAA`) })
    assert.equal(refused.status, 401)
    assert.ok(!JSON.stringify(app.logged).includes(job))
  })
})
