/**
 * Records: small JSON objects that change only by create-if-absent and compare-and-swap. Each carries a nonce, so that
 * no two writes are equal bytes, and a checksum; fields that this version does not know are kept.
 */
import type { AfterPowerLoss, Key, SmallObject, StorageDriver, Version } from './driver.ts'
import { RecordDamaged, VersionConflict } from './errors.ts'
import { newNonce } from './layout.ts'
import { sealed, unsealed } from './sealed.ts'

export interface Found<T> {
  readonly value: T
  readonly version: Version
}

type Fields = { readonly [field: string]: unknown }

/** Told of a record that the disk has damaged, before anything else is made of it. */
export type OnDamagedRecord = (damage: RecordDamaged) => void

/** So many are remembered as told of. */
const MOST_TOLD = 10_000

/** Tells of each record once, as long as they are not too many: who asks for one may ask again and again. */
export function eachOnce(onDamagedRecord: OnDamagedRecord): OnDamagedRecord {
  const told = new Set<string>()
  return (damage) => {
    if (told.has(damage.key)) return
    if (told.size >= MOST_TOLD) told.clear()
    told.add(damage.key)
    onDamagedRecord(damage)
  }
}

/**
 * What a damaged record counts as: who writes next replaces it, by compare-and-swap like any other. Only where nothing that the
 * record may have said is lost or undone by that. May throw the damage instead.
 */
export type InsteadOfDamaged<T> = (damage: RecordDamaged) => T | Promise<T>

const refused = (damage: RecordDamaged): never => {
  throw damage
}

/** `undefined` if there is none yet. Throws `RecordDamaged` unless there is something `instead`. */
export async function readRecord<T extends object>(
  driver: StorageDriver,
  key: Key,
  instead: InsteadOfDamaged<T> = refused,
): Promise<Found<T> | undefined> {
  const object = await driver.readSmall(key)
  if (!object) return undefined
  const known = parsed.get(object)
  if (known) return known as Found<T>
  const value = decoded<T>(object, key)
  if (value instanceof RecordDamaged) return new FoundRecord(object, await instead(value))
  const found = new FoundRecord<T>(object, value)
  parsed.set(object, found)
  return found
}

/** For `.catch` of one record among many: a damaged one is told of, and is not there. */
export const passOver =
  (onDamagedRecord: OnDamagedRecord) =>
  (error: unknown): undefined => {
    if (!(error instanceof RecordDamaged)) throw error
    onDamagedRecord(error)
  }

/** Of objects that are read again and again. */
const parsed = new WeakMap<SmallObject, Found<object>>()

function decoded<T extends object>({ bytes }: SmallObject, key: Key): T | RecordDamaged {
  try {
    return unsealed(bytes) as T
  } catch (cause) {
    return new RecordDamaged(key, (cause as Error).message, { cause })
  }
}

class FoundRecord<T extends object> implements Found<T> {
  readonly value: T
  readonly #object: SmallObject

  constructor(object: SmallObject, value: T) {
    this.value = value
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
  const version = await driver.write(key, Buffer.from(sealed(fields)), condition)
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
  instead?: InsteadOfDamaged<T>,
): Promise<T | undefined> {
  for (;;) {
    const found = await readRecord<T>(driver, key, instead)
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

/** An entry of a list that its record does not name. */
export interface Stray {
  readonly key: Key
  /** From then on nobody can make it true. False if its record has changed meanwhile. */
  fence(): Promise<boolean>
}
