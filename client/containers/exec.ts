/** A further process in a running container: what its first process may do and sees, with what was asked to be different. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { DEFAULT_EXECUTABLE } from '../../native/runtime.ts'
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
  const document = JSON.stringify(await processOf(record, folder, state.pid, request))
  const words = ['--root', STATE_ROOT, '--log', '/dev/null', 'exec', '--starter'] // with a log it says nothing of what it only warns of
  const leaving = request.terminal ? [`--detach-keys=${detachKeys.toString('hex')}`] : []
  const child = spawn(DEFAULT_EXECUTABLE, [...words, ...(detached ? ['--detach'] : []), ...leaving, record.id], {
    stdio: [...stdio, 'pipe'],
  })
  const runtime = converse(child.stdio[STARTER] as Duplex, document)
  const left = runtime.left.then(() => child.unref()) // it stays, to hold the terminal
  const exited = finished(child, runtime, detached && request.terminal === true)
  exited.catch(() => {}) // whoever awaits it gets the rejection
  return { child, exited, left }
}

/** Where the runtime hears what it is to run, and says what only it knows (native/src/runtime/starter.h). */
const STARTER = 3
const LEFT = 'l'
const FAILED = 'f'

interface Conversation {
  readonly left: Promise<void>
  /** Why nothing was started, if so; once the runtime has no more to say. */
  readonly failure: Promise<string | undefined>
}

function converse(runtime: Duplex, document: string): Conversation {
  const left = Promise.withResolvers<void>()
  const failure = Promise.withResolvers<string | undefined>()
  let said = ''
  runtime.setEncoding('utf8')
  runtime.on('data', (text: string) => {
    said += text
    if (said === LEFT) left.resolve()
  })
  runtime.on('error', () => {}) // how it ended is told elsewhere
  runtime.once('close', () => failure.resolve(said.startsWith(FAILED) ? said.slice(FAILED.length) : undefined))
  runtime.end(document)
  return { left: left.promise, failure: failure.promise }
}

/** `untilLeft`: nobody waits for longer than that. */
async function finished(child: ChildProcess, { left, failure }: Conversation, untilLeft: boolean): Promise<number> {
  const ended = await Promise.race([once(child, 'exit'), ...(untilLeft ? [left] : [])])
  if (ended === undefined) return 0
  const [code, signal] = ended as [number | null, NodeJS.Signals | null]
  const reason = await failure
  if (reason !== undefined) throw new StartError(reason, code ?? CANNOT_START)
  return code ?? 128 + constants.signals[signal ?? 'SIGKILL']
}

const CANNOT_START = 126

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
