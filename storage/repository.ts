/** One repository: what is visible under its name, and the order in which its parts change. */
import type { Blobs } from './blobs.ts'
import { DigestMismatch, ManifestUnknown, ReferencesMissing, RepositoryUnknown } from './errors.ts'
import type { LiveManifest, Manifests } from './manifests.ts'
import { algorithmOf, type Digest, digestOf } from './model/digest.ts'
import { type Manifest, parseManifest } from './model/manifest.ts'
import type { RepositoryName, Tag } from './model/reference.ts'
import type { ManifestPush, Page, Repository, StoredManifest } from './store.ts'
import type { Tags } from './tags.ts'

/**
 * What must be there when a manifest is pushed. `strict`: everything; `sparse-index`: an index may list manifests that
 * are not (partial mirrors of many platforms); `sparse`: nothing.
 */
export type ReferencePolicy = 'strict' | 'sparse-index' | 'sparse'

export const REFERENCE_POLICIES: readonly ReferencePolicy[] = ['strict', 'sparse-index', 'sparse']

export interface RepositoryParts {
  readonly blobs: Blobs
  readonly manifests: Manifests
  readonly tags: Tags
  readonly references: (name: RepositoryName) => ReferencePolicy
}

const isDigest = (reference: Tag | Digest): reference is Digest => reference.includes(':')

export function openRepository(name: RepositoryName, parts: RepositoryParts): Repository {
  const { blobs, manifests, tags, references } = parts

  const lives = async (digest: Digest, incarnation: string): Promise<boolean> =>
    (await manifests.find(name, digest))?.incarnation === incarnation

  async function unknown(reference: Tag | Digest): Promise<never> {
    if (await manifests.knows(name)) throw new ManifestUnknown(`${name} has no manifest ${reference}`)
    throw new RepositoryUnknown(`no manifest was ever pushed to ${name}`)
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

  async function demandReferences(content: Manifest): Promise<void> {
    const policy = references(name)
    if (policy === 'sparse') return
    const missing: Digest[] = []
    for (const { digest } of content.blobs) {
      if ((await blobs.find(name, digest)) === undefined) missing.push(digest)
      else await blobs.touch(name, digest)
    }
    if (policy === 'strict') {
      for (const { digest } of content.manifests) {
        if (!(await manifests.find(name, digest))) missing.push(digest)
      }
    }
    if (missing.length > 0) throw new ReferencesMissing(missing)
  }

  return {
    name,
    statBlob: (digest) => blobs.stat(name, digest),
    touchBlob: (digest) => blobs.touch(name, digest),
    readBlob: (digest, range) => blobs.read(name, digest, range),
    mountBlob: (digest, from) => blobs.mount(name, digest, from),
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
      await demandReferences(content)
      const by = push.pushedBy
      for (;;) {
        const incarnation = await manifests.put(name, { digest, mediaType, bytes }, content, by)
        for (const tag of push.tags) {
          await tags.point(name, tag, { digest, incarnation, ...(by === undefined ? {} : { by }) }, lives, push.ifTagIs)
        }
        // Deleted meanwhile: its tags died with it, and this push came later. Start over, so that what we acknowledge stands.
        if (await lives(digest, incarnation)) break
      }
      return { digest, ...(content.subject ? { subject: content.subject.digest } : {}) }
    },

    async deleteManifest(reference) {
      if (isDigest(reference)) {
        const incarnation = await manifests.remove(name, reference)
        if (incarnation === undefined) return await unknown(reference)
        return await tags.removeAllOf(name, reference, incarnation)
      }
      if (!(await findByTag(reference)) || !(await tags.remove(name, reference))) await unknown(reference)
    },

    async *listTags(page: Page) {
      if (!(await manifests.knows(name))) throw new RepositoryUnknown(`no manifest was ever pushed to ${name}`)
      yield* tags.list(name, page)
    },

    listReferrers: (subject, page) => manifests.referrers(name, subject, page),
  }
}
