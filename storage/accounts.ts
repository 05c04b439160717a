/**
 * Who may log in: one record for each user and each robot. A record is never deleted, so that a name that was taken away is
 * not given to somebody else with the tokens of the first; what is known of a secret is its hash. What hashes and patterns
 * mean is for whoever checks them.
 */
import type { StorageDriver } from './driver.ts'
import { AccountExists, AccountUnknown, NameInvalid } from './errors.ts'
import { ACCOUNTS_PREFIX, accountKey, keyIn } from './layout.ts'
import { type OnDamagedRecord, passOver, readRecord, updateRecord } from './records.ts'

export interface AccountId {
  readonly kind: 'user' | 'robot'
  readonly name: string
}

export interface Secret {
  /** Tokens that were given for this secret name it, and end with it. */
  readonly id: string
  readonly hash: string
  readonly createdAt: string
  /** Absent: it does not expire. */
  readonly expiresAt?: string
}

/** What a robot may do. */
export interface Grant {
  readonly repositories: string
  readonly actions: readonly string[]
}

export interface Account extends AccountId {
  readonly enabled: boolean
  /** Raised when it is disabled: no token from before then is good again when it is enabled. */
  readonly epoch: number
  /** The newest last. A user has one, a robot two while it is rotated. */
  readonly secrets: readonly Secret[]
  readonly groups: readonly string[]
  readonly grants: readonly Grant[]
  readonly createdAt: string
  /** To the hour. */
  readonly lastUsedAt?: string
}

const NAME = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/
const LONGEST_NAME = 64
const USED_EVERY_MS = 60 * 60 * 1000

/** For users, robots and groups. Throws `NameInvalid`. */
export function parseAccountName(text: string): string {
  if (text.length <= LONGEST_NAME && NAME.test(text)) return text
  const expected = `at most ${LONGEST_NAME} lower-case letters and digits, separated by one of . _ -`
  throw new NameInvalid('the name of an account', text, expected)
}

/** Whether `text` could be one: what cannot is not asked for. */
export const isAccountName = (text: string): boolean => text.length <= LONGEST_NAME && NAME.test(text)

export class Accounts {
  readonly #driver: StorageDriver
  readonly #onDamagedRecord: OnDamagedRecord

  constructor(driver: StorageDriver, onDamagedRecord: OnDamagedRecord = () => {}) {
    this.#driver = driver
    this.#onDamagedRecord = onDamagedRecord
  }

  async find(id: AccountId): Promise<Account | undefined> {
    return (await readRecord<Account>(this.#driver, accountKey(id)))?.value
  }

  /** Throws `AccountExists`. */
  async create(id: AccountId, account: Pick<Account, 'secrets' | 'groups' | 'grants'>): Promise<Account> {
    const { kind, name } = id
    let created = false
    const stored = await updateRecord<Account>(this.#driver, accountKey(id), (found) => {
      created = found === undefined
      if (found) return undefined
      return { kind, name, ...account, enabled: true, epoch: 0, createdAt: new Date().toISOString() }
    })
    if (!created || !stored) throw new AccountExists(`there is a ${kind} ${name} already`)
    return stored
  }

  /** `change` may be asked again when somebody else changes the account at the same time. Throws `AccountUnknown`. */
  async change(id: AccountId, change: (account: Account) => Partial<Omit<Account, 'kind' | 'name'>>): Promise<Account> {
    const changed = await updateRecord<Account>(this.#driver, accountKey(id), (found) => {
      if (!found) throw new AccountUnknown(`there is no ${id.kind} ${id.name}`)
      return { ...found, ...change(found) }
    })
    return changed as Account
  }

  /** Keeps the time of use, at most once an hour: the busiest robot costs one write in that time. */
  async used(account: Account, now: Date): Promise<void> {
    const stale = ({ lastUsedAt }: Account): boolean =>
      lastUsedAt === undefined || now.getTime() - Date.parse(lastUsedAt) >= USED_EVERY_MS
    if (!stale(account)) return
    await updateRecord<Account>(this.#driver, accountKey(account), (found) =>
      found && stale(found) ? { ...found, lastUsedAt: now.toISOString() } : undefined,
    )
  }

  /** Users and robots, by name. What is damaged is passed over: whoever it is cannot log in until it is put back. */
  async *list(): AsyncGenerator<Account> {
    for await (const entry of this.#driver.list(ACCOUNTS_PREFIX)) {
      const found = await readRecord<Account>(this.#driver, keyIn(ACCOUNTS_PREFIX, entry)).catch(
        passOver(this.#onDamagedRecord),
      )
      if (found) yield found.value
    }
  }

  async isEmpty(): Promise<boolean> {
    for await (const _ of this.#driver.list(ACCOUNTS_PREFIX, { limit: 1 })) return false
    return true
  }
}
