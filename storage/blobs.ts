/**
 * Blobs and who may serve them. Bytes are stored once; a repository serves a blob only if it has a link to it. A blob
 * linked nowhere in a repository is unknown there, even if it is stored: existence must not leak between repositories.
 */
import { Readable } from 'node:stream'
import type { ByteRange, ObjectAhead, ObjectRead, SmallObject, StorageDriver } from './driver.ts'
import { BlobDamaged, BlobUnknown, ObjectNotFound } from './errors.ts'
import { blobKey, linkKey, linksPrefix, repositoryOfEntry } from './layout.ts'
import { algorithmOf, type Digest, digestOf } from './model/digest.ts'
import type { RepositoryName } from './model/reference.ts'
import { type Found, type InsteadOfDamaged, type OnDamagedRecord, readRecord, updateRecord } from './records.ts'
import type { BlobContent, LinkedBlob, RangeOf } from './store.ts'
import { Verification } from './verification.ts'

/** Half of the shortest time that a collector will let an unreferenced blob rest: a link touched within it need not be touched again. */
const TOUCH_AFTER_MS = 12 * 60 * 60 * 1000

/** Read whole, and hashed, whatever is wanted of it. */
const SMALL_BYTES = 32 * 1024

/** Repositories that are asked about for one mount: a blob that everybody has is in all of them. */
const MOST_SOURCES = 100

interface Link {
  readonly live: boolean
  readonly sizeBytes: number
  readonly touchedAt: string
  /** Of its repository (`catalog.ts`), when a manifest relied on it while an earlier one was being removed. Absent: the first. */
  readonly era?: number
}

/** What a damaged link counts as: who is told that the blob is unknown pushes it again, or mounts it, which writes the link anew. */
const UNLINKED: Link = { live: false, sizeBytes: 0, touchedAt: '' }

export class Blobs {
  readonly #driver: StorageDriver
  readonly #verification: Verification
  readonly #unlinked: InsteadOfDamaged<Link>
  /** Small blobs that were hashed, and are what their digest says. */
  readonly #whole = new WeakSet<SmallObject>()

