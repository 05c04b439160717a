/** What `inspect` tells of a container: the document that docker's users read, from the record and the state. Pure. */
import { join } from 'node:path'
import { ABSENT_LIST, ABSENT_MAP } from '../model/absent.ts'
import { hostnameOf } from './bundle.ts'
import { healthPlan } from './health.ts'
import { processArguments, processEnvironment } from './process-spec.ts'
import type { ContainerRecord, RecordedMount } from './record.ts'
import type { ContainerState } from './state.ts'

const NEVER = '0001-01-01T00:00:00Z'
const NANOSECONDS_PER_MS = 1e6
const DEFAULT_SHM_BYTES = 64 * 2 ** 20

/** What it writes, and all that it sees. */
export interface ContainerSizes {
  readonly writtenBytes: number
  readonly rootBytes: number
}

/** `notInForce`: of the HostConfig, what it runs without although it was asked for (limits.ts). Fields without a value are for templates: JSON leaves them out. */
export function inspectContainer(
  record: ContainerRecord,
  state: ContainerState,
  folder: string,
  notInForce: readonly string[],
  sizes?: ContainerSizes,
): object {
  const { request, process } = record
  const [path = '', ...args] = processArguments(process, request)
  return {
    Id: record.id,
    Created: record.created,
    Path: path,
    Args: args,
    State: { ...inspectState(state), LimitsNotInForce: notInForce },
    Image: record.imageId,
    ResolvConfPath: join(folder, 'resolv.conf'),
    HostnamePath: join(folder, 'hostname'),
    HostsPath: join(folder, 'hosts'),
    LogPath: request.log?.driver === 'none' ? '' : join(folder, 'container.log'),
    Name: `/${record.name}`,
    RestartCount: state.restartCount,
    Driver: 'overlay',
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: request.apparmor ?? '',
    ExecIDs: [],
    HostConfig: hostConfig(record),
    GraphDriver: {
      Name: 'overlay',
      Data: {
        LowerDir: record.layers.toReversed().join(':'),
        MergedDir: join(folder, 'rootfs'),
        UpperDir: join(folder, 'upper'),
        WorkDir: join(folder, 'work'),
      },
    },
    Mounts: record.mounts.map(inspectMount),
    SizeRw: sizes?.writtenBytes,
    SizeRootFs: sizes?.rootBytes,
    Config: config(record),
    NetworkSettings: {
      SandboxKey: state.networkNamespace,
      Ports: {},
      IPAddress: '',
      Gateway: '',
      MacAddress: '',
      Networks: {},
    },
  }
}

function inspectState(state: ContainerState): object {
  const { status, health } = state
  return {
    Status: status,
    Running: status === 'running' || status === 'paused' || status === 'restarting',
    Paused: status === 'paused',
    Restarting: status === 'restarting',
    OOMKilled: state.oomKilled,
    Dead: false,
    Pid: state.pid,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: state.startedAt || NEVER,
    FinishedAt: state.finishedAt || NEVER,
    Health: health && {
      Status: health.status,
      FailingStreak: health.failingStreak,
      Log: health.log.map(({ start, end, exitCode, output }) => ({
        Start: start,
        End: end,
        ExitCode: exitCode,
        Output: output,
      })),
    },
  }
}

function config(record: ContainerRecord): object {
  const { request, process, id } = record
  const health = healthPlan(request.health, process.Healthcheck)
  return {
    Hostname: hostnameOf({ id, request }),
    Domainname: request.domainname ?? '',
    User: request.user ?? process.User ?? '',
    AttachStdin: request.interactive ?? false,
    AttachStdout: true,
    AttachStderr: true,
    Tty: request.terminal ?? false,
    OpenStdin: request.interactive ?? false,
    StdinOnce: request.interactive ?? false,
    Env: environment(record),
    Cmd: request.command && request.command.length > 0 ? request.command : (process.Cmd ?? ABSENT_LIST),
    Image: record.image,
    Volumes: process.Volumes?.length ? Object.fromEntries(process.Volumes.map((path) => [path, {}])) : ABSENT_MAP,
    WorkingDir: request.workingDirectory ?? process.WorkingDir ?? '',
    Entrypoint:
      request.entrypoint === undefined
        ? (process.Entrypoint ?? ABSENT_LIST)
        : [request.entrypoint].filter((each) => each !== ''),
    OnBuild: ABSENT_LIST,
    Labels: sorted({ ...process.Labels, ...request.labels }),
    StopSignal: request.stopSignal ?? process.StopSignal ?? '',
    StopTimeout: request.stopTimeoutSeconds,
    Healthcheck: health
      ? {
          Test: ['CMD', ...health.command],
          Interval: health.intervalMs * NANOSECONDS_PER_MS,
          Timeout: health.timeoutMs * NANOSECONDS_PER_MS,
          StartPeriod: health.startPeriodMs * NANOSECONDS_PER_MS,
          Retries: health.retries,
        }
      : request.health && { Test: ['NONE'] },
  }
}

/** As Go prints maps. */
const sorted = (map: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(map).toSorted(([a], [b]) => (a < b ? -1 : 1)))

