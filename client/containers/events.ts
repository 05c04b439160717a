/**
 * What happens to containers, seen in what their records and monitors write: nobody has to be there to tell. What happened before somebody looked is not
 * remembered; of what happens faster than it can be looked at, the last is told.
 */
import { type FSWatcher, watch } from 'node:fs'
import { readdir } from 'node:fs/promises'
import type { House } from './house.ts'
import type { ContainerRecord } from './record.ts'
import { type ContainerState, containerState, isAlive } from './state.ts'

export interface ContainerEvent {
  /** Docker's words: create, start, die, stop, oom, pause, unpause, rename, destroy, health_status: healthy. */
  readonly action: string
  readonly record: ContainerRecord
  /** What docker tells beside image, name and labels. */
  readonly attributes: Readonly<Record<string, string>>
  /** RFC 3339. */
  readonly time: string
}

interface Seen {
  readonly record: ContainerRecord
  readonly state: ContainerState
}

const ID = /^[0-9a-f]{64}$/
/** A monitor that is killed writes nothing any more, so that it has to be looked for. */
const LOOK_AGAIN_MS = 1000

/** From now on, until the signal. */
export async function* containerEvents(house: House, signal: AbortSignal): AsyncGenerator<ContainerEvent> {
  const folders = new Folders(house.store.containers)
  try {
    const known = new Map<string, Seen>()
    for (const id of await folders.ids()) {
      const seen = await look(house, id)
      if (seen) known.set(id, seen)
    }
    while (!signal.aborted) {
      for (const id of new Set([...(await folders.ids()), ...known.keys()])) {
        const [before, after] = [known.get(id), await look(house, id)]
        if (after) known.set(id, after)
        else known.delete(id)
        yield* changes(before, after)
      }
      await folders.change(signal)
    }
  } finally {
    folders.close()
  }
}

/** `undefined` if it is not there, or not finished. */
async function look({ containers }: House, id: string): Promise<Seen | undefined> {
  const record = await containers.read(id)
  return record && { record, state: await containerState(containers.folder(id)) }
}

/** In the order in which they happened. Pure but for the time of what nobody wrote down. */
function changes(before: Seen | undefined, after: Seen | undefined): readonly ContainerEvent[] {
  const found: ContainerEvent[] = []
  const record = (after ?? before)?.record
  if (record === undefined) return found
  const now = new Date().toISOString()
  const tell = (action: string, time = now, attributes: Readonly<Record<string, string>> = {}): void =>
    void found.push({ action, record, attributes, time })
  if (before === undefined) tell('create', record.created)
  const [was, is] = [before?.state, after?.state]
  const ranBefore = was !== undefined && isAlive(was) && was.status !== 'restarting'
  const runs = is !== undefined && isAlive(is) && is.status !== 'restarting'
  const startedAnew = is !== undefined && is.startedAt !== '' && is.startedAt !== (was?.startedAt ?? '')
  const ended = (state: ContainerState): void => {
    if (state.oomKilled) tell('oom', state.finishedAt || now)
    tell('die', state.finishedAt || now, { exitCode: `${state.exitCode}` })
    if (state.stoppedByUser) tell('stop', state.finishedAt || now)
  }
  if (ranBefore && is && (startedAnew || !runs)) ended(startedAnew && runs ? { ...is, stoppedByUser: false } : is)
  if (startedAnew && is) {
    tell('start', is.startedAt)
    if (!runs && !ranBefore) ended(is)
  }
  if (was && is && runs && !startedAnew) {
    if (is.status === 'paused' && was.status !== 'paused') tell('pause')
    if (is.status !== 'paused' && was.status === 'paused') tell('unpause')
  }
  if (runs && is.health && is.health.status !== (was?.health?.status ?? 'starting'))
    tell(`health_status: ${is.health.status}`)
  if (before && after && before.record.name !== after.record.name)
    tell('rename', now, { oldName: `/${before.record.name}` })
  if (before && after === undefined) {
    if (ranBefore) tell('die', now, { exitCode: '137' })
    tell('destroy')
  }
  return found
}

/** The folders of containers, watched. */
class Folders {
  readonly #folder: string
  readonly #watchers = new Map<string, FSWatcher>()
  #changed = Promise.withResolvers<void>()

  constructor(folder: string) {
    this.#folder = folder
    this.#watch('.')
  }

  /** Of those that are there; from now on each is watched. */
  async ids(): Promise<readonly string[]> {
    const ids = (await readdir(this.#folder)).filter((name) => ID.test(name))
    for (const name of this.#watchers.keys()) if (name !== '.' && !ids.includes(name)) this.#forget(name)
    for (const id of ids) if (!this.#watchers.has(id)) this.#watch(id)
    return ids
  }

  /** Resolves when something changes, after a while in any case, and at the signal. */
  async change(signal: AbortSignal): Promise<void> {
    const wake = (): void => this.#changed.resolve()
    const timer = setTimeout(wake, LOOK_AGAIN_MS)
    signal.addEventListener('abort', wake)
    await this.#changed.promise
    clearTimeout(timer)
    signal.removeEventListener('abort', wake)
    this.#changed = Promise.withResolvers()
  }

  close(): void {
    for (const name of this.#watchers.keys()) this.#forget(name)
  }

  #watch(name: string): void {
    try {
      const watcher = watch(`${this.#folder}/${name}`, () => this.#changed.resolve())
      watcher.on('error', () => this.#forget(name))
      this.#watchers.set(name, watcher)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // it has gone
    }
  }

  #forget(name: string): void {
    this.#watchers.get(name)?.close()
    this.#watchers.delete(name)
  }
}
