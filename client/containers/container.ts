/** One container, while we hold its lock: its mount, its record, and its end. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { readMonitorStatus, thisBoot } from '../../native/monitor-status.ts'
import { mountOverlay, unmount, VOLATILE_MARK } from '../../native/overlay.ts'
import { copyTree } from '../../native/tree-copy.ts'
import { removeTree } from '../../native/tree-removal.ts'
import type { HeldLock } from '../store/locks.ts'
import { ownIds } from '../store/own-ids.ts'
import { replaceFile } from '../store/store.ts'
import type { Names } from './names.ts'
import { type ContainerRecord, printRecord } from './record.ts'
import { containerState, isAlive } from './state.ts'
import { STATE_ROOT } from './state-root.ts'
import type { Volumes } from './volumes.ts'

/** What a folder's name begins with while it is being removed. */
export const REMOVED = '.removed-'
/** In the folder of one whose root filesystem is a whole copy of its image: why that is so. */
const COPIED = 'copied'
/** In the folder of one that is frozen only while somebody who holds its lock reads it. */
export const PAUSED_FOR_NOW = 'paused-for-now'
/** In the folder of one that is given another name, or was when somebody was killed: more than one may lead to it. */
export const RENAMED = 'renamed'
/** In such a folder: its anonymous volumes go, too. */
const WITH_VOLUMES = 'with-volumes'

/** For how long another command's start may be on its way, and how often one looks. */
const OTHERS_MS = 10_000
const OTHERS_STEP_MS = 10

/** What a container needs to know of the others. */
export interface Neighbours {
  readonly names: Names
  readonly volumes: Volumes
  /** The ids of the containers that name a volume. */
  usersOf(volume: string): Promise<readonly string[]>
}

export class Container implements AsyncDisposable {
  readonly folder: string
  readonly id: string
  readonly #lock: HeldLock
  readonly #neighbours: Neighbours
  #record: ContainerRecord | undefined
  #mounted = false

  constructor(folder: string, lock: HeldLock, record: ContainerRecord | undefined, neighbours: Neighbours) {
    this.folder = folder
    this.id = basename(folder).replace(REMOVED, '')
    this.#lock = lock
    this.#record = record
    this.#neighbours = neighbours
  }

  get rootfs(): string {
    return join(this.folder, 'rootfs')
  }

  /** Only of one whose record is written. */
  get record(): ContainerRecord {
    if (this.#record === undefined) throw new Error(`the container ${this.id} has no record yet`)
    return this.#record
  }

  /**
   * Its root filesystem: the layers, the lowest first, and over them what it writes. What another run had mounted there is gone. Where an ordinary
   * user may not mount an overlay (an old kernel; a store on another overlay, or on a network), it is a copy, made once. One that goes when it ends, as a
   * loss of power would end it (`lasting` false), writes without ever waiting for the disk.
   */
  async mount(layers: readonly string[], { lasting }: { readonly lasting: boolean }): Promise<void> {
    if (this.#mounted || this.copiedBecause !== undefined) return
    await unmount(this.rootfs)
    if (!lasting) await this.#allowVolatile()
    try {
      this.#mountOverlay(layers, lasting)
    } catch (error) {
      if (ownIds().isHost) throw explained(error as NodeJS.ErrnoException, dirname(dirname(this.folder)))
      if ((await readdir(join(this.folder, 'upper'))).length > 0) throw error
      await this.#copy(layers, (error as Error).message)
    }
  }

  /** Why what it writes is not apart from its image, in the kernel's words; `undefined`: it is. */
  get copiedBecause(): string | undefined {
    return copiedBecause(this.folder)
  }

  async #copy(layers: readonly string[], reason: string): Promise<void> {
    for (const root of layers)
      await copyTree(
        { root, path: '.' },
        { root: this.rootfs, path: '.' },
        { contents: true, topAttributes: true, layer: true },
      )
    await writeFile(join(this.folder, COPIED), reason)
  }

  /** The kernel refuses what was mounted so before, since it cannot know whether the machine went down meanwhile. We know. */
  async #allowVolatile(): Promise<void> {
    const known = await readMonitorStatus(this.folder)
    if (known !== undefined && known.status.bootId !== thisBoot())
      throw new Error(
        `the machine went down while the container ${this.id} ran, which was to be removed when it ends: what it wrote may be lost in part, so it is not started again; remove it`,
      )
    await rm(join(this.folder, 'work', VOLATILE_MARK), { recursive: true, force: true })
  }