/** As docker lists it: what was asked for before what the image has. */
function environment({ request, process }: ContainerRecord): readonly string[] {
  const asked = new Set(request.environment?.map((each) => each.split('=', 1)[0]))
  const all = processEnvironment(process, request, { hostname: '', home: '' }).filter(
    (each) => !/^(HOSTNAME|HOME)=$/.test(each),
  )
  const isAsked = (each: string): boolean => asked.has(each.split('=', 1)[0])
  return [...all.filter(isAsked), ...all.filter((each) => !isAsked(each))]
}

function hostConfig({ request, mounts }: ContainerRecord): object {
  const { restart = { policy: 'no', maximumRetries: 0 }, log } = request
  return {
    Binds: mounts.flatMap((mount) =>
      mount.type === 'bind'
        ? [`${mount.volume?.name ?? mount.source}:${mount.target}${mount.readOnly ? ':ro' : ''}`]
        : [],
    ),
    LogConfig: {
      Type: log?.driver ?? 'json-file',
      Config: log && log.maxSizeBytes > 0 ? { 'max-size': `${log.maxSizeBytes}`, 'max-file': `${log.maxFiles}` } : {},
    },
    NetworkMode: request.network ?? 'none',
    PortBindings: {},
    RestartPolicy: { Name: restart.policy, MaximumRetryCount: restart.maximumRetries },
    AutoRemove: request.autoRemove ?? false,
    VolumesFrom: request.volumesFrom ?? ABSENT_LIST,
    CapAdd: request.addedCapabilities ?? ABSENT_LIST,
    CapDrop: request.droppedCapabilities ?? ABSENT_LIST,
    CgroupnsMode: request.cgroup ?? 'private',
    Dns: request.dns ?? [],
    DnsOptions: request.dnsOptions ?? [],
    DnsSearch: request.dnsSearch ?? [],
    ExtraHosts: request.extraHosts ?? ABSENT_LIST,
    GroupAdd: request.groups ?? ABSENT_LIST,
    IpcMode: request.ipc ?? 'private',
    OomScoreAdj: request.oomScoreAdjust ?? 0,
    PidMode: request.pid ?? '',
    Links: ABSENT_LIST,
    Runtime: 'gantry-runtime',
    OomKillDisable: false,
    BlkioWeight: 0,
    Privileged: request.privileged ?? false,
    PublishAllPorts: false,
    ReadonlyRootfs: request.readOnly ?? false,
    SecurityOpt: securityOptions(request),
    UTSMode: request.uts ?? '',
    UsernsMode: '',
    ShmSize: request.shmBytes ?? DEFAULT_SHM_BYTES,
    Tmpfs: mounts.some(({ type }) => type === 'tmpfs')
      ? Object.fromEntries(
          mounts.flatMap((mount) => (mount.type === 'tmpfs' ? [[mount.target, mount.options.join(',')]] : [])),
        )
      : ABSENT_MAP,
    Sysctls: request.sysctls ?? {},
    Init: request.init ?? false,
    CpuShares: request.cpuShares ?? 0,
    Memory: request.memoryBytes ?? 0,
    NanoCpus: Math.round((request.cpus ?? 0) * 1e9),
    CgroupParent: request.cgroupParent ?? '',
    CpuPeriod: request.cpuPeriodMicroseconds ?? 0,
    CpuQuota: request.cpuQuotaMicroseconds ?? 0,
    CpusetCpus: request.cpusetCpus ?? '',
    CpusetMems: request.cpusetMems ?? '',
    Devices: (request.devices ?? []).map(({ source, target, access }) => ({
      PathOnHost: source,
      PathInContainer: target,
      CgroupPermissions: access,
    })),
    DeviceCgroupRules: request.deviceCgroupRules ?? ABSENT_LIST,
    MemoryReservation: request.memoryReservationBytes ?? 0,
    MemorySwap: request.memorySwapBytes ?? 2 * (request.memoryBytes ?? 0),
    PidsLimit: request.pidsLimit ?? null,
    Ulimits: (request.ulimits ?? []).map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
  }
}

function securityOptions(request: ContainerRecord['request']): readonly string[] {
  const { seccomp, apparmor, noNewPrivileges, systemPaths } = request
  const options = [
    ...(seccomp === undefined ? [] : [`seccomp=${seccomp}`]),
    ...(apparmor === undefined ? [] : [`apparmor=${apparmor}`]),
    ...(noNewPrivileges === undefined ? [] : [`no-new-privileges=${noNewPrivileges}`]),
    ...(systemPaths === undefined ? [] : [`systempaths=${systemPaths}`]),
  ]
  return options.length > 0 ? options : ABSENT_LIST
}

function inspectMount(mount: RecordedMount): object {
  if (mount.type === 'tmpfs')
    return { Type: 'tmpfs', Source: '', Destination: mount.target, Mode: '', RW: !mount.readOnly, Propagation: '' }
  const { volume, source, target, readOnly, propagation } = mount
  return {
    Type: volume ? 'volume' : 'bind',
    ...(volume ? { Name: volume.name } : {}),
    Source: source,
    Destination: target,
    ...(volume ? { Driver: 'local' } : {}),
    Mode: readOnly ? 'ro' : '',
    RW: !readOnly,
    Propagation: volume ? '' : propagation,
  }
}
