/**
 * Containers for programs: `import { run, exec, containers } from 'gantry'`. What a container says and is told are streams, its end is a promise; an
 * `AbortSignal` or the end of an `await using` ends it. The command line is made of the same pieces.
 */
import type { Readable, Writable } from 'node:stream'
import { type LogEntry, type LogOptions, readContainerLog } from '../native/container-log.ts'
import { connectMonitor, type MonitorConnection, MonitorGone } from '../native/monitor.ts'
import { type CommitOptions, commitContainer } from './containers/commit.ts'
import { createContainer } from './containers/create.ts'
import { type ExecRequest, startExec } from './containers/exec.ts'
import { exportContainer } from './containers/export.ts'
import { type House, openHouse } from './containers/house.ts'
import { inspectContainer } from './containers/inspect.ts'
import { killContainer, look, removeContainer, stopContainer, waitForContainer } from './containers/lifecycle.ts'
import { limitsNotInForce } from './containers/limits.ts'
import { parseSignal } from './containers/quantities.ts'
import type { ContainerRecord } from './containers/record.ts'
import type { ContainerRequest } from './containers/request.ts'
import { startContainer } from './containers/start.ts'
import { type ContainerState, containerState } from './containers/state.ts'
import { Images, type LocalImage } from './images/images.ts'
import { parseImageName } from './model/image-name.ts'
import { storeRoot } from './store/store.ts'

export interface StoreOptions {
  /** The local store; else `GANTRY_ROOT`, else /var/lib/gantry. */
  readonly root?: string
}

interface WarningOptions {
  /** Told, before it starts, what will not be as it was asked for: limits, where an ordinary user has no control groups. */
  readonly onWarning?: (warning: string) => void
}

export interface RunOptions extends ContainerRequest, StoreOptions, WarningOptions {
  /** Its abort kills the container. */
  readonly signal?: AbortSignal
  /** Whether an image that is not here is fetched. It is, unless this is `never`. */
  readonly pull?: 'missing' | 'never'
}

/** A container that we stay with. Its disposal ends it, and removes it if it was to be removed. */
export interface StayedWith extends AsyncDisposable {
  readonly id: string
  readonly name: string
  /** At its end at once unless `interactive` was asked for. */
  readonly stdin: Writable
  /** Have to be read (or `resume()`d): the container waits for its reader, as for a pipe. A terminal has everything in the first. */
  readonly stdout: Readable
  readonly stderr: Readable
  /** 128+n for a signal. */
  readonly exited: Promise<number>
  kill(signal?: string): Promise<void>
  /** By its stop signal, and after its time by SIGKILL. */
  stop(): Promise<void>
}

/**
 * Runs a container and stays with it. Throws `RequestError` for what cannot be meant, `StartError` (with docker's `exitCode`) for a program that
 * cannot be started; then nothing runs.
 *
 *     await using hello = await run('localhost:5000/debian', { command: ['echo', 'hi'], autoRemove: true })
 *     for await (const chunk of hello.stdout) process.stdout.write(chunk)
 *     console.log(await hello.exited)
 */
