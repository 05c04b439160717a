import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { parseChallenges, tokenFrom, tokenUrl } from './auth.ts'
import { credentialFor } from './credentials.ts'

describe('a challenge', () => {
  it('is read with its quoted parameters', () =>
    assert.deepEqual(
      parseChallenges('Bearer realm="https://a.example/token?x=1,2",service="a b",scope="repository:x:pull,push"'),
      [
        {
          scheme: 'bearer',
          parameters: Object.assign(Object.create(null), {
            realm: 'https://a.example/token?x=1,2',
            service: 'a b',
            scope: 'repository:x:pull,push',
          }),
        },
      ],
    ))
  it('may be one of several', () =>
    assert.deepEqual(
      parseChallenges('Negotiate, Basic realm="x", Bearer realm="y"').map(({ scheme, parameters }) => [
        scheme,
        parameters['realm'],
      ]),
      [
        ['basic', 'x'],
        ['bearer', 'y'],
      ],
    ))
  it('never makes the parser fail or hang', () =>
    fc.assert(fc.property(fc.string({ maxLength: 300 }), (text) => Array.isArray(parseChallenges(text)))))
  it('becomes the address of a token, the scope asked for among its scopes', () => {
    const [challenge] = parseChallenges('Bearer realm="https://a.example/token",service="s",scope="one two"')
    assert.ok(challenge)
    assert.equal(
      tokenUrl(challenge, ['repository:x:pull']).href,
      'https://a.example/token?service=s&scope=one&scope=two&scope=repository%3Ax%3Apull',
    )
  })
})

describe('a token', () => {
  it('is taken under both names', () =>
    assert.deepEqual([tokenFrom({ token: 'a' })?.token, tokenFrom({ access_token: 'b' })?.token], ['a', 'b']))
  it('is refused if it would break a header', () => assert.equal(tokenFrom({ token: 'a\r\nX: y' }), undefined))
  it('is refused if it is none', () =>
    assert.deepEqual([tokenFrom(null), tokenFrom({ token: 7 }), tokenFrom('x')], [undefined, undefined, undefined]))
})

describe("docker's credentials", () => {
  it('are found by registry, with or without a scheme, and are nobody else’s', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-auth-'))
    try {
      const auth = Buffer.from('me:pass:word').toString('base64')
      await writeFile(
        join(folder, 'config.json'),
        JSON.stringify({ auths: { 'https://a.example/v1/': { auth }, 'b.example:5000': { auth } } }),
      )
      const environment = { DOCKER_CONFIG: folder }
      const expected = { username: 'me', password: 'pass:word' }
      assert.deepEqual(await credentialFor('a.example', environment), expected)
      assert.deepEqual(await credentialFor('b.example:5000', environment), expected)
      assert.equal(await credentialFor('b.example', environment), undefined)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
  it('may be an identity token', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-identity-'))
    const auths = { 'a.example': { auth: Buffer.from('me:').toString('base64'), identitytoken: 'kept' } }
    await writeFile(join(folder, 'config.json'), JSON.stringify({ auths }))
    try {
      const found = await credentialFor('a.example', { DOCKER_CONFIG: folder })
      assert.deepEqual(found, { username: 'me', password: '', identityToken: 'kept' })
    } finally {
      await rm(folder, { recursive: true })
    }
  })
  it('are nothing where there is no file', async () =>
    assert.equal(await credentialFor('a.example', { DOCKER_CONFIG: '/nonexistent' }), undefined))
})
