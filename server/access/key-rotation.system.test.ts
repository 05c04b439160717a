/** Replicas share a bucket and nothing else: a new key comes to each of them at its own time, and nobody notices. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import jwt from 'jsonwebtoken'
import { s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { openS3Driver } from '../../storage/s3/driver.ts'
import { rotateKeys } from '../account-tasks.ts'
import { accessOf, addUser, basic, bearer, type TokenAnswer } from '../testing/access.ts'
import { type ServedApp, serveApp } from '../testing/served-app.ts'
import { generateSigningKey } from './token-keys.ts'

const REFRESH_MS = 300
const REPLICAS = 3
const SECRET = 'a secret of all replicas, and of nobody else'
const LOGIN = ['alice', 'correct horse'] as const
const PATIENCE_MS = 60_000

for (const { kind, skip } of await s3Kinds()) {
  describe(`${REPLICAS} replicas on ${kind}, while keys are rotated`, { skip }, () => {
    it('log nobody out, and keep what signs encrypted', async (t) => {
      await using server = await startS3(kind)
      await using replicas = new AsyncDisposableStack()
      const settings = server.settings({ prefix: 'keys/' })
      const apps: ServedApp[] = []
      for (let index = 0; index < REPLICAS; index++) {
        const driver = await openS3Driver(settings)
        apps.push(
          replicas.use(await serveApp({ driver, keyRefreshMs: REFRESH_MS, access: accessOf({ secret: SECRET }) })),
        )
      }
      const app = (turn: number): ServedApp => apps[turn % REPLICAS] ?? assert.fail()
      await addUser(app(0).accounts, ...LOGIN)

      const kidOf = (token: string): string => jwt.decode(token, { complete: true })?.header.kid ?? assert.fail()
      const given = async (turn: number, query: string): Promise<TokenAnswer> => {
        const answer = await app(turn).ask('GET', `/token?service=gantry${query}`, { headers: basic(...LOGIN) })
        assert.equal(answer.status, 200, answer.body.toString())
        return answer.json() as TokenAnswer
      }
      const refreshed = async (turn: number, refresh: string): Promise<string> => {
        const answer = await app(turn).ask('POST', '/token', {
          headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
          body: new URLSearchParams({
            grant_type: 'refresh_token',
            service: 'gantry',
            refresh_token: refresh,
          }).toString(),
        })
        assert.equal(answer.status, 200, answer.body.toString())
        return (answer.json() as TokenAnswer).access_token
      }
      const mayIn = async (turn: number, token: string): Promise<void> => {
        const answer = await app(turn).ask('GET', '/v2/', { headers: bearer(token) })
        assert.equal(answer.status, 200, `${kidOf(token)} at ${turn % REPLICAS}: ${answer.body}`)
      }

      const first = await given(0, '&offline_token=true')
      const began = Date.now()
      let turns = 0
      for (const algorithm of ['ES256', 'RS256'] as const) {
        const kid = await rotateKeys({ keys: app(1).signingKeys }, SECRET, generateSigningKey(algorithm), REFRESH_MS)
        const signing = new Set<number>()
        while (signing.size < REPLICAS) {
          assert.ok(Date.now() - began < PATIENCE_MS, `${kid} signs at ${[...signing]}`)
          const from = turns++
          const { token } = await given(from, '')
          if (kidOf(token) === kid) signing.add(from % REPLICAS)
          // What one has signed a moment ago, every one of them believes; and what was signed before all of this, too.
          const others = apps.map((_, turn) => mayIn(turn, token))
          await Promise.all([...others, mayIn(from, first.token)])
          await mayIn(from + 2, await refreshed(from + 1, first.refresh_token ?? assert.fail()))
        }
      }
      t.diagnostic(`${turns} rounds`)
      const stored = await app(0).signingKeys.all()
      assert.ok(stored.length >= 3)
      for (const { privateKey } of stored) assert.match(privateKey, /^aes-256-gcm:/)
    })
  })
}
