/** A tar of a root filesystem becomes an image of one layer, whose manifest and configuration are made here. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { type Digest, digestOf, formatDigest } from '../../storage/model/digest.ts'
import { OCI_MANIFEST } from '../../storage/model/media-type.ts'
import { type ImageName, printImageName } from '../model/image-name.ts'
import { hostPlatform, type Platform } from '../model/platform.ts'
import { decompress } from '../store/decompress.ts'
import type { StoreFolders } from '../store/store.ts'
import type { Images, LocalImage } from './images.ts'
import { pullImage } from './pull.ts'
import { StoreSource } from './store-source.ts'

const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'
const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'

export interface ImportOptions {
  readonly platform?: Platform
  /** What a container of it runs, and how: as in an image's configuration. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly message?: string
  readonly signal?: AbortSignal
}

/** `source`: a tar, compressed or not. Throws `UnpackError` for what is none; then nothing of it is kept. */
export async function importImage(
  store: StoreFolders,
  images: Images,
  source: AsyncIterable<Uint8Array>,
  name: ImageName,
  { platform = hostPlatform(), config = {}, message = 'imported from a tar', signal }: ImportOptions = {},
): Promise<LocalImage> {
  {
    await using _ = await store.lock('store', 'shared', signal) // nothing is swept meanwhile
    const { layer, diffId } = await addLayer(images, source, signal)
    const created = new Date().toISOString()
    const configuration = Buffer.from(
      JSON.stringify({
        created,
        ...platform,
        config,
        rootfs: { type: 'layers', diff_ids: [diffId] },
        history: [{ created, comment: message }],
      }),
    )
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: { mediaType: OCI_CONFIG, digest: digestOf(configuration), size: configuration.length },
        layers: [{ mediaType: OCI_LAYER, digest: layer.digest, size: layer.sizeBytes }],
      }),
    )
    for (const bytes of [configuration, manifest])
      await images.content.write(digestOf(bytes), bytes.length, Readable.from([bytes]))
    const reference = { name: printImageName(name), digest: digestOf(manifest), mediaType: OCI_MANIFEST }
    await images.content.setReference({ ...reference, sizeBytes: manifest.length })
  }
  try {
    const options = { platform, reference: printImageName(name), signal }
    return await pullImage({ store, images, source: new StoreSource(images.content), options }, name) // unpacks what is here
  } catch (error) {
    await images.content.removeReferences([printImageName(name)])
    await images.sweep()
    throw error
  }
}

/** Once through: decompressed, hashed as a tar, compressed, hashed as a blob. */
async function addLayer(
  images: Images,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<{ readonly layer: Awaited<ReturnType<Images['content']['add']>>; readonly diffId: Digest }> {
  const hash = createHash('sha256')
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of decompress(source)) {
      signal?.throwIfAborted()
      hash.update(chunk)
      yield chunk
    }
  }
  const gzip = createGzip({ chunkSize: 256 * 1024 })
  const [layer] = await Promise.all([images.content.add(gzip as AsyncIterable<Uint8Array>), pipeline(hashed(), gzip)])
  return { layer, diffId: formatDigest('sha256', hash.digest('hex')) }
}
