/** Small images in a store, pushed as clients push them, and looked at as clients pull them. */
import assert from 'node:assert/strict'
import { ManifestUnknown, RepositoryUnknown } from '../errors.ts'
import { type Digest, digestOf } from '../model/digest.ts'
import { OCI_INDEX, OCI_MANIFEST } from '../model/media-type.ts'
import { parseTag, type RepositoryName } from '../model/reference.ts'
import type { Store } from '../store.ts'
import { bytesOf, pieces } from './sources.ts'

const CONFIG = bytesOf('{}')
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json'
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar'

export interface Pushed {
  readonly digest: Digest
  readonly layer: Digest
}

export async function pushBlob(store: Store, name: RepositoryName, content: Uint8Array): Promise<Digest> {
  return (await store.uploads.push(name, digestOf(content), pieces([content]), { lengthBytes: content.length })).digest
}

export async function pushImage(
  store: Store,
  name: RepositoryName,
  label: string,
  subject?: Digest,
  lazily = false,
): Promise<Pushed> {
  for (const content of [bytesOf(`layer of ${label}`), CONFIG]) {
    const there =
      lazily &&
      (await store
        .repository(name)
        .statBlob(digestOf(content))
        .catch(() => undefined))
    if (!there) await pushBlob(store, name, content)
  }
  const layer = digestOf(bytesOf(`layer of ${label}`))
  const bytes = bytesOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: CONFIG_TYPE, digest: digestOf(CONFIG), size: CONFIG.length },
      layers: [{ mediaType: LAYER_TYPE, digest: layer, size: `layer of ${label}`.length }],
      ...(subject === undefined ? {} : { subject: { mediaType: OCI_MANIFEST, digest: subject, size: 1 } }),
    }),
  )
  const { digest } = await store
    .repository(name)
    .putManifest({ mediaType: OCI_MANIFEST, bytes, tags: [parseTag(label)] })
  return { digest, layer }
}

/** Every tag that can be pulled has all its content. Resolves to their names. */
export async function wholeTags(store: Store, name: RepositoryName, tags: Iterable<string>): Promise<string[]> {
  const found: string[] = []
  for (const tag of tags) {
    const manifest = await store.repository(name).getManifest(parseTag(tag)).catch(unlessUnknown)
    if (!manifest) continue
    const {
      config,
      layers = [],
      manifests = [],
    } = JSON.parse(Buffer.from(manifest.bytes).toString()) as {
      config?: { digest: Digest }
      layers?: { digest: Digest }[]
      manifests?: { digest: Digest }[]
    }
    for (const { digest } of [...(config ? [config] : []), ...layers]) await demandBlob(store, name, digest)
    for (const { digest } of manifests) await store.repository(name).getManifest(digest)
    found.push(tag)
  }
  return found
}

export function unlessUnknown(error: unknown): undefined {
  if (error instanceof ManifestUnknown || error instanceof RepositoryUnknown) return undefined
  throw error
}

/** It can be read, and its bytes are those of the digest. */
export async function demandBlob(store: Store, name: RepositoryName, digest: Digest): Promise<void> {
  const { body } = await store.repository(name).readBlob(digest)
  assert.equal(digestOf(Buffer.concat(await Array.fromAsync(body as AsyncIterable<Uint8Array>))), digest)
}

/** Of one platform, the image that is tagged `label`. */
export async function pushIndex(store: Store, name: RepositoryName, label: string): Promise<void> {
  const image = await store.repository(name).getManifest(parseTag(label))
  const manifests = [{ mediaType: OCI_MANIFEST, digest: image.digest, size: image.bytes.length }]
  const bytes = bytesOf(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }))
  await store.repository(name).putManifest({ mediaType: OCI_INDEX, bytes, tags: [parseTag(`${label}-index`)] })
}

/** The same numbers, from 0 to 1, for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return state / 0x7fffffff
  }
}
