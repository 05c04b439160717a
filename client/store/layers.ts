/**
 * Unpacked layers. Each is unpacked alone, in a folder of its own, and published by one rename: under its diffID, or, if it needed
 * something from the layers below (a parent's attributes, a hard link's target), under its chain ID, finished against them.
 */
import { chmod, mkdir, readdir, rename, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { uniqueName } from '../../native/random.ts'
import { type Digest, digestOf } from '../../storage/model/digest.ts'
import { orDiskFull } from './disk-full.ts'
import type { StoreFolders } from './store.ts'
import type { LayerSource, UnpackedLayer } from './unpack.ts'

const TEMPORARY = '.tmp-'
const FLOOR = 'floor'
/** How many folders the kernel stacks. */
const STACK_LIMIT = 500

export interface PendingLayer {
  /** `lower`: the folders of all layers below, the lowest first. Resolves to this one's folder. */
  publish(lower: readonly string[]): Promise<string>
  /** Leaves nothing behind; fine after `publish`. */
  discard(): Promise<void>
}

/** ChainID(n) = hash of ChainID(n-1) and DiffID(n) (image-spec, config.md). */
export function chainIds(diffIds: readonly Digest[]): readonly Digest[] {
  const chain: Digest[] = []
  for (const diffId of diffIds) {
    const below = chain.at(-1)
    chain.push(below === undefined ? diffId : digestOf(Buffer.from(`${below} ${diffId}`)))
  }
  return chain
}

export class Layers {
  readonly #store: StoreFolders

  constructor(store: StoreFolders) {
    this.#store = store
  }

  /** The folders of all layers, the lowest first; `undefined` if one is not here. */
  async find(diffIds: readonly Digest[]): Promise<readonly string[] | undefined> {
    const chain = chainIds(diffIds)
    const folders = await Promise.all(diffIds.map((diffId, i) => this.#findOne(diffId, chain[i] as Digest)))
    return folders.every((folder) => folder !== undefined) ? folders : undefined
  }

  /**
   * These layers with one below them all for what docker and podman give each container: `/etc/mtab`, by which programs learn what is mounted (Java
   * 8's `FileStore` among them), and folders to mount on. What an image has in its place counts, and it is no change that `diff` or `commit` would see.
   */
  async onFloor(layers: readonly string[]): Promise<readonly string[]> {
    if (layers.length >= STACK_LIMIT) return layers
    const floor = join(this.#store.layers, FLOOR)
    if (!(await isFolder(floor))) {
      const temporary = join(this.#store.layers, `${TEMPORARY}${uniqueName()}`)
      for (const name of ['etc', 'dev', 'proc', 'sys']) {
        const path = join(temporary, name)
        await mkdir(path, { recursive: true })
        await chmod(path, 0o755) // which somebody's umask must not narrow
      }
      await symlink('/proc/mounts', join(temporary, 'etc', 'mtab'))
      await renameUnlessThere(temporary, floor)
      await rm(temporary, { recursive: true, force: true })
    }
    return [floor, ...layers]
  }

  /**
   * Unpacks one layer now; what it resolves to publishes it, once the layers below are there, and must be called or `discard`ed. Of those
   * who want one layer at the same time, in whichever process, one unpacks it and the others find it. A layer that needs what is below is
   * another one on each stack: of that, two may be made, and the second rename finds the first one's work.
   */
  async unpack(source: LayerSource, chainId: Digest, signal?: AbortSignal): Promise<PendingLayer> {
    // Not held until it is published: those below may wait for somebody who waits for us.
    await using _ = await this.#store.lock(`layer ${source.diffId}`, 'exclusive', signal)
    const existing = await this.#findOne(source.diffId, chainId)
    if (existing !== undefined) {
      if (source.isNew) await (await import('./unpack.ts')).verifyLayer(source, signal)
      return { publish: async () => existing, discard: async () => {} }
    }
    const temporary = join(this.#store.layers, `${TEMPORARY}${uniqueName()}`)
    const discard = () => rm(temporary, { recursive: true, force: true })
    try {
      await mkdir(temporary, { mode: 0o755 })
      const { unpackLayer } = await import('./unpack.ts') // with all that inflates: who runs a container needs none of it
      const unpacked = await unpackLayer(temporary, source, signal)
      const publish = (lower: readonly string[]) => this.#publish(unpacked, temporary, source, chainId, lower)
      if (unpacked.needsLower) return { publish, discard: () => unpacked.close().then(discard) }
      const folder = await publish([])
      return { publish: async () => folder, discard }
    } catch (error) {
      await discard()
      throw orDiskFull(error, `layer ${source.digest}`, this.#store.root)
    }
  }

  /** Removes every layer whose folder is not kept, and what killed pulls left. Only with the store's lock held exclusively. */
  async sweep(keeps: (folder: string) => boolean): Promise<void> {
    for (const name of await readdir(this.#store.layers)) {
      const folder = join(this.#store.layers, name)
      const unfinished = name.startsWith(TEMPORARY)
      if (name === FLOOR || (!unfinished && keeps(folder))) continue
      const doomed = unfinished ? folder : join(this.#store.layers, `${TEMPORARY}${uniqueName()}`)
      await rename(folder, doomed) // so that a half-removed layer is never taken for a whole one
      await rm(doomed, { recursive: true, force: true })
    }
  }

  async #publish(
    unpacked: UnpackedLayer,
    temporary: string,
    { digest, diffId }: LayerSource,
    chainId: Digest,
    lower: readonly string[],
  ): Promise<string> {
    const folder = this.#folder(unpacked.needsLower ? chainId : diffId)
    try {
      if (unpacked.needsLower) await unpacked.completeAgainst(lower)
      await renameUnlessThere(temporary, folder)
      return folder
    } catch (error) {
      throw orDiskFull(error, `layer ${digest}`, this.#store.root)
    }
  }

  async #findOne(diffId: Digest, chainId: Digest): Promise<string | undefined> {
    for (const id of [chainId, diffId]) {
      const folder = this.#folder(id)
      if (await isFolder(folder)) return folder
    }
    return undefined
  }

  #folder(id: Digest): string {
    return join(this.#store.layers, id.replace(':', '-'))
  }
}

const isFolder = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.isDirectory() ?? false

/** The same may be made by somebody else at the same time. */
async function renameUnlessThere(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST' && error.code !== 'ENOTEMPTY') throw error
  })
}
