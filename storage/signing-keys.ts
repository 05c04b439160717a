/**
 * The keys that tokens are signed with, one record each. A record is never deleted: a key that should not be believed any more
 * says so. The private part is kept as it is given, perhaps encrypted: that is for whoever signs.
 */
import type { StorageDriver } from './driver.ts'
import { keyIn, SIGNING_KEYS_PREFIX, signingKeyKey } from './layout.ts'
import { type OnDamagedRecord, passOver, readRecord, updateRecord, writeRecord } from './records.ts'

export interface StoredSigningKey {
  readonly kid: string
  readonly algorithm: string
  /** PEM. */
  readonly publicKey: string
  readonly privateKey: string
  readonly createdAt: string
  /** Published before, so that every replica knows it when the first token comes. */
  readonly signsFrom: string
  /** It is not believed from then on. */
  readonly revokedAt?: string
}

export class SigningKeys {
  readonly #driver: StorageDriver
  readonly #onDamagedRecord: OnDamagedRecord

  constructor(driver: StorageDriver, onDamagedRecord: OnDamagedRecord = () => {}) {
    this.#driver = driver
    this.#onDamagedRecord = onDamagedRecord
  }

  async add(key: StoredSigningKey): Promise<void> {
    await writeRecord(this.#driver, signingKeyKey(key.kid), key, undefined)
  }

  /** False if there is no such key. */
  async revoke(kid: string, now: Date): Promise<boolean> {
    const revoked = await updateRecord<StoredSigningKey>(this.#driver, signingKeyKey(kid), (found) =>
      found && found.revokedAt === undefined ? { ...found, revokedAt: now.toISOString() } : undefined,
    )
    return revoked !== undefined
  }

  /** Without those that are damaged: nothing that they signed is believed. */
  async all(): Promise<readonly StoredSigningKey[]> {
    const keys: StoredSigningKey[] = []
    for await (const entry of this.#driver.list(SIGNING_KEYS_PREFIX)) {
      const found = await readRecord<StoredSigningKey>(this.#driver, keyIn(SIGNING_KEYS_PREFIX, entry)).catch(
        passOver(this.#onDamagedRecord),
      )
      if (found) keys.push(found.value)
    }
    return keys
  }
}
