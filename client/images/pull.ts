/**
 * From a name to an image in the local store. Nothing that a registry says is believed: a manifest is hashed before it is parsed, each
 * layer is verified as it was announced (digest, size) and again as what it unpacks to (diffID). The reference is written last, so that a
 * pull that fails leaves only verified content, which the next one finds.
 */
import { Readable } from 'node:stream'
import { type Digest, digestOf } from '../../storage/model/digest.ts'
import {
  type ContentDescriptor,
  type ImageConfig,
  ImageInvalid,
  type ImageManifest,
  parseImageConfig,
  parseManifest,
} from '../model/image-model.ts'
import { type ImageName, printImageName } from '../model/image-name.ts'
import { choosePlatform, hostPlatform, type Platform, printPlatform } from '../model/platform.ts'
import type { ContentSource, FetchedManifest } from '../registry/endpoint.ts'
import { Slots } from '../registry/slots.ts'
import { ContentMismatch, type Received, type ReceivingFile, verified } from '../store/content.ts'
import type { GrowingFile } from '../store/growing-file.ts'
import { chainIds, type PendingLayer } from '../store/layers.ts'
import type { StoreFolders } from '../store/store.ts'
import { type LayerSource, UnpackError } from '../store/unpack.ts'
import type { Images, LocalImage } from './images.ts'
import type { ProgressEvent } from './progress.ts'

const PARALLEL_LAYERS = 4
const INDEX_DEPTH_LIMIT = 3
const CONFIG_LIMIT_BYTES = 8 * 1024 * 1024
const MANIFEST_LIMIT_BYTES = 8 * 1024 * 1024

interface PullOptions {
  readonly platform?: Platform
  /** What the source calls it, if it is not the tag or the digest of its name here. */
  readonly reference?: string
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (event: ProgressEvent) => void
}

interface PullContext {
  readonly store: StoreFolders
  readonly images: Images
  /** A repository, or whatever else has images. */
  readonly source: ContentSource
  readonly options: PullOptions
}

/**
 * Throws `ImageInvalid`, `ContentMismatch`, `UnpackError` for what the registry served, and what the transport throws. Of an image that is
 * bad whoever serves it, nothing is kept.
 */
export async function pullImage(context: PullContext, name: ImageName): Promise<LocalImage> {
  await context.images.tidy()
  try {
    return await pullLocked(context, name)
  } catch (error) {
    if (error instanceof ImageInvalid || error instanceof UnpackError) await context.images.sweep()
    if (error instanceof ImageInvalid)
      throw new ImageInvalid(`${printImageName(name)}: ${error.message}`, { cause: error.cause })
    throw error
  }
}

async function pullLocked(context: PullContext, name: ImageName): Promise<LocalImage> {
  const { store, images, options } = context
  await using _ = await store.lock('store', 'shared', options.signal) // nothing is swept meanwhile
  const reference = options.reference ?? name.digest ?? name.tag ?? ''
  const fetched = await fetchVerified(context.source, reference, name.digest, options.signal)
  const { manifest, descriptor, bytes } = await resolve(context, fetched)
  await images.content.write(descriptor.digest, bytes.length, Readable.from([bytes]))
  const config = await fetchConfig(context, manifest)
  await fetchLayers(context, manifest, config)
  const printed = printImageName(name)
  await images.content.setReference({ name: printed, ...descriptor, sizeBytes: bytes.length })
  const image = await images.find(name)
  if (image === undefined) throw new Error(`${printed} vanished while it was pulled`)
  return image
}

interface Resolved {
  readonly manifest: ImageManifest
  readonly descriptor: { readonly digest: Digest; readonly mediaType: string }
  readonly bytes: Buffer
}

