/**
 * Several processes behind the same addresses: this one holds the listening sockets and keeps the workers alive; they accept
 * from these sockets and do everything else, each as if it were alone. What they share besides is the disk, whose records
 * change only by compare-and-swap: an upload goes on at whichever worker its next request meets.
 */
import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { getCompileCacheDir } from 'node:module'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { dirname, extname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Address } from './address.ts'
import type { Config } from './config/schema.ts'
import type { Log } from './log.ts'
import { printMetrics, WorkersMetrics } from './metrics.ts'
import { CannotServe } from './reasons.ts'
import type { FromWorker, ToWorker, WorkerReport } from './worker-messages.ts'

/** A worker that dies is replaced at once; one that dies again soon, after a pause that doubles. */
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000
/** Whoever lived this long has not died of what it found at its start. */
const LIVED_MS = 30_000
/** A worker that does not answer within this time is busy, or hangs: its share is missing from the answer. */
const PATIENCE_MS = 3_000
/** Beyond what the workers themselves take to stop. */
const STOP_PATIENCE_MS = 5_000

/** The launcher's, which a process does not hand on by itself: a worker starts in half the time. */
const compileCache = getCompileCacheDir()
const COMPILE_CACHE = compileCache === undefined ? {} : { NODE_COMPILE_CACHE: dirname(compileCache) }

export interface Workers {
  readonly addresses: readonly Address[]
  problem(): Promise<string | undefined>
  metrics(): Promise<string>
  stop(): Promise<void>
}

/** Resolves when all listen. Throws `CannotServe` if one of them cannot. */
export async function startWorkers(config: Config, count: number, log: Log): Promise<Workers> {
  // Not the round robin that Node prefers: a connection on its way to a worker that is killed would hang for ever (seen under
  // load), and handing each over costs a third of the new connections per second.
  cluster.schedulingPolicy = cluster.SCHED_NONE
  cluster.setupPrimary({
    exec: join(import.meta.dirname, `worker${extname(import.meta.filename)}`),
    execArgv: [],
    args: [],
    serialization: 'advanced',
  })
  const settled = { ...config, listen: await Promise.all(config.listen.map(settle)) }
  const crew = new Crew(settled, count, log)
  try {
    return {
      ...(await crew.start()),
      problem: () => crew.problem(),
      metrics: () => crew.metrics(),
      stop: () => crew.stop(),
    }
  } catch (error) {
    crew.kill()
    throw error
  }
}

/** Port 0 would be another port after the last worker died, so it is chosen here, for all. */
async function settle(address: Address): Promise<Address> {
  if ('path' in address || address.port !== 0) return address
  const server = createServer().listen(address)
  try {
    await once(server, 'listening')
    return { host: address.host, port: (server.address() as AddressInfo).port }
  } catch {
    return address // the workers will say what is wrong with it
  } finally {
    server.close()
  }
}

class Crew {
  readonly #config: Config
  readonly #count: number
  readonly #log: Log
  readonly #metrics = new WorkersMetrics()
  readonly #alive = new Set<Worker>()
  readonly #listening = new Map<Worker, readonly Address[]>()
  readonly #questions = new Map<number, (report: WorkerReport) => void>()
  #asked = 0
  #stopping = false

  constructor(config: Config, count: number, log: Log) {
    this.#config = config
    this.#count = count
    this.#log = log
  }

