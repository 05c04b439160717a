/** Where images are, as a person writes it: a registry, a folder, an archive, or the local store. */

import { type ImageName, parseImageName, printImageName } from '../model/image-name.ts'
import type { ContentSource, ContentTarget } from '../registry/endpoint.ts'
import { type AccessOptions, openMirrored, openRepository } from '../registry/registry-access.ts'
import { StoreFolders } from '../store/store.ts'
import type { ArchiveFormat } from './archive-writer.ts'
import { Images } from './images.ts'
import { StoreSource } from './store-source.ts'

export type Place =
  | { readonly kind: 'registry'; readonly name: ImageName }
  | LocalPlace
  | { readonly kind: 'oci'; readonly path: string; readonly reference: string }
  | { readonly kind: ArchiveFormat; readonly path: string; readonly reference: string }

interface LocalPlace {
  readonly kind: 'local'
  readonly name: ImageName
}

/** It names no place; the message says what would. */
export class PlaceError extends Error {
  override readonly name = 'PlaceError'
}

export function parsePlace(text: string): Place {
  const [, kind, rest = ''] = /^(oci|oci-archive|docker-archive|local):(.*)$/s.exec(text) ?? []
  if (kind === 'local') return { kind, name: parseImageName(rest) }
  if (kind === 'oci' || kind === 'oci-archive' || kind === 'docker-archive') {
    const [path = '', reference = ''] = rest.split(/:(.*)/s)
    if (path === '')
      throw new PlaceError(
        `${JSON.stringify(text)} names no ${kind === 'oci' ? 'folder' : 'file'}: write ${kind}:PATH[:NAME]`,
      )
    return { kind, path, reference }
  }
  const bare = text.replace(/^docker:\/\//, '')
  if (/^[a-z-]+:\/\//.test(bare) || /^(dir|docker-daemon|containers-storage|ostree):/.test(bare))
    throw new PlaceError(`${JSON.stringify(text)} is no place that Gantry knows; \`gantry copy --help\` lists them`)
  return { kind: 'registry', name: parseImageName(bare) }
}

export interface OpenedSource extends AsyncDisposable {
  readonly source: ContentSource
  readonly reference: string
}

/** `root`: of the local store, opened only where it is needed. */
export async function openSource(place: Place, access: AccessOptions, root: string): Promise<OpenedSource> {
  const opened = (source: ContentSource, reference: string): OpenedSource => ({
    source,
    reference,
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  })
  if (place.kind === 'registry') {
    const { registry, repository, digest, tag } = place.name
    return opened(await openMirrored(registry, repository, access), digest ?? tag ?? '')
  }
  if (place.kind === 'local') {
    const images = new Images(await StoreFolders.open(root))
    return opened(new StoreSource(images.content), printImageName(place.name))
  }
  if (place.kind === 'oci') return opened(await layout(place.path), place.reference)
  const { openArchive, wholeName } = await import('./archive.ts')
  const archive = await openArchive(place.path === '-' ? process.stdin : place.path, `${place.kind}:${place.path}`)
  return opened(
    archive,
    place.kind === 'docker-archive' && place.reference !== '' ? wholeName(place.reference) : place.reference,
  )
}

export interface OpenedTarget extends AsyncDisposable {
  readonly target: ContentTarget
  /** The name there; none for a target by digest. */
  readonly reference: string | undefined
  /** Everything has been put. */
  complete(): Promise<void>
}

/** Not for the local store, into which images are pulled (`pull.ts`). */
export async function openTarget(place: Exclude<Place, LocalPlace>, access: AccessOptions): Promise<OpenedTarget> {
  if (place.kind === 'registry') {
    const { registry, repository, digest, tag } = place.name
    const target = await openRepository(registry, repository, access)
    return {
      target,
      reference: digest === undefined ? tag : undefined,
      complete: async () => {},
      [Symbol.asyncDispose]: () => target[Symbol.asyncDispose](),
    }
  }
  const { path, reference } = place
  if (place.kind === 'oci') {
    const target = await layout(path)
    return { target, reference, complete: async () => {}, [Symbol.asyncDispose]: async () => {} }
  }
  const [{ wholeName }, { ArchiveWriter }] = await Promise.all([import('./archive.ts'), import('./archive-writer.ts')])
  const target = new ArchiveWriter(place.kind, path === '-' ? process.stdout : path)
  return {
    target,
    reference: place.kind === 'docker-archive' && reference !== '' ? wholeName(reference) : reference,
    complete: () => target.complete(),
    [Symbol.asyncDispose]: () => target[Symbol.asyncDispose](),
  }
}

/** What reads and writes folders and archives is loaded by who has one: between registries nobody needs it. */
const layout = async (path: string) => new (await import('./layout.ts')).Layout(path)
