/**
 * Tags. A tag is one record: where it points, at which incarnation of that manifest, and its last moves. Racing pushers
 * are put in an order by compare-and-swap and all succeed; only a failed precondition refuses. Index entries (the list
 * of tags, the tags of a digest) are written before the record that makes them true and removed after it.
 */
import type { StorageDriver } from './driver.ts'
import { PreconditionFailed } from './errors.ts'
import {
  afterTag,
  keyIn,
  newNonce,
  tagKey,
  tagListKey,
  tagListPrefix,
  tagOfEntry,
  tagsOfKey,
  tagsOfPrefix,
} from './layout.ts'
import type { Digest } from './model/digest.ts'
import type { RepositoryName, Tag } from './model/reference.ts'
import { type Found, orConflict, readRecord, writeRecord } from './records.ts'
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

/** Whether a manifest of this digest lives in this incarnation: what makes a tag live. */
export type Lives = (digest: Digest, incarnation: string) => Promise<boolean>

export class Tags {
  readonly #driver: StorageDriver

  constructor(driver: StorageDriver) {
    this.#driver = driver
  }

  /** Live or not: whether its manifest lives is the caller's to ask. */
  async find(name: RepositoryName, tag: Tag): Promise<TagRecord | undefined> {
    return (await readRecord<TagRecord>(this.#driver, tagKey(name, tag)))?.value
  }

  /** Creates or moves the tag. `expected` is judged against what is there at the moment of the move: `PreconditionFailed`. */
  async point(
    name: RepositoryName,
    tag: Tag,
    target: { readonly digest: Digest; readonly incarnation: string; readonly by?: string },
    lives: Lives,
    expected?: Digest | 'gone',
  ): Promise<void> {
    for (;;) {
      const found = await readRecord<TagRecord>(this.#driver, tagKey(name, tag))
      await this.#demand(tag, found, lives, expected)
      const { digest, incarnation, by } = target
      const old = found?.value
      if (old?.live && old.digest === digest && old.incarnation === incarnation) return

      const listed = old?.live ? old.listed : newNonce()
      const indexed = newNonce()
      if (!old?.live) await this.#enter(tagListKey(name, tag, listed))
      await this.#enter(tagsOfKey(name, digest, tag, indexed))
      const move = { digest, at: new Date().toISOString(), ...(by === undefined ? {} : { by }) }
      const moves = [...(old?.moves ?? []), move].slice(-KEPT_MOVES)
      const record: TagRecord = { live: true, digest, incarnation, listed, indexed, moves }
      if (await orConflict(() => writeRecord(this.#driver, tagKey(name, tag), record, found))) {
        if (old?.live) await this.#driver.remove(tagsOfKey(name, old.digest, tag, old.indexed))
        return
      }
      await this.#driver.remove(tagsOfKey(name, digest, tag, indexed))
      if (!old?.live) await this.#driver.remove(tagListKey(name, tag, listed))
    }
  }

  /** False if there was no such tag. With `incarnation`, only if it still points at that one. */
  async remove(name: RepositoryName, tag: Tag, incarnation?: string): Promise<boolean> {
    for (;;) {
      const found = await readRecord<TagRecord>(this.#driver, tagKey(name, tag))
      if (!found?.value.live) return false
      if (incarnation !== undefined && found.value.incarnation !== incarnation) return false
      const gone = { ...found.value, live: false }
      if (!(await orConflict(() => writeRecord(this.#driver, tagKey(name, tag), gone, found)))) continue
      await this.#driver.remove(tagListKey(name, tag, found.value.listed))
      await this.#driver.remove(tagsOfKey(name, found.value.digest, tag, found.value.indexed))
      return true
    }
  }

  /** After a manifest died: all its tags are dead already; here their records and entries follow. */
  async removeAllOf(name: RepositoryName, digest: Digest, incarnation: string): Promise<void> {
    const prefix = tagsOfPrefix(name, digest)
    for await (const entry of this.#driver.list(prefix)) {
      const removed = await this.remove(name, tagOfEntry(entry), incarnation)
      if (!removed) await this.#removeStray(name, digest, entry)
    }
  }

  /** Byte order, each once. */
  async *list(name: RepositoryName, { last, limit = Number.POSITIVE_INFINITY }: Page): AsyncGenerator<Tag> {
    let [left, previous] = [limit, '']
    if (left === 0) return
    for await (const entry of this.#driver.list(
      tagListPrefix(name),
      last === undefined ? {} : { after: afterTag(last) },
    )) {
      const tag = tagOfEntry(entry)
      if (tag === previous) continue // two creators at once, or a crash between entry and record
      yield tag
      previous = tag
      left -= 1
      if (left === 0) return
    }
  }

  async #demand(
    tag: Tag,
    found: Found<TagRecord> | undefined,
    lives: Lives,
    expected?: Digest | 'gone',
  ): Promise<void> {
    if (expected === undefined) return
    const record = found?.value
    const live = record?.live && (await lives(record.digest, record.incarnation))
    const current = live ? record.digest : 'gone'
    if (current === expected) return
    const where = current === 'gone' ? 'does not exist' : `points at ${current}`
    const wanted = expected === 'gone' ? 'not exist' : `point at ${expected}`
    throw new PreconditionFailed(`the tag ${tag} ${where}, but the request wants it to ${wanted}`)
  }

  /** An entry of a move that never became true, unless the record has come to name it. */
  async #removeStray(name: RepositoryName, digest: Digest, entry: string): Promise<void> {
    const tag = tagOfEntry(entry)
    const record = await this.find(name, tag)
    const named = record?.live && record.digest === digest && entry === `${tag}!${record.indexed}`
    if (!named) await this.#driver.remove(keyIn(tagsOfPrefix(name, digest), entry))
  }

  #enter(key: Parameters<StorageDriver['write']>[0]): Promise<unknown> {
    return this.#driver.write(key, new Uint8Array(), { ifAbsent: true })
  }
}
