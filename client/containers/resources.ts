/** What a container may use, as `linux.resources` of the runtime specification. Pure. */

import { HOST_IDS, type OwnIds } from '../store/own-ids.ts'
import type { ResourceRequest, SecurityRequest } from './request.ts'
import { RequestError } from './request-error.ts'

/** A device of the host that is shown in a container. */
export interface HostDevice {
  readonly path: string
  readonly type: 'b' | 'c'
  readonly major: number
  readonly minor: number
  readonly fileMode: number
  readonly uid: number
  readonly gid: number
  readonly access: string
}

/** Which devices may be used; of a kind `a`, or without a number, all. */
interface DeviceRule {
  readonly allow: boolean
  readonly type?: string
  readonly major?: number
  readonly minor?: number
  readonly access: string
}

const LEAST_MEMORY_BYTES = 6 * 2 ** 20
const DEFAULT_PERIOD_MICROSECONDS = 100_000
const OOM_SCORES = [-1000, 1000] as const

/** Throws `RequestError` where docker refuses, with its reason. */
export function checkResources(request: ResourceRequest): void {
  const { memoryBytes = 0, memorySwapBytes = 0, memoryReservationBytes = 0, oomScoreAdjust = 0 } = request
  if (memoryBytes > 0 && memoryBytes < LEAST_MEMORY_BYTES)
    throw new RequestError('the least memory limit allowed is 6m: less than that starts no program')
  if (memorySwapBytes > 0 && memoryBytes === 0)
    throw new RequestError('--memory-swap is memory and swap together, so it needs --memory as well')
  if (memorySwapBytes > 0 && memorySwapBytes < memoryBytes)
    throw new RequestError('--memory-swap is memory and swap together: it must not be less than --memory')
  if (memoryReservationBytes > 0 && memoryBytes > 0 && memoryReservationBytes > memoryBytes)
    throw new RequestError('--memory-reservation must not be more than --memory')
  if (request.cpus && (request.cpuPeriodMicroseconds || request.cpuQuotaMicroseconds))
    throw new RequestError('--cpus contradicts --cpu-period and --cpu-quota: it sets both')
  if (!(oomScoreAdjust >= OOM_SCORES[0] && oomScoreAdjust <= OOM_SCORES[1]))
    throw new RequestError(`--oom-score-adj is between ${OOM_SCORES.join(' and ')}, not ${oomScoreAdjust}`)
}

/** `undefined` if nothing is limited. */
export function resourcesSpec(
  request: ResourceRequest & SecurityRequest,
  devices: readonly HostDevice[] = [],
  { isHost }: Pick<OwnIds, 'isHost'> = HOST_IDS,
): object | undefined {
  checkResources(request)
  const rules = deviceRules(request, devices, isHost)
  const spec = {
    ...nonEmpty('memory', memorySpec(request)),
    ...nonEmpty('cpu', cpuSpec(request)),
    ...(request.pidsLimit && request.pidsLimit > 0 ? { pids: { limit: request.pidsLimit } } : {}),
    ...(rules.length > 0 ? { devices: rules } : {}),
  }
  return Object.keys(spec).length > 0 ? spec : undefined
}

const nonEmpty = (name: string, value: object): object => (Object.keys(value).length > 0 ? { [name]: value } : {})

/** Without a word about swap there is as much of it as memory. */
function memorySpec({ memoryBytes, memorySwapBytes, memoryReservationBytes }: ResourceRequest): object {
  return {
    ...(memoryBytes ? { limit: memoryBytes, swap: memorySwapBytes || 2 * memoryBytes } : {}),
    ...(memoryReservationBytes ? { reservation: memoryReservationBytes } : {}),
  }
}

function cpuSpec(request: ResourceRequest): object {
  const { cpus, cpuShares, cpuPeriodMicroseconds, cpuQuotaMicroseconds, cpusetCpus, cpusetMems } = request
  return {
    ...(cpuShares ? { shares: cpuShares } : {}),
    ...(cpus ? { period: DEFAULT_PERIOD_MICROSECONDS, quota: Math.round(cpus * DEFAULT_PERIOD_MICROSECONDS) } : {}),
    ...(cpuPeriodMicroseconds ? { period: cpuPeriodMicroseconds } : {}),
    ...(cpuQuotaMicroseconds ? { quota: cpuQuotaMicroseconds } : {}),
    ...(cpusetCpus ? { cpus: cpusetCpus } : {}),
    ...(cpusetMems ? { mems: cpusetMems } : {}),
  }
}

/** null, zero, full, random, urandom, tty, console, ptmx, terminals; and every node may be made. */
const USUAL_DEVICES: readonly DeviceRule[] = [
  { allow: false, access: 'rwm' },
  { allow: true, type: 'c', access: 'm' },
  { allow: true, type: 'b', access: 'm' },
  ...[
    [1, 3],
    [1, 5],
    [1, 7],
    [1, 8],
    [1, 9],
    [5, 0],
    [5, 1],
    [5, 2],
  ].map(([major = 0, minor = 0]): DeviceRule => ({ allow: true, type: 'c', major, minor, access: 'rwm' })),
  { allow: true, type: 'c', major: 136, access: 'rwm' },
]

/**
 * Nobody who cannot make a node, in a filesystem where none works, needs rules; so there are none unless something was asked for that changes
 * this.
 */
function deviceRules(
  request: ResourceRequest & SecurityRequest,
  devices: readonly HostDevice[],
  isHost: boolean,
): readonly DeviceRule[] {
  if (!isHost) {
    if (request.deviceCgroupRules?.length)
      throw new RequestError(
        '--device-cgroup-rule needs root: in a user namespace containers reach the devices that you reach, and no others',
      )
    return []
  }
  if (request.privileged) return [{ allow: true, access: 'rwm' }]
  const makesNodes = request.addedCapabilities?.some((name) => /^(cap_)?mknod$|^all$/i.test(name)) ?? false
  const extra = (request.deviceCgroupRules ?? []).map(parseDeviceCgroupRule)
  if (devices.length === 0 && extra.length === 0 && !makesNodes) return []
  return [
    ...USUAL_DEVICES,
    ...devices.map(({ type, major, minor, access }): DeviceRule => ({ allow: true, type, major, minor, access })),
    ...extra,
  ]
}

/** The text itself, if it can be read. Throws `RequestError`. */
export function checkDeviceCgroupRule(text: string): string {
  parseDeviceCgroupRule(text)
  return text
}

/** `c 1:3 rwm`; `*` is every number. Throws `RequestError`. */
function parseDeviceCgroupRule(text: string): DeviceRule {
  const [, type, major, minor, access = ''] = /^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$/.exec(text) ?? []
  if (type === undefined)
    throw new RequestError(
      `invalid device cgroup rule ${JSON.stringify(text)}: write TYPE MAJOR:MINOR ACCESS, for example 'c 1:3 rwm'`,
    )
  return {
    allow: true,
    ...(type === 'a' ? {} : { type }),
    ...(major === '*' ? {} : { major: Number(major) }),
    ...(minor === '*' ? {} : { minor: Number(minor) }),
    access,
  }
}
