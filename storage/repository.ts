/** One repository: what is visible under its name, and the order in which its parts change. */
import type { Blobs } from './blobs.ts'
import { type Catalog, type Era, unknownToCatalog } from './catalog.ts'
import { demandCondition } from './condition.ts'
import { DigestMismatch, ManifestInvalid, ManifestUnknown, RecordDamaged, ReferencesMissing } from './errors.ts'
import type { LiveManifest, Manifests } from './manifests.ts'
import { algorithmOf, type Digest, digestOf, type ForeignDigest, isComputable } from './model/digest.ts'
import { type Manifest, parseManifest, type Reference } from './model/manifest.ts'
import { type RepositoryName, referrersTag, type Tag } from './model/reference.ts'
import { isBeforeTagged, taggedReferrers } from './referrers.ts'
import type { ManifestPush, Page, Repository, StoredManifest } from './store.ts'
import type { Move, TagRecord, Tags } from './tags.ts'

/**
 * What must be there when a manifest is pushed. `strict`: everything; `sparse-index`: an index may list manifests that
 * are not (partial mirrors of many platforms); `sparse`: nothing.
 */
export type ReferencePolicy = 'strict' | 'sparse-index' | 'sparse'

export const REFERENCE_POLICIES: readonly ReferencePolicy[] = ['strict', 'sparse-index', 'sparse']

/** Blobs of one manifest that are looked up side by side. */
const LOOKS_AT_ONCE = 16

export interface RepositoryParts {
  readonly catalog: Catalog
  readonly blobs: Blobs
  readonly manifests: Manifests
  readonly tags: Tags
  readonly references: (name: RepositoryName) => ReferencePolicy
}

const isDigest = (reference: Tag | Digest): reference is Digest => reference.includes(':')

