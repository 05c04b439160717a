/**
 * What somebody asks of a new container: parsed from the command line, or given to the library. Every member may be left out. It is plain data,
 * and kept in the container's record as it was asked, so that the container can be started again from it.
 */
import type { HealthRequest } from './health.ts'
import type { MountRequest } from './mounts.ts'

export interface ContainerRequest
  extends ProcessRequest,
    NamespaceRequest,
    SecurityRequest,
    ResourceRequest,
    FilesRequest,
    LifeRequest {}

export interface ProcessRequest {
  /** Replaces the image's Cmd. */
  readonly command?: readonly string[]
  /** Replaces the image's Entrypoint and clears its Cmd; an empty string removes it. */
  readonly entrypoint?: string
  /** `KEY=VALUE`, or `KEY` to take the variable away. */
  readonly environment?: readonly string[]
  readonly workingDirectory?: string
  /** `USER[:GROUP]`; else the image's. */
  readonly user?: string
  /** More groups, by name or number. */
  readonly groups?: readonly string[]
  /** A pseudo-terminal of its own. */
  readonly terminal?: boolean
  /** Standard input can be written to. */
  readonly interactive?: boolean
  /** A small init as the first process, which reaps orphans and passes signals on. */
  readonly init?: boolean
}

interface NamespaceRequest {
  readonly hostname?: string
  readonly domainname?: string
  readonly network?: NamespaceChoice | 'none'
  readonly pid?: NamespaceChoice
  readonly ipc?: NamespaceChoice | 'none' | 'private' | 'shareable'
  readonly uts?: 'host'
  readonly cgroup?: 'host' | 'private'
  readonly sysctls?: Readonly<Record<string, string>>
}

/** `container:NAME` is that container's, which has to run. */
export type NamespaceChoice = 'host' | `container:${string}`

export interface SecurityRequest {
  readonly privileged?: boolean
  /** Names with or without `CAP_`, or `ALL`. */
  readonly addedCapabilities?: readonly string[]
  readonly droppedCapabilities?: readonly string[]
  /** What becomes of system calls: the default profile unless it is `unconfined` or the path of another one. */
  readonly seccomp?: string
  /** The name of a loaded profile, or `unconfined`. */
  readonly apparmor?: string
  /** Whether setuid programs and file capabilities give nothing. On unless it is switched off, or the container is privileged. */
  readonly noNewPrivileges?: boolean
  /** `unconfined`: nothing of /proc and /sys is hidden. */
  readonly systemPaths?: 'unconfined'
  readonly readOnly?: boolean
}

export interface ResourceRequest {
  readonly memoryBytes?: number
  /** Memory and swap together; -1: as much as there is. */
  readonly memorySwapBytes?: number
  readonly memoryReservationBytes?: number
  readonly cpus?: number
  readonly cpuShares?: number
  readonly cpuPeriodMicroseconds?: number
  readonly cpuQuotaMicroseconds?: number
  /** As the kernel writes lists: `0-2,4`. */
  readonly cpusetCpus?: string
  readonly cpusetMems?: string
  /** -1: no limit. */
  readonly pidsLimit?: number
  readonly oomScoreAdjust?: number
  readonly ulimits?: readonly Ulimit[]
  readonly devices?: readonly DeviceRequest[]
  /** As in the kernel's file: `c 1:3 rwm`. */
  readonly deviceCgroupRules?: readonly string[]
  readonly shmBytes?: number
  readonly cgroupParent?: string
}

export interface Ulimit {
  /** As in limits.conf: `nofile`. */
  readonly name: string
  readonly soft: number
  readonly hard: number
}

export interface DeviceRequest {
  readonly source: string
  readonly target: string
  /** Some of `rwm`. */
  readonly access: string
}

interface FilesRequest {
  readonly mounts?: readonly MountRequest[]
  /** `NAME[:ro|rw]` */
  readonly volumesFrom?: readonly string[]
  readonly dns?: readonly string[]
  readonly dnsSearch?: readonly string[]
  readonly dnsOptions?: readonly string[]
  /** `NAME:ADDRESS` */
  readonly extraHosts?: readonly string[]
}

interface LifeRequest {
  readonly name?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** Its folder goes when it ends. */
  readonly autoRemove?: boolean
  readonly restart?: RestartPolicy
  readonly health?: HealthRequest
  /** A name or a number. */
  readonly stopSignal?: string
  /** -1: wait for ever. */
  readonly stopTimeoutSeconds?: number
  readonly log?: LogRequest
}

export interface RestartPolicy {
  readonly policy: 'no' | 'on-failure' | 'always' | 'unless-stopped'
  /** 0: as often as it takes. */
  readonly maximumRetries: number
}

export interface LogRequest {
  readonly driver: 'json-file' | 'none'
  /** 0: no limit. */
  readonly maxSizeBytes: number
  readonly maxFiles: number
}