  constructor(
    driver: StorageDriver,
    verification = new Verification(driver),
    onDamagedRecord: OnDamagedRecord = () => {},
  ) {
    this.#driver = driver
    this.#verification = verification
    this.#unlinked = (damage) => {
      onDamagedRecord(damage)
      return UNLINKED
    }
  }

  /** Throws `BlobUnknown` unless it is linked here and whole: a pusher who is told so pushes again, which repairs it. */
  async stat(name: RepositoryName, digest: Digest): Promise<LinkedBlob> {
    const link = await this.#findLink(name, digest)
    if (link === undefined) throw unknown(name, digest)
    return { digest, sizeBytes: link.sizeBytes, aging: isAging(link) }
  }

  /** Its size in bytes, or `undefined` unless it is linked here and whole. */
  async find(name: RepositoryName, digest: Digest): Promise<number | undefined> {
    return (await this.#findLink(name, digest))?.sizeBytes
  }

  async #findLink(name: RepositoryName, digest: Digest): Promise<Link | undefined> {
    const link = await this.#readLink(name, digest)
    if (!link?.value.live) return undefined
    const stored = await this.#driver.stat(blobKey(digest))
    if (stored?.sizeBytes !== link.value.sizeBytes) return undefined
    if (this.#verification.suspects(digest) && (await this.#isDamaged(digest))) return undefined
    return link.value
  }

  async #readLink(name: RepositoryName, digest: Digest): Promise<Found<Link> | undefined> {
    return await readRecord<Link>(this.#driver, linkKey(digest, name), this.#unlinked)
  }

  async #updateLink(
    name: RepositoryName,
    digest: Digest,
    change: (link: Link | undefined) => Link | undefined,
  ): Promise<Link | undefined> {
    return await updateRecord<Link>(this.#driver, linkKey(digest, name), change, this.#unlinked)
  }

  /** Throws `BlobUnknown`, also for what was found damaged before; `BlobDamaged` when it is found now. */
  async read(name: RepositoryName, digest: Digest, rangeOf: RangeOf = () => undefined): Promise<BlobContent> {
    const ahead = this.#lookAhead(digest)
    const link = await this.#readLink(name, digest)
    if (!link?.value.live) throw unknown(name, digest)
    const { sizeBytes } = link.value
    const range = rangeOf(sizeBytes)
    const content =
      sizeBytes < SMALL_BYTES
        ? await this.#readSmall(digest, ahead, sizeBytes, range)
        : await this.#readLarge(digest, ahead, range)
    if (content?.sizeBytes === sizeBytes) return content
    content?.body.destroy()
    throw unknown(name, digest)
  }

  /** As `Repository.locateBlob` says. */
  async locate(name: RepositoryName, digest: Digest, leastBytes: number): Promise<URL | undefined> {
    const link = await this.#readLink(name, digest)
    if (!link?.value.live) throw unknown(name, digest)
    if (link.value.sizeBytes < leastBytes || this.#verification.suspects(digest)) return undefined
    return await this.#driver.locate?.(blobKey(digest))
  }

  /** Hashed whenever it is not the very object that was hashed before. */
  async #readSmall(
    digest: Digest,
    ahead: ObjectAhead,
    sizeBytes: number,
    range: ByteRange | undefined,
  ): Promise<BlobContent | undefined> {
    const found = await ahead.readSmall()
    if (found?.bytes.length !== sizeBytes) return undefined
    if (!this.#whole.has(found)) {
      const actual = digestOf(found.bytes, algorithmOf(digest))
      if (actual !== digest) {
        if (this.#verification.suspects(digest) && (await this.#isDamaged(digest))) return undefined
        if ((await this.#verification.readThrough(digest)) === 'damaged') throw new BlobDamaged(digest, actual)
        return await this.#readSmall(digest, this.#lookAhead(digest), sizeBytes, range) // replaced meanwhile, or set aside by somebody else
      }
      this.#whole.add(found)
    }
    const bytes = range ? found.bytes.subarray(range.start, range.end + 1) : found.bytes
    return {
      get body() {
        return Readable.from([bytes], { objectMode: false })
      },
      bytes,
      range,
      sizeBytes,
    }
  }

  async #readLarge(digest: Digest, ahead: ObjectAhead, range: ByteRange | undefined): Promise<BlobContent | undefined> {
    const object = await opened(ahead.read(range))
    if (!object) return undefined
    const { sizeBytes, body, file, relay } = object
    switch (this.#verification.judge(digest, object)) {
      case 'whole':
        return { body, sizeBytes, range, ...(file ? { file } : {}), ...(relay ? { relay } : {}) }
      case 'damaged':
        body.destroy()
        return undefined
      default: {
        const check = range ? this.#verification.range : this.#verification.whole
        return { body: check.call(this.#verification, digest, object), sizeBytes, range }
      }
    }
  }

  #lookAhead(digest: Digest): ObjectAhead {
    const key = blobKey(digest)
    return (
      this.#driver.lookAhead?.(key) ?? {
        read: (range) => this.#driver.read(key, range),
        readSmall: () => this.#driver.readSmall(key),
      }
    )
  }

  /** Whether what was found damaged is still there. */
  async #isDamaged(digest: Digest): Promise<boolean> {
    const object = await opened(this.#driver.read(blobKey(digest)))
    try {
      return object !== undefined && this.#verification.judge(digest, object) === 'damaged'
    } finally {
      object?.body.destroy()
    }
  }

  /** The bytes that were just stored under the digest were hashed on their way. */
  verified(digest: Digest, identity: string): void {
    this.#verification.published(digest, identity)
  }

  /** From now on `name` serves the blob, whose bytes are stored. */
  async link(name: RepositoryName, digest: Digest, sizeBytes: number): Promise<void> {
    await this.#updateLink(name, digest, (link) => {
      const fresh = link?.live && link.sizeBytes === sizeBytes && !isAging(link)
      return fresh ? undefined : { live: true, sizeBytes, touchedAt: new Date().toISOString() }
    })
  }

  /** A link that somebody relies on (a manifest, a pusher who was told that the blob exists) is kept from growing old. */
  async touch(name: RepositoryName, digest: Digest): Promise<void> {
    await this.#updateLink(name, digest, (link) => {
      return link?.live && isAging(link) ? { ...link, touchedAt: new Date().toISOString() } : undefined
    })
  }

  /** As `find`, for a manifest that relies on it: a link that is growing old is touched, and one of an era before `era` comes into it. */
  async rely(name: RepositoryName, digest: Digest, era = 0): Promise<number | undefined> {
    const link = await this.#findLink(name, digest)
    if (link && eraOf(link) < era) {
      const kept = await this.#updateLink(name, digest, (now) =>
        now?.live && eraOf(now) < era ? { ...now, era, touchedAt: new Date().toISOString() } : undefined,
      )
      return kept?.live ? kept.sizeBytes : undefined
    }
    if (link && isAging(link)) await this.touch(name, digest)
    return link?.sizeBytes
  }

  /** Unlinks the blob, unless a manifest of this era relies on it. Whether it was linked. */
  async unlinkBefore(name: RepositoryName, digest: Digest, era: number): Promise<boolean> {
    let unlinked = false
    await this.#updateLink(name, digest, (link) => {
      unlinked = link?.live === true && eraOf(link) < era
      return unlinked && link ? { ...link, live: false } : undefined
    })
    return unlinked
  }

  /** Throws `BlobUnknown` if there was no link. */
  async unlink(name: RepositoryName, digest: Digest): Promise<void> {
    let found = false
    await this.#updateLink(name, digest, (link) => {
      found = link?.live === true
      return found && link ? { ...link, live: false } : undefined
    })
    if (!found) throw unknown(name, digest)
  }

  /** Links here what `from` serves, or without it any repository; each is asked about first. The look at the bytes comes after the link is there. */
  async mount(
    name: RepositoryName,
    digest: Digest,
    mayRead: (source: RepositoryName) => Promise<boolean>,
    from?: RepositoryName,
  ): Promise<boolean> {
    for await (const source of from === undefined ? this.#holders(digest) : [from]) {
      const sizeBytes = (await mayRead(source)) ? await this.find(source, digest) : undefined
      if (sizeBytes === undefined) continue
      await this.link(name, digest, sizeBytes)
      return (await this.find(name, digest)) !== undefined
    }
    return false
  }

  async *#holders(digest: Digest): AsyncGenerator<RepositoryName> {
    for await (const entry of this.#driver.list(linksPrefix(digest), { limit: MOST_SOURCES }))
      yield repositoryOfEntry(entry)
  }
}

const eraOf = ({ era = 0 }: Link): number => era

const isAging = (link: Link): boolean => Date.now() - Date.parse(link.touchedAt) >= TOUCH_AFTER_MS

/** `undefined` if it is not there. */
async function opened(reading: Promise<ObjectRead>): Promise<ObjectRead | undefined> {
  return await reading.catch((error: unknown) => {
    if (error instanceof ObjectNotFound) return undefined
    throw error
  })
}

const unknown = (name: RepositoryName, digest: Digest): BlobUnknown =>
  new BlobUnknown(`${name} has no blob ${digest}; push it, or mount it from a repository that has it`)
