/**
 * What the command line does, for programs: `import { pull, push, copy, Registry, Layout, Store, run, exec, containers } from 'gantry'`. Whatever takes long has
 * progress events and stops by an `AbortSignal`; whatever holds something is for `await using`; what goes wrong has a type.
 */
import type { Digest } from '../storage/model/digest.ts'
import { type DamagedImage, Images, type LocalImage, type Pruned } from './images/images.ts'
import { pullImage } from './images/pull.ts'
import type { PullOptions } from './images/transfer.ts'
import { parseImageName, parseRegistry } from './model/image-name.ts'
import { catalog, RegistryRepository } from './registry/registry.ts'
import { type AccessOptions, openMirrored, openTransport } from './registry/registry-access.ts'
import type { Transport } from './registry/transport.ts'
import { journalFolder, UploadFiles } from './registry/upload-journal.ts'
import { StoreFolders, storeRoot } from './store/store.ts'

export {
  containers,
  type ExecOptions,
  type Executed,
  exec,
  type ListedContainer,
  type RunOptions,
  run,
  type StayedWith,
} from './container-library.ts'
export type { CommitOptions } from './containers/commit.ts'
export { NoSuchContainer } from './containers/containers.ts'
export { WrongState } from './containers/lifecycle.ts'
export type { ContainerRequest } from './containers/request.ts'
export { RequestError } from './containers/request-error.ts'
export { StartError } from './containers/start.ts'
export {
  type ArtifactFile,
  type Attached,
  discoverArtifacts,
  type NewArtifact,
  pullArtifact,
  pushArtifact,
} from './images/artifact.ts'
export type { CopyResult } from './images/copy.ts'
export {
  type DamagedImage,
  ImageInUse,
  type LocalImage,
  NoSuchImage,
  type Pruned,
  StoreInUse,
} from './images/images.ts'
export { type DraftEntry, type IndexAnnotation, IndexDraft } from './images/index-draft.ts'
export type { HistoryEntry, Inspected } from './images/inspection.ts'
export { Layout } from './images/layout.ts'
export { history, inspect, type LookOptions, manifest } from './images/look.ts'
export { PlaceError } from './images/places.ts'
export type { ProgressEvent } from './images/progress.ts'
export {
  type ImportTarOptions,
  importTar,
  type LoadOptions,
  load,
  type SavedImage,
  type SaveOptions,
  save,
} from './images/save-load.ts'
export { type SyncedTag, type SyncOptions, sync } from './images/sync.ts'
export { ArchiveInvalid } from './images/tar-index.ts'
export { type CopyOptions, copy, type PullOptions, type PushOptions, pull, push } from './images/transfer.ts'
export { ChangeError } from './model/config-change.ts'
export { ImageInvalid } from './model/image-model.ts'
export { ImageNameError } from './model/image-name.ts'
export { type ContentSource, type ContentTarget, NotHere } from './registry/endpoint.ts'
export { type LoginOptions, login, logout } from './registry/login.ts'
export { RegistryMisbehaves, RegistryRefusal, RegistryUnreachable } from './registry/refusals.ts'
export { type Referrer, RegistryRepository } from './registry/registry.ts'
export { ContentMismatch } from './store/content.ts'
export { DiskFull } from './store/disk-full.ts'
export { NotAStore } from './store/store.ts'
export { UnpackError } from './store/unpack.ts'

/** A registry, as the user whose credentials docker or podman keeps. */
export class Registry implements AsyncDisposable {
  readonly #transport: Transport

  private constructor(transport: Transport) {
    this.#transport = transport
  }

  /** `host` is `HOST[:PORT]`. Asks it nothing yet. */
  static async open(host: string, options: AccessOptions = {}): Promise<Registry> {
    return new Registry(await openTransport(parseRegistry(host), options))
  }

  /** Its manifests, blobs, uploads, tags and referrers. */
  repository(name: string): RegistryRepository {
    return new RegistryRepository(this.#transport, name, { journal: new UploadFiles(journalFolder(process.env)) })
  }

  /** The names of all repositories that we may see. */
  catalog(signal?: AbortSignal): AsyncIterable<string> {
    return catalog(this.#transport, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]()
  }
}

/** A local store of images. */
export class Store {
  readonly #folders: StoreFolders
  readonly #images: Images

  private constructor(folders: StoreFolders) {
    this.#folders = folders
    this.#images = new Images(folders)
  }

  /** In this folder, which is made; else `GANTRY_ROOT`, else `/var/lib/gantry`. Throws `NotAStore` if it is somebody else's. */
  static async open(folder?: string): Promise<Store> {
    return new Store(await StoreFolders.open(storeRoot(folder)))
  }

  /** All that is here, in the order of their names. */
  async images(): Promise<{ readonly whole: readonly LocalImage[]; readonly damaged: readonly DamagedImage[] }> {
    return await this.#images.inventory()
  }

  /** By its whole name. */
  async find(image: string): Promise<LocalImage | undefined> {
    return await this.#images.find(parseImageName(image))
  }

  /** As `pull`, into this store. */
  async pull(image: string, options: Omit<PullOptions, 'root'> = {}): Promise<LocalImage> {
    const name = parseImageName(image)
    await using source = await openMirrored(name.registry, name.repository, options)
    return await pullImage({ store: this.#folders, images: this.#images, source, options }, name)
  }

  /** Gives an image (by name, id, or the beginning of its id) one more name, in the place of whatever had it. Throws `NoSuchImage`. */
  async tag(nameOrId: string, name: string): Promise<LocalImage> {
    return await this.#images.tag(nameOrId, parseImageName(name))
  }

  /** A name, or by its id all names of an image, then what nothing needs any more. Resolves to the names that went. Throws `NoSuchImage`; `ImageInUse` of one that a container was made from, with `force` only if that runs. */
  async remove(nameOrId: string, options: { readonly force?: boolean } = {}): Promise<readonly string[]> {
    return await this.#images.remove(nameOrId, options)
  }

  /** Removes what broken pulls left; with `all`, images that no container was made from, too. Throws `StoreInUse`. */
  async prune({ all = false }: { readonly all?: boolean } = {}): Promise<Pruned> {
    return await this.#images.prune(all)
  }

  /** The folders of its unpacked layers, the lowest first; `undefined` if one is missing. */
  async layers({ config }: LocalImage): Promise<readonly string[] | undefined> {
    return await this.#images.layers.find(config.diffIds)
  }

  /** A blob, as it was pulled. */
  blob(digest: Digest): AsyncIterable<Uint8Array> {
    return this.#images.content.read(digest)
  }
}
