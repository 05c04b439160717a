/** What is done to containers that are there: stop, kill, pause, wait, rename, remove, update. */
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { connectMonitor, type MonitorConnection, MonitorGone } from '../../native/monitor.ts'
import { DEFAULT_EXECUTABLE, execute, RuntimeError } from '../../native/runtime.ts'
import { ownIds } from '../store/own-ids.ts'
import { PAUSED_FOR_NOW, RENAMED } from './container.ts'
import type { House } from './house.ts'
import { limitsHere, recordLimits } from './limits.ts'
import { checkContainerName } from './names.ts'
import type { ContainerRecord } from './record.ts'
import type { ResourceRequest, RestartPolicy } from './request.ts'
import { RequestError } from './request-error.ts'
import { checkResources, resourcesSpec } from './resources.ts'
import { type ContainerState, containerState, isAlive } from './state.ts'
import { STATE_ROOT } from './state-root.ts'

/** It is not in a state in which this can be done. */
export class WrongState extends Error {
  override readonly name = 'WrongState'
}

const SECOND_MS = 1000

export interface Known {
  readonly record: ContainerRecord
  readonly folder: string
  readonly state: ContainerState
}

/** Throws `NoSuchContainer`. */
export async function look(house: House, reference: string): Promise<Known> {
  const record = await house.containers.find(reference)
  const folder = house.containers.folder(record.id)
  return { record, folder, state: await containerState(folder) }
}

/** With the monitor of one that runs; what it resolves to is `undefined` if it does not, or ended just then. */
async function withMonitor<T>(folder: string, use: (monitor: MonitorConnection) => Promise<T>): Promise<T | undefined> {
  try {
    await using monitor = await connectMonitor(folder)
    return await use(monitor)
  } catch (error) {
    if (error instanceof MonitorGone || isJustEnding(error)) return undefined
    throw error
  }
}

/** Its program has ended, and its monitor is about to. */
const isJustEnding = (error: unknown): boolean =>
  error instanceof RuntimeError && /container not running/.test(error.message)

/** Fine if it does not run. A timeout of -1 waits for ever. */
export async function stopContainer(
  house: House,
  reference: string,
  { timeoutSeconds, signal }: { readonly timeoutSeconds?: number; readonly signal?: number } = {},
): Promise<void> {
  const { folder, state } = await look(house, reference)
  if (!isAlive(state)) return
  if (state.status === 'paused') await withMonitor(folder, (monitor) => monitor.resume())
  await withMonitor(folder, (monitor) =>
    monitor.stop({
      ...(signal === undefined ? {} : { signal }),
      ...(timeoutSeconds === undefined ? {} : { timeoutMs: timeoutSeconds < 0 ? -1 : timeoutSeconds * SECOND_MS }),
    }),
  )
}

/** Throws `WrongState` if it does not run. */
export async function killContainer(house: House, reference: string, signal: number): Promise<void> {
  const { folder, state } = await look(house, reference)
  const sent =
    isAlive(state) &&
    (await withMonitor(folder, async (monitor) => {
      await monitor.signal(signal, { noRestart: true })
      return true
    }))
  if (!sent) throw new WrongState(`cannot kill the container ${reference}: it is not running`)
}

/** `forNow`: whoever finds it so, and its lock free, lets it go on (`Containers.cleanUp`). Throws `WrongState`. */
export async function pauseContainer(
  house: House,
  reference: string,
  { forNow = false }: { readonly forNow?: boolean } = {},
): Promise<void> {
  const { folder, state } = await look(house, reference)
  if (state.status === 'paused') throw new WrongState(`the container ${reference} is already paused`)
  if (state.status !== 'running') throw new WrongState(`the container ${reference} is not running`)
  if (forNow) await writeFile(join(folder, PAUSED_FOR_NOW), '')
  else await rm(join(folder, PAUSED_FOR_NOW), { force: true })
  await withMonitor(folder, (monitor) => monitor.pause())
}

/** Throws `WrongState`. */
export async function resumeContainer(house: House, reference: string): Promise<void> {
  const { folder, state } = await look(house, reference)
  if (state.status !== 'paused') throw new WrongState(`the container ${reference} is not paused`)
  await withMonitor(folder, (monitor) => monitor.resume())
}