  async start(): Promise<{ addresses: readonly Address[] }> {
    const { accessLog, auditLog, tls } = this.#config
    if (tls.certificate !== 'off' || [accessLog, auditLog].some((destination) => destination.includes('/'))) {
      process.on('SIGHUP', () => {
        for (const worker of this.#alive) send(worker, { say: 'reopen logs' })
      })
    }
    const all = await Promise.all(Array.from({ length: this.#count }, () => this.#first()))
    return { addresses: all[0] ?? [] }
  }

  async #first(): Promise<readonly Address[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Address[]>()
    void this.#keepAlive(resolve, (reason) => reject(new CannotServe(reason)))
    return await promise
  }

  /** One place in the crew, filled again and again until the stop. A worker that cannot even begin ends the whole, the first time. */
  async #keepAlive(ready: (addresses: readonly Address[]) => void, cannot: (reason: string) => void): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS
    while (!this.#stopping) {
      const began = performance.now()
      const why = await this.#live(ready, cannot)
      if (this.#stopping) return
      if (performance.now() - began > LIVED_MS) pauseMs = FIRST_PAUSE_MS
      this.#metrics.died()
      this.#log.error({ why, againInMs: pauseMs }, 'a worker died')
      cannot(`a worker died at its start (${why}); the log says more`) // means nothing once it has listened
      await delay(pauseMs)
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)
    }
  }

  /** Resolves to how it ended. */
  async #live(ready: (addresses: readonly Address[]) => void, cannot: (reason: string) => void): Promise<string> {
    const worker = cluster.fork(COMPILE_CACHE)
    this.#alive.add(worker)
    worker.on('error', (err) => this.#log.warn({ err, worker: worker.id }, 'a worker cannot be reached')) // it is about to be gone
    worker.on('message', (message: FromWorker) => {
      if (message.say === 'listening') {
        this.#listening.set(worker, message.addresses)
        this.#metrics.listening(this.#listening.size)
        ready(message.addresses)
      } else if (message.say === 'cannot') {
        this.#log.error({ worker: worker.id, reason: message.reason }, 'a worker cannot serve')
        cannot(message.reason)
      } else if (message.say === 'spent') {
        for (const other of this.#alive) if (other !== worker) send(other, message)
      } else if (message.say === 'told') this.#questions.get(message.question)?.(message.report)
    })
    send(worker, { say: 'begin', config: this.#config, workers: this.#count })
    const [code, signal] = (await once(worker, 'exit')) as [number | null, string | null]
    this.#alive.delete(worker)
    this.#listening.delete(worker)
    this.#metrics.listening(this.#listening.size)
    return signal ?? `exit status ${code}`
  }

  /** As long as one of them can work, work can be sent. */
  async problem(): Promise<string | undefined> {
    if (this.#stopping) return 'the registry is stopping'
    if (this.#listening.size === 0) return 'no worker is listening'
    const reports = await this.#ask()
    if (reports.length === 0) return `no worker has answered for ${PATIENCE_MS / 1_000} s`
    return reports.some(({ problem }) => problem === undefined) ? undefined : reports[0]?.problem
  }

  async metrics(): Promise<string> {
    const reports = await this.#ask()
    return await printMetrics([await this.#metrics.snapshot(), ...reports.map(({ metrics }) => metrics)])
  }

  async #ask(): Promise<readonly WorkerReport[]> {
    const patience = new AbortController()
    const late = delay(PATIENCE_MS, undefined, patience).catch(() => undefined)
    const answers = [...this.#listening.keys()].map((worker) => {
      const question = ++this.#asked
      const { promise, resolve } = Promise.withResolvers<WorkerReport>()
      this.#questions.set(question, resolve)
      send(worker, { say: 'tell', question })
      return Promise.race([promise, late, once(worker, 'exit').then(() => undefined)]).finally(() =>
        this.#questions.delete(question),
      )
    })
    const reports = await Promise.all(answers)
    patience.abort()
    return reports.filter((report) => report !== undefined)
  }

  async stop(): Promise<void> {
    this.#stopping = true
    const { delay: delayMs, timeout } = this.#config.stop
    for (const worker of this.#alive) send(worker, { say: 'stop' })
    const patience = new AbortController()
    const late = delay(delayMs + timeout + STOP_PATIENCE_MS, undefined, patience).catch(() => {})
    await Promise.race([Promise.all([...this.#alive].map((worker) => once(worker, 'exit'))), late])
    patience.abort()
    this.kill()
  }

  kill(): void {
    this.#stopping = true
    for (const worker of this.#alive) worker.process.kill('SIGKILL')
  }
}

function send(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, (error) => void error) // it died meanwhile: its end is being handled
}
