/** Opens a store over a driver: format, parts, and the sweep of what nobody comes back for. */
import { randomUUID } from 'node:crypto'
import { Blobs } from './blobs.ts'
import { Catalog } from './catalog.ts'
import type { StorageDriver } from './driver.ts'
import { StoreFormatUnsupported } from './errors.ts'
import { FORMAT_KEY } from './layout.ts'
import { Manifests } from './manifests.ts'
import type { RepositoryName } from './model/reference.ts'
import { updateRecord } from './records.ts'
import { openRepository, type ReferencePolicy } from './repository.ts'
import type { Store } from './store.ts'
import { Tags } from './tags.ts'
import { openUploads } from './uploads.ts'
import { Verification, type VerificationOptions } from './verification.ts'

const FORMAT = 1
const SWEEP_EVERY_MS = 10 * 60 * 1000

export interface StoreOptions {
  /** For all repositories, or asked for each push. Default: `sparse-index`. */
  readonly references?: ReferencePolicy | ((name: RepositoryName) => ReferencePolicy)
  readonly verification?: VerificationOptions
}

interface StoreFormat {
  readonly format: number
  readonly id: string
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

  return {
    repository: (name) => openRepository(name, parts),
    uploads,
    listRepositories: (page) => catalog.list(page),
    async close() {
      clearInterval(timer)
      await Promise.all([sweeping, verification.close()])
      await driver.close()
    },
  }
}

async function demandFormat(driver: StorageDriver): Promise<void> {
  const format = await updateRecord<StoreFormat>(driver, FORMAT_KEY, (found) =>
    found ? undefined : { format: FORMAT, id: randomUUID() },
  )
  if (format?.format !== FORMAT) {
    throw new StoreFormatUnsupported(
      `the store has format ${format?.format}, this version knows ${FORMAT}: use a newer gantry`,
    )
  }
}