/** Resolves to its exit code once it has ended for good; at once if it has not been started, or has ended. */
export async function waitForContainer(house: House, reference: string, signal?: AbortSignal): Promise<number> {
  const { folder, state } = await look(house, reference)
  if (!isAlive(state)) return state.exitCode
  const aborted = Promise.withResolvers<never>()
  const abort = (): void => aborted.reject(signal?.reason)
  signal?.addEventListener('abort', abort)
  try {
    const final = await withMonitor(folder, (monitor) => Promise.race([monitor.ended(), aborted.promise]))
    return final ? final.exitCode : (await containerState(folder)).exitCode
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}

/** Throws `RequestError` if the name is taken. */
export async function renameContainer(house: House, reference: string, wanted: string): Promise<void> {
  const name = checkContainerName(wanted)
  await using container = await house.containers.open(reference)
  const { record } = container
  if (record.name === name) throw new RequestError(`the container ${reference} already has the name ${name}`, 1)
  const { names } = house.containers
  const mark = join(container.folder, RENAMED)
  const isFirst = !existsSync(mark)
  await writeFile(mark, '')
  try {
    await names.claim(record.id, name, (id, taken) => house.containers.hasName(id, taken))
    await container.save({ ...record, name }).catch(async (error: unknown) => {
      await names.release(record.id, name)
      throw error
    })
    await names.release(record.id, record.name)
  } finally {
    if (isFirst) await rm(mark)
  }
}

/**
 * `force` kills one that runs, and removes one whose record cannot be read; `volumes`: those without a name go, too. Throws `NoSuchContainer`,
 * `WrongState`.
 */
export async function removeContainer(
  house: House,
  reference: string,
  { force = false, volumes = false }: { readonly force?: boolean; readonly volumes?: boolean } = {},
): Promise<void> {
  let isWhole = true
  await using container = await house.containers.open(reference).catch(async (error: Error) => {
    const damaged = force && /^[0-9a-f]+$/.test(reference) ? await house.containers.openDamaged(reference) : undefined
    if (damaged === undefined) throw error
    isWhole = false
    return damaged
  })
  await container.recover() // it may be alive only then
  for (
    let state = await containerState(container.folder);
    isAlive(state);
    state = await containerState(container.folder)
  ) {
    if (!force)
      throw new WrongState(
        `cannot remove the ${state.status} container ${reference}: stop it first, or remove it with -f`,
      )
    if (state.status === 'paused') await withMonitor(container.folder, (monitor) => monitor.resume())
    const isTold = await withMonitor(container.folder, async (monitor) => {
      await monitor.stop({ signal: SIGKILL, timeoutMs: 0 })
      return true
    })
    if (!isTold) await setTimeout(ENDING_MS) // its monitor hears nobody any more, and is about to end
  }
  await container.remove({ volumes: volumes || (isWhole && (container.record.request.autoRemove ?? false)) })
}

const ENDING_MS = 5
const SIGKILL = 9

export interface ContainerUpdate extends ResourceRequest {
  readonly restart?: RestartPolicy
}

/** Changes the limits, and the policy, of one that is there, running or not. `onWarning` is told what will not be in force. Throws `RequestError`. */
export async function updateContainer(
  house: House,
  reference: string,
  update: ContainerUpdate,
  onWarning: (warning: string) => void = () => {},
): Promise<void> {
  await using container = await house.containers.open(reference)
  const { record } = container
  const state = await containerState(container.folder)
  if (update.restart && update.restart.policy !== 'no' && record.request.autoRemove)
    throw new RequestError(
      'a container that is removed when it ends is not started again: --restart contradicts its --rm',
      1,
    )
  const request = { ...record.request, ...update }
  checkResources(request)
  if (isAlive(state)) {
    const { restart, ...limits } = update
    if (Object.keys(limits).length > 0) {
      const here = limitsHere(record.id, request)
      const resources = resourcesSpec(here.request, [], ownIds())
      if (resources) await applyLimits(record.id, resources)
      recordLimits(container.folder, here)
      if (here.warning !== undefined) onWarning(here.warning)
    }
    if (restart) await withMonitor(container.folder, (monitor) => monitor.setRestartPolicy(restart))
  }
  await container.save({ ...record, request })
}

async function applyLimits(id: string, resources: object): Promise<void> {
  const child = execute(DEFAULT_EXECUTABLE, ['--root', STATE_ROOT, 'update', '--resources', '-', id])
  child.child.stdin?.end(JSON.stringify(resources))
  await child.catch((cause: { readonly stderr?: string }) => {
    throw new Error(`cannot change the limits of the container: ${cause.stderr?.trim() ?? ''}`, { cause })
  })
}