export function openRepository(name: RepositoryName, parts: RepositoryParts): Repository {
  const { catalog, blobs, manifests, tags, references } = parts

  const lives = async (digest: Digest, incarnation: string): Promise<boolean> =>
    (await manifests.find(name, digest))?.incarnation === incarnation

  async function demandKnown(): Promise<void> {
    if (!(await catalog.knows(name))) throw unknownToCatalog(name)
  }

  async function unknown(reference: Tag | Digest): Promise<never> {
    await demandKnown().catch((error: unknown) => {
      if (!(error instanceof RecordDamaged)) throw error // else whether the repository is known is not, but the manifest is not
    })
    throw new ManifestUnknown(`${name} has no manifest ${reference}`)
  }

  /** A tag that moves while we look is looked at again: it existed all the time. */
  async function findByTag(tag: Tag): Promise<LiveManifest | undefined> {
    for (let seen: string | undefined; ; ) {
      const record = await tags.find(name, tag)
      if (!record?.live) return undefined
      const manifest = await manifests.find(name, record.digest)
      if (manifest?.incarnation === record.incarnation) return manifest
      if (seen === record.incarnation) return undefined
      seen = record.incarnation
    }
  }

  /** `undefined` for what is not there. A size that differs is refused here: the client would stop reading, or wait for more. */
  async function sizeOf(
    digest: Digest | ForeignDigest,
    kind: 'blob' | 'manifest',
    { era, cleaning }: Era,
  ): Promise<number | undefined> {
    if (!isComputable(digest)) return undefined
    if (kind === 'blob') return await blobs.rely(name, digest, cleaning ? era : 0)
    return (await (cleaning ? manifests.rely(name, digest, era) : manifests.find(name, digest)))?.bytes.length
  }

  /** While content of an earlier era is being removed, what is relied on is kept, and an index has to be complete: it could lose a part just now. */
  async function demandReferences(content: Manifest, now: Era): Promise<void> {
    const policy = references(name)
    if (policy === 'sparse' && !now.cleaning) return
    const wanted: readonly (readonly ['blob' | 'manifest', Reference])[] = [
      ...content.blobs.map((blob) => ['blob', blob] as const),
      ...(policy === 'strict' || now.cleaning
        ? content.manifests.map((manifest) => ['manifest', manifest] as const)
        : []),
    ]
    const sizes = new Map<string, number | undefined>()
    const missing: Reference[] = []
    for (let start = 0; start < wanted.length; start += LOOKS_AT_ONCE) {
      const group = wanted.slice(start, start + LOOKS_AT_ONCE).filter(([, { digest }]) => !sizes.has(digest))
      const found = await Promise.all(group.map(([kind, { digest }]) => sizeOf(digest, kind, now)))
      for (const [place, [, { digest }]] of group.entries()) sizes.set(digest, found[place])
    }
    if (policy === 'sparse') return
    for (const [, reference] of wanted) {
      const stored = sizes.get(reference.digest)
      if (stored === undefined) missing.push(reference)
      else if (stored !== reference.size) {
        throw new ManifestInvalid(
          `${reference.path}.size`,
          `${reference.size}`,
          `${stored}, the size of ${reference.digest}`,
        )
      }
    }
    if (missing.length > 0) throw new ReferencesMissing(missing.map(({ path, digest }) => ({ path, digest })))
  }

  /** What was relied on may have gone with the repository: then what this push has stored already goes too. */
  async function demandReferencesAgain(content: Manifest, now: Era, digest: Digest): Promise<void> {
    try {
      await demandReferences(content, now)
    } catch (error) {
      await removeBefore(digest, now.era)
      throw error
    }
  }

  /** The manifest with its tags, unless it belongs to this era. */
  async function removeBefore(digest: Digest, era: number): Promise<void> {
    const incarnation = await manifests.remove(name, digest, { before: era })
    if (incarnation !== undefined) await tags.removeAllOf(name, digest, incarnation)
  }

  /** What the tag stands for now: nothing, if its manifest died. */
  async function current(record: TagRecord | undefined): Promise<Digest | undefined> {
    return record?.live && (await lives(record.digest, record.incarnation)) ? record.digest : undefined
  }

  /** Before anything is stored; each tag is judged again at the moment that it moves. */
  async function demandBefore({ condition, demandTag, tags: wanted }: ManifestPush, digest: Digest): Promise<void> {
    for (const tag of demandTag ? wanted : []) {
      const pointsAt = await current(await tags.find(name, tag))
      if (pointsAt !== digest) await demandTag?.(tag, pointsAt)
    }
    if (condition === undefined) return
    if (wanted.length === 0) demandCondition(condition, digest, (await manifests.find(name, digest))?.digest)
    for (const tag of wanted) demandCondition(condition, `the tag ${tag}`, await current(await tags.find(name, tag)))
  }

  /**
   * Points every tag at the manifest, or none. `stood` is what an earlier round of the same push left: a conditional push that starts over
   * moves only the tags that nobody has moved since, for its condition held when it moved them.
   */
  async function pointAll(
    { condition, demandTag, tags: wanted, pushedBy: by }: ManifestPush,
    target: { readonly digest: Digest; readonly incarnation: string },
    stood: ReadonlyMap<Tag, Move>,
  ): Promise<ReadonlyMap<Tag, Move>> {
    const moves = new Map<Tag, Move>()
    try {
      for (const tag of wanted) {
        const before = stood.get(tag)
        const move = await tags.point(name, tag, { ...target, ...(by === undefined ? {} : { by }) }, async (found) => {
          if (demandTag) {
            const pointsAt = await current(found?.value)
            if (pointsAt !== target.digest) await demandTag(tag, pointsAt)
          }
          if (condition === undefined) return true
          if (before !== undefined) return found?.version === before.version
          demandCondition(condition, `the tag ${tag}`, await current(found?.value))
          return true
        })
        if (move) moves.set(tag, move)
      }
    } catch (error) {
      // The failure is the news. A tag that cannot be taken back either is left as by a crash.
      for (const move of moves.values()) await tags.takeBack(name, move, lives).catch(() => {})
      throw error
    }
    return new Map([...stood, ...moves])
  }

  return {
    name,
    demandKnown,
    statBlob: (digest) => blobs.stat(name, digest),
    touchBlob: (digest) => blobs.touch(name, digest),
    readBlob: (digest, range) => blobs.read(name, digest, range),
    locateBlob: (digest, leastBytes) => blobs.locate(name, digest, leastBytes),
    mountBlob: (digest, mayRead, from) => blobs.mount(name, digest, mayRead, from),
    unlinkBlob: (digest) => blobs.unlink(name, digest),

    async getManifest(reference): Promise<StoredManifest> {
      const found = isDigest(reference) ? await manifests.find(name, reference) : await findByTag(reference)
      return found ?? (await unknown(reference))
    },

    async putManifest(push: ManifestPush) {
      const { mediaType, bytes } = push
      const digest = digestOf(bytes, push.digest && algorithmOf(push.digest))
      if (push.digest && push.digest !== digest) {
        throw new DigestMismatch(`the manifest was pushed as ${push.digest} but is ${digest}`)
      }
      const content = parseManifest(bytes, mediaType)
      let now = await catalog.eraOf(name)
      await demandReferences(content, now)
      await demandBefore(push, digest)
      // A crash may leave a repository that has nothing, but nothing in a repository that nobody can find.
      if (!now.known) await catalog.enter(name, now.era)
      for (let stood: ReadonlyMap<Tag, Move> = new Map(); ; ) {
        const { era } = now
        const incarnation = await manifests.put(name, { digest, mediaType, bytes }, content, { ...push, era })
        stood = await pointAll(push, { digest, incarnation }, stood)
        // Deleted meanwhile, it or the repository: its tags died with it, and this push came later. Start over, so that what we acknowledge stands.
        const lasts = (await lives(digest, incarnation)) && (await catalog.enter(name, era))
        if (lasts) break
        now = await catalog.eraOf(name)
        if (now.era !== era) await demandReferencesAgain(content, now, digest)
      }
      return { digest, ...(content.subject ? { subject: content.subject.digest } : {}) }
    },

    async deleteManifest(reference, condition) {
      if (isDigest(reference)) {
        if (condition && (await manifests.find(name, reference))) demandCondition(condition, reference, reference)
        const incarnation = await manifests.remove(name, reference)
        if (incarnation === undefined) return await unknown(reference)
        await tags.removeAllOf(name, reference, incarnation)
        return
      }
      const removed = await tags.remove(name, reference, async ({ value }) => {
        const digest = await current(value)
        if (condition && digest !== undefined) demandCondition(condition, `the tag ${reference}`, digest)
        return digest !== undefined
      })
      if (!removed) await unknown(reference)
    },

    async *listTagsOf(digest) {
      for await (const tag of tags.listOf(name, digest)) {
        if ((await current(await tags.find(name, tag))) === digest) yield tag
      }
    },

    async tagsAtHand() {
      await demandKnown()
      return tags.atHand(name)
    },

    async *listTags(page: Page) {
      for await (const part of this.listTagParts(page)) yield* part
    },

    async *listTagParts(page: Page) {
      await demandKnown()
      yield* tags.list(name, page)
    },

    async *listReferrers(subject, page) {
      if (isBeforeTagged(page.last)) yield* manifests.referrers(name, subject, page)
      const index = await findByTag(referrersTag(subject))
      if (index) yield* taggedReferrers(index, page, (digest) => manifests.find(name, digest))
    },
  }
}
