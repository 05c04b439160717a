/**
 * Which repositories there are. A repository is one record, made with its first manifest and never deleted: a deletion
 * is a state of it, and begins a new **era**. What was stored in an era before goes, what is stored from then on stays,
 * so that pushes need not wait for a deletion, nor it for them (`deletion.ts`).
 */
import type { StorageDriver } from './driver.ts'
import { RepositoryUnknown } from './errors.ts'
import { afterRepository, CATALOG_PREFIX, catalogKey, DELETED_PREFIX, deletedKey, repositoryOfEntry } from './layout.ts'
import type { RepositoryName } from './model/reference.ts'
import { orConflict, readRecord, updateRecord } from './records.ts'
import type { Page } from './store.ts'

export interface CatalogRecord {
  readonly createdAt: string
  /** False from a deletion on, until a manifest is pushed again. Absent: true. */
  readonly live?: boolean
  /** How often it was deleted. Absent: never. */
  readonly era?: number
  /** Content of earlier eras may still be there: a deletion is under way, or was interrupted. */
  readonly cleaning?: boolean
}

/** What a push has to know of its repository. */
export interface Era {
  readonly era: number
  readonly cleaning: boolean
  /** Whether it is listed. */
  readonly known: boolean
}

export class Catalog {
  readonly #driver: StorageDriver

  constructor(driver: StorageDriver) {
    this.#driver = driver
  }

  async find(name: RepositoryName): Promise<CatalogRecord | undefined> {
    return (await readRecord<CatalogRecord>(this.#driver, catalogKey(name)))?.value
  }

  /** Whether a manifest was pushed there, since it was deleted for the last time. */
  async knows(name: RepositoryName): Promise<boolean> {
    const record = await this.find(name)
    return record !== undefined && record.live !== false
  }

  async eraOf(name: RepositoryName): Promise<Era> {
    const record = await this.find(name)
    const { era = 0, cleaning = false, live = record !== undefined } = record ?? {}
    return { era, cleaning, known: live }
  }

  /** From now on it is listed. False if another era has begun: what was stored in this one goes. */
  async enter(name: RepositoryName, era: number): Promise<boolean> {
    const record = await updateRecord<CatalogRecord>(this.#driver, catalogKey(name), (found) => {
      if (!found) return { createdAt: new Date().toISOString() }
      return found.live === false && found.era === era ? { ...found, live: true } : undefined
    })
    return (record?.era ?? 0) === era
  }

  /** Byte order. A record is looked at only where `deleted/` says that it may be gone: both are listed side by side. */
  async *list({ last, limit = Number.POSITIVE_INFINITY }: Page): AsyncGenerator<RepositoryName> {
    const after = last === undefined ? {} : { after: afterRepository(last) }
    const marks = this.#driver.list(DELETED_PREFIX, after)[Symbol.asyncIterator]()
    let left = limit
    try {
      let mark = left > 0 ? await marks.next() : undefined
      if (mark === undefined) return
      for await (const entry of this.#driver.list(CATALOG_PREFIX, after)) {
        while (mark.done !== true && mark.value < entry) mark = await marks.next()
        const name = repositoryOfEntry(entry)
        if (mark.done !== true && mark.value === entry && !(await this.knows(name))) continue
        yield name
        left -= 1
        if (left === 0) return
      }
    } finally {
      await marks.return?.()
    }
  }

  /** Repositories that are being deleted, or whose deletion was interrupted. */
  async *listCleaning(): AsyncGenerator<RepositoryName> {
    for await (const entry of this.#driver.list(DELETED_PREFIX)) {
      const name = repositoryOfEntry(entry)
      if ((await this.find(name))?.cleaning === true) yield name
    }
  }

  /**
   * Begins a new era, unless a deletion was begun and not finished: then its era stays, and what was pushed since is not
   * touched. Resolves to that era. Throws `RepositoryUnknown`.
   */
  async beginDeletion(name: RepositoryName): Promise<{ readonly era: number; readonly resumed: boolean }> {
    const found = await this.find(name)
    if (found === undefined || (found.live === false && found.cleaning !== true)) throw unknownToCatalog(name)
    await orConflict(() => this.#driver.write(deletedKey(name), Buffer.from('{}'), { ifAbsent: true }))
    let resumed = false
    const record = await updateRecord<CatalogRecord>(this.#driver, catalogKey(name), (now) => {
      resumed = now?.cleaning === true
      if (!now || resumed || now.live === false) return undefined
      return { ...now, live: false, era: (now.era ?? 0) + 1, cleaning: true }
    })
    if (record?.cleaning !== true) throw unknownToCatalog(name) // another one was quicker, and finished
    return { era: record.era ?? 0, resumed }
  }

  async endDeletion(name: RepositoryName, era: number): Promise<void> {
    await updateRecord<CatalogRecord>(this.#driver, catalogKey(name), (found) =>
      found?.cleaning && found.era === era ? { ...found, cleaning: false } : undefined,
    )
  }
}

export const unknownToCatalog = (name: RepositoryName): RepositoryUnknown =>
  new RepositoryUnknown(`no manifest was ever pushed to ${name}, or it was deleted since`)
