/**
 * Detached containers: each is held by a small process of its own (`gantry-runtime monitor`), which survives whoever starts it. Here it is
 * started, connected to, asked; monitor-plan.ts is what it is told before, monitor-status.ts what it leaves behind.
 */
import { closeSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { loadAddon } from './addon.ts'
import type { RestartPolicy } from './monitor-plan.ts'
import { FRAME, FrameReader, sendFrame } from './monitor-socket.ts'
import type { MonitorStatus } from './monitor-status.ts'
import { asRuntimeError, DEFAULT_EXECUTABLE, execute, RuntimeError } from './runtime.ts'

/** Nobody answers for the container: it is not running, or its monitor ended before it had answered. Its status tells more. */
export class MonitorGone extends Error {
  override readonly name = 'MonitorGone'
}

export interface AttachOptions {
  /** Whether `stdin` of what comes back is the container's, too. */
  readonly input: boolean
  /**
   * What becomes of output that is not read from here: `wait` holds the container up, as a pipe would; `skip` leaves it out for this
   * connection alone, and `onMissed` is told how much.
   */
  readonly whenSlow: 'wait' | 'skip'
  readonly onMissed?: (bytes: number) => void
}

/** Output until the container has ended for good, over all its restarts, or the connection ends. A terminal has all in `stdout`. */
export interface Attached {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
}

const ECONNRESET = 104
const LONGEST_INPUT_BYTES = 32 * 1024

const native = loadAddon<{ startMonitor(executable: string, folder: string): Promise<number> }>()

/**
 * A monitor for the container in that folder, which has config.json and monitor.json; `start()` of what comes back starts the container,
 * and until then it goes when the connection does. Throws RuntimeError.
 */
export async function startMonitor(
  folder: string,
  executable: string = DEFAULT_EXECUTABLE,
): Promise<MonitorConnection> {
  try {
    return new MonitorConnection(new Socket({ fd: await native.startMonitor(executable, folder) }))
  } catch (error) {
    throw asRuntimeError(error)
  }
}

/** The monitor of the container in that folder. Throws MonitorGone if there is none. */
export async function connectMonitor(folder: string): Promise<MonitorConnection> {
  // A socket's name has room for 107 bytes; a descriptor of its folder is short.
  const directory = openSync(folder, 'r')
  try {
    const socket = new Socket()
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.connect(join('/proc/self/fd', String(directory), 'control'), () => {
        socket.off('error', reject)
        resolve()
      })
    })
    const connection = new MonitorConnection(socket)
    await connection.subscribe(() => {}) // one that is ending does not answer
    return connection
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'ECONNREFUSED' && code !== 'ECONNRESET') throw cause // reset: it ended before it had taken us
    throw new MonitorGone(`the container in ${folder} has no monitor`, { cause })
  } finally {
    closeSync(directory)
  }
}

/** What somebody else has begun with the container is under way. */
export class MonitorLives extends Error {
  override readonly name = 'MonitorLives'
}

/** Takes down what a monitor that was killed left of its container, and says so in its status. Throws `MonitorLives` if it was not. */
export async function recoverMonitor(folder: string, executable: string = DEFAULT_EXECUTABLE): Promise<void> {
  await execute(executable, ['monitor', '--clean', folder]).catch((cause: { readonly stderr?: string }) => {
    const told = cause.stderr?.trim() ?? ''
    const Kind = told.includes('the container has a monitor') ? MonitorLives : Error
    throw new Kind(`cannot take down what is left of the container: ${told}`, { cause })
  })
}

interface Reply {
  readonly id: number
  readonly status?: MonitorStatus
  readonly error?: { readonly message: string; readonly step?: string; readonly errno?: number }
}

/**
 * One connection to a monitor. What it sends is in one order: output that nobody reads holds up the answers behind it, and so does input
 * that the container does not take those requests that follow. Who attaches and wants to be heard meanwhile connects twice.
 */
export class MonitorConnection implements AsyncDisposable {
  readonly #socket: Socket
  readonly #frames = new FrameReader()
  readonly #requests = new Map<number, PromiseWithResolvers<MonitorStatus>>()
  readonly #closed = Promise.withResolvers<void>()
  readonly #started = Promise.withResolvers<void>()
  readonly #listeners = new Set<(status: MonitorStatus) => void>()
  #failure: Error | undefined
  #last: MonitorStatus | undefined
  #following: Promise<void> | undefined
  #attached:
    | { readonly stdout: Readable; readonly stderr: Readable; readonly onMissed?: (bytes: number) => void }
    | undefined
  #lastId = 0

  /** Of `startMonitor` and `connectMonitor`. */
  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.#end(error))
    socket.on('close', () => this.#end())
    this.#closed.promise.catch(() => {})
    this.#started.promise.catch(() => {})
  }

  /** Creates and starts the container; resolves once its program runs. Throws RuntimeError, and then it has ended. */
  async start(): Promise<MonitorStatus> {
    try {
      await this.#follow() // a container may have ended before anybody can ask how
      const status = await this.#ask('start')
      this.#started.resolve()
      return status
    } catch (error) {
      this.#started.reject(error)
      throw error
    }
  }

  async status(): Promise<MonitorStatus> {
    return await this.#ask('status')
  }

  /** Calls with the status as it is, and at each change, until the connection ends. */
  async subscribe(listener: (status: MonitorStatus) => void): Promise<void> {
    const status = await this.#follow()
    this.#listeners.add(listener)
    listener(status)
  }

