/**
 * Who is known here: accounts of the store, users of a htpasswd file. Answers two questions: whose credentials are these, and
 * does what was true when a token was given still hold. A change of an account is seen everywhere within `SEEN_WITHIN_MS`.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type Account, type AccountId, type Accounts, isAccountName, type Secret } from '../../storage/accounts.ts'
import { RegistryError } from '../errors.ts'
import { Attempts } from './attempts.ts'
import { BoundedMap } from './bounded-map.ts'
import { FairQueue, QueueFull } from './fair-queue.ts'
import type { Htpasswd } from './htpasswd.ts'
import { ANONYMOUS, accountOfLogin, type Identity } from './identity.ts'
import { hashPassword, verifyPassword, verifyRobotSecret } from './passwords.ts'

/** A disabled account, a changed password: what was true before is believed this long. */
export const SEEN_WITHIN_MS = 3_000
/** Unless a token says that there is something newer: then only what was read this recently. A token that was good once may be sent for ever. */
const READ_AGAIN_MS = 100
/** Credentials that were right are not hashed again for this long: a pull of thirty layers with Basic is one hash. */
const VERIFIED_MS = 60_000
const REMEMBERED = 10_000
/** Costly checks at once; the pool of threads that hash is the one that reads and writes blobs. */
const CHECKS_AT_ONCE = 2
const CHECKS_WAITING_EACH = 16
/** A failure is answered no earlier than this, whatever failed: a name that is not there takes as long as a wrong password. */
const FAILURE_MS = 500

/** Somebody who is known now, and the generation of what they proved it with: tokens carry it. */
export interface Known {
  readonly identity: Identity
  readonly generation: string
}

interface Entry {
  readonly identity: Identity
  readonly secrets: readonly (Pick<Secret, 'hash' | 'expiresAt'> & { readonly generation: string })[]
  readonly account?: Account
}

export interface DirectoryOptions {
  readonly accounts: Accounts
  readonly htpasswd?: Htpasswd
  /** Told of what went wrong beside a request, which goes on. */
  readonly complain: (error: unknown) => void
  /** Instead of `FAILURE_MS` and `SEEN_WITHIN_MS`, for tests. */
  readonly failureMs?: number
  readonly seenMs?: number
  readonly verify?: typeof verifyPassword
}

