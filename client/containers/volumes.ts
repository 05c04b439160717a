/**
 * Volumes: folders that containers share and that outlive them. A volume is `volumes/NAME/`: its record `volume.json`, the content in `_data`, and,
 * while it is being filled from an image, the mark `filling`: where that is left by a killed command, the next one fills it anew.
 */
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { randomHex, uniqueName } from '../../native/random.ts'
import { copyTree, lookInRoot } from '../../native/tree-copy.ts'
import { replaceFile, type StoreFolders } from '../store/store.ts'
import { checkVolumeName } from './mounts.ts'
import { RequestError } from './request-error.ts'

export interface Volume {
  readonly name: string
  readonly created: string
  readonly labels: Readonly<Record<string, string>>
  /** Made for one container, which gave it no name. */
  readonly anonymous: boolean
  /** The folder of its content. */
  readonly folder: string
}

/** There is no volume of that name. */
class NoSuchVolume extends Error {
  override readonly name = 'NoSuchVolume'
}

/** A container needs it. */
class VolumeInUse extends Error {
  override readonly name = 'VolumeInUse'
}

const TEMPORARY = '.tmp-'
const LOCK = 'volumes'

export class Volumes {
  readonly #store: StoreFolders

  constructor(store: StoreFolders) {
    this.#store = store
  }

  /** In the order of their names. */
  async list(): Promise<readonly Volume[]> {
    const names = (await readdir(this.#store.volumes)).filter((name) => !name.startsWith(TEMPORARY)).toSorted()
    const volumes = await Promise.all(names.map((name) => this.#read(name)))
    return volumes.filter((volume) => volume !== undefined)
  }

  /** Throws `NoSuchVolume`. */
  async get(name: string): Promise<Volume> {
    const volume = await this.#read(name)
    if (volume === undefined) throw new NoSuchVolume(`no such volume: ${name}; \`gantry volume ls\` lists them`)
    return volume
  }

  /** The one that is there, or a new one. Without a name it gets one, and is anonymous. */
  async create(
    wanted: string | undefined,
    labels: Readonly<Record<string, string>> = {},
    anonymous = false,
  ): Promise<Volume> {
    await using _ = await this.hold()
    const name = wanted === undefined ? randomHex(32) : checkVolumeName(wanted)
    const existing = wanted === undefined ? undefined : await this.#read(name)
    if (existing) return existing
    const temporary = join(this.#store.volumes, `${TEMPORARY}${uniqueName()}`)
    try {
      await mkdir(temporary, { mode: 0o711 })
      await mkdir(join(temporary, '_data'), { mode: 0o755 })
      await chmod(join(temporary, '_data'), 0o755) // whatever the umask: it is for the users of containers
      const record = { version: 1, name, created: new Date().toISOString(), labels, anonymous }
      await replaceFile(join(temporary, 'volume.json'), `${JSON.stringify(record, null, 2)}\n`)
      await rename(temporary, join(this.#store.volumes, name))
    } catch (error) {
      await rm(temporary, { recursive: true, force: true })
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'EEXIST' && code !== 'ENOTEMPTY') throw error // made by somebody else at the same time
    }
    return await this.get(name)
  }

  /**
   * Fills an empty volume with what the image has at `path` of `rootfs`, owner and mode of the folder itself included. A volume that has anything
   * in it is left alone. Throws what the copy does; the next container tries again.
   */
  async fill(volume: Volume, rootfs: string, path: string): Promise<void> {
    await using _ = await this.#store.lock(`volume ${volume.name}`, 'exclusive')
    const mark = join(this.#store.volumes, volume.name, 'filling')
    const unfinished = await stat(mark).then(
      () => true,
      () => false,
    )
    const names = await readdir(volume.folder)
    if (names.length > 0 && !unfinished) return
    for (const name of names) await rm(join(volume.folder, name), { recursive: true, force: true })
    if (lookInRoot({ root: rootfs, path }, true)?.type !== 'folder') return
    await writeFile(mark, '')
    await copyTree({ root: rootfs, path }, { root: volume.folder, path: '/' }, { contents: true, topAttributes: true })
    await rm(mark)
  }

  /** Nobody can remove a volume while it is held: from before it is found until a container's record names it. */
  async hold(): Promise<AsyncDisposable> {
    return await this.#store.lock(LOCK, 'shared')
  }

  /** Throws `NoSuchVolume`, `VolumeInUse`. `usedBy`: the containers that name it. */
  async remove(name: string, usedBy: (name: string) => Promise<readonly string[]>): Promise<void> {
    await using _ = await this.#store.lock(LOCK, 'exclusive')
    await this.get(name)
    const users = await usedBy(name)
    if (users.length > 0)
      throw new VolumeInUse(
        `volume is in use by ${users.map((id) => id.slice(0, 12)).join(', ')}: remove ${name} after ${users.length === 1 ? 'that container' : 'those containers'}`,
      )
    const doomed = join(this.#store.volumes, `${TEMPORARY}${uniqueName()}`)
    await rename(join(this.#store.volumes, name), doomed)
    await rm(doomed, { recursive: true, force: true })
  }

  /** Fine if it has gone, or somebody uses it. */
  async removeUnused(name: string, usedBy: (name: string) => Promise<readonly string[]>): Promise<boolean> {
    try {
      await this.remove(name, usedBy)
      return true
    } catch (error) {
      if (error instanceof NoSuchVolume || error instanceof VolumeInUse) return false
      throw error
    }
  }

  /** Removes what killed commands left half-made or half-removed. */
  async cleanUp(): Promise<void> {
    const leftovers = (await readdir(this.#store.volumes)).filter((name) => name.startsWith(TEMPORARY))
    if (leftovers.length === 0) return
    await using held = await this.#store.tryLock(LOCK, 'exclusive')
    if (held === undefined) return
    for (const name of leftovers) await rm(join(this.#store.volumes, name), { recursive: true, force: true })
  }

  async #read(name: string): Promise<Volume | undefined> {
    try {
      checkVolumeName(name)
      const record = JSON.parse(await readFile(join(this.#store.volumes, name, 'volume.json'), 'utf8')) as Volume
      return { ...record, folder: join(this.#store.volumes, name, '_data') }
    } catch (error) {
      if (error instanceof RequestError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw new Error(`the record of the volume ${name} cannot be read: ${(error as Error).message}`, { cause: error })
    }
  }
}
