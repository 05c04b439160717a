/** Images of the local store into archives, and out of them: what `docker save`, `load` and `import` do. */
import type { Writable } from 'node:stream'
import type { Digest } from '../../storage/model/digest.ts'
import { changedConfig } from '../model/config-change.ts'
import { parseImageName, printImageName } from '../model/image-name.ts'
import type { Platform } from '../model/platform.ts'
import { StoreFolders, storeRoot } from '../store/store.ts'
import { openArchive } from './archive.ts'
import { type ArchiveFormat, ArchiveWriter } from './archive-writer.ts'
import { copyContent } from './copy.ts'
import { Images, isImageId, type LocalImage } from './images.ts'
import { importImage } from './import.ts'
import { pullImage } from './pull.ts'
import { StoreSource } from './store-source.ts'
import type { StoreTransferOptions } from './transfer.ts'

export interface SaveOptions extends StoreTransferOptions {
  /** docker loads both, older ones only the first, which is the default. */
  readonly format?: ArchiveFormat
}

export interface SavedImage {
  /** As it is loaded again. */
  readonly name: string
  /** Of the manifest. */
  readonly digest: Digest
}

/**
 * Writes images of the local store, by name or id, into one archive: a file, which appears when it is whole, or a stream, which is cut off by whatever
 * goes wrong. Throws `NotHere`, `NoSuchImage` for an id, `ContentMismatch`, and what writing throws.
 */
export async function save(
  images: readonly string[],
  to: string | Writable,
  { root, format = 'docker-archive', ...shown }: SaveOptions = {},
): Promise<readonly SavedImage[]> {
  const store = await StoreFolders.open(storeRoot(root))
  await using _ = await store.lock('store', 'shared', shown.signal) // nothing is swept meanwhile
  const here = new Images(store)
  const from = new StoreSource(here.content)
  await using archive = new ArchiveWriter(format, to)
  const saved: SavedImage[] = []
  for (const image of images) {
    const name = isImageId(image) ? (await here.findById(image)).name : printImageName(parseImageName(image))
    const { digest } = await copyContent({
      ...shown,
      from,
      reference: name,
      to: archive,
      toReference: name,
      all: true,
    })
    saved.push({ name, digest })
  }
  await archive.complete()
  return saved
}

export interface LoadOptions extends StoreTransferOptions {
  /** Of an image for several; else this machine's. */
  readonly platform?: Platform
  /** What to call its image, whatever the archive says; for an archive of one. */
  readonly as?: string
}

/**
 * Unpacks the images of an archive (an OCI layout in a tar, or what docker saves; compressed or not) into the local store. `from`: a file, or a stream,
 * which is first laid out in a temporary file. Throws `ArchiveInvalid`, `ContentMismatch`, `ImageInvalid`, `UnpackError`; those before are kept.
 */
export async function load(
  from: string | AsyncIterable<Uint8Array>,
  { root, as, ...options }: LoadOptions = {},
): Promise<readonly LocalImage[]> {
  const store = await StoreFolders.open(storeRoot(root))
  const images = new Images(store)
  await using source = await openArchive(from, typeof from === 'string' ? from : 'the archive')
  const wanted = as === undefined ? await source.imageNames() : [{ reference: '', name: as }]
  if (wanted.length === 0)
    throw new Error(`${source.label} says no names of its images: give one with --tag HOST/NAME:TAG`)
  const loaded: LocalImage[] = []
  for (const { reference, name } of wanted)
    loaded.push(await pullImage({ store, images, source, options: { ...options, reference } }, parseImageName(name)))
  return loaded
}

export interface ImportTarOptions extends Omit<StoreTransferOptions, 'onProgress'> {
  /** Else this machine's. */
  readonly platform?: Platform
  /** Lines of a Dockerfile about how it is run: `CMD ["/bin/bash"]`, `ENV NAME=VALUE`. */
  readonly changes?: readonly string[]
  /** For its history. */
  readonly message?: string
}

/**
 * Makes an image of one layer from a tar of a root filesystem, compressed or not. Throws `ChangeError`, and `UnpackError` for what is no such tar; then nothing
 * of it is kept.
 */
export async function importTar(
  tar: AsyncIterable<Uint8Array>,
  name: string,
  { root, changes = [], ...options }: ImportTarOptions = {},
): Promise<LocalImage> {
  const parsed = parseImageName(name)
  const config = changedConfig(changes)
  const store = await StoreFolders.open(storeRoot(root))
  return await importImage(store, new Images(store), tar, parsed, { ...options, config })
}