export class Directory {
  readonly #options: DirectoryOptions
  readonly #verify: typeof verifyPassword
  readonly #attempts = new Attempts()
  readonly #queue = new FairQueue(CHECKS_AT_ONCE, CHECKS_WAITING_EACH)
  readonly #entries = new BoundedMap<{ readonly entry: Promise<Entry | undefined>; readonly readAtMs: number }>(
    REMEMBERED,
  )
  /** By a keyed hash: the memory of a process should not be a list of passwords. */
  readonly #verified = new BoundedMap<Known>(REMEMBERED)
  readonly #checking = new Map<string, Promise<Known | undefined>>()
  readonly #hashKey = randomBytes(32)
  #decoy: Promise<string> | undefined

  constructor(options: DirectoryOptions) {
    this.#options = options
    this.#verify = options.verify ?? verifyPassword
  }

  /** `undefined` for wrong credentials, of whatever kind. `address` is who is slowed down. Throws 429. */
  async authenticate(login: string, secret: string, address: string): Promise<Known | undefined> {
    const key = createHmac('sha256', this.#hashKey).update(`${login}\0${secret}`).digest('base64')
    const verified = this.#verified.get(key, performance.now())
    if (verified) {
      const identity = await this.current(accountOfLogin(login), verified.generation)
      if (identity) return { identity, generation: verified.generation }
      this.#verified.delete(key)
    }
    this.#attempts.demand(login, address, performance.now())
    const checking = this.#checking.get(key) ?? this.#check(login, secret, address, key)
    this.#checking.set(key, checking)
    try {
      return await checking
    } finally {
      this.#checking.delete(key)
    }
  }

  async #check(login: string, secret: string, address: string, key: string): Promise<Known | undefined> {
    const began = performance.now()
    const known = await this.#compare(login, secret, address)
    if (known) {
      this.#attempts.succeeded(login, address, performance.now())
      this.#verified.set(key, known, performance.now() + VERIFIED_MS)
      return known
    }
    this.#attempts.failed(login, address, performance.now())
    await delay(Math.max(0, (this.#options.failureMs ?? FAILURE_MS) - (performance.now() - began)))
    return undefined
  }

  async #compare(login: string, secret: string, address: string): Promise<Known | undefined> {
    const id = accountOfLogin(login)
    const entry = await this.#find(id, performance.now())
    if (id.kind === 'robot') {
      const given = entry?.secrets.find(({ hash, expiresAt }) => isAhead(expiresAt) && verifyRobotSecret(secret, hash))
      return entry && given && this.#used(entry, given.generation)
    }
    const [password] = entry?.secrets ?? []
    const hash = password?.hash ?? (await this.#decoyHash())
    const right = await this.#costly(address, () => this.#verify(secret, hash))
    return right && entry && password ? this.#used(entry, password.generation) : undefined
  }

  async #costly<T>(address: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.#queue.run(address, work)
    } catch (error) {
      if (!(error instanceof QueueFull)) throw error
      throw new RegistryError('tooManyRequests', {
        detail: { reason: 'too many logins at once' },
        headers: { 'Retry-After': '2' },
        cause: error,
      })
    }
  }

  /** Whoever is not there costs the same work as who is. */
  #decoyHash(): Promise<string> {
    this.#decoy ??= hashPassword(randomBytes(16).toString('hex'))
    return this.#decoy
  }

  #used({ identity, account }: Entry, generation: string): Known {
    const { accounts, complain } = this.#options
    if (account) accounts.used(account, new Date()).catch(complain) // nobody waits for it, or fails with it
    return { identity, generation }
  }

  /** What is true now of somebody who proved who they are before; `undefined` if that does not hold any more. */
  async current(id: AccountId, generation: string): Promise<Identity | undefined> {
    const began = performance.now()
    const first = await this.#find(id, began)
    // A token proves what another process has seen, which may be newer than what we remember.
    const entry = hasGeneration(first, generation) ? first : await this.#find(id, began, READ_AGAIN_MS)
    return hasGeneration(entry, generation) ? entry?.identity : undefined
  }

  /** For `policy explain`: somebody, whatever they prove. */
  async lookUp(id: AccountId): Promise<Identity | undefined> {
    return (await this.#find(id, performance.now()))?.identity
  }

  #find(id: AccountId, nowMs: number, believedMs = Number.POSITIVE_INFINITY): Promise<Entry | undefined> {
    const key = `${id.kind}:${id.name}`
    const known = this.#entries.get(key, nowMs)
    if (known && nowMs - known.readAtMs <= believedMs) return known.entry
    const entry = this.#read(id)
    entry.catch(() => this.#entries.delete(key)) // a storage that fails is asked again
    this.#entries.set(key, { entry, readAtMs: nowMs }, nowMs + (this.#options.seenMs ?? SEEN_WITHIN_MS))
    return entry
  }

  /** An account of the store hides a user of the file with its name, also when it is disabled. */
  async #read(id: AccountId): Promise<Entry | undefined> {
    const account = isAccountName(id.name) ? await this.#options.accounts.find(id) : undefined
    if (account) return account.enabled ? entryOf(account) : undefined
    const listed = id.kind === 'user' ? await this.#options.htpasswd?.find(id.name) : undefined
    if (!listed) return undefined
    return {
      identity: { ...ANONYMOUS, kind: 'user', name: id.name },
      secrets: [{ hash: listed.hash, generation: `file.${listed.secretId}` }],
    }
  }
}

const isAhead = (time: string | undefined): boolean => time === undefined || Date.parse(time) > Date.now()

const hasGeneration = (entry: Entry | undefined, generation: string): boolean =>
  entry?.secrets.some((secret) => secret.generation === generation && isAhead(secret.expiresAt)) ?? false

const entryOf = (account: Account): Entry => {
  const { kind, name, groups, grants, epoch, secrets } = account
  return {
    identity: { ...ANONYMOUS, kind, name, groups, grants },
    secrets: secrets.map(({ id, hash, expiresAt }) => ({
      hash,
      generation: `${epoch}.${id}`,
      ...(expiresAt === undefined ? {} : { expiresAt }),
    })),
    account,
  }
}
