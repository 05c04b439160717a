/** The `mounts` of a container: the system's own, what the user asked for, in an order in which none covers another. Pure. */
import { HOST_IDS, type OwnIds } from '../store/own-ids.ts'
import type { Propagation } from './mounts.ts'
import type { ContainerRequest } from './request.ts'

/** Its source is there, or the filesystem is made for it. */
export type ResolvedMount =
  | {
      readonly type: 'bind'
      readonly source: string
      readonly target: string
      readonly readOnly: boolean
      readonly propagation: Propagation
      readonly recursive: boolean
    }
  | { readonly type: 'tmpfs'; readonly target: string; readonly readOnly: boolean; readonly options: readonly string[] }

interface SpecMount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

/** `tty` in every image. */
const TERMINALS_GROUP = 5
const DEFAULT_SHM_BYTES = 64 * 2 ** 20

/** With a root that is read-only, these stay writable. */
const ALWAYS_WRITABLE = new Set(['/proc', '/dev', '/dev/pts', '/dev/shm', '/dev/mqueue'])

export interface MountSpecInput {
  readonly request: ContainerRequest
  /** Files of the host that are shown in the container: `/etc/hosts` and the like. */
  readonly files: readonly { readonly source: string; readonly destination: string }[]
  readonly mounts?: readonly ResolvedMount[]
  readonly ids?: OwnIds
}

export function specMounts({ request, files, mounts = [], ids = HOST_IDS }: MountSpecInput): readonly SpecMount[] {
  const taken = new Set(mounts.map(({ target }) => target))
  const covered = (destination: string): boolean =>
    taken.has(destination) || (taken.has('/dev') && destination.startsWith('/dev/'))
  const own = systemMounts(request, ids)
    .filter(({ destination }) => !covered(destination))
    .map((each) => (request.privileged ? { ...each, options: each.options.filter((option) => option !== 'ro') } : each))
    .map((each) => (request.readOnly && !ALWAYS_WRITABLE.has(each.destination) ? readOnly(each) : each))
  const shown = files
    .filter(({ destination }) => !taken.has(destination))
    .map(({ source, destination }) => {
      const bound = mount(destination, 'bind', source, 'rbind', 'rprivate')
      return request.readOnly ? readOnly(bound) : bound
    })
  const asked = mounts.map(printMount).toSorted((a, b) => depth(a) - depth(b))
  return [...own, ...shown, ...asked]
}

/** Those of proc and mqueue show the namespaces that the container has, whosever they are. Nobody but the host's root may make one of the host's queues. */
function systemMounts({ shmBytes = DEFAULT_SHM_BYTES, ipc }: ContainerRequest, ids: OwnIds): readonly SpecMount[] {
  const terminals = ids.hasGroup(TERMINALS_GROUP) ? [`gid=${TERMINALS_GROUP}`] : []
  return [
    mount('/proc', 'proc', 'proc', 'nosuid', 'noexec', 'nodev'),
    mount('/dev', 'tmpfs', 'tmpfs', 'nosuid', 'strictatime', 'mode=755', 'size=65536k'),
    mount(
      '/dev/pts',
      'devpts',
      'devpts',
      'nosuid',
      'noexec',
      'newinstance',
      'ptmxmode=0666',
      'mode=0620',
      ...terminals,
    ),
    mount('/sys', 'sysfs', 'sysfs', 'nosuid', 'noexec', 'nodev', 'ro'),
    mount('/sys/fs/cgroup', 'cgroup', 'cgroup', 'ro', 'nosuid', 'noexec', 'nodev'),
    ...(ipc === 'host' && !ids.isHost ? [] : [mount('/dev/mqueue', 'mqueue', 'mqueue', 'nosuid', 'noexec', 'nodev')]),
    ...(ipc === 'none' ? [] : [shm(shmBytes, ipc)]),
  ]
}

const bound = (path: string): SpecMount => mount(path, 'bind', path, 'rbind', 'rprivate', 'nosuid', 'noexec', 'nodev')

const shm = (bytes: number, ipc: string | undefined): SpecMount =>
  ipc === 'host'
    ? bound('/dev/shm')
    : mount('/dev/shm', 'tmpfs', 'shm', 'nosuid', 'noexec', 'nodev', 'mode=1777', `size=${bytes}`)

function printMount(asked: ResolvedMount): SpecMount {
  const access = asked.readOnly ? ['ro'] : []
  if (asked.type === 'tmpfs')
    return mount(asked.target, 'tmpfs', 'tmpfs', 'noexec', 'nosuid', 'nodev', ...asked.options, ...access)
  return mount(asked.target, 'bind', asked.source, asked.recursive ? 'rbind' : 'bind', asked.propagation, ...access)
}

const readOnly = (each: SpecMount): SpecMount =>
  each.options.includes('ro') ? each : { ...each, options: [...each.options, 'ro'] }

const depth = ({ destination }: SpecMount): number => destination.split('/').length

const mount = (destination: string, type: string, source: string, ...options: string[]): SpecMount => ({
  destination,
  type,
  source,
  options,
})
