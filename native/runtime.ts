// Containers from Node: one `gantry-runtime serve` helper, driven over a socket. The helper owns the containers; when
// this process ends, however it ends, they end too.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex, Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { getSystemErrorName, promisify } from 'node:util'
import { loadAddon } from './addon.ts'
import { inputStream, outputStream, terminalStream } from './process-streams.ts'

export type ExitStatus = { readonly code: number } | { readonly signal: number }

/**
 * How a process is attached: descriptors for its 0, 1 and 2 (lent until it runs), a new pseudo-terminal whose master is yours
 * (`terminal`), the same as a stream (`terminal-stream`), or pipes as streams.
 */
export type Stdio = readonly [number, number, number] | 'terminal' | 'terminal-stream' | 'pipes'

interface ProcessOptions {
  readonly stdio: Stdio
  /** Kills it; before it runs, its start is given up. */
  readonly signal?: AbortSignal
}

export interface RunOptions extends ProcessOptions {
  readonly id: string
  /** A directory with config.json and what its `root.path` names. */
  readonly bundle: string
}

export interface ExecOptions extends ProcessOptions {
  /** A container that runs, whoever holds it: this process or a monitor, under the same state root. */
  readonly id: string
  /** `process` of the specification's config.json: what to run, and as whom. */
  readonly process: object
}

/** A process in a container. Disposal kills it and waits for its end. */
export interface RunningProcess extends AsyncDisposable {
  /** As this process sees it. */
  readonly pid: number
  /** With `terminal`: the master; the caller owns it. */
  readonly terminal?: number
  /** With `terminal-stream`: what is typed, and what appears. */
  readonly console?: Duplex
  /** With `pipes`. */
  readonly stdin?: Writable
  readonly stdout?: Readable
  readonly stderr?: Readable
  /** Resolves when it has ended; of a container's first process, when its cgroup and state are removed. */
  readonly exited: Promise<ExitStatus>
  /** Signals it; nothing happens if it has ended. */
  kill(signal: number): void
  /** With `terminal-stream`: tells its programs. */
  resize(columns: number, rows: number): void
  /**
   * It goes on when this process ends, with nobody to read what it writes and no exit status; of `terminal`, the master is read until then. For
   * processes of `exec` that somebody turns away from; a container that is to outlive this process has a monitor.
   */
  detach(): void
}

export type RunningContainer = RunningProcess

/** Complete, but for its program, which waits for `start`. Disposal removes it. */
export interface CreatedContainer extends RunningProcess {
  /** Resolves once its program runs, or did; rejects with RuntimeError, and then nothing of it is left. */
  start(): Promise<void>
}

/** The runtime refused or failed: at which step, and with which errno. */
export class RuntimeError extends Error {
  override readonly name = 'RuntimeError'
  readonly step: string
  /** The name of the errno: 'ENOENT'. */
  readonly code: string
  readonly errno: number

  constructor(message: string, step: string, errno: number, options?: ErrorOptions) {
    super(message, options)
    this.step = step
    this.errno = errno
    this.code = errno > 0 ? getSystemErrorName(-errno) : 'UNKNOWN'
  }
}

/** The addon's side, private to this module. */
interface NativeClient {
  /** False if there is no room for it now. */
  send(type: number, ticket: number, first: number, text: string, more: string, descriptors: readonly number[]): boolean
  close(): void
  ref(): void
  unref(): void
}

type Order = Parameters<NativeClient['send']>

type OnMessage = (
  type: number,
  ticket: number,
  first: number,
  second: number,
  text: string,
  more: string,
  descriptors: readonly number[],
) => void

interface Binding {
  readonly RuntimeClient: new (executable: string, stateRoot: string, onMessage: OnMessage) => NativeClient
  setTerminalSize(fd: number, columns: number, rows: number): void
}

// src/runtime/protocol.h has the same numbers.
const GONE = 0
const ORDER = { run: 1, kill: 2, create: 6, start: 7, exec: 8, detach: 9 } as const
const NEWS = { started: 3, failed: 4, exited: 5, created: 10 } as const
const ATTACHED = { descriptors: 0, terminal: 1, pipes: 2 } as const

const EPIPE = 32
const SIGKILL = 9
const FULL_SOCKET_PAUSE_MS = 1
const DEFAULT_STATE_ROOT = '/run/gantry-runtime'
export const DEFAULT_EXECUTABLE = fileURLToPath(new URL('./build/gantry-runtime', import.meta.url))

/** The executable, run to its end. Node's module for that is loaded by who needs it: most commands do not. */
export const execute = (executable: string, words: readonly string[]) =>
  promisify(process.getBuiltinModule('node:child_process').execFile)(executable, words)
