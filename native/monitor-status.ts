/** What became of a container, as its monitor wrote it down: `status.json` in the container's folder, and whether that still holds. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'

interface ProbeResult {
  readonly start: string
  readonly end: string
  /** -1: it could not be run, or took too long. */
  readonly exitCode: number
  /** The beginning of what it said. */
  readonly output: string
}

/** src/monitor/status.h is the same document. Times are RFC 3339, empty if not yet. */
export interface MonitorStatus {
  readonly bootId: string
  /** In ticks since boot, as `startTime` of the container: a pid alone may mean somebody else. */
  readonly monitor: { readonly pid: number; readonly startTime: number }
  /** `restarting`: it has ended, and a pause passes before it is started again. */
  readonly phase: 'created' | 'running' | 'paused' | 'restarting' | 'exited'
  /** Of its first process; 0 while it has none. */
  readonly pid: number
  readonly startTime: number
  /** As a shell has it: 128 + n for a signal; of one that could not be started 127, 126 or 128. */
  readonly exitCode: number
  readonly oomKilled: boolean
  /** Why it could not be started, or what else went wrong. */
  readonly error: string
  readonly startedAt: string
  readonly finishedAt: string
  readonly restartCount: number
  readonly stoppedByUser: boolean
  /** The path of the one that its monitor holds, for others to join; empty if the container has none of its own, or has ended. */
  readonly networkNamespace: string
  readonly log: { readonly lostBytes: number; readonly error: string }
  readonly health?: {
    readonly status: 'starting' | 'healthy' | 'unhealthy'
    readonly failingStreak: number
    readonly log: readonly ProbeResult[]
  }
}

export interface KnownStatus {
  readonly status: MonitorStatus
  /**
   * False: the monitor that wrote it was killed, or the machine went down, and nobody has taken down what is left (`recoverMonitor`).
   * The container does not run then: it ends with its monitor.
   */
  readonly holds: boolean
}

/** `undefined`: the container has never been started, or its status cannot be read any more after a loss of power. */
export async function readMonitorStatus(folder: string): Promise<KnownStatus | undefined> {
  let before: MonitorStatus | undefined
  for (;;) {
    const status = readStatus(folder)
    if (status === undefined) return undefined
    if (status.phase === 'exited' || lives(status)) return { status, holds: true }
    if (before !== undefined && isDeepStrictEqual(status, before)) return { status, holds: false }
    before = status // it may have written its last word, and ended, between our two looks
  }
}

/** Here and now, as all such small files: the way to another thread and back takes ten times as long. */
function readStatus(folder: string): MonitorStatus | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'status.json'), 'utf8')) as MonitorStatus
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** `bootId` of what was written since the machine was started. */
export function thisBoot(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return boot
}

let boot: string | undefined

/** Of proc_pid_stat(5), the numbers of which begin with 1; the state, which is the first behind the name, is 3. */
const FIELD = { state: 3, flags: 9, startTime: 22 }
/** `PF_EXITING`: set before the kernel closes a process's files, so whoever has seen its connection end finds it. */
const EXITING = 0x4

function lives({ bootId, monitor }: MonitorStatus): boolean {
  if (bootId !== thisBoot()) return false
  const stat = statOf(monitor.pid)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // its name, in brackets, may contain anything
  const field = (name: keyof typeof FIELD): string => fields[FIELD[name] - FIELD.state] ?? ''
  if (['', 'Z', 'X'].includes(field('state')) || (Number(field('flags')) & EXITING) !== 0) return false
  return Number(field('startTime')) === monitor.startTime
}

/** Empty if there is no such process. */
function statOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return ''
  }
}
