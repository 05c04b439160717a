/** What an operator does with accounts and keys, over the store of a registry that may be running: it sees the change in a few seconds. */
import { type KeyObject, randomBytes } from 'node:crypto'
import {
  type Account,
  type AccountId,
  Accounts,
  type Grant,
  parseAccountName,
  type Secret,
} from '../storage/accounts.ts'
import type { RecordDamaged } from '../storage/errors.ts'
import { SigningKeys } from '../storage/signing-keys.ts'
import { loginOf } from './access/identity.ts'
import { hashPassword, hashRobotSecret, newRobotSecret } from './access/passwords.ts'
import { newSigningKey, REFRESH_MS } from './access/token-keys.ts'
import type { Config } from './config/schema.ts'
import { lineOfDamagedRecord } from './integrity.ts'
import { withStore } from './operator-store.ts'

interface Records {
  readonly accounts: Accounts
  readonly keys: SigningKeys
}

/** Throws `CannotServe` if there is no store that this version can use. */
export async function withRecords<T>(config: Config, use: (records: Records) => Promise<T>): Promise<T> {
  const onDamagedRecord = (damage: RecordDamaged): void => {
    process.stderr.write(`${lineOfDamagedRecord(damage)}\n`)
  }
  return await withStore(config, ({ driver }) =>
    use({ accounts: new Accounts(driver, onDamagedRecord), keys: new SigningKeys(driver, onDamagedRecord) }),
  )
}

/** Throws `NameInvalid`. */
export const userId = (name: string): AccountId => ({ kind: 'user', name: parseAccountName(name) })
export const robotId = (name: string): AccountId => ({ kind: 'robot', name: parseAccountName(name) })

const secretOf = (hash: string, expiresAt?: Date): Secret => ({
  id: randomBytes(8).toString('hex'),
  hash,
  createdAt: new Date().toISOString(),
  ...(expiresAt === undefined ? {} : { expiresAt: expiresAt.toISOString() }),
})

/** Throws `AccountExists`. */
export async function addUser(
  { accounts }: Records,
  id: AccountId,
  password: string,
  groups: readonly string[],
): Promise<void> {
  const secrets = [secretOf(await hashPassword(password))]
  await accounts.create(id, { secrets, groups: groups.map(parseAccountName), grants: [] })
}

/** Every token that was given for the old one ends. Throws `AccountUnknown`. */
export async function changePassword({ accounts }: Records, id: AccountId, password: string): Promise<void> {
  const secrets = [secretOf(await hashPassword(password))]
  await accounts.change(id, () => ({ secrets }))
}

/** Counts at once, tokens included. Throws `AccountUnknown`, `NameInvalid`. */
export async function setGroups({ accounts }: Records, id: AccountId, groups: readonly string[]): Promise<void> {
  const parsed = [...new Set(groups.map(parseAccountName))]
  await accounts.change(id, () => ({ groups: parsed }))
}

/** Throws `AccountUnknown`. */
export async function setEnabled({ accounts }: Records, id: AccountId, enabled: boolean): Promise<void> {
  await accounts.change(id, ({ epoch }) => ({ enabled, epoch: enabled ? epoch : epoch + 1 }))
}

/** Resolves to the secret, which is nowhere else. Throws `AccountExists`. */
export async function createRobot(
  { accounts }: Records,
  id: AccountId,
  grants: readonly Grant[],
  expiresAt: Date | undefined,
): Promise<string> {
  const secret = newRobotSecret()
  await accounts.create(id, { secrets: [secretOf(hashRobotSecret(secret), expiresAt)], groups: [], grants })
  return secret
}

/** A new secret beside the newest old one, which is good for `overlapMs` more at most. Throws `AccountUnknown`. */
export async function rotateRobot(
  { accounts }: Records,
  id: AccountId,
  overlapMs: number,
  expiresAt: Date | undefined,
): Promise<string> {
  const secret = newRobotSecret()
  const fresh = secretOf(hashRobotSecret(secret), expiresAt)
  const until = new Date(Date.now() + overlapMs).toISOString()
  await accounts.change(id, ({ secrets }) => {
    const old = secrets.at(-1)
    const outgoing = old && {
      ...old,
      expiresAt: old.expiresAt !== undefined && old.expiresAt < until ? old.expiresAt : until,
    }
    return { secrets: outgoing && overlapMs > 0 ? [outgoing, fresh] : [fresh] }
  })
  return secret
}

/** Resolves to its id. It signs once every process has seen it: has looked for keys twice. */
export async function rotateKeys(
  { keys }: Pick<Records, 'keys'>,
  secret: string | undefined,
  privateKey: KeyObject,
  refreshMs = REFRESH_MS,
): Promise<string> {
  const some = (await keys.all()).some(({ revokedAt }) => revokedAt === undefined)
  const key = newSigningKey(secret, { privateKey, publishedForMs: some ? 2 * refreshMs : 0 })
  await keys.add(key)
  return key.kid
}

/** In the order of their names. */
export async function listAccounts({ accounts }: Records, kind: AccountId['kind']): Promise<readonly Account[]> {
  const found: Account[] = []
  for await (const account of accounts.list()) if (account.kind === kind) found.push(account)
  return found
}

/** For machines: what is known, but for the hashes of secrets. */
export const accountAsJson = (account: Account): string => {
  const { kind, name, enabled, groups, grants, secrets, createdAt, lastUsedAt } = account
  const shown = secrets.map((secret) => ({ createdAt: secret.createdAt, expiresAt: secret.expiresAt }))
  const login = loginOf(account)
  return JSON.stringify({ kind, name, login, enabled, groups, grants, secrets: shown, createdAt, lastUsedAt })
}

/** For people. */
export function printAccount(account: Account): string {
  const { enabled, groups, grants, secrets, lastUsedAt } = account
  const expiresAt = secrets.at(-1)?.expiresAt
  return [
    loginOf(account),
    enabled ? 'enabled' : 'disabled',
    ...(groups.length > 0 ? [`groups ${groups.join(',')}`] : []),
    ...grants.map(({ repositories, actions }) => `${actions.join(',')} in ${repositories}`),
    ...(expiresAt === undefined ? [] : [`expires ${expiresAt.slice(0, 10)}`]),
    lastUsedAt === undefined ? 'never used' : `last used ${lastUsedAt.slice(0, 16)}Z`,
  ].join('  ')
}