const binding = (): Binding => loadAddon<Binding>()

/** One process on its way from its order to its end. */
interface Run {
  readonly stdio: Stdio
  /** Created only, until somebody starts it. */
  readonly waits: boolean
  /** Attached, and running or created. */
  readonly begun: PromiseWithResolvers<RunningProcess>
  /** Of a container that was created first. */
  readonly started: PromiseWithResolvers<void>
  readonly exited: PromiseWithResolvers<ExitStatus>
}

export class Runtime implements AsyncDisposable {
  readonly #client: NativeClient
  readonly #runs = new Map<number, Run>()
  readonly #gone = Promise.withResolvers<void>()
  /** Orders that the socket had no room for, in order. */
  readonly #waiting: Order[] = []
  #lastTicket = 0
  #closed = false

  private constructor(executable: string, stateRoot: string) {
    const { RuntimeClient } = binding()
    this.#client = new RuntimeClient(executable, stateRoot, (...message) => this.#receive(...message))
  }

  /** Starts a helper. Needs root. Rejects with RuntimeError if the executable cannot be started. */
  static async start(options: { readonly stateRoot?: string; readonly executable?: string } = {}): Promise<Runtime> {
    try {
      return new Runtime(options.executable ?? DEFAULT_EXECUTABLE, options.stateRoot ?? DEFAULT_STATE_ROOT)
    } catch (error) {
      throw asRuntimeError(error)
    }
  }

  /** Resolves once the container's program runs; rejects with RuntimeError, and then nothing of it is left. */
  async run(options: RunOptions): Promise<RunningContainer> {
    return await this.#begin(ORDER.run, options, options.bundle).process
  }

  /** Everything but its program, which `start()` of what comes back lets run. Rejects with RuntimeError, and then nothing of it is left. */
  async createContainer(options: RunOptions): Promise<CreatedContainer> {
    const { ticket, run, process } = this.#begin(ORDER.create, options, options.bundle)
    let starting: Promise<void> | undefined
    return Object.assign(await process, {
      start: async () => {
        starting ??= Promise.resolve().then(() => this.#send(ORDER.start, ticket))
        await starting
        await run.started.promise
      },
    })
  }

  /** Another process in a container that runs. Rejects with RuntimeError. */
  async exec(options: ExecOptions): Promise<RunningProcess> {
    return await this.#begin(ORDER.exec, options, JSON.stringify(options.process)).process
  }

  /** Kills what still runs and ends the helper. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true
      this.#client.ref()
      this.#client.close()
    }
    await this.#gone.promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #begin(
    order: number,
    { id, stdio, signal }: { readonly id: string; readonly stdio: Stdio; readonly signal?: AbortSignal },
    more: string,
  ): { readonly ticket: number; readonly run: Run; readonly process: Promise<RunningProcess> } {
    if (this.#closed) throw new RuntimeError('the runtime is closed', 'run', EPIPE)
    signal?.throwIfAborted()
    const ticket = ++this.#lastTicket
    const run: Run = {
      stdio,
      waits: order === ORDER.create,
      begun: Promise.withResolvers(),
      started: Promise.withResolvers(),
      exited: Promise.withResolvers(),
    }
    for (const { promise } of [run.started, run.exited]) promise.catch(() => {}) // whoever awaits it gets the rejection; nobody has to
    this.#runs.set(ticket, run)
    this.#client.ref() // an idle runtime keeps nobody awake, a container does
    try {
      if (typeof stdio === 'string')
        this.#send(order, ticket, stdio === 'pipes' ? ATTACHED.pipes : ATTACHED.terminal, id, more)
      else this.#send(order, ticket, ATTACHED.descriptors, id, more, stdio)
    } catch (error) {
      this.#forget(ticket)
      throw error
    }
    return { ticket, run, process: signal ? this.#abortable(ticket, run, signal) : run.begun.promise }
  }

  /** Killed as soon as there is somebody to kill; whoever waits for its start is told the signal's reason. */
  async #abortable(ticket: number, run: Run, signal: AbortSignal): Promise<RunningProcess> {
    const abort = (): void => this.#kill(ticket, SIGKILL)
    signal.addEventListener('abort', abort)
    const forget = (): void => signal.removeEventListener('abort', abort)
    run.exited.promise.then(forget, forget)
    const running = await run.begun.promise.catch((error: unknown) => {
      throw signal.aborted ? signal.reason : error
    })
    if (!signal.aborted) return running
    abort()
    await run.exited.promise
    throw signal.reason
  }

