/** A further process in a running container: what its first process may do and sees, with what was asked to be different. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { uniqueName } from '../../native/random.ts'
import { DEFAULT_EXECUTABLE } from '../../native/runtime.ts'
import { isFull } from '../store/disk-full.ts'
import { ownIds } from '../store/own-ids.ts'
import { accountFiles } from './bundle.ts'
import { chosenCapabilities } from './capabilities.ts'
import type { House } from './house.ts'
import { look, WrongState } from './lifecycle.ts'
import { execEnvironment, workingDirectory } from './process-spec.ts'
import type { ContainerRecord } from './record.ts'
import { RequestError } from './request-error.ts'
import { capabilitySets } from './spec.ts'
import { StartError } from './start.ts'
import { STATE_ROOT } from './state-root.ts'
import { resolveUser, userHere } from './user.ts'

export interface ExecRequest {
  readonly command: readonly string[]
  /** `NAME=VALUE`, or `NAME` to take the variable away. */
  readonly environment?: readonly string[]
  readonly workingDirectory?: string
  /** Else the container's. */
  readonly user?: string
  readonly privileged?: boolean
  /** A pseudo-terminal of its own, joined to this process's unless it is `detached`. */
  readonly terminal?: boolean
}

export interface RunningExec {
  /** Of the runtime that stays with it: signals to it are passed on. */
  readonly child: ChildProcess
  /** Its exit code, 128+n for a signal; 0 of one that runs `detached`. Throws `StartError` if it could not be started. */
  readonly exited: Promise<number>
  /** Resolves if it goes on without us: the keys to leave were typed. */
  readonly left: Promise<void>
}

export interface ExecAttachment {
  /** What becomes its 0, 1 and 2. */
  readonly stdio: readonly ['ignore' | 'inherit' | 'pipe', 'ignore' | 'inherit' | 'pipe', 'ignore' | 'inherit' | 'pipe']
  /** Nobody stays with it. */
  readonly detached?: boolean
  /** Of one with a terminal: what is to be typed to leave it. */
  readonly detachKeys?: Buffer
}

/** Throws `NoSuchContainer`, `WrongState`, `RequestError`, `UserError`. */
export async function startExec(
  house: House,
  reference: string,
  request: ExecRequest,
  { stdio, detached = false, detachKeys = Buffer.alloc(0) }: ExecAttachment,
): Promise<RunningExec> {
  const { record, folder, state } = await look(house, reference)
  if (state.status === 'paused') throw new WrongState(`the container ${reference} is paused: unpause it before exec`)
  if (state.status !== 'running') throw new WrongState(`the container ${reference} is not running`)
  const files = await writeProcess(folder, JSON.stringify(await processOf(record, folder, state.pid, request)))
  const words = [
    '--root',
    STATE_ROOT,
    '--log',
    `${files}.log`,
    '--log-format',
    'json',
    'exec',
    '--process',
    `${files}.json`,
  ]
  const leaving = request.terminal ? [`--detach-keys=${detachKeys.toString('hex')}`] : []
  const child = spawn(DEFAULT_EXECUTABLE, [...words, ...(detached ? ['--detach'] : []), ...leaving, record.id], {
    stdio: [...stdio, ...(request.terminal ? ['pipe' as const] : [])],
  })
  const left = Promise.withResolvers<void>()
  const notice = child.stdio[NOTICE] as Readable | undefined | null
  notice?.once('data', () => {
    notice.destroy()
    child.unref() // it stays, to hold the terminal
    left.resolve()
  })
  notice?.on('error', () => {}) // how it ended is told elsewhere
  const exited = finished(child, files, detached && request.terminal ? left.promise : undefined)
  exited.catch(() => {}) // whoever awaits it gets the rejection
  return { child, exited, left: left.promise.then(() => removeFiles(files)) }
}

/**
 * What the runtime is to run, as the file `….json`; resolves to that without its ending. It goes with the container's folder if nobody is left
 * to remove it; where that disk is full, and somebody wants to look why, it lies beside the runtime's state.
 */
async function writeProcess(folder: string, text: string): Promise<string> {
  const name = `exec-${uniqueName()}`
  try {
    await writeFile(`${join(folder, name)}.json`, text, { mode: 0o600 })
    return join(folder, name)
  } catch (error) {
    await removeFiles(join(folder, name))
    if (!isFull(error)) throw error
    const files = join(dirname(STATE_ROOT), `gantry-${name}`)
    await writeFile(`${files}.json`, text, { mode: 0o600 })
    return files
  }
}

/** Where the runtime says that it was left (native/src/runtime/foreground.h). */
const NOTICE = 3

/** `left`: nobody waits for longer than that. */
async function finished(child: ChildProcess, files: string, left?: Promise<void>): Promise<number> {
  try {
    const ended = await Promise.race([once(child, 'exit'), ...(left ? [left] : [])])
    if (ended === undefined) return 0
    const [code, signal] = ended as [number | null, NodeJS.Signals | null]
    const failure = code === RUNTIME_FAILED ? await failureIn(`${files}.log`) : undefined
    if (failure !== undefined) throw new StartError(failure, failedExitCode(failure))
    return code ?? 128 + constants.signals[signal ?? 'SIGKILL']
  } finally {
    await removeFiles(files)
  }
}

async function removeFiles(files: string): Promise<void> {
  await Promise.all(['json', 'log'].map((kind) => rm(`${files}.${kind}`, { force: true })))
}

/** As the program may end, too; then the log is empty. */
const RUNTIME_FAILED = 255

async function failureIn(log: string): Promise<string | undefined> {
  const lines = (await readFile(log, 'utf8').catch(() => '')).trim().split('\n')
  for (const line of lines.toReversed()) {
    if (line === '') continue
    const { level, msg } = JSON.parse(line) as { readonly level?: string; readonly msg?: string }
    if (level === 'error' && msg !== undefined) return msg
  }
  return undefined
}

/** Docker's: 127 if it is not there, 126 for anything else that stopped it. */
const failedExitCode = (message: string): number =>
  !/chdir to cwd/.test(message) && /executable file not found|no such file or directory|not a directory/.test(message)
    ? 127
    : 126

/** `process` of the runtime specification. What the container's own was told to do is in its bundle. */
async function processOf(record: ContainerRecord, folder: string, pid: number, request: ExecRequest): Promise<object> {
  const [first = ''] = request.command
  if (first === '') throw new RequestError('exec: "": executable file not found in $PATH', 127)
  const bundle = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as {
    readonly process: {
      readonly env: readonly string[]
      readonly cwd: string
      readonly user: object
      readonly capabilities: object
    }
  }
  const base = bundle.process
  const root = `/proc/${pid}/root` // with what is mounted in it, and as its processes see it
  const user =
    request.user === undefined ? undefined : userHere(resolveUser(request.user, accountFiles(root)), ownIds())
  const bounding = chosenCapabilities(request.privileged ? { privileged: true } : record.request)
  return {
    ...base,
    terminal: request.terminal ?? false,
    args: request.command,
    env: execEnvironment(
      user === undefined ? base.env : [...base.env.filter((each) => !each.startsWith('HOME=')), `HOME=${user.home}`],
      request.environment ?? [],
      request.terminal ?? false,
    ),
    cwd:
      request.workingDirectory === undefined
        ? base.cwd
        : workingDirectory({}, { workingDirectory: request.workingDirectory }),
    user: user === undefined ? base.user : { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
    capabilities:
      user === undefined && !request.privileged ? base.capabilities : capabilitySets(user ?? { uid: 0 }, bounding),
    ...(request.privileged ? { noNewPrivileges: false } : {}),
  }
}