/** Through indexes, nested ones also, to the manifest for this platform. */
async function resolve(context: PullContext, first: FetchedManifest): Promise<Resolved> {
  const wanted = context.options.platform ?? hostPlatform()
  let fetched = first
  for (let depth = 0; ; depth++) {
    const manifest = parseManifest(fetched.bytes, fetched.mediaType)
    if (manifest.kind === 'image')
      return {
        manifest,
        descriptor: { digest: digestOf(fetched.bytes), mediaType: fetched.mediaType },
        bytes: fetched.bytes,
      }
    if (depth === INDEX_DEPTH_LIMIT) throw new ImageInvalid(`indexes are nested more than ${INDEX_DEPTH_LIMIT} deep`)
    const chosen = choosePlatform(manifest.manifests, wanted) ?? soleNested(manifest.manifests)
    if (chosen === undefined) throw new ImageInvalid(noPlatformMessage(manifest.manifests, wanted))
    if (chosen.sizeBytes > MANIFEST_LIMIT_BYTES)
      throw new ImageInvalid(`the manifest ${chosen.digest} has ${chosen.sizeBytes} bytes`)
    fetched = await fetchVerified(context.source, chosen.digest, chosen.digest, context.options.signal)
    if (fetched.bytes.length !== chosen.sizeBytes)
      throw new ContentMismatch(
        `the manifest ${chosen.digest} has ${fetched.bytes.length} bytes; its index says ${chosen.sizeBytes}`,
      )
    if (fetched.mediaType !== chosen.mediaType)
      throw new ImageInvalid(
        `the manifest ${chosen.digest} is served as ${fetched.mediaType}; its index says ${chosen.mediaType}`,
      )
  }
}

/** An entry without a platform: a nested index, or an image whose configuration will tell. */
const soleNested = (entries: readonly ContentDescriptor[]): ContentDescriptor | undefined => {
  const unlabelled = entries.filter(({ platform }) => platform === undefined)
  return unlabelled.length === 1 ? unlabelled[0] : undefined
}

function noPlatformMessage(entries: readonly ContentDescriptor[], wanted: Platform): string {
  const offered = entries.flatMap(({ platform }) =>
    platform && platform.os !== 'unknown' ? [printPlatform(platform)] : [],
  )
  return `the image is not for ${printPlatform(wanted)}; it is there for ${offered.join(', ') || 'no platform'}`
}

async function fetchVerified(
  source: ContentSource,
  reference: string,
  expected: Digest | undefined,
  signal: AbortSignal | undefined,
): Promise<FetchedManifest> {
  const fetched = await source.manifest(reference, signal)
  if (expected !== undefined)
    for await (const _ of verified(expected, fetched.bytes.length, Readable.from([fetched.bytes])));
  return fetched
}

async function fetchConfig(context: PullContext, manifest: ImageManifest): Promise<ImageConfig> {
  const { content } = context.images
  if (manifest.config.sizeBytes > CONFIG_LIMIT_BYTES)
    throw new ImageInvalid(`the image's configuration has ${manifest.config.sizeBytes} bytes`)
  await fetchBlob(context, manifest.config)
  await repaired(context, manifest.config)
  const config = parseImageConfig(await content.readSmall(manifest.config.digest))
  if (config.diffIds.length !== manifest.layers.length)
    throw new ImageInvalid(
      `the manifest has ${manifest.layers.length} layers, its configuration ${config.diffIds.length} diff_ids`,
    )
  const wanted = context.options.platform ?? hostPlatform()
  if (choosePlatform([config], wanted) === undefined)
    throw new ImageInvalid(`the image is for ${printPlatform(config.platform)}, not for ${printPlatform(wanted)}`)
  return config
}

/** Some at once, each downloaded and unpacked; published from the lowest up. The first failure stops the others. */
async function fetchLayers(context: PullContext, manifest: ImageManifest, config: ImageConfig): Promise<void> {
  const failure = new AbortController()
  const signal = context.options.signal ? AbortSignal.any([context.options.signal, failure.signal]) : failure.signal
  const inner = { ...context, options: { ...context.options, signal } }
  const chain = chainIds(config.diffIds)
  const slots = new Slots(PARALLEL_LAYERS)
  const pending = manifest.layers.map((layer, i) =>
    slots.run(async () => {
      signal.throwIfAborted()
      return await fetchLayer(inner, layer, config.diffIds[i] as Digest, chain[i] as Digest)
    }),
  )
  for (const each of pending) each.catch((error: unknown) => failure.abort(error))
  try {
    const folders: string[] = []
    for (const each of pending) folders.push(await (await each).publish(folders))
  } catch (error) {
    failure.abort(error)
    throw failure.signal.reason // the first failure, not the ones it caused
  } finally {
    for (const settled of await Promise.allSettled(pending))
      if (settled.status === 'fulfilled') await settled.value.discard()
  }
}

