/**
 * Containers: a folder each, with a record, the bundle its monitor is given, and what the container writes over its image's layers. Who changes
 * a container holds its lock meanwhile. A folder without a record whose lock is free is what a killed command left of one that was being made,
 * or removed; any later command clears it away.
 */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { randomHex } from '../../native/random.ts'
import type { HeldLock } from '../store/locks.ts'
import type { StoreFolders } from '../store/store.ts'
import { Container, type Neighbours, PAUSED_FOR_NOW, REMOVED } from './container.ts'
import { Names } from './names.ts'
import { type ContainerRecord, parseRecord } from './record.ts'
import { containerState, isAlive } from './state.ts'
import { Volumes } from './volumes.ts'

/** Nothing goes by that name, or more than one thing. */
export class NoSuchContainer extends Error {
  override readonly name = 'NoSuchContainer'
}

/** Its record is there, and cannot be read. */
export interface DamagedContainer {
  readonly id: string
  readonly error: Error
}

const ID = /^[0-9a-f]{64}$/

/** Of those that were made in the same millisecond any, but always the same one. */
function byAge(a: ContainerRecord, b: ContainerRecord): number {
  if (a.created !== b.created) return a.created < b.created ? -1 : 1
  return a.id < b.id ? -1 : 1
}
const SHOWN_CANDIDATES = 5

export class Containers {
  readonly names: Names
  readonly volumes: Volumes
  readonly #store: StoreFolders
  readonly #neighbours: Neighbours

  constructor(store: StoreFolders) {
    this.#store = store
    this.names = new Names(store)
    this.volumes = new Volumes(store)
    const { names, volumes } = this
    this.#neighbours = { names, volumes, usersOf: (volume) => this.usersOf(volume) }
  }

  /** The ids of the containers that name a volume. */
  async usersOf(volume: string): Promise<readonly string[]> {
    const records = await this.list()
    return records.filter(({ mounts }) => mounts.some((mount) => mount.volume?.name === volume)).map(({ id }) => id)
  }

  /** The newest last. What has no record is not a container. Throws if one cannot be read: nobody knows then what is in use. */
  async list(): Promise<readonly ContainerRecord[]> {
    const { whole, damaged } = await this.inventory()
    const [first] = damaged
    if (first) throw first.error
    return whole
  }

  /** The newest last, and those whose records cannot be read. */
  async inventory(): Promise<{
    readonly whole: readonly ContainerRecord[]
    readonly damaged: readonly DamagedContainer[]
  }> {
    const whole: ContainerRecord[] = []
    const damaged: DamagedContainer[] = []
    for (const id of await this.#ids()) {
      try {
        const record = await this.read(id)
        if (record) whole.push(record)
      } catch (error) {
        damaged.push({ id, error: error as Error })
      }
    }
    return { whole: whole.toSorted(byAge), damaged }
  }

