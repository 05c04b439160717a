/**
 * Manifests by digest. A record is a line of JSON, the header with its checksum, then the exact bytes that were pushed. Deleting is one
 * compare-and-swap to `live: false`; each time that a digest comes to life it gets a new incarnation, and whatever
 * points at an older one (tags) is dead with it.
 */
import type { SmallObject, StorageDriver, Version } from './driver.ts'
import { RecordDamaged } from './errors.ts'
import {
  digestOfManifest,
  digestOfReferrer,
  keyIn,
  manifestKey,
  manifestsPrefix,
  newNonce,
  nonceOfEntry,
  referrerKey,
  referrersFolder,
  referrersPrefix,
  referrersTypePrefix,
} from './layout.ts'
import { algorithmOf, type Digest, digestOf, type ForeignDigest } from './model/digest.ts'
import type { Descriptor, Manifest } from './model/manifest.ts'
import type { MediaType } from './model/media-type.ts'
import type { RepositoryName } from './model/reference.ts'
import { type OnDamagedRecord, orConflict, type Stray } from './records.ts'
import { acceptable, describeReferrer } from './referrers.ts'
import { sealed, unsealed } from './sealed.ts'
import type { Referrer, ReferrersPage, StoredManifest } from './store.ts'

interface Header {
  readonly live: boolean
  readonly incarnation: string
  readonly nonce: string
  readonly mediaType: MediaType
  readonly pushedAt: string
  readonly pushedBy?: string
  /** Of its repository (`catalog.ts`), when it was pushed. Absent: the first. */
  readonly era?: number
  /** Where this manifest is listed as a referrer. */
  readonly referrer?: {
    readonly subject: Digest | ForeignDigest
    readonly artifactType: string
    readonly nonce: string
  }
}

/** Of a manifest whose first push did not come to its end. */
const NEVER: Header = { live: false, incarnation: '', nonce: '', mediaType: '' as MediaType, pushedAt: '' }

export interface LiveManifest extends StoredManifest {
  readonly incarnation: string
  /** Whose referrer it is. */
  readonly subject?: Digest | ForeignDigest
}

const NEWLINE = 0x0a

/** A record taken apart, and what is worked out of it when somebody wants it. */
class Found {
  /** `undefined` if the disk has damaged it. Who is told that the manifest is unknown pushes it again, which makes it anew. */
  readonly header: Header | undefined
  readonly bytes: Uint8Array
  readonly #object: SmallObject
  #digest: Digest | undefined
  #live: LiveManifest | undefined
  #descriptor: Descriptor | undefined

  constructor(object: SmallObject) {
    const end = object.bytes.indexOf(NEWLINE)
    this.header = headerOf(object.bytes.subarray(0, Math.max(end, 0)))
    this.bytes = object.bytes.subarray(end + 1)
    this.#object = object
  }

  get version(): Version {
    return this.#object.version
  }

  /** Whether the bytes are what was pushed. */
  isIntact(digest: Digest): boolean {
    if (this.#digest !== digest) this.#digest = digestOf(this.bytes, algorithmOf(digest))
    return this.#digest === digest
  }

  /** `undefined` unless it lives and is intact. */
  live(digest: Digest): LiveManifest | undefined {
    if (!this.header?.live || !this.isIntact(digest)) return undefined
    const { mediaType, incarnation, referrer } = this.header
    this.#live ??= {
      digest,
      mediaType,
      bytes: this.bytes,
      incarnation,
      ...(referrer ? { subject: referrer.subject } : {}),
    }
    return this.#live
  }

  /** As a list of referrers shows it. `undefined` unless it lives and is intact, or if an earlier version took what this one would not. */
  descriptor(digest: Digest): Descriptor | undefined {
    const live = this.live(digest)
    if (!live || this.#descriptor) return live && this.#descriptor
    const content = acceptable(live)
    this.#descriptor = content && describeReferrer(live, content)
    return this.#descriptor
  }
}

export class Manifests {
  readonly #driver: StorageDriver
  readonly #onDamagedRecord: OnDamagedRecord
  /** Of objects that are read again and again. */
  readonly #found = new WeakMap<SmallObject, Found>()

  constructor(driver: StorageDriver, onDamagedRecord: OnDamagedRecord = () => {}) {
    this.#driver = driver
    this.#onDamagedRecord = onDamagedRecord
  }

  /** `undefined` unless it is live and its bytes are what was pushed: whoever is told so pushes again, which repairs it. */
  async find(name: RepositoryName, digest: Digest): Promise<LiveManifest | undefined> {
    const found = await this.#read(name, digest)
    const live = found?.live(digest)
    if (found && !live) this.#report(name, digest, found)
    return live
  }

