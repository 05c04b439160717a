/** The store as an operator's verbs see it, beside a registry that may be running over it. */
import type { StorageDriver } from '../storage/driver.ts'
import { openStore, type StoreOptions } from '../storage/open.ts'
import type { Store } from '../storage/store.ts'
import type { Config } from './config/schema.ts'
import { CannotServe, reason } from './reasons.ts'
import { openDriver, placeOf } from './storage-place.ts'

export interface OpenStore {
  readonly driver: StorageDriver
  readonly store: Store
}

/** Throws `CannotServe` if there is no store that this version can use. */
export async function withStore<T>(
  config: Config,
  use: (open: OpenStore) => Promise<T>,
  options: StoreOptions = {},
): Promise<T> {
  const open = await openBoth(config, options)
  try {
    return await use(open)
  } finally {
    await open.store.close()
  }
}

async function openBoth(config: Config, options: StoreOptions): Promise<OpenStore> {
  try {
    const driver = await openDriver(config, 1)
    return { driver, store: await openStore(driver, options) }
  } catch (cause) {
    throw new CannotServe(`cannot use the ${placeOf(config)}: ${reason(cause)}`, { cause })
  }
}
