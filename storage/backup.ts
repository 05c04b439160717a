/**
 * A copy of a store, made while it is written to, that is a store itself. What refers is copied after what it refers to: a
 * blob's bytes, its link, the manifest, the catalog's record, the tag; and what is gone here goes there in the reverse
 * order. So the copy is whole, and what was acknowledged before the backup began is in it; one that was killed is finished by
 * the next. Index entries are not copied but made of the records that name them: copied as files, in whatever order, an entry
 * and its record could come from two moments. Records are copied byte for byte, and only if they differ.
 */
import type { Readable } from 'node:stream'
import { forEachAtOnce } from './at-once.ts'
import type { Key, StorageDriver } from './driver.ts'
import {
  DigestMismatch,
  ManifestUnknown,
  ObjectNotFound,
  type RecordDamaged,
  RepositoryUnknown,
  SizeMismatch,
  StorageUnavailable,
  StoreFormatUnsupported,
} from './errors.ts'
import {
  ACCOUNTS_PREFIX,
  blobKey,
  CATALOG_PREFIX,
  catalogKey,
  deletedKey,
  FORMAT_KEY,
  keyIn,
  linkKey,
  linksPrefix,
  PROBE_KEY,
  repositoryOfEntry,
  SIGNING_KEYS_PREFIX,
  tagKey,
  tagsPrefix,
} from './layout.ts'
import { listLinked } from './linked.ts'
import { Manifests } from './manifests.ts'
import { type Digest, isComputable } from './model/digest.ts'
import { parseManifest } from './model/manifest.ts'
import type { RepositoryName, Tag } from './model/reference.ts'
import { openStore } from './open.ts'
import { probeStorage } from './probe.ts'
import { type Found, orConflict, passOver, readRecord } from './records.ts'
import { sealed } from './sealed.ts'
import type { Store } from './store.ts'
import { type TagRecord, Tags } from './tags.ts'

const BLOBS_AT_ONCE = 4
const RECORDS_AT_ONCE = 8

export interface BackupCounts {
  readonly blobs: number
  readonly bytes: number
  readonly manifests: number
  readonly tags: number
}

/** What could not be copied: a damaged blob, manifest or record. What the copy has of it stays. */
export interface BackupProblem {
  /** A digest, or the key of a record. */
  readonly what: string
  /** Absent for what belongs to none. */
  readonly repository?: RepositoryName
  readonly says: string
}

export interface BackupOptions {
  readonly onProblem: (problem: BackupProblem) => void
  readonly onProgress: (counts: BackupCounts) => void
}

/** Resolves to what was copied, which the copy had not yet. Both drivers stay open. Throws `StoreFormatUnsupported` if `to` holds another store. */
export async function backUp(from: StorageDriver, to: StorageDriver, options: BackupOptions): Promise<BackupCounts> {
  if (!(await to.readSmall(FORMAT_KEY))) await copyObject(from, to, FORMAT_KEY)
  const [mine, copied] = [await readFormat(from), await readFormat(to)]
  if (!mine || mine.value.id !== copied?.value.id) {
    throw new StoreFormatUnsupported(
      'the destination holds another registry: a backup goes to an empty place, or over an earlier one',
    )
  }
  const store = await openStore(withoutClose(to), { references: 'sparse' })
  try {
    const backup = new Backup(from, to, store, options)
    await backup.run()
    return backup.counts
  } finally {
    await store.close()
  }
}

const readFormat = (driver: StorageDriver): Promise<Found<{ readonly id?: string }> | undefined> =>
  readRecord(driver, FORMAT_KEY)

class Backup {
  readonly #from: StorageDriver
  readonly #to: StorageDriver
  readonly #store: Store
  readonly #options: BackupOptions
  readonly #here: Manifests
  readonly #there: Manifests
  readonly #tagsThere: Tags
  /** Records that were told of. */
  readonly #damaged = new Set<string>()
  readonly counts = { blobs: 0, bytes: 0, manifests: 0, tags: 0 }

