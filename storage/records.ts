/**
 * Records: small JSON objects that change only by create-if-absent and compare-and-swap. Each carries a nonce, so that
 * no two writes are equal bytes; fields that this version does not know are kept.
 */
import type { AfterPowerLoss, Key, SmallObject, StorageDriver, Version } from './driver.ts'
import { VersionConflict } from './errors.ts'
import { newNonce } from './layout.ts'

export interface Found<T> {
  readonly value: T
  readonly version: Version
}

type Fields = { readonly [field: string]: unknown }

/** `undefined` if there is none yet. */
export async function readRecord<T extends object>(driver: StorageDriver, key: Key): Promise<Found<T> | undefined> {
  const object = await driver.readSmall(key)
  if (!object) return undefined
  const known = parsed.get(object)
  if (known) return known as Found<T>
  const found = new FoundRecord<T>(object)
  parsed.set(object, found)
  return found
}

/** Of objects that are read again and again. */
const parsed = new WeakMap<SmallObject, Found<object>>()

class FoundRecord<T extends object> implements Found<T> {
  readonly value: T
  readonly #object: SmallObject

  constructor(object: SmallObject) {
    this.value = JSON.parse(textOf(object.bytes)) as T
    this.#object = object
  }

  get version(): Version {
    return this.#object.version
  }
}

/** As in `WriteCondition`: `unique` for a record that is created. */
export interface WriteOptions {
  readonly unique?: boolean
  readonly afterPowerLoss?: AfterPowerLoss
}

/** Creates it (`found` undefined) or replaces what was found. Throws `VersionConflict` if somebody else was first. */
export async function writeRecord<T extends object>(
  driver: StorageDriver,
  key: Key,
  value: T,
  found: Found<T> | undefined,
  options: WriteOptions = {},
): Promise<Found<T>> {
  const fields: Fields = { ...(found?.value as Fields | undefined), ...(value as Fields), nonce: newNonce() }
  const { unique = false, afterPowerLoss = 'written' } = options
  const condition = found
    ? { ifVersion: found.version, afterPowerLoss }
    : unique
      ? ({ unique: true, afterPowerLoss } as const)
      : ({ ifAbsent: true } as const)
  const version = await driver.write(key, Buffer.from(JSON.stringify(fields)), condition)
  return { value: fields as T, version }
}

/**
 * Reads, asks `change` for the new value (or `undefined`: leave it), writes, and starts over when somebody else wrote in
 * between. Resolves to what stands afterwards.
 */
export async function updateRecord<T extends object>(
  driver: StorageDriver,
  key: Key,
  change: (current: T | undefined) => T | undefined | Promise<T | undefined>,
): Promise<T | undefined> {
  for (;;) {
    const found = await readRecord<T>(driver, key)
    const value = await change(found?.value)
    if (value === undefined) return found?.value
    const written = await orConflict(() => writeRecord(driver, key, value, found))
    if (written) return written.value
  }
}

/** `undefined` instead of `VersionConflict`. */
export async function orConflict<T>(write: () => Promise<T>): Promise<T | undefined> {
  try {
    return await write()
  } catch (error) {
    if (error instanceof VersionConflict) return undefined
    throw error
  }
}

/** Of the bytes where they are, which `Buffer.from(bytes)` would copy. */
export const textOf = ({ buffer, byteOffset, byteLength }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString('utf8')

/** An entry of a list that its record does not name. */
export interface Stray {
  readonly key: Key
  /** From then on nobody can make it true. False if its record has changed meanwhile. */
  fence(): Promise<boolean>
}
