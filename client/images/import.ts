/** A tar of a root filesystem becomes an image of one layer, whose manifest and configuration are made here. */
import { digestOf } from '../../storage/model/digest.ts'
import { OCI_MANIFEST } from '../../storage/model/media-type.ts'
import type { ImageName } from '../model/image-name.ts'
import { hostPlatform, type Platform } from '../model/platform.ts'
import { decompress } from '../store/decompress.ts'
import type { StoreFolders } from '../store/store.ts'
import type { Images, LocalImage } from './images.ts'
import { addImage, addLayer, type MadeLayer } from './made-image.ts'

const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'
const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'

export interface ImportOptions {
  readonly platform?: Platform
  /** What a container of it runs, and how: as in an image's configuration. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly message?: string
  readonly signal?: AbortSignal
}

/** `source`: a tar, compressed or not. Throws `UnpackError` for what is none; then nothing of it is kept, and the name means what it meant before. */
export async function importImage(
  store: StoreFolders,
  images: Images,
  source: AsyncIterable<Uint8Array>,
  name: ImageName,
  { platform = hostPlatform(), config = {}, message = 'imported from a tar', signal }: ImportOptions = {},
): Promise<LocalImage> {
  try {
    await using _ = await store.lock('store', 'shared', signal) // nothing is swept meanwhile
    const layer = await addLayer(images, decompress(source), signal)
    return await addImage(store, images, imported(layer, platform, config, message), name, signal)
  } catch (error) {
    await images.sweep()
    throw error
  }
}

function imported(
  { digest, sizeBytes, diffId }: MadeLayer,
  platform: Platform,
  config: Readonly<Record<string, unknown>>,
  message: string,
) {
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
      layers: [{ mediaType: OCI_LAYER, digest, size: sizeBytes }],
    }),
  )
  return { platform, configuration, manifest }
}