  #mountOverlay(layers: readonly string[], lasting: boolean): void {
    const all = lowerFolders(layers)
    const empty = join(this.folder, 'empty') // an overlay needs one
    if (all.length === 0) mkdirSync(empty, { recursive: true, mode: 0o755 })
    const lower = all.length > 0 ? all : [empty]
    const [upper, work] = [join(this.folder, 'upper'), join(this.folder, 'work')]
    mountOverlay({ lower, upper, work, target: this.rootfs, lasting })
    this.#mounted = true
  }

  async unmount(): Promise<void> {
    await unmount(this.rootfs)
    this.#mounted = false
  }

  /** From the first time on it is a container. Durable, unless it goes when it ends, as a loss of power would end it. */
  async save(record: ContainerRecord): Promise<void> {
    const durable = !record.request.autoRemove
    await replaceFile(join(this.folder, 'container.json'), printRecord(record), { durable })
    this.#record = record
  }

  /**
   * Ends and clears away what is left of a run whose monitor was killed; the container counts as killed, too. One that somebody had frozen for a
   * moment, and was killed himself, goes on. So does one whose start somebody else has begun: then it is alive afterwards, or has ended.
   */
  async recover(): Promise<void> {
    for (const deadline = Date.now() + OTHERS_MS; ; await setTimeout(OTHERS_STEP_MS)) {
      const state = await containerState(this.folder)
      const isLeftFrozen = state.status === 'paused' && existsSync(join(this.folder, PAUSED_FOR_NOW))
      const isUnrecorded = !isAlive(state) && existsSync(join(STATE_ROOT, this.id)) // killed before its monitor had said anything
      const needsRecovery = state.needsRecovery || isUnrecorded
      if (!needsRecovery && !isLeftFrozen) return
      const { connectMonitor, MonitorLives, recoverMonitor } = await import('../../native/monitor.ts') // which most commands need not load
      if (needsRecovery) {
        try {
          return await recoverMonitor(this.folder)
        } catch (error) {
          if (!(error instanceof MonitorLives) || Date.now() > deadline) throw error
          continue
        }
      }
      await using monitor = await connectMonitor(this.folder)
      await monitor.resume()
      await rm(join(this.folder, PAUSED_FOR_NOW), { force: true })
      return
    }
  }

  /** Leaves nothing of it; with its volumes that have no name, if that is asked for. Fine if it is half made, or half removed. */
  async remove({ volumes }: { readonly volumes: boolean }): Promise<void> {
    await this.recover()
    if (isAlive(await containerState(this.folder)))
      throw new Error(`the container ${this.id} has just been started by another command; try again`)
    await this.unmount()
    const doomed = join(dirname(this.folder), `${REMOVED}${this.id}`)
    const record = this.#record
    if (this.folder !== doomed) {
      if (volumes && record?.mounts.some(({ volume }) => volume?.anonymous))
        writeFileSync(join(this.folder, WITH_VOLUMES), '')
      if (record === undefined || existsSync(join(this.folder, RENAMED)))
        await this.#neighbours.names.releaseAll(this.id)
      else await this.#neighbours.names.release(this.id, record.name)
      try {
        renameSync(this.folder, doomed)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // it was never made
      }
    }
    if (record !== undefined && existsSync(join(doomed, WITH_VOLUMES))) await this.#removeVolumes(record)
    await removeTree(doomed)
  }

  /** Those that somebody else uses stay, those that have gone are no error. */
  async #removeVolumes({ mounts }: ContainerRecord): Promise<void> {
    const { volumes, usersOf } = this.#neighbours
    for (const { volume } of mounts) if (volume?.anonymous) await volumes.removeUnused(volume.name, usersOf)
  }

  /** Lets it go. Fine more than once. */
  async close(): Promise<void> {
    await this.#lock.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** The uppermost first. Images have the same layer more than once, overlayfs takes each once: the uppermost has all that the others would show. */
export const lowerFolders = (layers: readonly string[]): readonly string[] => [...new Set(layers.toReversed())]

/** The kernel says no more than that something does not fit. */
function explained(error: NodeJS.ErrnoException, root: string): Error {
  if (error.errno !== constants.errno.EINVAL) return error
  return new Error(
    `the disk of the store (${root}) can carry no overlay: it is one itself, as inside of a container, or lacks what overlays need. Put the store on another one, such as a volume or a tmpfs, with --root DIR or GANTRY_ROOT`,
    { cause: error },
  )
}

/** `folder`: a container's. */
export function copiedBecause(folder: string): string | undefined {
  try {
    return readFileSync(join(folder, COPIED), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
