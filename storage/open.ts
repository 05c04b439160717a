/** Opens a store over a driver: format, parts, and the sweep of what nobody comes back for. */
import { Blobs } from './blobs.ts'
import { Catalog } from './catalog.ts'
import type { StorageDriver } from './driver.ts'
import { demandFormat } from './format.ts'
import { sweepIndexes } from './index-sweep.ts'
import { Manifests } from './manifests.ts'
import type { RepositoryName } from './model/reference.ts'
import { eachOnce, type OnDamagedRecord } from './records.ts'
import { openRepository, type ReferencePolicy } from './repository.ts'
import { Scrub, type ScrubOptions } from './scrub.ts'
import type { Store } from './store.ts'
import { Tags } from './tags.ts'
import { openUploads } from './uploads.ts'
import { Verification, type VerificationOptions } from './verification.ts'

const SWEEP_EVERY_MS = 10 * 60 * 1000
/** It reads every entry: not at each start, and seldom. */
const INDEXES_AFTER_MS = 60 * 60 * 1000
const INDEXES_EVERY_MS = 24 * 60 * 60 * 1000

export interface StoreOptions {
  /** For all repositories, or asked for each push. Default: `sparse-index`. */
  readonly references?: ReferencePolicy | ((name: RepositoryName) => ReferencePolicy)
  readonly verification?: VerificationOptions
  /** Once for each that is met, as long as not too many are: the same one may be asked for again and again. */
  readonly onDamagedRecord?: OnDamagedRecord
  /** Absent: nothing is verified that nobody asks for. */
  readonly scrub?: ScrubOptions
}

/** Takes the driver over: closing the store closes it. Throws `StoreFormatUnsupported` for a store of a newer version. */
export async function openStore(driver: StorageDriver, options: StoreOptions = {}): Promise<Store> {
  await demandFormat(driver)
  const { references = 'sparse-index' } = options
  const verification = new Verification(driver, options.verification)
  const onDamagedRecord = eachOnce(options.onDamagedRecord ?? (() => {}))
  const blobs = new Blobs(driver, verification, onDamagedRecord)
  const catalog = new Catalog(driver, onDamagedRecord)
  const parts = {
    catalog,
    blobs,
    manifests: new Manifests(driver, onDamagedRecord),
    tags: new Tags(driver, onDamagedRecord),
    references: typeof references === 'function' ? references : () => references,
  }
  const uploads = openUploads(driver, blobs)

  let sweeping = Promise.resolve()
  let indexesDueAt = performance.now() + INDEXES_AFTER_MS
  const sweepAll = async (): Promise<void> => {
    await uploads.sweep(Date.now())
    if (performance.now() < indexesDueAt) return
    indexesDueAt = performance.now() + INDEXES_EVERY_MS
    await sweepIndexes(driver, parts.tags, parts.manifests)
  }
  const sweep = (): void => {
    sweeping = sweeping.then(sweepAll).catch(() => {}) // what fails today is tried again; nobody waits for it
  }
  const timer = setInterval(sweep, SWEEP_EVERY_MS).unref()
  sweep()
  const scrub = options.scrub && new Scrub(driver, options.scrub)

  return {
    repository: (name) => openRepository(name, parts),
    uploads,
    listRepositories: (page) => catalog.list(page),
    async close() {
      clearInterval(timer)
      await Promise.all([sweeping, verification.close(), scrub?.[Symbol.asyncDispose]()])
      await driver.close()
    },
  }
}
