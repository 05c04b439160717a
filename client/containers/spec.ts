/**
 * From an image's configuration and what the user asked to an OCI `config.json`. Pure, and all policy is here: what is mounted, what is
 * hidden, which capabilities remain. The defaults are docker's, but for CAP_MKNOD, which a container does not get, and
 * no-new-privileges, which is always on.
 */
import type { SeccompProfile } from './seccomp.ts'
import type { ResolvedUser } from './user.ts'

/** The part of an image's configuration that a container is made from (image-spec, config.md). */
export interface ImageProcess {
  readonly Entrypoint?: readonly string[] | null
  readonly Cmd?: readonly string[] | null
  readonly Env?: readonly string[] | null
  readonly WorkingDir?: string
  readonly User?: string
  readonly StopSignal?: string
}

export interface ProcessRequest {
  /** Replaces the image's Cmd. */
  readonly command?: readonly string[]
  /** Replaces the image's Entrypoint and clears its Cmd; an empty string removes it. */
  readonly entrypoint?: string
  /** `KEY=VALUE`, or `KEY` to take the variable away. */
  readonly environment?: readonly string[]
  readonly workingDirectory?: string
  readonly terminal?: { readonly columns: number; readonly rows: number } | 'unsized'
}

export interface SpecInput {
  readonly image: ImageProcess
  readonly request: ProcessRequest
  readonly user: ResolvedUser
  readonly hostname: string
  /** None: every system call is allowed. */
  readonly seccomp: SeccompProfile | undefined
  /** Files of the host that are shown in the container: `/etc/hosts` and the like. */
  readonly files: readonly { readonly source: string; readonly destination: string }[]
}

/** The request makes no sense for this image; the message says what would. */
export class SpecError extends Error {
  override readonly name = 'SpecError'
  /** Docker's. */
  readonly exitCode: number

  constructor(message: string, exitCode = 125) {
    super(message)
    this.exitCode = exitCode
  }
}

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** What a container's processes may have at most. */
export const CAPABILITIES = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
] as const

const NAMESPACES = ['pid', 'mount', 'ipc', 'uts', 'network', 'cgroup'] as const

const MOUNTS = [
  mount('/proc', 'proc', 'proc', 'nosuid', 'noexec', 'nodev'),
  mount('/dev', 'tmpfs', 'tmpfs', 'nosuid', 'strictatime', 'mode=755', 'size=65536k'),
  mount('/dev/pts', 'devpts', 'devpts', 'nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'),
  mount('/sys', 'sysfs', 'sysfs', 'nosuid', 'noexec', 'nodev', 'ro'),
  mount('/sys/fs/cgroup', 'cgroup', 'cgroup', 'ro', 'nosuid', 'noexec', 'nodev'),
  mount('/dev/mqueue', 'mqueue', 'mqueue', 'nosuid', 'noexec', 'nodev'),
  mount('/dev/shm', 'tmpfs', 'shm', 'nosuid', 'noexec', 'nodev', 'mode=1777', 'size=67108864'),
] as const

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

/** Throws `SpecError`. The result is JSON. */
export function containerSpec(input: SpecInput): object {
  const { image, request, user, hostname, seccomp, files } = input
  const { terminal } = request
  return {
    ociVersion: '1.2.0',
    root: { path: 'rootfs' },
    hostname,
    process: {
      terminal: terminal !== undefined,
      ...(typeof terminal === 'object' ? { consoleSize: { height: terminal.rows, width: terminal.columns } } : {}),
      user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
      args: processArguments(image, request),
      env: processEnvironment(input),
      cwd: workingDirectory(image, request),
      capabilities: capabilitySets(user),
      noNewPrivileges: true,
    },
    mounts: [
      ...MOUNTS,
      ...files.map(({ source, destination }) => ({ ...mount(destination, 'bind', source, 'rbind', 'rprivate') })),
    ],
    linux: {
      namespaces: NAMESPACES.map((type) => ({ type })),
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
      ...(seccomp ? { seccomp } : {}),
    },
  }
}

/** Docker's rules: a new entrypoint forgets the image's command, a new command keeps the image's entrypoint. */
function processArguments(image: ImageProcess, request: ProcessRequest): readonly string[] {
  const entrypoint =
    request.entrypoint === undefined ? (image.Entrypoint ?? []) : [request.entrypoint].filter((word) => word !== '')
  const inherited = request.entrypoint === undefined ? (image.Cmd ?? []) : []
  const command = request.command && request.command.length > 0 ? request.command : inherited
  const all = [...entrypoint, ...command]
  if (all.length === 0) throw new SpecError('no command specified: the image names none, so give one after the image')
  if (all[0] === '') throw new SpecError('exec: "": executable file not found in $PATH', 127)
  return all
}

/** A user who is not root starts without effective capabilities, as execve would leave it. */
function capabilitySets({ uid }: ResolvedUser): object {
  const held = uid === 0 ? CAPABILITIES : []
  return { bounding: CAPABILITIES, effective: held, permitted: held, inheritable: [], ambient: [] }
}

function processEnvironment({ image, request, user, hostname }: SpecInput): readonly string[] {
  const variables = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOSTNAME', hostname],
  ])
  if (request.terminal) variables.set('TERM', 'xterm')
  for (const assignment of image.Env ?? []) assign(variables, assignment)
  for (const assignment of request.environment ?? []) {
    if (/^=|\0/.test(assignment) || assignment === '')
      throw new SpecError(`invalid environment variable ${JSON.stringify(assignment)}: write NAME=VALUE`)
    if (assignment.includes('=')) assign(variables, assignment)
    else variables.delete(assignment)
  }
  if (!variables.has('HOME')) variables.set('HOME', user.home)
  return [...variables].map(([name, value]) => `${name}=${value}`)
}

function assign(variables: Map<string, string>, assignment: string): void {
  const equals = assignment.indexOf('=')
  if (equals > 0) variables.set(assignment.slice(0, equals), assignment.slice(equals + 1))
}

function workingDirectory(image: ImageProcess, request: ProcessRequest): string {
  const path = request.workingDirectory || image.WorkingDir || '/'
  if (!path.startsWith('/') || path.includes('\0'))
    throw new SpecError(`the working directory ${JSON.stringify(path)} is invalid: it must be an absolute path`)
  return path
}

function mount(destination: string, type: string, source: string, ...options: string[]) {
  return { destination, type, source, options }
}
