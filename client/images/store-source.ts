/** The images of the local store, as a place to copy from. */
import type { Digest } from '../../storage/model/digest.ts'
import { parseImageName } from '../model/image-name.ts'
import { fileBody } from '../registry/direct-body.ts'
import {
  type BlobIdentity,
  type BlobPart,
  type ContentSource,
  type DirectBody,
  type FetchedManifest,
  NotHere,
  type Stretch,
} from '../registry/endpoint.ts'
import { guessMediaType } from '../registry/manifest-tree.ts'
import type { Content } from '../store/content.ts'
import type { Images } from './images.ts'

export class StoreSource implements ContentSource {
  readonly label = 'the local store'
  readonly #content: Content

  constructor(content: Content) {
    this.#content = content
  }

  /** By the name that the image has here, or the digest of its manifest. */
  async manifest(reference: string): Promise<FetchedManifest> {
    const isDigest = !reference.includes('/')
    const known = (await this.#content.references()).find(
      ({ name, digest }) => name === reference || (isDigest && digest === reference),
    )
    if (known === undefined && !isDigest)
      throw new NotHere(`no image ${reference} is here; \`gantry images\` lists them`)
    const bytes = await this.#content.readSmall(known?.digest ?? (reference as Digest))
    return { bytes, mediaType: known?.mediaType ?? guessMediaType(bytes) }
  }

  blob({ digest }: BlobIdentity, { fromByte = 0 }: BlobPart = {}): AsyncIterable<Uint8Array> {
    return this.#content.read(digest, fromByte)
  }

  async direct(
    { digest, sizeBytes }: BlobIdentity,
    { fromByte, lengthBytes }: Stretch,
  ): Promise<DirectBody | undefined> {
    const file = await this.#content.openVerified(digest, sizeBytes)
    return file && fileBody(file, fromByte, lengthBytes)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Where in `registry` the blobs of images here have come from, or gone to, by their names: from there they can be mounted. */
export async function neighbours(images: Images, registry: string): Promise<(digest: Digest) => readonly string[]> {
  const places = new Map<Digest, Set<string>>()
  for (const { name, manifest } of await images.list()) {
    const { registry: own, repository } = parseImageName(name)
    if (own !== registry) continue
    for (const { digest } of manifest.layers) places.set(digest, (places.get(digest) ?? new Set()).add(repository))
  }
  return (digest) => [...(places.get(digest) ?? [])]
}
