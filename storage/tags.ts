/**
 * Tags. A tag is one record: where it points, at which incarnation of that manifest, and its last moves. Racing pushers
 * are put in an order by compare-and-swap and all succeed; only a failed precondition refuses. Index entries (the list
 * of tags, the tags of a digest) are written before the record that makes them true and removed after it.
 */
import type { StorageDriver, Version } from './driver.ts'
import {
  afterTag,
  digestOfFolder,
  keyIn,
  newNonce,
  nonceOfEntry,
  tagKey,
  tagListKey,
  tagListPrefix,
  tagOfEntry,
  tagsOfFolder,
  tagsOfKey,
  tagsOfPrefix,
} from './layout.ts'
import type { Digest } from './model/digest.ts'
import type { RepositoryName, Tag } from './model/reference.ts'
import {
  type Found,
  type InsteadOfDamaged,
  type OnDamagedRecord,
  orConflict,
  readRecord,
  type Stray,
  updateRecord,
  writeRecord,
} from './records.ts'
import { sealed } from './sealed.ts'
import type { Page } from './store.ts'

const KEPT_MOVES = 64

export interface TagRecord {
  readonly live: boolean
  readonly digest: Digest
  readonly incarnation: string
  /** Nonces of its entries in the list of tags and among the tags of its digest. */
  readonly listed: string
  readonly indexed: string
  /** The newest last. */
  readonly moves: readonly { readonly digest: Digest; readonly at: string; readonly by?: string }[]
}

/** Of a tag whose first push did not come to its end, and what a damaged one counts as: pushing it again makes it anew. */
const NEVER: TagRecord = { live: false, digest: '' as Digest, incarnation: '', listed: '', indexed: '', moves: [] }

interface Target {
  readonly digest: Digest
  readonly incarnation: string
  readonly by?: string
}

/** What a push did to one of its tags. */
export interface Move {
  readonly tag: Tag
  readonly before: TagRecord | undefined
  /** Of the record that it left. */
  readonly version: Version
}

/** Whether a manifest of this digest lives in this incarnation: what makes a tag live. */
export type Lives = (digest: Digest, incarnation: string) => Promise<boolean>

export class Tags {
  readonly #driver: StorageDriver
  readonly #never: InsteadOfDamaged<TagRecord>
  /** Of lists that are asked for again and again. */
  readonly #listed = new WeakMap<readonly string[], readonly Tag[]>()