  #kill(ticket: number, signal: number): void {
    if (this.#runs.has(ticket) && !this.#closed) this.#send(ORDER.kill, ticket, signal)
  }

  /** Throws RuntimeError. */
  #send(type: number, ticket: number, first = 0, text = '', more = '', descriptors: readonly number[] = []): void {
    const order: Order = [type, ticket, first, text, more, descriptors]
    try {
      if (this.#waiting.length === 0 && this.#client.send(...order)) return
    } catch (error) {
      throw asRuntimeError(error)
    }
    this.#waiting.push(order)
    if (this.#waiting.length === 1) void this.#sendWaiting()
  }

  async #sendWaiting(): Promise<void> {
    try {
      for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
        if (this.#closed) this.#waiting.length = 0
        else if (this.#client.send(...next)) this.#waiting.shift()
        else await delay(FULL_SOCKET_PAUSE_MS)
      }
    } catch {
      this.#waiting.length = 0 // the helper is gone, which is told to everybody
    }
  }

  #receive(...[type, ticket, first, second, text, more, descriptors]: Parameters<OnMessage>): void {
    const run = this.#runs.get(ticket)
    if (type === GONE) {
      this.#helperEnded()
    } else if (!run) {
      return
    } else if (type === NEWS.created) {
      run.begun.resolve(this.#process(ticket, run, first, descriptors))
    } else if (type === NEWS.started) {
      if (!run.waits) run.begun.resolve(this.#process(ticket, run, first, descriptors))
      run.started.resolve()
    } else if (type === NEWS.failed) {
      const error = new RuntimeError(more, text, first)
      for (const each of [run.begun, run.started, run.exited]) each.reject(error)
      this.#forget(ticket)
    } else if (type === NEWS.exited) {
      run.exited.resolve(first === 1 ? { signal: second } : { code: second })
      run.started.reject(new RuntimeError('the container ended before it was started', 'start', EPIPE))
      this.#forget(ticket)
    }
  }

  #process(ticket: number, run: Run, pid: number, descriptors: readonly number[]): RunningProcess {
    const [first = -1, second = -1, third = -1] = descriptors
    const exited = run.exited.promise
    const kill = (signal: number): void => this.#kill(ticket, signal)
    const attached =
      run.stdio === 'pipes'
        ? { stdin: inputStream(first), stdout: outputStream(second), stderr: outputStream(third) }
        : run.stdio === 'terminal-stream'
          ? { console: terminalStream(first) }
          : run.stdio === 'terminal'
            ? { terminal: first }
            : {}
    return {
      pid,
      ...attached,
      exited,
      kill,
      resize: (columns, rows) => {
        if (this.#runs.has(ticket)) setTerminalSize(first, columns, rows)
      },
      detach: () => {
        if (this.#runs.has(ticket))
          this.#send(ORDER.detach, ticket, 0, '', '', run.stdio === 'pipes' ? [second, third] : descriptors)
      },
      async [Symbol.asyncDispose]() {
        kill(SIGKILL)
        await exited.catch(() => {})
      },
    }
  }

  #forget(ticket: number): void {
    this.#runs.delete(ticket)
    if (this.#runs.size === 0 && !this.#closed) this.#client.unref()
  }

  #helperEnded(): void {
    this.#closed = true
    for (const run of this.#runs.values()) {
      const error = new RuntimeError('the runtime ended, and the container with it', 'run', EPIPE)
      for (const each of [run.begun, run.started, run.exited]) each.reject(error)
    }
    this.#runs.clear()
    this.#gone.resolve()
  }
}

/** Removes what a killed helper left of a container: processes, cgroups, state. Fine if there is nothing. */
export async function removeLeftovers(id: string): Promise<void> {
  if (!existsSync(join(DEFAULT_STATE_ROOT, id))) return
  await execute(DEFAULT_EXECUTABLE, ['--root', DEFAULT_STATE_ROOT, 'delete', '--force', id])
}

/** Tells the programs of a terminal its new size. Throws RuntimeError. */
export function setTerminalSize(fd: number, columns: number, rows: number): void {
  try {
    binding().setTerminalSize(fd, columns, rows)
  } catch (error) {
    throw asRuntimeError(error)
  }
}

/** What the addon throws carries `errno` and `step`; anything else is a bug and passes as it is. */
export function asRuntimeError(error: unknown): unknown {
  if (!(error instanceof Error) || !('errno' in error) || !('step' in error)) return error
  return new RuntimeError(error.message, String(error.step), Number(error.errno), { cause: error })
}
