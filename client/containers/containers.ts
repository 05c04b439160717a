/**
 * Containers: a folder each, with a record, the bundle the runtime is given, and what the container writes over its image's layers. Whoever
 * runs one holds its lock for as long; where the lock is free and the record says "running", its owner was killed, and the next command takes down
 * what it left.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { mountOverlay, unmount } from '../../native/overlay.ts'
import { removeLeftovers } from '../../native/runtime.ts'
import type { Digest } from '../../storage/model/digest.ts'
import type { HeldLock } from '../locks.ts'
import { replaceFile, type StoreFolders } from '../store.ts'

export interface ContainerRecord {
  readonly id: string
  readonly image: string
  readonly imageId: Digest
  readonly command: readonly string[]
  readonly created: string
  readonly status: 'created' | 'running' | 'exited'
  /** As a shell reports it: 128+n for a signal. */
  readonly exitCode?: number
  /** To be removed when it ends, however it ends. */
  readonly autoRemove: boolean
  /** The layers it stands on, the lowest first. */
  readonly layers: readonly string[]
}

export type NewContainer = Omit<ContainerRecord, 'id' | 'created' | 'status'>

const REMOVED = '.removed-'
const KILLED_EXIT_CODE = 137

export class Containers {
  readonly #store: StoreFolders

  constructor(store: StoreFolders) {
    this.#store = store
  }

  /** The newest last. What has no readable record is not a container. */
  async list(): Promise<readonly ContainerRecord[]> {
    const records = await Promise.all((await this.#ids()).map((id) => this.#read(id)))
    return records.filter((record) => record !== undefined).sort((a, b) => (a.created < b.created ? -1 : 1))
  }

  /** With its folders and its record, locked, its root filesystem mounted. */
  async create(container: NewContainer): Promise<Container> {
    const id = randomBytes(32).toString('hex')
    const lock = await this.#store.lock(`container ${id}`, 'exclusive')
    const created = new Container(join(this.#store.containers, id), lock, {
      ...container,
      id,
      created: new Date().toISOString(),
      status: 'created',
    })
    try {
      await created.prepare()
      return created
    } catch (error) {
      await created.remove()
      throw error
    }
  }

  /**
   * Takes down what killed commands left behind: mounts always; whole containers where that was asked for. Resolves to what went wrong: one
   * that cannot be taken down now is tried again by the next command, and is in nobody's way.
   */
  async cleanUp(): Promise<readonly string[]> {
    const problems: string[] = []
    for (const name of await readdir(this.#store.containers)) {
      const id = name.replace(REMOVED, '')
      const lock = await this.#store.tryLock(`container ${id}`, 'exclusive')
      if (lock === undefined) continue // it is running
      try {
        await this.#takeDown(name, lock)
      } catch (error) {
        problems.push(`cannot clean up what is left of the container ${id.slice(0, 12)}: ${(error as Error).message}`)
      } finally {
        await lock.release()
      }
    }
    return problems
  }

  async #takeDown(name: string, lock: HeldLock): Promise<void> {
    const record = name.startsWith(REMOVED) ? undefined : await this.#read(name)
    const container = new Container(join(this.#store.containers, name), lock, record)
    if (record === undefined || record.autoRemove) await container.remove()
    else await container.close(record.exitCode ?? KILLED_EXIT_CODE)
  }

  async #ids(): Promise<readonly string[]> {
    return (await readdir(this.#store.containers)).filter((name) => !name.startsWith(REMOVED))
  }

  async #read(id: string): Promise<ContainerRecord | undefined> {
    try {
      return JSON.parse(await readFile(join(this.#store.containers, id, 'container.json'), 'utf8')) as ContainerRecord
    } catch (error) {
      if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }
}

/** One container, while we hold its lock. */
export class Container {
  readonly folder: string
  readonly id: string
  readonly #lock: HeldLock
  #record: ContainerRecord | undefined
  /** Its runtime said so; until then there may be processes and control groups, whoever was killed. */
  #isDown: boolean

  constructor(folder: string, lock: HeldLock, record: ContainerRecord | undefined) {
    this.folder = folder
    this.id = basename(folder).replace(REMOVED, '')
    this.#lock = lock
    this.#record = record
    this.#isDown = record?.status === 'exited'
  }

  get rootfs(): string {
    return join(this.folder, 'rootfs')
  }

  async prepare(): Promise<void> {
    await mkdir(this.folder, { mode: 0o700 })
    await this.#save({})
    for (const name of ['rootfs', 'upper', 'work', 'empty']) await mkdir(join(this.folder, name), { mode: 0o755 })
    // Images have the same layer more than once, overlayfs takes each once: the uppermost has all that the others would show.
    const layers = [...new Set((this.#record?.layers ?? []).toReversed())]
    const lower = layers.length > 0 ? layers : [join(this.folder, 'empty')] // an overlay needs one
    mountOverlay({ lower, upper: join(this.folder, 'upper'), work: join(this.folder, 'work'), target: this.rootfs })
  }

  /** A file of the bundle. */
  async write(name: string, text: string, mode: number): Promise<string> {
    const path = join(this.folder, name)
    await replaceFile(path, text, mode)
    return path
  }

  async started(): Promise<void> {
    await this.#save({ status: 'running' })
  }

  /** It ended by itself, and its runtime has taken it down. */
  async ended(exitCode: number): Promise<void> {
    this.#isDown = true
    if (this.#record?.autoRemove) return
    await this.#save({ status: 'exited', exitCode }).catch(() => {}) // a disk that is full does not change how it ended
  }

  /** Takes its mount down, keeps what it wrote, and lets it go. The exit code is for one that has not ended by itself. */
  async close(exitCode: number): Promise<void> {
    try {
      if (!this.#isDown) await removeLeftovers(this.id)
      unmount(this.rootfs)
      if (this.#record?.status !== 'exited') await this.#save({ status: 'exited', exitCode })
    } finally {
      await this.#lock.release()
    }
  }

  /** Leaves nothing of it, and lets it go. Fine if it is half made. */
  async remove(): Promise<void> {
    try {
      if (!this.#isDown) await removeLeftovers(this.id)
      unmount(this.rootfs)
      const doomed = join(dirname(this.folder), `${REMOVED}${this.id}`)
      await rename(this.folder, doomed).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error // it was never made
      })
      await rm(doomed, { recursive: true, force: true })
    } finally {
      await this.#lock.release()
    }
  }

  async #save(change: Partial<ContainerRecord>): Promise<void> {
    if (this.#record === undefined) return
    this.#record = { ...this.#record, ...change }
    await replaceFile(join(this.folder, 'container.json'), `${JSON.stringify(this.#record, null, 2)}\n`)
  }
}