  constructor(driver: StorageDriver, onDamagedRecord: OnDamagedRecord = () => {}) {
    this.#driver = driver
    this.#never = (damage) => {
      onDamagedRecord(damage)
      return NEVER
    }
  }

  /** Live or not: whether its manifest lives is the caller's to ask. */
  async find(name: RepositoryName, tag: Tag): Promise<TagRecord | undefined> {
    return (await this.#read(name, tag))?.value
  }

  /**
   * Creates or moves the tag. `may` is asked with what is there at the moment of the move; it refuses by throwing, or by
   * `false`: then the tag is left as it is, and this resolves to `undefined`.
   */
  async point(
    name: RepositoryName,
    tag: Tag,
    target: Target,
    may: (found: Found<TagRecord> | undefined) => Promise<boolean>,
  ): Promise<Move | undefined> {
    for (;;) {
      const found = await this.#read(name, tag)
      if (!(await may(found))) return undefined
      const old = found?.value
      if (found && old?.live && old.digest === target.digest && old.incarnation === target.incarnation) {
        return { tag, before: old, version: found.version }
      }
      const written = await this.#write(name, tag, found, target)
      if (written) return { tag, before: old, version: written.version }
    }
  }

  /** Undoes a move that was one of several, unless somebody has moved the tag since. */
  async takeBack(name: RepositoryName, { tag, before, version }: Move, lives: Lives): Promise<void> {
    const found = await this.#read(name, tag)
    if (found?.version !== version || found.value.incarnation === before?.incarnation) return
    if (before?.live && (await lives(before.digest, before.incarnation))) {
      const written = await this.#write(name, tag, found, before)
      if (!written || (await lives(before.digest, before.incarnation))) return
      await this.remove(name, tag, async ({ version }) => version === written.version) // deleted meanwhile, without this tag
    } else {
      await this.remove(name, tag, async ({ version }) => version === found.version)
    }
  }

  /** For a copy of a store: the very record of the original, with the entries that it names. False if it stands already. */
  async adopt(name: RepositoryName, tag: Tag, record: TagRecord): Promise<boolean> {
    const text = sealed({ ...record })
    for (;;) {
      const found = await this.#read(name, tag)
      if (found && sealed({ ...found.value }) === text) return false
      for (const entry of [tagsOfKey(name, record.digest, tag, record.indexed), tagListKey(name, tag, record.listed)]) {
        if (!(await this.#driver.stat(entry))) await this.#enter(entry)
      }
      const condition = found ? { ifVersion: found.version } : ({ ifAbsent: true } as const)
      if (!(await orConflict(() => this.#driver.write(tagKey(name, tag), Buffer.from(text), condition)))) continue
      if (found?.value.live) await this.#leaveIndexes(name, tag, found.value, record)
      return true
    }
  }

  /** False if there was no such tag, or `may` says so of what is there. */
  async remove(name: RepositoryName, tag: Tag, may: (found: Found<TagRecord>) => Promise<boolean>): Promise<boolean> {
    for (;;) {
      const found = await this.#read(name, tag)
      if (!found?.value.live || !(await may(found))) return false
      const gone = { ...found.value, live: false }
      if (!(await orConflict(() => writeRecord(this.#driver, tagKey(name, tag), gone, found)))) continue
      await this.#leaveIndexes(name, tag, found.value)
      return true
    }
  }

  /** After a manifest died: all its tags are dead already; here their records and entries follow. Resolves to how many. */
  async removeAllOf(name: RepositoryName, digest: Digest, incarnation: string): Promise<number> {
    const prefix = tagsOfPrefix(name, digest)
    let count = 0
    for await (const entry of this.#driver.list(prefix)) {
      const removed = await this.remove(name, tagOfEntry(entry), async ({ value }) => value.incarnation === incarnation)
      if (removed) count += 1
      else await this.#removeStray(name, digest, entry)
    }
    return count
  }

  /**
   * Whatever of the list names no live tag: tags whose manifest is dead go, and so do entries that a crash left. What a pusher is
   * about to make true stays: it holds the record that is written here before, or begins anew. Resolves to how many tags went.
   */
  async sweep(name: RepositoryName, lives: Lives): Promise<number> {
    let removed = 0
    for await (const entry of this.#driver.list(tagListPrefix(name))) {
      const tag = tagOfEntry(entry)
      const found = await this.#read(name, tag)
      if (!found) continue // of a tag that never was: only its first pusher could tell
      const { value } = found
      if (value.live) {
        const isDead = async ({ value: now }: Found<TagRecord>) => !(await lives(now.digest, now.incarnation))
        if (await this.remove(name, tag, isDead)) removed += 1
        else if (nonceOfEntry(entry) !== value.listed) await this.#fenceOff(name, tag, entry)
      } else if (nonceOfEntry(entry) === value.listed) await this.#leaveIndexes(name, tag, value)
      else await this.#fenceOff(name, tag, entry)
    }
    return removed
  }

  /** Whoever wrote the entry before its record must now fail to write that, and begins anew with another one. */
  async #fenceOff(name: RepositoryName, tag: Tag, entry: string): Promise<void> {
    const change = (now: TagRecord | undefined): TagRecord | undefined =>
      now && !(now.live && now.listed === nonceOfEntry(entry)) ? { ...now } : undefined
    const record = await updateRecord<TagRecord>(this.#driver, tagKey(name, tag), change, this.#never)
    if (record && !(record.live && record.listed === nonceOfEntry(entry))) {
      await this.#driver.remove(keyIn(tagListPrefix(name), entry))
    }
  }

  /** Byte order, each once, if they are at hand: the same array as long as none has come or gone. */
  atHand(name: RepositoryName): readonly Tag[] | undefined {
    const entries = this.#driver.listWhole?.(tagListPrefix(name))
    if (!entries) return undefined
    const known = this.#listed.get(entries)
    if (known) return known
    const tags = entries.map(tagOfEntry).filter((tag, place, all) => tag !== all[place - 1])
    this.#listed.set(entries, tags)
    return tags
  }

  /** Byte order, each once; many at a time. */
  async *list(name: RepositoryName, { last, limit = Number.POSITIVE_INFINITY }: Page): AsyncGenerator<readonly Tag[]> {
    let [left, previous] = [limit, '']
    if (left === 0) return
    const after = last === undefined ? {} : { after: afterTag(last) }
    for await (const entries of this.#driver.listParts(tagListPrefix(name), after)) {
      const tags: Tag[] = []
      for (const entry of entries) {
        const tag = tagOfEntry(entry)
        if (tag === previous) continue // two creators at once, or a crash between entry and record
        previous = tag
        tags.push(tag)
        if (tags.length === left) break
      }
      yield tags
      left -= tags.length
      if (left === 0) return
    }
  }

  /** What is indexed under a digest: whether a tag still points there is the caller's to ask. Each once. */
  async *listOf(name: RepositoryName, digest: Digest): AsyncGenerator<Tag> {
    let previous = ''
    for await (const entry of this.#driver.list(tagsOfPrefix(name, digest))) {
      const tag = tagOfEntry(entry)
      if (tag !== previous) yield tag
      previous = tag
    }
  }

  /** Entries of both lists that a crash left. */
  async *strays(name: RepositoryName): AsyncGenerator<Stray> {
    const listed = tagListPrefix(name)
    yield* this.#straysBelow(name, listed, (record, nonce) => record.listed === nonce)
    for await (const folder of this.#driver.list(tagsOfFolder(name))) {
      const digest = digestOfFolder(folder)
      const isNamed = (record: TagRecord, nonce: string): boolean =>
        record.indexed === nonce && record.digest === digest
      yield* this.#straysBelow(name, tagsOfPrefix(name, digest), isNamed)
    }
  }

  async *#straysBelow(
    name: RepositoryName,
    prefix: string,
    isNamed: (record: TagRecord, nonce: string) => boolean,
  ): AsyncGenerator<Stray> {
    for await (const entry of this.#driver.list(prefix)) {
      const key = tagKey(name, tagOfEntry(entry))
      const found = await this.#read(name, tagOfEntry(entry))
      if (found?.value === NEVER) continue // damaged: what it names is known to nobody
      if (found?.value.live && isNamed(found.value, nonceOfEntry(entry))) continue
      const fence = async (): Promise<boolean> =>
        (await orConflict(() => writeRecord<TagRecord>(this.#driver, key, found?.value ?? NEVER, found))) !== undefined
      yield { key: keyIn(prefix, entry), fence }
    }
  }

  async #read(name: RepositoryName, tag: Tag): Promise<Found<TagRecord> | undefined> {
    return await readRecord<TagRecord>(this.#driver, tagKey(name, tag), this.#never)
  }

  /** Index entries first, then the record that makes them true. `undefined` if somebody else was first. */
  async #write(
    name: RepositoryName,
    tag: Tag,
    found: Found<TagRecord> | undefined,
    { digest, incarnation, by }: Target,
  ): Promise<Found<TagRecord> | undefined> {
    const old = found?.value
    const listed = old?.live ? old.listed : newNonce()
    const indexed = newNonce()
    const entries = [tagsOfKey(name, digest, tag, indexed), ...(old?.live ? [] : [tagListKey(name, tag, listed)])]
    await Promise.all(entries.map((entry) => this.#enter(entry)))
    const move = { digest, at: new Date().toISOString(), ...(by === undefined ? {} : { by }) }
    const moves = [...(old?.moves ?? []), move].slice(-KEPT_MOVES)
    const record: TagRecord = { live: true, digest, incarnation, listed, indexed, moves }
    const written = await orConflict(() => writeRecord(this.#driver, tagKey(name, tag), record, found))
    if (written) {
      if (old?.live) await this.#driver.remove(tagsOfKey(name, old.digest, tag, old.indexed))
    } else {
      await Promise.all(entries.map((entry) => this.#driver.remove(entry)))
    }
    return written
  }

  /** A tag that comes back has entries of other names. */
  async #leaveIndexes(name: RepositoryName, tag: Tag, old: TagRecord, now?: TagRecord): Promise<void> {
    if (old.listed !== now?.listed) await this.#driver.remove(tagListKey(name, tag, old.listed))
    if (old.indexed !== now?.indexed) await this.#driver.remove(tagsOfKey(name, old.digest, tag, old.indexed))
  }

  /** An entry of a move that never became true, unless the record has come to name it. */
  async #removeStray(name: RepositoryName, digest: Digest, entry: string): Promise<void> {
    const tag = tagOfEntry(entry)
    const record = await this.find(name, tag)
    const named = record?.live && record.digest === digest && entry === `${tag}!${record.indexed}`
    if (!named) await this.#driver.remove(keyIn(tagsOfPrefix(name, digest), entry))
  }

  #enter(key: Parameters<StorageDriver['write']>[0]): Promise<unknown> {
    return this.#driver.write(key, new Uint8Array(), { unique: true })
  }
}
