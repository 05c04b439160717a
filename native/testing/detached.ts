/** Containers of the tests that a monitor holds: made in a bench, ended with it, whatever became of the test. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { readContainerLog } from '../container-log.ts'
import { type Attached, type AttachOptions, connectMonitor, type MonitorConnection, startMonitor } from '../monitor.ts'
import { type MonitorPlan, writeMonitorPlan } from '../monitor-plan.ts'
import { type MonitorStatus, readMonitorStatus } from '../monitor-status.ts'
import type { Bench, BundleConfig } from './bundle.ts'

/** What a test has to say of a plan; the rest is as plain as can be. */
export type PlanChanges = Partial<MonitorPlan>

export class DetachedBench {
  readonly #bench: Bench
  readonly #connections: MonitorConnection[] = []

  constructor(bench: Bench) {
    this.#bench = bench
  }

  /** A folder with everything that a monitor needs. */
  async folder(config: BundleConfig, changes: PlanChanges = {}): Promise<string> {
    const folder = await this.#bench.bundle(config)
    writeMonitorPlan(folder, {
      id: this.#bench.nextId(),
      stateRoot: this.#bench.stateRoot,
      terminal: config.process['terminal'] === true,
      stdin: 'none',
      ownNetwork: false,
      log: { driver: 'json-file', maxSizeBytes: 0, maxFiles: 1 },
      restart: { policy: 'no', maximumRetries: 0 },
      stop: { signal: 15, timeoutMs: 10_000 },
      ...changes,
    })
    return folder
  }

  async start(folder: string): Promise<MonitorConnection> {
    const connection = this.#keep(await startMonitor(folder))
    await connection.start()
    return connection
  }

  /** With what it writes collected from the beginning. */
  async startAttached(
    folder: string,
    options: AttachOptions = { input: true, whenSlow: 'wait' },
  ): Promise<{ readonly connection: MonitorConnection; readonly attached: Collected }> {
    const connection = this.#keep(await startMonitor(folder))
    const attached = collect(await connection.attach(options))
    await connection.start()
    return { connection, attached }
  }

  async connect(folder: string): Promise<MonitorConnection> {
    return this.#keep(await connectMonitor(folder))
  }

  /** Ends everything that was started. */
  async endAll(): Promise<void> {
    for (const connection of this.#connections.splice(0)) {
      await connection.stop({ timeoutMs: 0 }).catch(() => {}) // ended already, or was killed by the test
      await connection[Symbol.asyncDispose]()
    }
  }

  #keep(connection: MonitorConnection): MonitorConnection {
    this.#connections.push(connection)
    return connection
  }
}

export interface Collected extends Attached {
  /** What has come so far. */
  readonly output: () => string
  readonly errors: () => string
  /** Resolves once the output matches. */
  until(pattern: RegExp): Promise<string>
}

export function collect(attached: Attached): Collected {
  let output = ''
  let errors = ''
  let changed = Promise.withResolvers<void>()
  const note = (): void => {
    changed.resolve()
    changed = Promise.withResolvers()
  }
  attached.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    note()
  })
  attached.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
    note()
  })
  attached.stdout.on('end', note)
  return {
    ...attached,
    output: () => output,
    errors: () => errors,
    async until(pattern) {
      while (!pattern.test(output)) {
        if (attached.stdout.readableEnded) throw new Error(`the output ended without ${pattern}: ${output}`)
        await changed.promise
      }
      return output
    },
  }
}

/** Resolves with the first status of that kind. */
export async function statusWhen(
  connection: MonitorConnection,
  wanted: (status: MonitorStatus) => boolean,
): Promise<MonitorStatus> {
  const { promise, resolve } = Promise.withResolvers<MonitorStatus>()
  await connection.subscribe((status) => {
    if (wanted(status)) resolve(status)
  })
  return await promise
}

/** The fields of `/proc/PID/status`, in kB where they are sizes. */
export async function processSizesKb(pid: number): Promise<ReadonlyMap<string, number>> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8')
  return new Map([...text.matchAll(/^(\w+):\s+(\d+) kB$/gm)].map(([, name = '', size]) => [name, Number(size)]))
}

/** What a monitor that is there has written. */
export async function statusOf(folder: string): Promise<MonitorStatus> {
  const known = await readMonitorStatus(folder)
  assert.ok(known?.holds)
  return known.status
}

/** All that is in its log, the oldest first. */
export async function logOf(folder: string): Promise<{ stream: string; text: string }[]> {
  const entries = []
  for await (const { stream, text } of readContainerLog(folder)) entries.push({ stream, text })
  return entries
}
