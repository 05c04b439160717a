/** Opens a store over a driver: format, parts, and the sweep of what nobody comes back for. */
import { Blobs } from './blobs.ts'
import { Catalog } from './catalog.ts'
import type { StorageDriver } from './driver.ts'
import { demandFormat } from './format.ts'
import { Manifests } from './manifests.ts'
import type { RepositoryName } from './model/reference.ts'
import { openRepository, type ReferencePolicy } from './repository.ts'
import { Scrub, type ScrubOptions } from './scrub.ts'
import type { Store } from './store.ts'
import { Tags } from './tags.ts'
import { openUploads } from './uploads.ts'
import { Verification, type VerificationOptions } from './verification.ts'

const SWEEP_EVERY_MS = 10 * 60 * 1000

export interface StoreOptions {
  /** For all repositories, or asked for each push. Default: `sparse-index`. */
  readonly references?: ReferencePolicy | ((name: RepositoryName) => ReferencePolicy)
  readonly verification?: VerificationOptions
  /** Absent: nothing is verified that nobody asks for. */
  readonly scrub?: ScrubOptions
}

/** Takes the driver over: closing the store closes it. Throws `StoreFormatUnsupported` for a store of a newer version. */
export async function openStore(driver: StorageDriver, options: StoreOptions = {}): Promise<Store> {
  await demandFormat(driver)
  const { references = 'sparse-index' } = options
  const verification = new Verification(driver, options.verification)
  const blobs = new Blobs(driver, verification)
  const catalog = new Catalog(driver)
  const parts = {
    catalog,
    blobs,
    manifests: new Manifests(driver),
    tags: new Tags(driver),
    references: typeof references === 'function' ? references : () => references,
  }
  const uploads = openUploads(driver, blobs)

  let sweeping = Promise.resolve()
  const sweep = (): void => {
    // What fails today is tried again in ten minutes; nobody waits for it.
    sweeping = sweeping.then(() => uploads.sweep(Date.now())).catch(() => {})
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
