/** The images of the local store: what is here, what each is made of, and what can go. */
import type { Digest } from '../../storage/model/digest.ts'
import { Containers } from '../containers/containers.ts'
import { containerState, isAlive } from '../containers/state.ts'
import { type ImageConfig, type ImageManifest, parseImageConfig, parseManifest } from '../model/image-model.ts'
import { type ImageName, parseImageName, printImageName } from '../model/image-name.ts'
import { Content, type StoredReference } from '../store/content.ts'
import { Layers } from '../store/layers.ts'
import type { StoreFolders } from '../store/store.ts'

export interface LocalImage {
  readonly name: string
  readonly manifestDigest: Digest
  /** Of the manifest. */
  readonly mediaType: string
  /** The image's ID, as docker counts: the digest of its configuration. */
  readonly id: Digest
  readonly manifest: ImageManifest
  readonly config: ImageConfig
  /** As pulled: compressed layers and configuration. */
  readonly sizeBytes: number
}

/** Its files here cannot be read; a pull makes it whole, and it can be removed. */
export interface DamagedImage {
  readonly name: string
  readonly problem: string
}

export interface Pruned {
  readonly names: readonly string[]
  readonly freedBytes: number
}

/** No image of that name is here. */
export class NoSuchImage extends Error {
  override readonly name = 'NoSuchImage'
}

/** It may not go: a container needs it. */
export class ImageInUse extends Error {
  override readonly name = 'ImageInUse'
}

/** Something else is under way in the store: a pull, or the start of a container. */
export class StoreInUse extends Error {
  override readonly name = 'StoreInUse'
}

export class Images {
  readonly content: Content
  readonly layers: Layers
  readonly #store: StoreFolders
  readonly #containers: Containers

  constructor(store: StoreFolders) {
    this.#store = store
    this.content = new Content(store)
    this.layers = new Layers(store)
    this.#containers = new Containers(store)
  }

  /** Those that are whole, in the order of their names. */
  async list(): Promise<readonly LocalImage[]> {
    return (await this.inventory()).whole
  }