  /** Resolves when the container has ended for good. Throws MonitorGone if the monitor ends before it. */
  async ended(): Promise<MonitorStatus> {
    const { promise, resolve, reject } = Promise.withResolvers<MonitorStatus>()
    promise.catch(() => {}) // it may be rejected before it is awaited
    const listener = (status: MonitorStatus): void => {
      if (status.phase === 'exited') resolve(status)
    }
    this.#closed.promise.then(() => reject(this.#gone()), reject)
    await this.subscribe(listener)
    return await promise.finally(() => this.#listeners.delete(listener))
  }

  /** Once for a connection. Before `start()`, nothing of the container's output is missed. */
  async attach({ input, whenSlow, onMissed }: AttachOptions): Promise<Attached> {
    const read = (): void => void this.#socket.resume()
    const stdout = new Readable({ read })
    const stderr = new Readable({ read })
    this.#attached = { stdout, stderr, ...(onMissed ? { onMissed } : {}) }
    const status = await this.#ask('attach', { input, whenSlow })
    if (status.phase !== 'created') this.#started.resolve()
    return { stdin: this.#input(), stdout, stderr }
  }

  /** No more output, no more input; the container goes on. */
  async detach(): Promise<void> {
    await this.#ask('detach')
    this.#endOutput()
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#ask('resize', { columns, rows })
  }

  /** To its first process. `noRestart`: when it ends now, it has ended for good, and was stopped by its user. */
  async signal(signal: number, { noRestart = false }: { readonly noRestart?: boolean } = {}): Promise<void> {
    await this.#ask('signal', { signal, noRestart })
  }

  /** Ends it for good: by the plan's signal and time, or these; resolves once it has ended. `timeoutMs` -1: it may take for ever. */
  async stop(options: { readonly signal?: number; readonly timeoutMs?: number } = {}): Promise<MonitorStatus> {
    return await this.#ask('stop', options)
  }

  async pause(): Promise<void> {
    await this.#ask('pause')
  }

  async resume(): Promise<void> {
    await this.#ask('resume')
  }

  /** From now on; its plan on disk stays. */
  async setRestartPolicy(restart: RestartPolicy): Promise<void> {
    await this.#ask('restartPolicy', { restart })
  }

  /** The container goes on, if it was started. */
  close(): void {
    this.#socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
    await this.#closed.promise.catch(() => {})
  }

  /** The status, and from now on its changes. */
  async #follow(): Promise<MonitorStatus> {
    this.#following ??= this.#ask('subscribe').then((status) => this.#tell(status))
    this.#following.catch(() => {}) // below, or nobody needs it any more
    if (this.#last?.phase !== 'exited') await this.#following
    return this.#last as MonitorStatus
  }

  async #ask(word: string, more: object = {}): Promise<MonitorStatus> {
    if (this.#failure) throw this.#failure
    const id = ++this.#lastId
    const answer = Promise.withResolvers<MonitorStatus>()
    this.#requests.set(id, answer)
    this.#socket.resume()
    sendFrame(this.#socket, FRAME.request, Buffer.from(JSON.stringify({ ...more, id, do: word })))
    return await answer.promise
  }

  #receive(chunk: Buffer): void {
    try {
      for (const { type, payload } of this.#frames.take(chunk)) this.#take(type, payload)
    } catch (error) {
      this.#socket.destroy(error as Error)
    }
  }

  #take(type: number, payload: Buffer): void {
    if (type === FRAME.output || type === FRAME.errors) {
      const stream = type === FRAME.output ? this.#attached?.stdout : this.#attached?.stderr
      if (stream && !stream.destroyed && !stream.push(payload)) this.#socket.pause()
    } else if (type === FRAME.missed) {
      this.#attached?.onMissed?.(Number(payload.toString()))
    } else if (type === FRAME.status) {
      this.#tell(JSON.parse(payload.toString()) as MonitorStatus)
    } else if (type === FRAME.reply) {
      this.#settle(JSON.parse(payload.toString()) as Reply)
    } else {
      throw new Error(`a frame of type ${type} cannot be a monitor's`)
    }
  }

  #settle({ id, status, error }: Reply): void {
    const failure = error && new RuntimeError(error.message, error.step ?? 'start the monitor', error.errno ?? 0)
    if (id === 0 && failure) this.#failure = failure // it could not even begin
    const answer = this.#requests.get(id)
    this.#requests.delete(id)
    if (failure) answer?.reject(failure)
    else if (status) answer?.resolve(status)
  }

  #tell(status: MonitorStatus): void {
    this.#last = status
    for (const listener of this.#listeners) listener(status)
  }

  #input(): Writable {
    return new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.#started.promise.then(() => this.#sendInput(chunk, done), done)
      },
      final: (done) => {
        this.#started.promise.then(() => void sendFrame(this.#socket, FRAME.inputEnd, Buffer.alloc(0), done), done)
      },
    })
  }

  #sendInput(chunk: Buffer, done: (error?: Error | null) => void): void {
    for (let at = 0; at < chunk.length; at += LONGEST_INPUT_BYTES) {
      const last = at + LONGEST_INPUT_BYTES >= chunk.length
      sendFrame(this.#socket, FRAME.input, chunk.subarray(at, at + LONGEST_INPUT_BYTES), last ? done : undefined)
    }
    if (chunk.length === 0) done()
  }

  #endOutput(): void {
    for (const stream of [this.#attached?.stdout, this.#attached?.stderr]) stream?.push(null)
    this.#attached = undefined
  }

  #gone(): Error {
    return this.#failure ?? new MonitorGone('the container’s monitor has ended')
  }

  #end(cause?: Error): void {
    if (cause && !this.#failure && 'errno' in cause && Math.abs(Number(cause.errno)) !== ECONNRESET)
      this.#failure = new MonitorGone('the connection to the container’s monitor broke', { cause })
    const gone = this.#gone()
    this.#failure = gone
    this.#started.reject(gone)
    for (const answer of this.#requests.values()) answer.reject(gone)
    this.#requests.clear()
    this.#endOutput()
    this.#closed.resolve()
  }
}
