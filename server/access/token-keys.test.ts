import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import jwt from 'jsonwebtoken'
import { openFsDriver } from '../../storage/fs/driver.ts'
import { SigningKeys } from '../../storage/signing-keys.ts'
import { rotateKeys } from '../account-tasks.ts'
import { accessOf, addUser, bearer, tokenFor } from '../testing/access.ts'
import { type ServedApp, serveApp } from '../testing/served-app.ts'
import { eventually } from '../testing/served-listener.ts'
import { generateSigningKey, newSigningKey, parseSigningKey, SigningKeyUnusable, TokenKeys } from './token-keys.ts'

const LOGIN = ['alice', 'correct horse'] as const
const REFRESH_MS = 50

const headerOf = (token: string): jwt.JwtHeader => jwt.decode(token, { complete: true })?.header ?? assert.fail()
const status = async (app: ServedApp, token: string): Promise<number> =>
  (await app.ask('GET', '/v2/', { headers: bearer(token) })).status
const jwks = async (app: ServedApp): Promise<readonly (JsonWebKey & { kid: string; alg: string })[]> => {
  const answer = await app.ask('GET', '/.well-known/jwks.json')
  return (answer.json() as { keys: (JsonWebKey & { kid: string; alg: string })[] }).keys
}

describe('keys that sign tokens', () => {
  it('may be RSA: what they sign is believed as RS256, by whoever reads their public part, and as nothing else', async () => {
    await using app = await serveApp({ access: accessOf(), keyRefreshMs: REFRESH_MS })
    await addUser(app.accounts, ...LOGIN)
    const old = await tokenFor(app, LOGIN)
    const kid = await rotateKeys({ keys: app.signingKeys }, undefined, generateSigningKey('RS256'), REFRESH_MS)
    await eventually(async () => String(headerOf(await tokenFor(app, LOGIN)).kid), new RegExp(kid))
    const token = await tokenFor(app, LOGIN)
    assert.deepEqual([headerOf(token).alg, headerOf(old).alg], ['RS256', 'ES256'])
    assert.deepEqual([await status(app, token), await status(app, old)], [200, 200])

    const published = (await jwks(app)).find((key) => key.kid === kid) ?? assert.fail()
    assert.deepEqual([published.kty, published.alg, published.d, published.p], ['RSA', 'RS256', undefined, undefined])
    const publicKey = createPublicKey({ key: published, format: 'jwk' })
    jwt.verify(token, publicKey, { algorithms: ['RS256'], audience: 'gantry', issuer: 'gantry' })

    const claims = jwt.decode(token) as object
    const privateKey = (await app.signingKeys.all()).find((key) => key.kid === kid)?.privateKey ?? ''
    const signed = (secret: string, options: jwt.SignOptions): string =>
      jwt.sign(claims, secret, { keyid: kid, ...options })
    assert.equal(await status(app, signed(privateKey, { algorithm: 'RS256' })), 200)
    // PS256 is of the same key; ES256 of another one; HS256 with what everybody knows as the secret.
    assert.equal(await status(app, signed(privateKey, { algorithm: 'PS256' })), 401)
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' })
    assert.equal(await status(app, signed(String(ec), { algorithm: 'ES256' })), 401)
    const known = jwt.sign(claims, 'x'.repeat(32), { keyid: kid, algorithm: 'HS256' })
    assert.equal(await status(app, known), 401)
  })

  it('are published before they sign, and looked for when a token has one that is not known, once a second at most', async () => {
    await using app = await serveApp({ access: accessOf(), keyRefreshMs: 2 ** 30 })
    await addUser(app.accounts, ...LOGIN)
    const first = await tokenFor(app, LOGIN)
    const kid = await rotateKeys({ keys: app.signingKeys }, undefined, generateSigningKey('ES256'))
    const [key] = (await app.signingKeys.all()).filter((each) => each.kid === kid)
    assert.ok(key)
    const payload = { ...(jwt.decode(first) as object), jti: 'of the new key' }
    const early = jwt.sign(payload, key.privateKey, { algorithm: 'ES256', keyid: kid })
    assert.equal(await status(app, early), 200, 'it is of a replica that has seen it before us')
    assert.ok(
      (await jwks(app)).some((each) => each.kid === kid),
      'it is published',
    )
    assert.notEqual(headerOf(await tokenFor(app, LOGIN)).kid, kid, 'and does not sign')

    let looks = 0
    const all = app.signingKeys.all.bind(app.signingKeys)
    app.signingKeys.all = () => {
      looks++
      return all()
    }
    const invented = (turn: number): string =>
      jwt.sign(payload, key.privateKey, { algorithm: 'ES256', keyid: `x${turn}` })
    const answers = await Promise.all(Array.from({ length: 50 }, (_, turn) => status(app, invented(turn))))
    assert.deepEqual(new Set(answers), new Set([401]))
    assert.equal(looks, 1)
  })

  it('of the first two processes of a store, which may each have made one, are believed by both from the first token on', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'gantry-keys-'))
    const driver = await openFsDriver(directory)
    try {
      const keys = new SigningKeys(driver)
      const both = await Promise.all([1, 2].map(() => TokenKeys.open(keys, undefined, 60_000)))
      try {
        // However they met: one that was made when both had looked.
        const late = newSigningKey(undefined)
        await keys.add(late)
        for (const kid of [...both.map(({ signing }) => signing.kid), late.kid]) {
          for (const each of both) assert.ok(await each.find(kid), kid)
        }
      } finally {
        for (const each of both) each.close()
      }
    } finally {
      await driver.close()
      await rm(directory, { recursive: true, force: true })
    }
  })

  it('made elsewhere have to be strong, and of a kind that we sign with', () => {
    const pem = { type: 'pkcs8', format: 'pem' } as const
    for (const weak of [
      generateKeyPairSync('rsa', { modulusLength: 1024 }),
      generateKeyPairSync('ec', { namedCurve: 'P-384' }),
      generateKeyPairSync('ed25519'),
    ]) {
      assert.throws(() => parseSigningKey(String(weak.privateKey.export(pem))), SigningKeyUnusable)
    }
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    assert.equal(parseSigningKey(String(privateKey.export({ type: 'pkcs1', format: 'pem' }))).asymmetricKeyType, 'rsa')
  })
})
