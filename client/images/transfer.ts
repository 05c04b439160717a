/** The verbs that move images, as functions: opened, moved, closed. What `library.ts` exports and the command line calls. */

import { type ImageName, parseImageName, printImageName } from '../model/image-name.ts'
import type { Platform } from '../model/platform.ts'
import { openMirrored, openRepository } from '../registry/registry-access.ts'
import { StoreFolders, storeRoot } from '../store/store.ts'
import { type CopyResult, copyContent } from './copy.ts'
import { Images, type LocalImage } from './images.ts'
import { openSource, openTarget, type Place, parsePlace } from './places.ts'
import type { ProgressEvent } from './progress.ts'
import type { pullImage } from './pull.ts'
import { neighbours, StoreSource } from './store-source.ts'

export interface StoreTransferOptions {
  /** Of the local store; else `GANTRY_ROOT`, else `/var/lib/gantry`. */
  readonly root?: string
  readonly onProgress?: (event: ProgressEvent) => void
  readonly signal?: AbortSignal
}

interface TransferOptions extends StoreTransferOptions {
  /** Speak http, not https, to registries that are not on this machine. */
  readonly plainHttp?: boolean
}

export interface PullOptions extends TransferOptions {
  /** Of an image for several; else this machine's. */
  readonly platform?: Platform
}

export interface CopyOptions extends PullOptions {
  /** Every platform, not one. */
  readonly all?: boolean
  /** What refers to it, too, from registry to registry: signatures, bills of materials. */
  readonly referrers?: boolean
  /** Fail rather than copy an archive of docker's old kind, for which a manifest has to be made. Nothing else changes a digest. */
  readonly preserveDigests?: boolean
}

export interface PushOptions extends TransferOptions {
  /** Where to, if the image has another name here. */
  readonly to?: string
}

/** Fetches an image into the local store, unpacked. Throws `RegistryRefusal`, `RegistryUnreachable`, `ContentMismatch`, `ImageInvalid`, `UnpackError`. */
export async function pull(image: string, options: PullOptions = {}): Promise<LocalImage> {
  const name = parseImageName(image)
  const store = await StoreFolders.open(storeRoot(options.root))
  await using source = await openMirrored(name.registry, name.repository, options)
  return await (await pulling()).pullImage({ store, images: new Images(store), source, options }, name)
}

/** Sends an image of the local store to the registry that its name names. Throws `NotHere`, `RegistryRefusal`, `RegistryUnreachable`. */
export async function push(image: string, options: PushOptions = {}): Promise<CopyResult> {
  const here = parseImageName(image)
  const name = options.to === undefined ? here : parseImageName(options.to)
  const store = await StoreFolders.open(storeRoot(options.root))
  await using _ = await store.lock('store', 'shared', options.signal) // nothing is swept meanwhile
  const images = new Images(store)
  await using to = await openRepository(name.registry, name.repository, options)
  return await copyContent({
    ...options,
    from: new StoreSource(images.content),
    reference: printImageName(here),
    to,
    ...(name.digest === undefined && name.tag ? { toReference: name.tag } : {}),
    mountFrom: except(name, await neighbours(images, name.registry)),
  })
}

/** From anywhere to anywhere: the places are written as for `gantry copy`. */
export async function copy(from: string, to: string, options: CopyOptions = {}): Promise<CopyResult> {
  const [fromPlace, toPlace] = [parsePlace(from), parsePlace(to)]
  await using source = await openSource(fromPlace, options, storeRoot(options.root))
  if (options.preserveDigests && 'isMade' in source.source && source.source.isMade)
    throw new Error(
      `${from} has no manifests of its own, so that there is no digest to preserve; leave --preserve-digests out`,
    )
  if (toPlace.kind === 'local') return await copyIntoStore(source, toPlace.name, options)
  await using target = await openTarget(toPlace, options)
  const result = await copyContent({
    ...options,
    from: source.source,
    reference: source.reference,
    to: target.target,
    ...(target.reference === undefined ? {} : { toReference: target.reference }),
    mountFrom: mountable(fromPlace, toPlace),
  })
  await target.complete()
  return result
}

async function copyIntoStore(
  { source, reference }: { source: Parameters<typeof pullImage>[0]['source']; reference: string },
  name: ImageName,
  options: CopyOptions,
): Promise<CopyResult> {
  const store = await StoreFolders.open(storeRoot(options.root))
  const { pullImage } = await pulling()
  const image = await pullImage({ store, images: new Images(store), source, options: { ...options, reference } }, name)
  const { manifestDigest: digest, manifest, sizeBytes } = image
  const blobs = { present: 0, mounted: 0, sent: manifest.layers.length + 1 }
  return { digest, mediaType: image.mediaType, manifests: 1, referrers: 0, blobs, sentBytes: sizeBytes }
}

/** With all that unpacks: who pushes needs none of it. */
const pulling = () => import('./pull.ts')

/** A neighbour in the same registry. */
function mountable(from: Place, to: Place): () => readonly string[] {
  if (from.kind !== 'registry' || to.kind !== 'registry') return () => []
  const isNeighbour = from.name.registry === to.name.registry && from.name.repository !== to.name.repository
  return () => (isNeighbour ? [from.name.repository] : [])
}

const except =
  ({ repository }: ImageName, places: Awaited<ReturnType<typeof neighbours>>): typeof places =>
  (digest) =>
    places(digest).filter((each) => each !== repository)