  /** `damaged` for one that is live, or was, and that nobody is given because its record is not what was pushed. */
  async look(name: RepositoryName, digest: Digest): Promise<'whole' | 'damaged' | 'absent'> {
    const found = await this.#read(name, digest)
    if (!found) return 'absent'
    if (!found.header) return 'damaged'
    return !found.header.live || found.isIntact(digest) ? 'whole' : 'damaged'
  }

  /** Makes it live, if it is not, and part of that era; resolves to its incarnation. The entry among its subject's referrers comes first. */
  async put(
    name: RepositoryName,
    pushed: StoredManifest,
    content: Manifest,
    { era, pushedBy }: { readonly era: number; readonly pushedBy?: string | undefined },
  ): Promise<string> {
    const fresh = {
      incarnation: newNonce(),
      pushedAt: new Date().toISOString(),
      ...(pushedBy === undefined ? {} : { pushedBy }),
      ...(era === 0 ? {} : { era }),
    }
    for (;;) {
      const found = await this.#read(name, pushed.digest)
      if (found?.header?.live) {
        const belongs = eraOf(found.header) >= era
        if (belongs && found.isIntact(pushed.digest)) return found.header.incarnation
        // Repaired in the same incarnation, its tags live on; out of an earlier era it comes alone.
        const kept = { ...found.header, nonce: newNonce(), ...(belongs ? {} : fresh) }
        if (await this.#write(name, pushed.digest, kept, pushed.bytes, found.version)) return kept.incarnation
        continue
      }
      const referrer = await this.#enterReferrer(name, pushed, content)
      const header: Header = {
        live: true,
        nonce: newNonce(),
        mediaType: pushed.mediaType,
        ...fresh,
        ...(referrer === undefined ? {} : { referrer }),
      }
      if (await this.#write(name, pushed.digest, header, pushed.bytes, found?.version)) return header.incarnation
      await this.#leaveReferrers(name, pushed.digest, referrer)
    }
  }

  /** As `find`; one of an era before comes into `era`, without its tags: what is pushed now relies on it. */
  async rely(name: RepositoryName, digest: Digest, era: number): Promise<LiveManifest | undefined> {
    for (;;) {
      const found = await this.#read(name, digest)
      if (found?.header?.live && eraOf(found.header) < era && found.isIntact(digest)) {
        const kept = { ...found.header, incarnation: newNonce(), nonce: newNonce(), era }
        if (!(await this.#write(name, digest, kept, found.bytes, found.version))) continue
      }
      return await this.find(name, digest)
    }
  }

  /** All digests that a manifest ever had here, dead ones too. */
  async *listDigests(name: RepositoryName): AsyncGenerator<Digest> {
    for await (const entry of this.#driver.list(manifestsPrefix(name))) {
      const digest = digestOfManifest(entry)
      if (digest) yield digest
    }
  }

  /** Whether it lives in this incarnation, by its header alone. */
  async isLive(name: RepositoryName, digest: Digest, incarnation: string): Promise<boolean> {
    const header = (await this.#read(name, digest))?.header
    return header?.live === true && header.incarnation === incarnation
  }

  /** Whether there is one that is not known to be dead, be it damaged. */
  async mayLive(name: RepositoryName, digest: Digest): Promise<boolean> {
    const found = await this.#read(name, digest)
    return found !== undefined && found.header?.live !== false
  }

  /** The very record, with its entry among the referrers, for another store. Nothing if it is dead meanwhile. */
  async copyTo(other: Manifests, name: RepositoryName, digest: Digest): Promise<void> {
    const [found, there] = [await this.#read(name, digest), await other.#read(name, digest)]
    if (!found?.header?.live) return
    const { referrer } = found.header
    const before = there?.header?.referrer
    if (referrer && before?.nonce !== referrer.nonce) {
      await other.#leaveReferrers(name, digest, referrer) // of a copy that was killed, perhaps
      await other.#writeReferrer(name, digest, referrer)
    }
    if (!(await other.#write(name, digest, found.header, found.bytes, there?.version))) return
    if (before?.nonce !== referrer?.nonce) await other.#leaveReferrers(name, digest, before)
  }

  /** What `remove` does after the manifest is dead, again: it may have been interrupted there. `undefined` if it is not dead. */
  async finishRemoval(name: RepositoryName, digest: Digest): Promise<string | undefined> {
    const header = (await this.#read(name, digest))?.header
    if (!header || header.live) return undefined
    await this.#leaveReferrers(name, digest, header.referrer)
    return header.incarnation
  }

  /** Resolves to the incarnation that died, or `undefined` if there was none, or none of an era before `era`. */
  async remove(
    name: RepositoryName,
    digest: Digest,
    { before = Number.POSITIVE_INFINITY }: { readonly before?: number } = {},
  ): Promise<string | undefined> {
    for (;;) {
      const found = await this.#read(name, digest)
      if (!found?.header?.live || eraOf(found.header) >= before) return undefined
      const header: Header = { ...found.header, live: false, nonce: newNonce() }
      if (await this.#write(name, digest, header, new Uint8Array(), found.version)) {
        await this.#leaveReferrers(name, digest, found.header.referrer)
        return found.header.incarnation
      }
    }
  }

  /** An entry that a crash left is one whose manifest does not name it: it is passed over. */
  async *referrers(
    name: RepositoryName,
    subject: Digest | ForeignDigest,
    { last, artifactType }: ReferrersPage,
  ): AsyncGenerator<Referrer> {
    const prefix = referrersPrefix(name, subject)
    const type = artifactType === undefined ? '' : referrersTypePrefix(artifactType)
    const after = last !== undefined && last > type ? last : type
    for await (const entry of this.#driver.list(prefix, after === '' ? {} : { after })) {
      if (!entry.startsWith(type)) return
      const digest = digestOfReferrer(entry)
      const holder = await this.#read(name, digest)
      if (!holder) continue
      const { live, referrer } = holder.header ?? {}
      const isNamed = live && referrer?.nonce === nonceOfEntry(entry) && referrer.subject === subject
      const descriptor = isNamed ? holder.descriptor(digest) : undefined
      if (!descriptor) this.#report(name, digest, holder)
      if (descriptor) yield { cursor: entry, descriptor }
    }
  }

  /** Entries that a crash left. */
  async *strays(name: RepositoryName): AsyncGenerator<Stray> {
    const all = referrersFolder(name)
    for await (const folder of this.#driver.list(all)) {
      const prefix = all + folder
      for await (const entry of this.#driver.list(prefix)) {
        const digest = digestOfReferrer(entry)
        const found = await this.#read(name, digest)
        const header = found ? found.header : NEVER
        if (!header) continue // damaged: what it names is known to nobody
        if (header.live && header.referrer?.nonce === nonceOfEntry(entry)) continue
        const fence = (): Promise<boolean> =>
          this.#write(name, digest, { ...header, nonce: newNonce() }, found?.bytes ?? new Uint8Array(), found?.version)
        yield { key: keyIn(prefix, entry), fence }
      }
    }
  }

  async #enterReferrer(name: RepositoryName, pushed: StoredManifest, content: Manifest): Promise<Header['referrer']> {
    const { subject, artifactType = '' } = content
    if (!subject) return undefined
    const referrer = { subject: subject.digest, artifactType, nonce: newNonce() }
    await this.#writeReferrer(name, pushed.digest, referrer)
    return referrer
  }

  async #writeReferrer(
    name: RepositoryName,
    digest: Digest,
    { subject, artifactType, nonce }: NonNullable<Header['referrer']>,
  ): Promise<void> {
    const key = referrerKey(name, subject, artifactType, digest, nonce)
    await this.#driver.write(key, new Uint8Array(), { unique: true })
  }

  async #leaveReferrers(name: RepositoryName, digest: Digest, referrer: Header['referrer']): Promise<void> {
    if (!referrer) return
    await this.#driver.remove(referrerKey(name, referrer.subject, referrer.artifactType, digest, referrer.nonce))
  }

  async #read(name: RepositoryName, digest: Digest): Promise<Found | undefined> {
    const object = await this.#driver.readSmall(manifestKey(name, digest))
    if (!object) return undefined
    const known = this.#found.get(object)
    if (known) return known
    const found = new Found(object)
    this.#found.set(object, found)
    return found
  }

  /** If it is damaged. */
  #report(name: RepositoryName, digest: Digest, found: Found): void {
    const { header } = found
    if (header && (!header.live || found.isIntact(digest))) return
    const problem = header ? 'its bytes have another digest' : 'its header is not what was written'
    this.#onDamagedRecord(new RecordDamaged(manifestKey(name, digest), problem))
  }

  async #write(
    name: RepositoryName,
    digest: Digest,
    header: Header,
    bytes: Uint8Array,
    version: Version | undefined,
  ): Promise<boolean> {
    const record = Buffer.concat([Buffer.from(`${sealed({ ...header })}\n`), bytes])
    const condition = version === undefined ? ({ ifAbsent: true } as const) : { ifVersion: version }
    return (await orConflict(() => this.#driver.write(manifestKey(name, digest), record, condition))) !== undefined
  }
}

const eraOf = ({ era = 0 }: Header): number => era

function headerOf(line: Uint8Array): Header | undefined {
  try {
    return unsealed(line) as unknown as Header
  } catch {
    return undefined
  }
}
