/** Images that are made here, not pulled: a tar becomes a layer of the store, and a manifest and a configuration over it an image with a name. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { type Digest, digestOf, formatDigest } from '../../storage/model/digest.ts'
import { type ImageName, parseImageName } from '../model/image-name.ts'
import type { Platform } from '../model/platform.ts'
import type { StoreFolders } from '../store/store.ts'
import type { Images, LocalImage } from './images.ts'
import { pullImage } from './pull.ts'
import { StoreSource } from './store-source.ts'

/** Of an image without a name of its own, which has one by digest. */
const NAMELESS = 'localhost/committed'

export interface MadeLayer {
  /** Compressed by gzip. */
  readonly digest: Digest
  readonly sizeBytes: number
  readonly diffId: Digest
}

export interface MadeImage {
  readonly platform: Platform
  readonly configuration: Buffer
  readonly manifest: Buffer
}

/** Once through: hashed as a tar, compressed, hashed as a blob. Only while the store is locked against sweeps. */
export async function addLayer(
  images: Images,
  tar: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<MadeLayer> {
  const hash = createHash('sha256')
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of tar) {
      signal?.throwIfAborted()
      hash.update(chunk)
      yield chunk
    }
  }
  const gzip = createGzip({ chunkSize: 256 * 1024 })
  const added = images.content.add(gzip as AsyncIterable<Uint8Array>)
  const [, piped] = await Promise.allSettled([added, pipeline(hashed(), gzip)])
  const layer = await added // throws first: what stops it stops the pipeline, too, which only says so
  if (piped.status === 'rejected') throw piped.reason
  return { ...layer, diffId: formatDigest('sha256', hash.digest('hex')) }
}

/**
 * Keeps an image all of whose layers are here, unpacked, under its name; what had the name before keeps it until then. Only while the store is locked against
 * sweeps. Throws `UnpackError`.
 */
export async function addImage(
  store: StoreFolders,
  images: Images,
  { platform, configuration, manifest }: MadeImage,
  name: ImageName | undefined,
  signal: AbortSignal | undefined,
): Promise<LocalImage> {
  for (const bytes of [configuration, manifest])
    await images.content.write(digestOf(bytes), bytes.length, Readable.from([bytes]))
  const reference = digestOf(manifest)
  const source = new StoreSource(images.content)
  const options = { platform, reference, signal }
  return await pullImage({ store, images, source, options }, name ?? parseImageName(`${NAMELESS}@${reference}`))
}
