/**
 * What a monitor is to do with its container: `monitor.json` in the container's folder. The monitor reads it once, when it starts, strictly
 * (src/monitor/monitor_plan.h is the same document).
 */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { uniqueName } from './random.ts'

export interface RestartPolicy {
  /** `unless-stopped` differs from `always` only in what is started again after a boot, which is not the monitor's affair. */
  readonly policy: 'no' | 'on-failure' | 'always' | 'unless-stopped'
  /** Of `on-failure`; 0: no limit. */
  readonly maximumRetries: number
}

interface HealthCheck {
  /** Run in the container, as its first process is: its environment, user, directory. */
  readonly command: readonly string[]
  /** From the end of a check to the beginning of the next. */
  readonly intervalMs: number
  /** A check that takes longer has failed. */
  readonly timeoutMs: number
  /** Failures in it count for nothing, until a check has succeeded. */
  readonly startPeriodMs: number
  /** Instead of `intervalMs` in that period. */
  readonly startIntervalMs: number
  /** Failures in a row that make it unhealthy. */
  readonly retries: number
}

export interface MonitorPlan {
  /** The container's name for the runtime. */
  readonly id: string
  /** Where the runtime keeps its state: `--root` of gantry-runtime, an absolute path. */
  readonly stateRoot: string
  /** As `process.terminal` of config.json. */
  readonly terminal: boolean
  /** Whether what became of it is to be known after a loss of power, too, which takes a wait for the disk at its end. True by default. */
  readonly lasting?: boolean
  /**
   * Standard input: `none` is at its end; `open` is whoever attaches, and stays open when they go (docker's `-i -d`); `once` ends when the
   * first who attached with it goes or says so, unless it is a terminal (docker's `-i`).
   */
  readonly stdin: 'none' | 'open' | 'once'
  /** Whether the monitor makes a network namespace, and holds it: config.json then joins `OWN_NETWORK`. */
  readonly ownNetwork: boolean
  readonly log: {
    /** docker's lines of JSON; the bytes as they are; nothing. */
    readonly driver: 'json-file' | 'plain' | 'none'
    /** A file that has reached it is set aside; 0: never. */
    readonly maxSizeBytes: number
    /** All together. */
    readonly maxFiles: number
  }
  readonly restart: RestartPolicy
  /** What ends it, and after how long SIGKILL does; -1: never. */
  readonly stop: { readonly signal: number; readonly timeoutMs: number }
  readonly health?: HealthCheck
  /** A program of the host, run with this environment when the container has ended for good and another monitor may start. */
  readonly onExit?: { readonly args: readonly string[]; readonly env: readonly string[] }
}

/** Where a monitor finds the network namespace that it holds (src/monitor/monitor_plan.h has the same number). */
export const OWN_NETWORK = '/proc/self/fd/64'

const FILE = 'monitor.json'

/** As it is in its file. */
export const printMonitorPlan = (plan: MonitorPlan): string => JSON.stringify({ version: 1, ...plan })

/** Readers see the old plan or all of the new one. */
export function writeMonitorPlan(folder: string, plan: MonitorPlan): void {
  const temporary = join(folder, `.${FILE}.${uniqueName()}`)
  try {
    writeFileSync(temporary, printMonitorPlan(plan), { flag: 'wx', mode: 0o600 }) // here and now: it is small
    renameSync(temporary, join(folder, FILE))
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}
