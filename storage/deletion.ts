/**
 * Deleting a repository while others push to it. First its record in the catalog says that it is gone and begins a new
 * era: no listing shows it any more, and no push of the old era is acknowledged from then on. Then, era by era, its
 * manifests die (and each one's tags with it), what is left of the list of tags goes, and the links to its blobs. A push
 * of the new era that relies on something takes it along by compare-and-swap, so it survives whole or is refused. Every
 * step can be repeated: who is killed half-way begins again and finds what is left. Bytes are not touched.
 */
import { forEachAtOnce } from './at-once.ts'
import { Blobs } from './blobs.ts'
import { Catalog } from './catalog.ts'
import type { StorageDriver } from './driver.ts'
import { listLinked } from './linked.ts'
import { Manifests } from './manifests.ts'
import type { RepositoryName } from './model/reference.ts'
import { Tags } from './tags.ts'

const AT_ONCE = 16

/** What went so far. */
export interface DeletionCounts {
  readonly manifests: number
  readonly tags: number
  readonly blobs: number
}

export interface Deletion extends DeletionCounts {
  /** An earlier deletion was interrupted: this finished it, and what was pushed since is still there. */
  readonly resumed: boolean
}

/** Durable and seen by every replica when resolved. Throws `RepositoryUnknown`. */
export async function deleteRepository(
  driver: StorageDriver,
  name: RepositoryName,
  onProgress: (counts: DeletionCounts) => void = () => {},
): Promise<Deletion> {
  const [catalog, manifests, tags, blobs] = [
    new Catalog(driver),
    new Manifests(driver),
    new Tags(driver),
    new Blobs(driver),
  ]
  const { era, resumed } = await catalog.beginDeletion(name)
  const counts = { manifests: 0, tags: 0, blobs: 0 }
  const count = (what: keyof DeletionCounts, more: number): void => {
    if (more === 0) return
    counts[what] += more
    onProgress(counts)
  }

  await forEachAtOnce(manifests.listDigests(name), AT_ONCE, async (digest) => {
    const died = await manifests.remove(name, digest, { before: era })
    if (died !== undefined) count('manifests', 1)
    // Also of one that died before: a deletion may have been interrupted just here.
    const incarnation = died ?? (await manifests.finishRemoval(name, digest))
    if (incarnation !== undefined) count('tags', await tags.removeAllOf(name, digest, incarnation))
  })
  count('tags', await tags.sweep(name, (digest, incarnation) => manifests.isLive(name, digest, incarnation)))
  await forEachAtOnce(listLinked(driver), AT_ONCE, async (digest) => {
    if (await blobs.unlinkBefore(name, digest, era)) count('blobs', 1)
  })
  await catalog.endDeletion(name, era)
  return { ...counts, resumed }
}