/**
 * Unpacked while it comes, from the file that grows. The download has the last word: content that has not its digest is nothing that its layer could be
 * blamed for; but where unpacking fails by the disk, the rest need not come.
 */
async function fetchLayer(
  context: PullContext,
  layer: ContentDescriptor,
  diffId: Digest,
  chainId: Digest,
): Promise<PendingLayer> {
  const { images, options } = context
  const report = (phase: ProgressEvent['phase'], bytes: number): void =>
    options.onProgress?.({ layer: layer.digest, phase, bytes, totalBytes: layer.sizeBytes })
  const failure = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, failure.signal]) : failure.signal
  let isHere = false
  const unpack = (isNew: boolean, growing?: GrowingFile): Promise<PendingLayer> => {
    const source: LayerSource = {
      digest: layer.digest,
      diffId,
      compressedBytes: layer.sizeBytes,
      isNew,
      path: images.content.path(layer.digest),
      growing,
      onProgress: (bytes) => isHere && report('unpacking', bytes),
    }
    return images.layers.unpack(source, chainId, signal)
  }
  const followers: Promise<PendingLayer>[] = []
  const follow = (growing: GrowingFile): void => {
    const follower = unpack(true, growing)
    follower.catch((error: unknown) => {
      if (!(error instanceof UnpackError || growing.signal.aborted)) failure.abort(error)
    })
    followers.push(follower)
  }
  try {
    const inner = { ...context, options: { ...options, signal } }
    const isNew = await fetchBlob(inner, layer, { onBytes: (bytes) => report('downloading', bytes), onFile: follow })
    isHere = true
    const pending = await (followers.at(-1) ?? unpack(isNew)).catch(async (error: unknown) => {
      signal.throwIfAborted()
      if (!(await repaired(context, layer))) throw error
      return await unpack(isNew)
    })
    report('done', layer.sizeBytes)
    return pending
  } catch (error) {
    for (const settled of await Promise.allSettled(followers))
      if (settled.status === 'fulfilled') await settled.value.discard()
    throw error
  }
}

/** Fetches again what has changed on the disk since it was downloaded; false if it has not. */
async function repaired(context: PullContext, descriptor: ContentDescriptor): Promise<boolean> {
  const { content } = context.images
  if (await content.isIntact(descriptor.digest, descriptor.sizeBytes)) return false
  await content.remove(descriptor.digest)
  await fetchBlob(context, descriptor)
  return true
}

interface Arriving {
  readonly onBytes?: (bytes: number) => void
  /** What is written to; again when it has to begin anew. */
  readonly onFile?: (file: GrowingFile) => void
}

/** Downloaded once, by whoever is first, in whichever process. True if it was us. */
async function fetchBlob(
  context: PullContext,
  { digest, sizeBytes }: ContentDescriptor,
  { onBytes, onFile }: Arriving = {},
): Promise<boolean> {
  const { store, images, source, options } = context
  await using _ = await store.lock(`blob ${digest}`, 'exclusive', options.signal)
  if (await images.content.has(digest, sizeBytes)) return false
  async function* counted(fromByte: number): AsyncGenerator<Uint8Array> {
    let received = fromByte
    for await (const chunk of source.blob({ digest, sizeBytes }, { fromByte, signal: options.signal })) {
      received += chunk.length
      onBytes?.(received)
      yield chunk
    }
  }
  async function* receive(file: ReceivingFile): AsyncGenerator<Received> {
    for await (const received of source.receive?.({ digest, sizeBytes }, file, options.signal) ?? []) {
      onBytes?.(received.offset)
      yield received
    }
  }
  await images.content.fetch(digest, sizeBytes, { open: counted, receive }, onFile)
  return true
}