  /** In the order of their names. */
  async inventory(): Promise<{ readonly whole: readonly LocalImage[]; readonly damaged: readonly DamagedImage[] }> {
    const references = [...(await this.content.references())].sort((a, b) => (a.name < b.name ? -1 : 1))
    const whole: LocalImage[] = []
    const damaged: DamagedImage[] = []
    for (const reference of references) {
      try {
        whole.push(await this.#load(reference))
      } catch (error) {
        damaged.push({ name: reference.name, problem: (error as Error).message })
      }
    }
    return { whole, damaged }
  }

  async find(name: ImageName): Promise<LocalImage | undefined> {
    const wanted = printImageName(name)
    const reference = (await this.content.references()).find((known) => known.name === wanted)
    return reference && (await this.#load(reference))
  }

  /** By its name, its id, or the beginning of that: a name has a registry, so that none can be taken for the other. Throws `NoSuchImage` for an id that is not here, or several images'. */
  async findNamed(nameOrId: string): Promise<LocalImage | undefined> {
    return isImageId(nameOrId) ? await this.findById(nameOrId) : await this.find(parseImageName(nameOrId))
  }

  /** Throws `NoSuchImage` for what is not here, or the beginning of several images' ids. */
  async findById(id: string): Promise<LocalImage> {
    const [image] = byId(await this.list(), id)
    if (image === undefined) throw new NoSuchImage(`no image of the id ${id} is here; \`gantry images\` lists them`)
    return image
  }

  /**
   * Removes a name (or, by id, all names of an image), then what nothing refers to any more. Resolves to the names that went. Throws
   * `NoSuchImage`; `ImageInUse` if the last name of an image would go that a container was made from: with `force`, one that runs. Others keep
   * their layers, and no image can be made of them any more.
   */
  async remove(nameOrId: string, { force = false }: { readonly force?: boolean } = {}): Promise<readonly string[]> {
    const { whole: all, damaged } = await this.inventory()
    const doomed = this.#named(all, nameOrId)
    const unreadable = doomed.length > 0 ? [] : named(damaged, nameOrId)
    if (doomed.length + unreadable.length === 0)
      throw new NoSuchImage(`no image ${nameOrId} is here; \`gantry images\` lists them`)
    for (const { id, name } of doomed) {
      if (all.some((other) => other.id === id && !doomed.includes(other))) continue // it keeps a name
      for (const user of await this.#containers.list()) {
        if (user.imageId !== id) continue
        const runs = isAlive(await containerState(this.#containers.folder(user.id)))
        if (force && !runs) continue
        const way = runs ? 'remove that one first' : 'remove that one first, or this by force (-f)'
        throw new ImageInUse(`${name} is in use by the container ${user.id.slice(0, 12)} (${user.name}); ${way}`)
      }
    }
    const names = [...doomed, ...unreadable].map(({ name }) => name)
    await this.content.removeReferences(names)
    await this.sweep()
    return names
  }

  /** Gives an image another name, in the place of whatever had it. Throws `NoSuchImage`. */
  async tag(nameOrId: string, name: ImageName): Promise<LocalImage> {
    await using _ = await this.#store.lock('store', 'shared') // nothing is swept meanwhile
    const [image] = this.#named(await this.list(), nameOrId)
    if (image === undefined) throw new NoSuchImage(`no image ${nameOrId} is here; \`gantry images\` lists them`)
    const { manifestDigest: digest, mediaType } = image
    const sizeBytes = (await this.content.readSmall(digest)).length
    await this.content.setReference({ name: printImageName(name), digest, mediaType, sizeBytes })
    return image
  }

  /**
   * Removes what nothing needs: what broken pulls left and no later one took up; with `all`, images that no container was made from, too, as far as `isMeant`.
   * Resolves to the names that went and how much room that made. Throws `StoreInUse`.
   */
  async prune(all: boolean, isMeant: (image: LocalImage) => boolean = () => true): Promise<Pruned> {
    const used = new Set((await this.#containers.list()).map(({ imageId }) => imageId))
    const doomed = all ? (await this.list()).filter((image) => !used.has(image.id) && isMeant(image)) : []
    const before = await this.content.storedBytes()
    const names = doomed.map(({ name }) => name)
    if (names.length > 0) await this.content.removeReferences(names)
    if (!(await this.sweep()))
      throw new StoreInUse('the store is in use (a pull, or a container that starts); try again when that is over')
    return { names, freedBytes: before - (await this.content.storedBytes()) }
  }

  /** Removes what no image and no container needs. Does nothing while a pull or the start of a container is under way: a later sweep will. Resolves to whether it did. */
  async sweep(): Promise<boolean> {
    await using held = await this.#store.tryLock('store', 'exclusive')
    if (held === undefined) return false
    const images = await this.list()
    const blobs = images.flatMap(({ manifestDigest, id, manifest }) => [
      manifestDigest,
      id,
      ...manifest.layers.map(({ digest }) => digest),
    ])
    const folders = await Promise.all(images.map(({ config }) => this.layers.find(config.diffIds)))
    const used = (await this.#containers.list()).flatMap(({ layers }) => layers)
    const keptBlobs = new Set(blobs)
    const keptFolders = new Set([...folders.flatMap((each) => each ?? []), ...used])
    await this.content.sweep((digest) => keptBlobs.has(digest))
    await this.layers.sweep((folder) => keptFolders.has(folder))
    return true
  }

  /** Removes what killed pulls left half-made, and nothing else. Like `sweep`, not while the store is in use. */
  async tidy(): Promise<void> {
    await using held = await this.#store.tryLock('store', 'exclusive')
    if (held === undefined) return
    await this.content.sweep(() => true)
    await this.layers.sweep(() => true)
  }

  #named(all: readonly LocalImage[], nameOrId: string): readonly LocalImage[] {
    const found = byId(all, nameOrId)
    return found.length > 0 ? found : named(all, nameOrId)
  }

  async #load({ name, digest, mediaType }: StoredReference): Promise<LocalImage> {
    try {
      const manifest = parseManifest(await this.content.readSmall(digest), mediaType)
      if (manifest.kind !== 'image') throw new Error('it is an index')
      const config = parseImageConfig(await this.content.readSmall(manifest.config.digest))
      const sizeBytes = manifest.layers.reduce((sum, layer) => sum + layer.sizeBytes, manifest.config.sizeBytes)
      return { name, manifestDigest: digest, mediaType, id: manifest.config.digest, manifest, config, sizeBytes }
    } catch (cause) {
      throw new Error(`the local copy of ${name} is damaged; pull it again`, { cause })
    }
  }
}

/** It may be an id, or the beginning of one: a name has a registry. */
export const isImageId = (text: string): boolean => /^(sha256:)?[0-9a-f]{4,64}$/.test(text)

/** Under all its names. Throws `NoSuchImage` for the beginning of several. */
function byId(all: readonly LocalImage[], text: string): readonly LocalImage[] {
  const prefix = text.startsWith('sha256:') ? text : `sha256:${text}`
  const found = isImageId(text) ? all.filter(({ id }) => id.startsWith(prefix)) : []
  if (new Set(found.map(({ id }) => id)).size > 1)
    throw new NoSuchImage(`${text} is the beginning of several images' ids; give more of it`)
  return found
}

function named<Image extends { readonly name: string }>(all: readonly Image[], text: string): readonly Image[] {
  const wanted = printImageName(parseImageName(text))
  return all.filter(({ name }) => name === wanted)
}
