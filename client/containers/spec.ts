/**
 * From an image's configuration and what the user asked to an OCI `config.json`. Pure, and all policy is here: what is mounted, what is
 * hidden, which rights remain. The defaults are docker's, but for CAP_MKNOD, which a container does not get, and
 * no-new-privileges, which is on unless it is switched off.
 */

import { OWN_NETWORK } from '../../native/monitor-plan.ts'
import type { ImageProcess } from '../model/image-process.ts'
import { HOST_IDS, type OwnIds } from '../store/own-ids.ts'
import { chosenCapabilities } from './capabilities.ts'
import { type MountSpecInput, specMounts } from './mount-spec.ts'
import { processArguments, processEnvironment, workingDirectory } from './process-spec.ts'
import type { ContainerRequest } from './request.ts'
import { type HostDevice, resourcesSpec } from './resources.ts'
import type { SeccompProfile } from './seccomp.ts'
import type { ResolvedUser } from './user.ts'

export interface SpecInput extends MountSpecInput {
  readonly image: ImageProcess
  readonly user: ResolvedUser
  readonly hostname: string
  /** None: every system call is allowed. */
  readonly seccomp: SeccompProfile | undefined
  readonly devices?: readonly HostDevice[]
  /** Namespaces of others that it joins, as paths in /proc. */
  readonly joined?: Readonly<Partial<Record<NamespaceType, string>>>
  readonly apparmorProfile?: string
  /** Where the small init is in the container, if it was asked for. */
  readonly init?: string
  /** Else the runtime's own choice. */
  readonly cgroupsPath?: string
  readonly consoleSize?: { readonly columns: number; readonly rows: number }
  /** That there are where it will run. */
  readonly ids?: OwnIds
}

type NamespaceType = 'pid' | 'mount' | 'ipc' | 'uts' | 'network' | 'cgroup'

const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
] as const

const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'] as const

/** Throws `RequestError`. The result is JSON. */
export function containerSpec(input: SpecInput): object {
  const { request, hostname, devices, ids = HOST_IDS } = input
  const resources = resourcesSpec(request, devices, ids)
  const sysctl = sysctls(input)
  const bare = request.privileged || request.systemPaths === 'unconfined'
  const ownUts = request.uts !== 'host'
  return {
    ociVersion: '1.2.0',
    root: { path: 'rootfs', ...(request.readOnly ? { readonly: true } : {}) },
    ...(ownUts ? { hostname } : {}),
    ...(ownUts && request.domainname ? { domainname: request.domainname } : {}),
    process: processSpec(input),
    mounts: specMounts(input),
    ...(request.annotations ? { annotations: request.annotations } : {}),
    linux: {
      namespaces: namespaces(input),
      ...(input.cgroupsPath === undefined ? {} : { cgroupsPath: input.cgroupsPath }),
      ...(bare ? {} : { maskedPaths: MASKED_PATHS, readonlyPaths: READONLY_PATHS }),
      ...(input.seccomp && !request.privileged ? { seccomp: input.seccomp } : {}),
      ...(resources ? { resources } : {}),
      ...(devices && devices.length > 0 ? { devices: devices.map(({ access: _, ...device }) => device) } : {}),
      ...(Object.keys(sysctl).length > 0 ? { sysctl } : {}),
      ...(sharedBelow(input) ? { rootfsPropagation: sharedBelow(input) } : {}),
    },
  }
}

function processSpec(input: SpecInput): object {
  const { image, request, user, hostname, init, apparmorProfile, consoleSize } = input
  const args = processArguments(image, request)
  return {
    terminal: request.terminal ?? false,
    ...(consoleSize ? { consoleSize: { height: consoleSize.rows, width: consoleSize.columns } } : {}),
    user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
    args: init === undefined ? args : [init, '--', ...args],
    env: processEnvironment(image, request, { hostname, home: user.home }),
    cwd: workingDirectory(image, request),
    capabilities: capabilitySets(user, chosenCapabilities(request)),
    noNewPrivileges: request.noNewPrivileges ?? !request.privileged,
    ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
    ...(request.oomScoreAdjust ? { oomScoreAdj: request.oomScoreAdjust } : {}),
    ...(request.ulimits && request.ulimits.length > 0
      ? {
          rlimits: request.ulimits.map(({ name, soft, hard }) => ({
            type: `RLIMIT_${name.toUpperCase()}`,
            soft: unsigned(soft),
            hard: unsigned(hard),
          })),
        }
      : {}),
  }
}

/** No limit, as the kernel writes it: the largest number of 64 bits, which is none of JavaScript's. */
const unsigned = (limit: number): unknown =>
  limit < 0 ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON('18446744073709551615') : limit

/** A user who is not root starts without effective capabilities, as execve would leave it. */
export function capabilitySets({ uid }: Pick<ResolvedUser, 'uid'>, bounding: readonly string[]): object {
  const held = uid === 0 ? bounding : []
  return { bounding, effective: held, permitted: held, inheritable: [], ambient: [] }
}

/** Its monitor makes it, before there is a container, and the container joins it: so it can be set up first, and outlives restarts. */
export const hasOwnNetwork = (request: ContainerRequest, joined: SpecInput['joined']): boolean =>
  request.network !== 'host' && joined?.network === undefined

function namespaces({ request, joined: others = {} }: SpecInput): readonly object[] {
  const joined = hasOwnNetwork(request, others) ? { ...others, network: OWN_NETWORK } : others
  const shared: Partial<Record<NamespaceType, boolean>> = {
    pid: request.pid === 'host',
    ipc: request.ipc === 'host',
    uts: request.uts === 'host',
    network: request.network === 'host',
    cgroup: request.cgroup === 'host',
  }
  const types: readonly NamespaceType[] = ['pid', 'mount', 'ipc', 'uts', 'network', 'cgroup']
  return types
    .filter((type) => !shared[type])
    .map((type) => (joined[type] === undefined ? { type } : { type, path: joined[type] }))
}

/** In a network of its own everybody may use low ports and ping, as nobody else is there to be harmed. */
function sysctls({ request, joined, ids = HOST_IDS }: SpecInput): Readonly<Record<string, string>> {
  return {
    ...(hasOwnNetwork(request, joined)
      ? {
          'net.ipv4.ip_unprivileged_port_start': '0',
          'net.ipv4.ping_group_range': `0 ${lastGroup(ids)}`,
        }
      : {}),
    ...request.sysctls,
  }
}

/** Both ends of a range have to be there. */
const lastGroup = ({ hasGroup }: OwnIds): number => [2_147_483_647, 65_535].find(hasGroup) ?? 0

/** What is mounted below a shared folder can only be seen if the root does not cut it off. */
function sharedBelow({ mounts = [] }: SpecInput): string | undefined {
  const propagations = mounts.flatMap((mount) => (mount.type === 'bind' ? [mount.propagation] : []))
  if (propagations.some((each) => each === 'shared' || each === 'rshared')) return 'shared'
  return propagations.some((each) => each === 'slave' || each === 'rslave') ? 'slave' : undefined
}
