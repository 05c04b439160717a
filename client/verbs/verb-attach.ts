/** To stay with a container: `run` in the foreground, `attach` and `start -a`. */
import { constants } from 'node:os'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { type Attached, connectMonitor, type MonitorConnection, MonitorGone } from '../../native/monitor.ts'
import { openHouse } from '../containers/house.ts'
import { look, WrongState } from '../containers/lifecycle.ts'
import { StartError } from '../containers/start.ts'
import { containerState, isAlive } from '../containers/state.ts'
import { parseDetachKeys } from './detach-keys.ts'
import type { CommonFlags } from './flags.ts'
import { processOutput } from './output.ts'
import { type JoinedStreams, joinStreams } from './terminal.ts'

/** Those that ask a program something; the others are this process's own affair (job control, its children, its terminal's size). */
const FORWARDED: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGPIPE',
  'SIGALRM',
  'SIGTERM',
  'SIGCONT',
]

const SHORT_ID = 12
const ENDING_WAIT_MS = 10
const ENDING_TRIES = 200

export interface StayWith {
  /** The container's. */
  readonly folder: string
  /** It has one. */
  readonly terminal: boolean
  /** What is typed here is for it. */
  readonly input: boolean
  readonly outputs: { readonly stdout: boolean; readonly stderr: boolean }
}

export interface StayOptions {
  readonly detachKeys: Buffer
  readonly sigProxy: boolean
}

/** How it was left: its exit code, 0 if the keys to leave were typed, or 1 if nobody reads what it says any more, as docker has it. */
export interface Left {
  readonly how: 'ended' | 'detached' | 'unread'
  readonly exitCode: number
}

/**
 * Until the container has ended, or the person leaves. `begin` connects; what it is given has to be called with the connection, before the
 * container starts if it is not running yet.
 */
export async function stay(
  container: StayWith,
  { detachKeys, sigProxy }: StayOptions,
  begin: (join: (connection: MonitorConnection) => Promise<void>) => Promise<MonitorConnection | undefined>,
): Promise<Left> {
  const signals = sigProxy ? new PendingSignals() : undefined
  let joined: JoinedStreams | undefined
  let ended: Promise<number> | undefined
  try {
    await using connection = await begin(async (monitor) => {
      const attached = await monitor.attach({ input: container.input, whenSlow: 'wait' })
      joined = joinStreams(streamsOf(container, monitor, attached), detachKeys)
      ended = exitCode(monitor, container.folder)
      ended.catch(() => {}) // awaited below, unless the person leaves
    })
    if (connection === undefined || joined === undefined || ended === undefined)
      throw new WrongState('the container is running already; `gantry attach` joins it')
    signals?.passTo(container.folder)
    const how = await joined.left
    if (how === 'detached') return { how, exitCode: 0 }
    if (how === 'unread') {
      const id = basename(container.folder).slice(0, SHORT_ID)
      processOutput.note(
        `gantry: nobody reads what the container ${id} says any more; it goes on: \`gantry logs ${id}\` shows it, \`gantry stop ${id}\` ends it`,
      )
      return { how, exitCode: 1 }
    }
    return { how: 'ended', exitCode: await ended }
  } finally {
    joined?.restore()
    signals?.stop()
  }
}

function streamsOf(container: StayWith, monitor: MonitorConnection, attached: Attached) {
  const { stdin, stdout, stderr } = attached
  if (container.terminal) stderr.resume()
  return {
    stdin: container.input ? stdin : undefined,
    stdout,
    stderr: container.terminal ? undefined : stderr,
    shown: container.outputs,
    ...(container.terminal
      ? { resize: (columns: number, rows: number) => void monitor.resize(columns, rows).catch(() => {}) } // it may have ended
      : {}),
  }
}

/** What it wrote down counts where the monitor has gone before it could tell. */
async function exitCode(monitor: MonitorConnection, folder: string): Promise<number> {
  try {
    return (await monitor.ended()).exitCode
  } catch (error) {
    if (!(error instanceof MonitorGone)) throw error
    let state = await containerState(folder)
    for (let tries = 0; isAlive(state) && tries < ENDING_TRIES; tries++) {
      await sleep(ENDING_WAIT_MS) // a process that is killed closes its files a moment before it has ended
      state = await containerState(folder)
    }
    if (state.needsRecovery || isAlive(state))
      throw new StartError('the monitor of the container was killed, and the container with it', 125)
    return state.exitCode
  }
}

/** What arrives before the container runs is kept for it. */
class PendingSignals {
  readonly #early: number[] = []
  readonly #listeners = new Map<NodeJS.Signals, () => void>()
  #folder: string | undefined
  /** Of its own: one that waits behind what is typed would be too late. */
  #connection: Promise<MonitorConnection> | undefined

  constructor() {
    for (const signal of FORWARDED) {
      const number = constants.signals[signal]
      const listener = (): void => {
        if (this.#folder === undefined) this.#early.push(number)
        else this.#send(this.#folder, number)
      }
      this.#listeners.set(signal, listener)
      process.on(signal, listener)
    }
  }

  passTo(folder: string): void {
    this.#folder = folder
    for (const number of this.#early) this.#send(folder, number)
  }

  stop(): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener)
    this.#connection?.then(
      (connection) => connection.close(),
      () => {},
    )
  }

  #send(folder: string, number: number): void {
    this.#connection ??= connectMonitor(folder)
    this.#connection.then((connection) => connection.signal(number)).catch(() => {}) // it has ended
  }
}

export interface AttachFlags extends CommonFlags {
  readonly stdin: boolean
  readonly sigProxy: boolean
  readonly detachKeys?: string
}

/** Resolves to the exit code of the container, or 0 if it goes on. Throws `WrongState` if it does not run. */
export async function attachVerb(reference: string, flags: AttachFlags & { readonly root: string }): Promise<number> {
  const detachKeys = parseDetachKeys(flags.detachKeys)
  const { record, folder, state } = await look(await openHouse(flags.root), reference)
  if (state.status === 'paused')
    throw new WrongState(`cannot attach to the paused container ${reference}: unpause it first`)
  if (state.status !== 'running')
    throw new WrongState(`cannot attach to the container ${reference}, which is ${state.status}: start it first`)
  const terminal = record.request.terminal ?? false
  const input = flags.stdin && (record.request.interactive ?? false)
  if (terminal && input && !isatty(0))
    throw new StartError('the input device is not a TTY; add --no-stdin to look on only', 1)
  const left = await stay(
    { folder, terminal, input, outputs: { stdout: true, stderr: true } },
    { detachKeys, sigProxy: flags.sigProxy },
    async (join) => {
      const connection = await connectMonitor(folder)
      const { columns, rows, isTTY } = process.stdout
      if (terminal && isTTY) await connection.resize(columns + 1, rows + 1) // a change makes programs draw themselves anew
      await join(connection)
      return connection
    },
  )
  return left.exitCode
}
