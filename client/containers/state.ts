/** How a container is doing, as docker's words have it: what its monitor says, if that still holds. */
import { type MonitorStatus, readMonitorStatus } from '../../native/monitor-status.ts'

export interface ContainerState {
  readonly status: 'created' | 'running' | 'paused' | 'restarting' | 'exited'
  /** 0 if it does not run. */
  readonly pid: number
  /** As a shell reports it. */
  readonly exitCode: number
  readonly oomKilled: boolean
  /** Why it could not be started, or what else went wrong. */
  readonly error: string
  /** RFC 3339; empty if it never was. */
  readonly startedAt: string
  readonly finishedAt: string
  readonly restartCount: number
  readonly stoppedByUser: boolean
  /** The path of its own, while somebody holds it. */
  readonly networkNamespace: string
  readonly health?: MonitorStatus['health']
  /** Its monitor was killed, or the machine went down, and nobody has taken down what is left. */
  readonly needsRecovery: boolean
}

const NEVER_STARTED: ContainerState = {
  status: 'created',
  pid: 0,
  exitCode: 0,
  oomKilled: false,
  error: '',
  startedAt: '',
  finishedAt: '',
  restartCount: 0,
  stoppedByUser: false,
  networkNamespace: '',
  needsRecovery: false,
}

const KILLED_EXIT_CODE = 137

/** `folder`: the container's. One whose monitor was killed counts as killed, whatever was written down last. */
export async function containerState(folder: string): Promise<ContainerState> {
  const known = await readMonitorStatus(folder)
  if (known === undefined) return NEVER_STARTED
  const { phase, pid, exitCode, oomKilled, error, startedAt, finishedAt, restartCount, stoppedByUser, health } =
    known.status
  const common = { oomKilled, error, startedAt, finishedAt, restartCount, stoppedByUser, ...(health ? { health } : {}) }
  if (known.holds)
    return {
      ...common,
      status: phase,
      pid: phase === 'running' || phase === 'paused' ? pid : 0,
      exitCode,
      networkNamespace: known.status.networkNamespace,
      needsRecovery: false,
    }
  if (phase === 'created') return { ...NEVER_STARTED, needsRecovery: true }
  return {
    ...common,
    status: 'exited',
    pid: 0,
    exitCode: KILLED_EXIT_CODE,
    networkNamespace: '',
    needsRecovery: true,
  }
}

/** Whether there is a process of it. */
export const isAlive = ({ status }: ContainerState): boolean =>
  status === 'running' || status === 'paused' || status === 'restarting'
