/**
 * What refers to a subject. `manifests.ts` keeps an entry for every manifest with a `subject`; here is the other source:
 * clients of registries that knew no referrers kept an index under a tag made of the subject's digest (distribution-spec,
 * "Referrers Tag Schema"), and images that were copied from there still have it.
 */
import { ManifestInvalid } from './errors.ts'
import { type Digest, isComputable } from './model/digest.ts'
import { type Descriptor, type Manifest, parseManifest } from './model/manifest.ts'
import type { Referrer, ReferrersPage, StoredManifest } from './store.ts'

/** Sorts after every entry, which begins with a hex digit. */
const CURSOR = '~'

/** As the list shows it: the annotations are the manifest's own. */
export function describeReferrer(
  { mediaType, digest, bytes }: StoredManifest,
  { artifactType, annotations }: Manifest,
): Descriptor {
  return {
    mediaType,
    digest,
    size: bytes.length,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(annotations === undefined ? {} : { annotations }),
  }
}

/**
 * Those that `index` lists and `find` knows, in the order of their digests. A manifest with a subject of its own is not among them: it
 * has its entry, or belongs to something else.
 */
export async function* taggedReferrers(
  index: StoredManifest,
  { last = '', artifactType }: ReferrersPage,
  find: (digest: Digest) => Promise<(StoredManifest & { readonly subject?: unknown }) | undefined>,
): AsyncGenerator<Referrer> {
  const listed = new Set((acceptable(index)?.manifests ?? []).map(({ digest }) => digest).filter(isComputable))
  for (const digest of [...listed].sort()) {
    const cursor = CURSOR + digest
    if (cursor <= last) continue
    const manifest = await find(digest)
    const content = manifest && manifest.subject === undefined ? acceptable(manifest) : undefined
    if (!manifest || !content) continue
    const descriptor = describeReferrer(manifest, content)
    if (artifactType === undefined || descriptor.artifactType === artifactType) yield { cursor, descriptor }
  }
}

/** Whether the entries of `manifests.ts` come after `last`, all or some of them. */
export const isBeforeTagged = (last: string | undefined): boolean => !last?.startsWith(CURSOR)

/** `undefined` for what an earlier version took and this one would not. */
export function acceptable({ bytes, mediaType }: StoredManifest): Manifest | undefined {
  try {
    return parseManifest(bytes, mediaType)
  } catch (error) {
    if (error instanceof ManifestInvalid) return undefined
    throw error
  }
}