  folder(id: string): string {
    return join(this.#store.containers, id)
  }

  /** By id, by name, or by the beginning of an id, in this order. Throws `NoSuchContainer`. */
  async find(reference: string): Promise<ContainerRecord> {
    const wanted = reference.replace(/^\//, '')
    if (ID.test(wanted)) {
      const record = await this.read(wanted)
      if (record) return record
    }
    const named = this.names.lookUp(wanted)
    const byName = named === undefined ? undefined : await this.read(named)
    if (byName?.name === wanted) return byName
    const ids = /^[0-9a-f]{1,64}$/.test(wanted) ? (await this.#ids()).filter((id) => id.startsWith(wanted)) : []
    const records = (await Promise.all(ids.map((id) => this.read(id)))).filter((record) => record !== undefined)
    if (records.length > 1) {
      const candidates = records.slice(0, SHOWN_CANDIDATES).map(({ id, name }) => `${id.slice(0, 12)} (${name})`)
      throw new NoSuchContainer(
        `${wanted} is the beginning of ${records.length} containers' ids: ${candidates.join(', ')}; give more of it`,
      )
    }
    const [record] = records
    if (record === undefined)
      throw new NoSuchContainer(`no such container: ${reference}; \`gantry ps -a\` lists those that are here`)
    return record
  }

  /** A new one's folder, which is ours alone until its record is written. */
  async begin(): Promise<Container> {
    const id = randomHex(32)
    const lock = await this.#store.lock(`container ${id}`, 'exclusive')
    const container = new Container(this.folder(id), lock, undefined, this.#neighbours)
    try {
      mkdirSync(container.folder, { mode: 0o700 })
      for (const name of ['rootfs', 'upper', 'work']) mkdirSync(join(container.folder, name), { mode: 0o755 })
      chmodSync(join(container.folder, 'upper'), 0o755) // whatever the umask: it is the root of the container's users
      return container
    } catch (error) {
      await container.remove({ volumes: false })
      await container.close()
      throw error
    }
  }

  /** One that is there, locked, so that nobody else changes it. Throws `NoSuchContainer`. */
  async open(reference: string): Promise<Container> {
    const { id } = await this.find(reference)
    const lock = await this.#store.lock(`container ${id}`, 'exclusive')
    const record = await this.read(id) // as it is now that nobody changes it
    if (record === undefined) {
      await lock.release()
      throw new NoSuchContainer(`no such container: ${reference}; it has just been removed`)
    }
    return new Container(this.folder(id), lock, record, this.#neighbours)
  }

  /** The one whose id begins so and whose record cannot be read, locked: all that can be done with it is to remove it. */
  async openDamaged(beginning: string): Promise<Container | undefined> {
    const chosen = (await this.inventory()).damaged.filter(({ id }) => id.startsWith(beginning))
    const [first] = chosen
    if (first === undefined || chosen.length > 1) return undefined
    const lock = await this.#store.lock(`container ${first.id}`, 'exclusive')
    return new Container(this.folder(first.id), lock, undefined, this.#neighbours)
  }

  /** Whether the container of that id has that name. Somebody who is just making it has it, too. */
  async hasName(id: string, name: string): Promise<boolean> {
    const record = await this.read(id)
    if (record) return record.name === name
    if ((await lstat(this.folder(id)).catch(() => undefined)) === undefined) return false
    await using free = await this.#store.tryLock(`container ${id}`, 'exclusive')
    return free === undefined
  }

  /**
   * Takes down what killed commands left behind. Resolves to what went wrong: one that cannot be taken down now is tried again by the next
   * command, and is in nobody's way. `waits`: also for those that were to go, and that somebody holds who has just seen them end.
   */
  async cleanUp({ waits = false }: { readonly waits?: boolean } = {}): Promise<readonly string[]> {
    const problems: string[] = []
    for (const name of readdirSync(this.#store.containers)) {
      const id = name.replace(REMOVED, '')
      try {
        if (!name.startsWith(REMOVED) && (await needsNobody(this.folder(id)))) continue
        const record = name.startsWith(REMOVED) ? undefined : await this.read(id)
        if (record !== undefined && !(await isDown(this.folder(id), record))) continue
        const mayWait = waits && record?.request.autoRemove === true
        const lock = await this.#store[mayWait ? 'lock' : 'tryLock'](`container ${id}`, 'exclusive')
        if (lock !== undefined) await this.#takeDown(name, lock)
      } catch (error) {
        problems.push(`cannot clean up what is left of the container ${id.slice(0, 12)}: ${(error as Error).message}`)
      }
    }
    return problems
  }

  async #takeDown(name: string, lock: HeldLock): Promise<void> {
    await using _ = lock
    const folder = join(this.#store.containers, name)
    const removed = name.startsWith(REMOVED)
    const record = await this.read(name)
    if (record !== undefined && !removed && !(await isDown(folder, record))) return // it was started meanwhile
    const container = new Container(folder, lock, record, this.#neighbours)
    const ended = (await containerState(folder)).status !== 'paused'
    if (removed || record === undefined || (record.request.autoRemove && ended))
      await container.remove({ volumes: true })
    else await container.recover()
  }

  async #ids(): Promise<readonly string[]> {
    return readdirSync(this.#store.containers).filter((name) => ID.test(name))
  }

  /** `undefined` if it is not there, or not finished: an empty record is that of a container that was to be removed, and the power was lost. */
  async read(id: string): Promise<ContainerRecord | undefined> {
    try {
      const text = readFileSync(join(this.folder(id), 'container.json'), 'utf8') // here and now: it is small
      return text === '' ? undefined : parseRecord(text)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw new Error(`the record of the container ${id.slice(0, 12)} cannot be read: ${(error as Error).message}`, {
        cause: error,
      })
    }
  }
}

/** Of most containers that is all there is to know: that they run. */
async function needsNobody(folder: string): Promise<boolean> {
  const state = await containerState(folder)
  return isAlive(state) && state.status !== 'paused'
}

/** Whether something is left of it that should not be: it ran, and does not any more, and nobody has taken it down; or it is frozen, and nobody has let it go on. */
async function isDown(folder: string, record: ContainerRecord): Promise<boolean> {
  const state = await containerState(folder)
  if (state.status === 'paused') return existsSync(join(folder, PAUSED_FOR_NOW))
  return state.needsRecovery || (state.status === 'exited' && (record.request.autoRemove ?? false))
}
