/**
 * Which of the limits that are asked for can be in force here. Root has all that the kernel has. An ordinary user has control groups only where his own
 * systemd makes them, or where one was delegated to him; elsewhere his containers run without, as docker's and podman's do, he is told, and `inspect` says so.
 */
import { accessSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ownIds } from '../store/own-ids.ts'
import { cgroupsPath, hasUserSystemd } from './cgroups-path.ts'
import type { ContainerRequest, ResourceRequest } from './request.ts'

type Controller = 'cpu' | 'cpuset' | 'memory' | 'pids'

interface Limit {
  readonly controller: Controller
  readonly flag: string
  /** In what `inspect` calls HostConfig. */
  readonly inspected: string
}

const LIMITS = {
  memoryBytes: { controller: 'memory', flag: '--memory', inspected: 'Memory' },
  memorySwapBytes: { controller: 'memory', flag: '--memory-swap', inspected: 'MemorySwap' },
  memoryReservationBytes: { controller: 'memory', flag: '--memory-reservation', inspected: 'MemoryReservation' },
  cpus: { controller: 'cpu', flag: '--cpus', inspected: 'NanoCpus' },
  cpuShares: { controller: 'cpu', flag: '--cpu-shares', inspected: 'CpuShares' },
  cpuPeriodMicroseconds: { controller: 'cpu', flag: '--cpu-period', inspected: 'CpuPeriod' },
  cpuQuotaMicroseconds: { controller: 'cpu', flag: '--cpu-quota', inspected: 'CpuQuota' },
  cpusetCpus: { controller: 'cpuset', flag: '--cpuset-cpus', inspected: 'CpusetCpus' },
  cpusetMems: { controller: 'cpuset', flag: '--cpuset-mems', inspected: 'CpusetMems' },
  pidsLimit: { controller: 'pids', flag: '--pids-limit', inspected: 'PidsLimit' },
} as const satisfies Partial<Record<keyof ResourceRequest, Limit>>

type LimitName = keyof typeof LIMITS

export interface LimitsHere {
  /** What was asked for, without what cannot be had. */
  readonly request: ContainerRequest
  readonly notInForce: readonly LimitName[]
  /** What to tell about them; `undefined` if there are none. */
  readonly warning?: string
}

/** Of the container `id`, asked before it starts: where its control group would be, and what its controllers could be. */
export function limitsHere(id: string, request: ContainerRequest): LimitsHere {
  const asked = (Object.keys(LIMITS) as LimitName[]).filter((name) => isLimit(request[name]))
  if (ownIds().isHost || asked.length === 0) return { request, notInForce: [] }
  const byUserSystemd = hasUserSystemd()
  const path = cgroupsPath({ id, parent: request.cgroupParent, byUserSystemd })
  const available = controllersAt(path ?? join('/gantry', id), GROUPS)
  const notInForce = asked.filter((name) => available?.has(LIMITS[name].controller) === false)
  if (notInForce.length === 0) return { request, notInForce }
  const left = Object.entries(request).filter(([name]) => !notInForce.includes(name as LimitName))
  return { request: Object.fromEntries(left), notInForce, warning: warningOf(notInForce, byUserSystemd) }
}

const isLimit = (value: string | number | undefined): boolean =>
  typeof value === 'string' ? value !== '' : value !== undefined && value > 0

function warningOf(notInForce: readonly LimitName[], byUserSystemd: boolean): string {
  const flags = notInForce.map((name) => LIMITS[name].flag)
  const controllers = [...new Set(notInForce.map((name) => LIMITS[name].controller))]
  const way = byUserSystemd
    ? `systemd did not hand you the controllers for it (${controllers.join(', ')}); root does by Delegate=yes for user@.service (systemd.resource-control(5))`
    : 'an ordinary user has no control groups but those that his own systemd makes, where they are of version 2 and he has logged in (XDG_RUNTIME_DIR), or one that was delegated to him (--cgroup-parent)'
  return `the container runs without ${listed(flags)}: ${way}`
}

const listed = (words: readonly string[]): string =>
  words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`

/** Where control groups are to be looked at. */
export interface Groups {
  readonly root: string
  /** The text of `/proc/self/cgroup`. */
  readonly own: string
  /** Of this user, on the host. */
  readonly uid: number
}

const GROUPS: Groups = {
  root: '/sys/fs/cgroup',
  get own() {
    return readFileSync('/proc/self/cgroup', 'utf8')
  },
  /** `0 UID COUNT`: who root is in this namespace. */
  get uid() {
    return Number(readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/)[1])
  },
}

/** The controllers that a group at `path`, in the words of `linux.cgroupsPath`, could have if this user made it. `undefined`: it cannot be told beforehand. */
export function controllersAt(path: string, groups: Groups): ReadonlySet<string> | undefined {
  if (!path.startsWith('/')) return controllersOfUserSystemd(groups)
  const found = new Set<string>()
  for (const line of groups.own.trim().split('\n')) {
    const [, names = ''] = line.split(':')
    const controllers = names === '' ? unifiedControllers(path, groups.root) : ownControllers(names, path, groups.root)
    for (const each of controllers) found.add(each)
  }
  return found
}

/** It makes them all, of what it was handed itself. */
function controllersOfUserSystemd({ root, own, uid }: Groups): ReadonlySet<string> | undefined {
  const [manager = `/user.slice/user-${uid}.slice/user@${uid}.service`] = own.match(/\/.*\/user@\d+\.service/) ?? []
  const text = textOf(join(root, manager, 'cgroup.controllers'))
  return text === undefined ? undefined : new Set(text.trim().split(/\s+/))
}

/** Of a hierarchy of version 1, `cpu,cpuacct`: all, wherever a group can be made. */
function ownControllers(names: string, path: string, root: string): readonly string[] {
  const place = nearest(join(root, names), path)
  return place !== undefined && isWritable(place) ? names.split(',') : []
}

/** In version 2 a group has what its parent hands down, and this user may have that changed only where the file is his. */
function unifiedControllers(path: string, root: string): readonly string[] {
  const mount = [root, join(root, 'unified')].find((folder) => existsSync(join(folder, 'cgroup.controllers')))
  const place = mount === undefined ? undefined : nearest(mount, path)
  if (place === undefined || !isWritable(place)) return []
  const handing = join(place, 'cgroup.subtree_control')
  const file = isWritable(handing) ? join(place, 'cgroup.controllers') : handing
  return textOf(file)?.trim().split(/\s+/) ?? []
}

/** The parent of what would have to be made. */
function nearest(mount: string, path: string): string | undefined {
  if (!existsSync(mount)) return undefined
  let place = dirname(join(mount, path))
  while (!existsSync(place)) place = dirname(place)
  return place
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** In the folder of a container that runs without limits which were asked for: which. */
const NOT_IN_FORCE = 'limits-not-in-force'

export function recordLimits(folder: string, { notInForce }: LimitsHere): void {
  const file = join(folder, NOT_IN_FORCE)
  if (notInForce.length > 0) writeFileSync(file, `${notInForce.join('\n')}\n`)
  else if (!ownIds().isHost) rmSync(file, { force: true })
}

/** Of its last start, by their names in what `inspect` calls HostConfig. */
export function limitsNotInForce(folder: string): readonly string[] {
  if (ownIds().isHost) return []
  const names = (textOf(join(folder, NOT_IN_FORCE)) ?? '')
    .split('\n')
    .filter((name): name is LimitName => name in LIMITS)
  return names.map((name) => LIMITS[name].inspected)
}
