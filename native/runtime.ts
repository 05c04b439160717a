// Containers from Node: one `gantry-runtime serve` helper, driven over a socket. The helper owns the containers; when
// this process ends, however it ends, they end too.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { getSystemErrorName, promisify } from 'node:util'
import { loadAddon } from './addon.ts'

export type ExitStatus = { readonly code: number } | { readonly signal: number }

export interface RunOptions {
  readonly id: string
  /** A directory with config.json and what its `root.path` names. */
  readonly bundle: string
  /** Descriptors for the container's 0, 1 and 2 (lent: close them when you like), or a new pseudo-terminal. */
  readonly stdio: readonly [number, number, number] | 'terminal'
}

export interface RunningContainer {
  /** As this process sees it. */
  readonly pid: number
  /** The master of the container's terminal; the caller owns it. */
  readonly terminal?: number
  /** Resolves when the first process has ended and its cgroup and state are removed. */
  readonly exited: Promise<ExitStatus>
  /** Signals the first process; nothing happens if it has ended. */
  kill(signal: number): void
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
  run(ticket: number, id: string, bundle: string, stdio: readonly number[] | null): void
  kill(ticket: number, signal: number): void
  close(): void
  ref(): void
  unref(): void
}

type OnMessage = (
  type: number,
  ticket: number,
  first: number,
  second: number,
  text: string,
  more: string,
  fd: number,
) => void

interface Binding {
  readonly RuntimeClient: new (executable: string, stateRoot: string, onMessage: OnMessage) => NativeClient
  setTerminalSize(fd: number, columns: number, rows: number): void
}

// src/runtime/protocol.h has the same numbers.
const GONE = 0
const STARTED = 3
const FAILED = 4
const EXITED = 5

const EPIPE = 32
const DEFAULT_STATE_ROOT = '/run/gantry-runtime'
export const DEFAULT_EXECUTABLE = fileURLToPath(new URL('./build/gantry-runtime', import.meta.url))

const execute = promisify(execFile)
const binding = (): Binding => loadAddon<Binding>()

/** One container on its way from `run` to its end. */
interface Run {
  readonly started: PromiseWithResolvers<RunningContainer>
  readonly exited: PromiseWithResolvers<ExitStatus>
}

export class Runtime implements AsyncDisposable {
  readonly #client: NativeClient
  readonly #runs = new Map<number, Run>()
  readonly #gone = Promise.withResolvers<void>()
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
    if (this.#closed) throw new RuntimeError('the runtime is closed', 'run', EPIPE)
    const ticket = ++this.#lastTicket
    const run: Run = { started: Promise.withResolvers(), exited: Promise.withResolvers() }
    run.exited.promise.catch(() => {}) // whoever awaits it gets the rejection; nobody has to
    try {
      this.#client.run(ticket, options.id, options.bundle, options.stdio === 'terminal' ? null : options.stdio)
    } catch (error) {
      throw asRuntimeError(error)
    }
    this.#runs.set(ticket, run)
    this.#client.ref() // an idle runtime keeps nobody awake, a container does
    return await run.started.promise
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

  #receive(...[type, ticket, first, second, text, more, fd]: Parameters<OnMessage>): void {
    const run = this.#runs.get(ticket)
    if (type === GONE) {
      this.#helperEnded()
    } else if (!run) {
      return
    } else if (type === STARTED) {
      run.started.resolve({
        pid: first,
        ...(fd >= 0 ? { terminal: fd } : {}),
        exited: run.exited.promise,
        kill: (signal) => {
          if (this.#runs.has(ticket)) this.#client.kill(ticket, signal)
        },
      })
    } else if (type === FAILED) {
      run.started.reject(new RuntimeError(more, text, first))
      this.#forget(ticket)
    } else if (type === EXITED) {
      run.exited.resolve(first === 1 ? { signal: second } : { code: second })
      this.#forget(ticket)
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
      run.started.reject(error)
      run.exited.reject(error)
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
