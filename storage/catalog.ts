/**
 * Which repositories there are. A repository is one record, made with its first manifest and never deleted: a deletion
 * is a state of it, and begins a new **era**. What was stored in an era before goes, what is stored from then on stays,
 * so that pushes need not wait for a deletion, nor it for them (`deletion.ts`).
 *
 * A damaged record of a repository that was never deleted could only have said that it is there: it counts as that. Of one that
 * was, nobody knows the era any more, and a guess might let rise what was deleted: whoever asks is refused, until the
 * repository is deleted (which ends all eras, whichever they were) or the record is put back from a backup.
 */
import type { StorageDriver } from './driver.ts'
import { RecordDamaged, RepositoryUnknown } from './errors.ts'
import { afterRepository, CATALOG_PREFIX, catalogKey, DELETED_PREFIX, deletedKey, repositoryOfEntry } from './layout.ts'
import type { RepositoryName } from './model/reference.ts'
import { type OnDamagedRecord, orConflict, passOver, readRecord, updateRecord } from './records.ts'
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

const HEALS =
  'as the repository was deleted before, nobody knows what belongs to it now: put the record back from a backup, or delete the repository (gantry repo delete) and push again'

export class Catalog {
  readonly #driver: StorageDriver
  readonly #onDamagedRecord: OnDamagedRecord

  constructor(driver: StorageDriver, onDamagedRecord: OnDamagedRecord = () => {}) {
    this.#driver = driver
    this.#onDamagedRecord = onDamagedRecord
  }

  /** Throws `RecordDamaged`, as everything here does that needs to know the era. */
  async find(name: RepositoryName): Promise<CatalogRecord | undefined> {
    return (await readRecord<CatalogRecord>(this.#driver, catalogKey(name), this.#unlessDeleted(name)))?.value
  }

  /** The mark is older than any deletion: where there is none, there was none when the record was read. */
  #unlessDeleted(name: RepositoryName): (damage: RecordDamaged) => Promise<CatalogRecord> {
    return async (damage) => {
      this.#onDamagedRecord(damage)
      if (await this.#driver.stat(deletedKey(name))) throw new RecordDamaged(damage.key, `${damage.problem}; ${HEALS}`)
      return { createdAt: new Date().toISOString() }
    }
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
    let rebuilt: CatalogRecord | undefined
    const record = await updateRecord<CatalogRecord>(
      this.#driver,
      catalogKey(name),
      (found) => {
        if (!found || found === rebuilt) return { createdAt: new Date().toISOString() }
        return found.live === false && found.era === era ? { ...found, live: true } : undefined
      },
      async (damage) => {
        rebuilt = await this.#unlessDeleted(name)(damage)
        return rebuilt
      },
    )
    return (record?.era ?? 0) === era
  }

  /**
   * Byte order. A record is looked at only where `deleted/` says that it may be gone: both are listed side by side. One that is damaged is
   * not listed.
   */
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
        if (mark.done !== true && mark.value === entry && !(await this.knows(name).catch(UNSURE))) continue
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
      if ((await this.find(name).catch(UNSURE))?.cleaning === true) yield name
    }
  }

  /**
   * Begins a new era, unless a deletion was begun and not finished: then its era stays, and what was pushed since is not
   * touched. Resolves to that era. Throws `RepositoryUnknown`.
   */
  async beginDeletion(name: RepositoryName): Promise<{ readonly era: number; readonly resumed: boolean }> {
    const found = (await readRecord(this.#driver, catalogKey(name), beyondAllEras))?.value
    if (found === undefined || (found.live === false && found.cleaning !== true)) throw unknownToCatalog(name)
    await orConflict(() => this.#driver.write(deletedKey(name), Buffer.from('{}'), { ifAbsent: true }))
    let resumed = false
    const change = (now: CatalogRecord | undefined): CatalogRecord | undefined => {
      resumed = now?.cleaning === true
      if (!now || resumed || now.live === false) return undefined
      return { ...now, live: false, era: (now.era ?? 0) + 1, cleaning: true }
    }
    const record = await updateRecord(this.#driver, catalogKey(name), change, beyondAllEras)
    if (record?.cleaning !== true) throw unknownToCatalog(name) // another one was quicker, and finished
    return { era: record.era ?? 0, resumed }
  }

  async endDeletion(name: RepositoryName, era: number): Promise<void> {
    await updateRecord<CatalogRecord>(this.#driver, catalogKey(name), (found) =>
      found?.cleaning && found.era === era ? { ...found, cleaning: false } : undefined,
    )
  }
}

/** For a deletion, that a damaged record does not hold up: nobody deletes a repository so many times as there are milliseconds. */
const beyondAllEras = (): CatalogRecord => ({ createdAt: new Date().toISOString(), era: Date.now() })

/** It was told of already. */
const UNSURE = passOver(() => {})

export const unknownToCatalog = (name: RepositoryName): RepositoryUnknown =>
  new RepositoryUnknown(`no manifest was ever pushed to ${name}, or it was deleted since`)