export async function run(image: string, options: RunOptions = {}): Promise<StayedWith> {
  const { root, signal, pull = 'missing', onWarning, ...request } = options
  signal?.throwIfAborted()
  const house = await houseAt(root)
  const container = await createContainer(house, await present(house, image, pull, signal), request)
  const { id, name } = container.record
  const remove = async (): Promise<void> => {
    if (request.autoRemove) await removeContainer(house, id, { force: true, volumes: true }).catch(unlessGone)
  }
  try {
    let streams: Awaited<ReturnType<MonitorConnection['attach']>> | undefined
    const connection = await startContainer(house, container, {
      detached: false,
      onWarning,
      beforeStart: async (monitor) => {
        streams = await monitor.attach({ input: request.interactive ?? false, whenSlow: 'wait' })
      },
    })
    await container.close()
    if (connection === undefined || streams === undefined)
      throw new Error(`the container ${name} was started by somebody else`)
    if (!request.interactive) streams.stdin.end()
    const exited = exitOf(house, connection, id).finally(remove)
    exited.catch(() => {}) // whoever awaits it gets the rejection
    const kill = async (what = 'KILL'): Promise<void> =>
      await killContainer(house, id, parseSignal(what)).catch(unlessGone)
    const abort = (): void => void kill()
    signal?.addEventListener('abort', abort)
    if (signal?.aborted) abort()
    exited.finally(() => signal?.removeEventListener('abort', abort)).catch(() => {})
    return {
      id,
      name,
      ...streams,
      exited,
      kill,
      stop: () => stopContainer(house, id).catch(unlessGone),
      [Symbol.asyncDispose]: async () => {
        streams?.stdout.resume()
        streams?.stderr.resume()
        await kill()
        await exited.catch(() => {})
        await connection[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await container.close()
    await remove()
    throw error
  }
}

/** Its monitor's word, or what it wrote down. */
async function exitOf(house: House, connection: MonitorConnection, id: string): Promise<number> {
  try {
    return (await connection.ended()).exitCode
  } catch (error) {
    if (!(error instanceof MonitorGone)) throw error
    return (await containerState(house.containers.folder(id))).exitCode
  }
}

export interface ExecOptions extends Omit<ExecRequest, 'command' | 'terminal'>, StoreOptions {
  readonly signal?: AbortSignal
}

export interface Executed {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  /** 128+n for a signal. */
  readonly exited: Promise<number>
}

/** A further process in a running container, by name, id or the beginning of an id. Throws `NoSuchContainer`, `WrongState`, `RequestError`. */
export async function exec(
  container: string,
  command: readonly string[],
  options: ExecOptions = {},
): Promise<Executed> {
  const { root, signal, ...request } = options
  signal?.throwIfAborted()
  const { child, exited } = await startExec(
    await houseAt(root),
    container,
    { ...request, command },
    { stdio: ['pipe', 'pipe', 'pipe'] },
  )
  const { stdin, stdout, stderr } = child
  if (!stdin || !stdout || !stderr) throw new Error('the process has no streams')
  stdin.on('error', () => {}) // it need not read what it is given
  const abort = (): void => void child.kill('SIGKILL')
  signal?.addEventListener('abort', abort)
  exited.finally(() => signal?.removeEventListener('abort', abort)).catch(() => {})
  return { stdin, stdout, stderr, exited }
}

export interface ListedContainer {
  readonly record: ContainerRecord
  readonly state: ContainerState
}

/** The containers of a store: `for (const { record, state } of await containers().list())`. References are names, ids, or beginnings of ids. */
export function containers({ root }: StoreOptions = {}) {
  const house = houseAt(root)
  house.catch(() => {}) // whoever uses it gets the rejection
  return {
    /** All, the newest last. */
    async list(): Promise<readonly ListedContainer[]> {
      const { containers } = await house
      return await Promise.all(
        (await containers.list()).map(async (record) => ({
          record,
          state: await containerState(containers.folder(record.id)),
        })),
      )
    },
    /** Makes one without starting it; resolves to its id. The image has to be here. */
    async create(image: string, request: ContainerRequest = {}): Promise<string> {
      await using container = await createContainer(await house, await present(await house, image, 'never'), request)
      return container.id
    },
    /** Resolves once its program runs; fine if it does. It goes on without us. */
    async start(reference: string, { onWarning }: WarningOptions = {}): Promise<void> {
      await using container = await (await house).containers.open(reference)
      const connection = await startContainer(await house, container, { detached: true, onWarning })
      await connection?.[Symbol.asyncDispose]()
    },
    async stop(
      reference: string,
      options: { readonly timeoutSeconds?: number; readonly signal?: number } = {},
    ): Promise<void> {
      await stopContainer(await house, reference, options)
    },
    async kill(reference: string, signal = 'KILL'): Promise<void> {
      await killContainer(await house, reference, parseSignal(signal))
    },
    /** Resolves to its exit code, once it has ended. */
    async wait(reference: string, signal?: AbortSignal): Promise<number> {
      return await waitForContainer(await house, reference, signal)
    },
    /** Makes an image of it; without a name it is there by its id. */
    async commit(reference: string, name?: string, options: CommitOptions = {}): Promise<LocalImage> {
      return await commitContainer(
        await house,
        reference,
        name === undefined ? undefined : parseImageName(name),
        options,
      )
    },
    /** Its root filesystem as a tar, without volumes; one that runs goes on meanwhile. */
    async *exported(reference: string): AsyncGenerator<Uint8Array> {
      yield* exportContainer(await house, reference)
    },
    async remove(
      reference: string,
      options: { readonly force?: boolean; readonly volumes?: boolean } = {},
    ): Promise<void> {
      await removeContainer(await house, reference, options)
    },
    /** The document that `gantry inspect` prints. */
    async inspect(reference: string): Promise<object> {
      const { record, state, folder } = await look(await house, reference)
      return inspectContainer(record, state, folder, limitsNotInForce(folder))
    },
    /** What it has said; with `follow` until it ends. */
    async *logs(
      reference: string,
      { follow = false, ...options }: Omit<LogOptions, 'follow'> & { readonly follow?: boolean } = {},
    ): AsyncGenerator<LogEntry> {
      const { folder } = await look(await house, reference)
      yield* readContainerLog(folder, { ...options, ...(follow ? { follow: over(folder) } : {}) })
    },
  }
}

async function over(folder: string): Promise<void> {
  try {
    await using monitor = await connectMonitor(folder)
    await monitor.ended()
  } catch (error) {
    if (!(error instanceof MonitorGone)) throw error
  }
}

const houseAt = (root: string | undefined): Promise<House> => openHouse(storeRoot(root))

async function present(
  { store }: House,
  image: string,
  pull: 'missing' | 'never',
  signal?: AbortSignal,
): Promise<LocalImage> {
  const images = new Images(store)
  const found = await images.findNamed(image)
  if (found && (await images.layers.find(found.config.diffIds)) !== undefined) return found
  if (pull === 'never') throw new Error(`no image ${image} is here; pull it first`)
  const { pull: fetch } = await import('./images/transfer.ts')
  return await fetch(found?.name ?? image, { root: store.root, ...(signal ? { signal } : {}) })
}

function unlessGone(error: Error): void {
  if (error.name !== 'NoSuchContainer' && error.name !== 'WrongState') throw error // it has ended, or was removed, by itself
}