  constructor(from: StorageDriver, to: StorageDriver, store: Store, options: BackupOptions) {
    this.#from = from
    this.#to = to
    this.#store = store
    this.#options = options
    this.#here = new Manifests(from)
    this.#there = new Manifests(to)
    this.#tagsThere = new Tags(to)
  }

  async run(): Promise<void> {
    const began = await clockOf(this.#from)
    for (const prefix of [SIGNING_KEYS_PREFIX, ACCOUNTS_PREFIX]) {
      for await (const entry of this.#from.list(prefix)) await this.#copyRecord(keyIn(prefix, entry))
    }
    await this.#links(true, began)
    for await (const entry of this.#from.list(CATALOG_PREFIX)) await this.#repository(repositoryOfEntry(entry))
    await this.#links(false, began)
  }

  #count(what: keyof BackupCounts, more: number): void {
    this.counts[what] += more
    this.#options.onProgress(this.counts)
  }

  /**
   * The live ones with their bytes, before anything that relies on them; at the end those that were gone when the backup began. What went
   * since may belong to a manifest that was copied before it went.
   */
  async #links(live: boolean, began: Date): Promise<void> {
    await forEachAtOnce(listLinked(this.#from), BLOBS_AT_ONCE, async (digest) => {
      for await (const entry of this.#from.list(linksPrefix(digest))) {
        const name = repositoryOfEntry(entry)
        if (live) await this.#blob(name, digest)
        else {
          const key = linkKey(digest, name)
          const link = await this.#readWhole<{ live: boolean }>(key, name)
          const changed = await this.#from.stat(key)
          if (link?.live === false && changed && changed.modified < began) await this.#copyRecord(key, name)
        }
      }
    })
  }

  /** Nothing if it is not linked here, or its bytes are not there: then it is unknown here as well. */
  async #blob(name: RepositoryName, digest: Digest): Promise<void> {
    const repository = this.#store.repository(name)
    const link = await this.#readWhole<{ live: boolean; sizeBytes: number }>(linkKey(digest, name), name)
    if (!link?.live) return
    const { sizeBytes } = link
    try {
      const isThere = await repository.statBlob(digest).then(
        () => true,
        () => repository.mountBlob(digest, async () => true),
      )
      if (!isThere) {
        const { body } = await this.#from.read(blobKey(digest))
        await this.#store.uploads.push(name, digest, readable(body), { lengthBytes: sizeBytes, mayEmptyPieces: true })
        this.#count('blobs', 1)
        this.#count('bytes', sizeBytes)
      }
      await this.#copyRecord(linkKey(digest, name), name)
    } catch (error) {
      if (error instanceof ObjectNotFound) return
      const isOfBlob = [DigestMismatch, SizeMismatch, Unreadable].some((kind) => error instanceof kind)
      if (!isOfBlob) throw error
      this.#options.onProblem({ repository: name, what: digest, says: `it is damaged: ${(error as Error).message}` })
    }
  }

