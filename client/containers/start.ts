/** A container is started: its root is mounted, its bundle and its monitor's plan are written, and the monitor starts it. */
import { constants } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type MonitorConnection, startMonitor } from '../../native/monitor.ts'
import { type MonitorPlan, writeMonitorPlan } from '../../native/monitor-plan.ts'
import { RuntimeError } from '../../native/runtime.ts'
import { hostnameOf, writeBundle } from './bundle.ts'
import type { Container } from './container.ts'
import { healthPlan } from './health.ts'
import type { House } from './house.ts'
import { limitsHere, recordLimits } from './limits.ts'
import { parseSignal } from './quantities.ts'
import type { ContainerRecord } from './record.ts'
import type { ContainerRequest } from './request.ts'
import { hasOwnNetwork, type SpecInput } from './spec.ts'
import { containerState, isAlive } from './state.ts'
import { STATE_ROOT } from './state-root.ts'

/** The container could not be started; `exitCode` is what docker exits with. */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly exitCode: number

  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

export interface StartOptions {
  readonly consoleSize?: { readonly columns: number; readonly rows: number }
  /** Nobody stays to remove a container that is to be removed when it ends: somebody has to be sent. */
  readonly detached: boolean
  /** Called before anything runs, so that whoever attaches misses nothing. */
  readonly beforeStart?: (connection: MonitorConnection) => Promise<void>
  /** Called before it starts, with what will not be as it was asked for. */
  readonly onWarning?: ((warning: string) => void) | undefined
}

const START_FAILED = 125
const DEFAULT_STOP_MS = 10_000
const SECOND_MS = 1000
const SIGTERM = 15

/**
 * Resolves once its program runs, to the connection with its monitor; to `undefined` if it ran already. Throws `RequestError`, `UserError`,
 * `StartError`.
 */
export async function startContainer(
  house: House,
  container: Container,
  options: StartOptions,
): Promise<MonitorConnection | undefined> {
  if (isAlive(await containerState(container.folder))) return undefined
  await container.recover()
  if (isAlive(await containerState(container.folder))) return undefined // another command was first
  const { record } = container
  await container.mount(record.layers, { lasting: !record.request.autoRemove })
  const others = await neighbours(house, record.request)
  const limits = limitsHere(record.id, record.request)
  recordLimits(container.folder, limits)
  if (limits.warning !== undefined) options.onWarning?.(limits.warning)
  await writeBundle({
    folder: container.folder,
    id: record.id,
    image: record.process,
    architecture: record.architecture,
    request: limits.request,
    mounts: record.mounts,
    ...others,
    ...(options.consoleSize ? { consoleSize: options.consoleSize } : {}),
  })
  writeMonitorPlan(container.folder, monitorPlan(house, record, others.joined, options.detached))
  const connection = await startMonitor(container.folder).catch(rethrow)
  try {
    await options.beforeStart?.(connection)
    await connection.start().catch(rethrow)
    return connection
  } catch (error) {
    await connection[Symbol.asyncDispose]()
    throw error
  }
}

/** The plan of one run. Throws `RequestError`. */
export function monitorPlan(
  house: House,
  record: ContainerRecord,
  joined: SpecInput['joined'],
  detached: boolean,
): MonitorPlan {
  const { request, process } = record
  const health = healthPlan(request.health, process.Healthcheck)
  const { stopTimeoutSeconds, stopSignal = process.StopSignal } = request
  return {
    id: record.id,
    stateRoot: STATE_ROOT,
    terminal: request.terminal ?? false,
    lasting: !request.autoRemove,
    stdin: !request.interactive ? 'none' : detached ? 'open' : 'once',
    ownNetwork: hasOwnNetwork(request, joined),
    log: request.log ?? { driver: 'json-file', maxSizeBytes: 0, maxFiles: 1 },
    restart: request.restart ?? { policy: 'no', maximumRetries: 0 },
    stop: {
      signal: stopSignal ? parseSignal(stopSignal) : SIGTERM,
      timeoutMs:
        stopTimeoutSeconds === undefined
          ? DEFAULT_STOP_MS
          : stopTimeoutSeconds < 0
            ? -1
            : stopTimeoutSeconds * SECOND_MS,
    },
    ...(health ? { health } : {}),
    ...(request.autoRemove && detached
      ? {
          onExit: {
            args: [...ourCommand(), '--root', house.store.root, 'system', 'clean-up'],
            env: [
              `PATH=${[globalThis.process.env['PATH'], dirname(globalThis.process.execPath)].filter(Boolean).join(':')}`,
              `HOME=${globalThis.process.env['HOME'] ?? '/'}`,
              `GANTRY_STATE_ROOT=${STATE_ROOT}`,
            ],
          },
        }
      : {}),
  }
}

/** The command `gantry`, which needs no Node for most containers; it was built if they can be run. */
const ourCommand = (): readonly string[] => [fileURLToPath(new URL('../../native/build/gantry', import.meta.url))]

const NAMESPACES = { pid: 'pid', ipc: 'ipc', network: 'net' } as const

/** Of the containers whose namespaces this one joins. */
async function neighbours(
  house: House,
  request: ContainerRequest,
): Promise<{ joined?: SpecInput['joined']; networkFiles?: { folder: string; hostname: string } }> {
  const joined: { -readonly [type in keyof typeof NAMESPACES]?: string } = {}
  let networkFiles: { folder: string; hostname: string } | undefined
  for (const [type, file] of Object.entries(NAMESPACES) as ['pid' | 'ipc' | 'network', string][]) {
    const [, reference] = /^container:(.+)$/.exec(request[type] ?? '') ?? []
    if (reference === undefined) continue
    const other = await house.containers.find(reference)
    if (type === 'ipc' && other.request.ipc !== 'shareable' && other.request.ipc !== 'host')
      throw new StartError(
        `cannot join the ipc namespace of ${other.name}: it is private; make that container with --ipc shareable`,
        START_FAILED,
      )
    const folder = house.containers.folder(other.id)
    const { pid, status, networkNamespace } = await containerState(folder)
    const held = type === 'network' ? networkNamespace : '' // also while nothing runs in it
    if (pid === 0 && held === '')
      throw new StartError(
        `cannot join the ${type} namespace of ${other.name}: that container is ${status}, start it first`,
        START_FAILED,
      )
    joined[type] = held !== '' ? held : `/proc/${pid}/ns/${file}`
    if (type === 'network') networkFiles = { folder, hostname: hostnameOf({ id: other.id, request: other.request }) }
  }
  return { ...(Object.keys(joined).length > 0 ? { joined } : {}), ...(networkFiles ? { networkFiles } : {}) }
}

const NOT_FOUND = new Set<number>([constants.errno.ENOENT, constants.errno.ENOTDIR])
const NOT_EXECUTABLE = new Set<number>([
  constants.errno.EACCES,
  constants.errno.EISDIR,
  constants.errno.ENOEXEC,
  constants.errno.EPERM,
])

/** 127: the command is not there; 126: it cannot be executed; 125: anything else that went wrong before it. */
function startExitCode({ step, errno }: RuntimeError): number {
  if (step !== 'exec') return START_FAILED
  if (NOT_FOUND.has(errno)) return 127
  return NOT_EXECUTABLE.has(errno) ? 126 : START_FAILED
}

function rethrow(cause: unknown): never {
  if (!(cause instanceof RuntimeError)) throw cause
  throw new StartError(cause.message, startExitCode(cause), { cause })
}
