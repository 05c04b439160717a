/** An image looked at by its name: in the local store, if it is there, else in the registry; or in the place that is written. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseImageName } from '../model/image-name.ts'
import type { Platform } from '../model/platform.ts'
import type { FetchedManifest } from '../registry/endpoint.ts'
import type { AccessOptions } from '../registry/registry-access.ts'
import { StoreFolders, storeRoot } from '../store/store.ts'
import { Images, isImageId, NoSuchImage } from './images.ts'
import { type HistoryEntry, historyOf, type Inspected, inspectAt } from './inspection.ts'
import { type OpenedSource, openSource, parsePlace } from './places.ts'

export interface LookOptions extends AccessOptions {
  /** Of the local store, which is looked into if it is there; else `GANTRY_ROOT`, else `/var/lib/gantry`. */
  readonly root?: string
  /** Of an image for several; else this machine's. */
  readonly platform?: Platform
  readonly signal?: AbortSignal
}

/** Its manifest and its configuration; no layer is fetched. Places are written as for `gantry copy`. Throws `ImageInvalid`, `NotHere`, `RegistryRefusal`. */
export async function inspect(image: string, options: LookOptions = {}): Promise<Inspected> {
  await using opened = await openNearest(image, options)
  return await inspectAt(opened.source, opened.reference, options.platform, options.signal)
}

/** The steps that it was made by, the newest first. */
export async function history(image: string, options: LookOptions = {}): Promise<readonly HistoryEntry[]> {
  return historyOf(await inspect(image, options))
}

/** The manifest or the index as it is, byte for byte. */
export async function manifest(image: string, options: LookOptions = {}): Promise<FetchedManifest> {
  await using opened = await openNearest(image, options)
  return await opened.source.manifest(opened.reference, options.signal)
}

/** An image of the local store, if it is there and may be looked at; by its id only there. Throws `NoSuchImage` for an id. */
async function openNearest(text: string, options: LookOptions): Promise<OpenedSource> {
  const root = storeRoot(options.root)
  if (isImageId(text)) {
    const found = await (await imagesIn(root))?.findNamed(text)
    if (found === undefined) throw new NoSuchImage(`no image of the id ${text} is here; \`gantry images\` lists them`)
    return await openSource({ kind: 'local', name: parseImageName(found.name) }, options, root)
  }
  const place = parsePlace(text)
  const isHere = place.kind === 'registry' && (await (await imagesIn(root))?.find(place.name)) !== undefined
  return await openSource(isHere ? { kind: 'local', name: place.name } : place, options, root)
}

/** Those of the store in this folder, which is not made where there is none. */
export async function imagesIn(root: string): Promise<Images | undefined> {
  const isStore = await stat(join(root, 'lock')).then(
    () => true,
    () => false,
  )
  return isStore ? new Images(await StoreFolders.open(root)) : undefined
}