  async #repository(name: RepositoryName): Promise<void> {
    await forEachAtOnce(this.#here.listDigests(name), RECORDS_AT_ONCE, async (digest) => {
      await this.#manifest(name, digest)
      await this.#deadManifest(name, digest)
    })
    const record = await this.#readWhole(catalogKey(name), name)
    await copyObject(this.#from, this.#to, deletedKey(name)) // read after the record, and there before it
    if (record) await putObject(this.#to, catalogKey(name), bytesOf(record))
    await forEachAtOnce(this.#from.list(tagsPrefix(name)), RECORDS_AT_ONCE, (entry) => this.#tag(name, entry as Tag))
  }

  /** With all that it names; nothing if it is dead. */
  async #manifest(name: RepositoryName, digest: Digest): Promise<void> {
    const found = await this.#here.find(name, digest)
    if (found) {
      if (await this.#there.isLive(name, digest, found.incarnation)) return
      const { blobs, manifests } = parseManifest(found.bytes, found.mediaType)
      for (const { digest: each } of blobs) if (isComputable(each)) await this.#blob(name, each)
      for (const { digest: each } of manifests) if (isComputable(each)) await this.#manifest(name, each)
      await this.#here.copyTo(this.#there, name, digest)
      this.#count('manifests', 1)
    } else if (await this.#here.mayLive(name, digest)) {
      this.#options.onProblem({
        repository: name,
        what: digest,
        says: 'its bytes are damaged; pushing it again repairs it',
      })
    }
  }

  /** With its tags. */
  async #deadManifest(name: RepositoryName, digest: Digest): Promise<void> {
    if ((await this.#here.mayLive(name, digest)) || !(await this.#there.mayLive(name, digest))) return
    await this.#store
      .repository(name)
      .deleteManifest(digest)
      .catch((error: unknown) => {
        if (!(error instanceof ManifestUnknown) && !(error instanceof RepositoryUnknown)) throw error
      })
  }

  /** Nothing, too, if it is damaged, which is told once. */
  async #readWhole<T extends object>(key: Key, repository?: RepositoryName): Promise<T | undefined> {
    const report = ({ key: what, problem }: RecordDamaged): void => {
      if (this.#damaged.has(what)) return
      this.#damaged.add(what)
      this.#options.onProblem({ ...(repository === undefined ? {} : { repository }), what, says: problem })
    }
    return (await readRecord<T>(this.#from, key).catch(passOver(report)))?.value
  }

  async #copyRecord(key: Key, repository?: RepositoryName): Promise<void> {
    const record = await this.#readWhole(key, repository)
    if (record) await putObject(this.#to, key, bytesOf(record))
  }

  /** A tag whose manifest died while we looked is one that is gone. */
  async #tag(name: RepositoryName, tag: Tag): Promise<void> {
    const record = await this.#readWhole<TagRecord>(tagKey(name, tag), name)
    if (!record) return
    if (record.live && (await this.#here.isLive(name, record.digest, record.incarnation))) {
      await this.#manifest(name, record.digest)
      if (await this.#there.isLive(name, record.digest, record.incarnation)) {
        if (await this.#tagsThere.adopt(name, tag, record)) this.#count('tags', 1)
        return
      }
    }
    await this.#tagsThere.remove(name, tag, async () => true)
  }
}

/** One blob cannot be read; a service that does not answer is about all of them. */
class Unreadable extends Error {}

async function* readable(body: Readable): AsyncGenerator<Uint8Array> {
  try {
    yield* body as AsyncIterable<Uint8Array>
  } catch (error) {
    if (error instanceof StorageUnavailable) throw error
    throw new Unreadable(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

/** As the place that keeps the store has it, whatever this machine's clock says. */
async function clockOf(driver: StorageDriver): Promise<Date> {
  try {
    await probeStorage(driver, { write: true })
  } catch (error) {
    if (!(error instanceof StorageUnavailable)) throw error // where nothing can be written, nothing changes
  }
  return (await driver.stat(PROBE_KEY))?.modified ?? new Date()
}

/** The very bytes that it was read from. */
const bytesOf = (record: object): Uint8Array => Buffer.from(sealed({ ...record }))

/** Nothing if there is none, or if it is the same there. */
async function copyObject(from: StorageDriver, to: StorageDriver, key: Key): Promise<void> {
  const found = await from.readSmall(key)
  if (found) await putObject(to, key, found.bytes)
}

/** Several of us may come to the same one. */
async function putObject(to: StorageDriver, key: Key, bytes: Uint8Array): Promise<void> {
  for (;;) {
    const there = await to.readSmall(key)
    if (there && Buffer.compare(bytes, there.bytes) === 0) return
    const condition = there ? { ifVersion: there.version } : ({ ifAbsent: true } as const)
    if ((await orConflict(() => to.write(key, bytes, condition))) !== undefined) return
  }
}

/** A store closes its driver; this one belongs to somebody else. */
const withoutClose = (driver: StorageDriver): StorageDriver =>
  new Proxy(driver, {
    get(target, name) {
      const value: unknown = name === 'close' ? async () => {} : Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
