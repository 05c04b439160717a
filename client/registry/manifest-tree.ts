/** Manifests of any kind (images, indexes, artifacts) as a copy sees them: what they name, and what they are called. */
import { algorithmOf, type Digest, digestOf, isComputable, parseDigest } from '../../storage/model/digest.ts'
import { type Manifest, parseManifest, type Reference } from '../../storage/model/manifest.ts'
import { DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, parseMediaType } from '../../storage/model/media-type.ts'
import { ImageInvalid } from '../model/image-model.ts'
import type { Platform } from '../model/platform.ts'
import { ContentMismatch } from '../store/content.ts'
import type { ContentSource, FetchedManifest } from './endpoint.ts'

/** What a manifest names, and that we can check: its digest is of an algorithm that we compute. */
export interface Named {
  readonly digest: Digest
  readonly mediaType: string
  readonly sizeBytes: number
}

export interface Node extends FetchedManifest {
  readonly digest: Digest
  readonly manifest: Manifest
}

/** Believed only if it has the digest it was asked by, and parses as what it is served as. Throws `ContentMismatch`, `ManifestInvalid`. */
export async function fetchNode(source: ContentSource, reference: string, signal?: AbortSignal): Promise<Node> {
  const fetched = await source.manifest(reference, signal)
  const wanted = digestIn(reference) ?? fetched.digest
  const digest = digestOf(fetched.bytes, wanted && algorithmOf(wanted))
  if (wanted !== undefined && digest !== wanted)
    throw new ContentMismatch(`${source.label} answers ${wanted} with a manifest that has the digest ${digest}`)
  return { ...fetched, digest, manifest: parseManifest(fetched.bytes, parseMediaType(fetched.mediaType)) }
}

/** `undefined` for a tag, and for the name of an image. */
export function digestIn(reference: string): Digest | undefined {
  return /^[a-z0-9]+:[0-9a-f]{32,}$/.test(reference) ? parseDigest(reference) : undefined
}

/** Of an index: the child that `named` describes, as it was announced. */
export async function fetchChild(source: ContentSource, named: Named, signal?: AbortSignal): Promise<Node> {
  const node = await fetchNode(source, named.digest, signal)
  if (node.bytes.length !== named.sizeBytes)
    throw new ContentMismatch(
      `the manifest ${named.digest} has ${node.bytes.length} bytes; its index says ${named.sizeBytes}`,
    )
  if (node.mediaType !== named.mediaType)
    throw new ContentMismatch(
      `the manifest ${named.digest} is served as ${node.mediaType}; its index says ${named.mediaType}`,
    )
  return node
}

/** Throws `ImageInvalid` for an algorithm that we cannot compute: what cannot be checked is not passed on. */
export function checkable({ digest, mediaType, size }: Pick<Reference, 'digest' | 'mediaType' | 'size'>): Named {
  if (!isComputable(digest)) throw new ImageInvalid(`${digest} is of an algorithm that cannot be checked here`)
  return { digest, mediaType, sizeBytes: size }
}

export interface PlatformEntry extends Named {
  readonly platform?: Platform
}

/** What an index says of each of its manifests. The document has been parsed before. */
export function platformEntries({ bytes, manifest }: Node): readonly PlatformEntry[] {
  const { manifests = [] } = JSON.parse(bytes.toString('utf8')) as {
    manifests?: { digest?: string; platform?: Platform }[]
  }
  return manifest.manifests.map((reference) => {
    const platform = manifests.find(({ digest }) => digest === reference.digest)?.platform
    const isPlatform = typeof platform?.os === 'string' && typeof platform.architecture === 'string'
    return { ...checkable(reference), ...(isPlatform ? { platform } : {}) }
  })
}

/** Where nothing says what a manifest is: as it calls itself, else by what is in it. */
export function guessMediaType(bytes: Buffer): string {
  const document = JSON.parse(bytes.toString('utf8')) as { mediaType?: unknown; manifests?: unknown }
  if (typeof document.mediaType === 'string') return document.mediaType
  return Array.isArray(document.manifests) ? OCI_INDEX : OCI_MANIFEST
}

export const isIndexType = (mediaType: string): boolean => [OCI_INDEX, DOCKER_LIST].some((each) => each === mediaType)
