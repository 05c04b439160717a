/** Accounts and their tokens, for tests: cheap to make, and the ways that clients take. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import jwt from 'jsonwebtoken'
import type { AccountId, Accounts, Grant } from '../../storage/accounts.ts'
import type { AccessSettings } from '../access/access.ts'
import { Origins } from '../access/origin.ts'
import { hashPassword, hashRobotSecret } from '../access/passwords.ts'
import { type Policy, USERS_DO_ALL } from '../access/policy.ts'
import type { ServedApp } from './served-app.ts'

const USERS_POLICY: Policy = { rules: USERS_DO_ALL, immutableTags: [], groups: {} }

export const accessOf = (changes: Partial<AccessSettings> = {}): AccessSettings => ({
  policy: USERS_POLICY,
  basic: 'off',
  tokens: { service: 'gantry', accessSeconds: 300, refreshSeconds: 3_600 },
  secret: undefined,
  htpasswd: undefined,
  origins: new Origins([], undefined),
  ...changes,
})

export async function addUser(
  accounts: Accounts,
  name: string,
  password: string,
  groups: readonly string[] = [],
): Promise<void> {
  const secret = { id: randomUUID(), hash: await hashPassword(password), createdAt: new Date().toISOString() }
  await accounts.create({ kind: 'user', name }, { secrets: [secret], groups, grants: [] })
}

export async function addRobot(
  accounts: Accounts,
  name: string,
  secret: string,
  grants: readonly Grant[],
): Promise<void> {
  const kept = { id: randomUUID(), hash: hashRobotSecret(secret), createdAt: new Date().toISOString() }
  await accounts.create({ kind: 'robot', name }, { secrets: [kept], groups: [], grants })
}

export const disable = (accounts: Accounts, id: AccountId): Promise<unknown> =>
  accounts.change(id, ({ epoch }) => ({ enabled: false, epoch: epoch + 1 }))

export const basic = (login: string, secret: string): { readonly Authorization: string } => ({
  Authorization: `Basic ${Buffer.from(`${login}:${secret}`).toString('base64')}`,
})
export const bearer = (token: string): { readonly Authorization: string } => ({ Authorization: `Bearer ${token}` })

export interface TokenAnswer {
  readonly token: string
  readonly access_token: string
  readonly expires_in: number
  readonly issued_at: string
  readonly scope: string
  readonly refresh_token?: string
}

/** By GET, as docker asks; without a login as nobody. */
export async function tokenFor(
  app: ServedApp,
  login: readonly [login: string, secret: string] | undefined,
  ...scopes: readonly string[]
): Promise<string> {
  const query = new URLSearchParams([
    ['service', 'gantry'],
    ...scopes.map((scope): [string, string] => ['scope', scope]),
  ])
  const answer = await app.ask('GET', `/token?${query}`, login ? { headers: basic(...login) } : {})
  assert.equal(answer.status, 200, answer.body.toString())
  return (answer.json() as TokenAnswer).token
}

/** The same application, asked with these headers unless a request has its own. */
export const askingAs = (app: ServedApp, given: Readonly<Record<string, string>>): ServedApp => ({
  ...app,
  ask: (method, path, asked = {}) => app.ask(method, path, { ...asked, headers: { ...given, ...asked.headers } }),
})

/** Signed with the application's own key, whatever it says: what only somebody who stole the key could make, or a test. */
export async function forgedToken(
  app: ServedApp,
  claims: Readonly<Record<string, unknown>>,
  options: jwt.SignOptions = {},
): Promise<string> {
  const [key] = await app.signingKeys.all()
  assert.ok(key)
  const now = Math.floor(Date.now() / 1_000)
  const payload = { iss: 'gantry', aud: 'gantry', iat: now, nbf: now, exp: now + 300, ...claims }
  return jwt.sign(payload, key.privateKey, { algorithm: 'ES256', keyid: key.kid, ...options })
}

/** What a good token of somebody says. */
export function claimsOf(token: string): Record<string, unknown> {
  return jwt.decode(token) as Record<string, unknown>
}
