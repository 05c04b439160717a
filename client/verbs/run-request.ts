/** The options of `run` and `create` become what is asked of a container. Everything that can be wrong about them is said here, as a `RequestError`. */
import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import type { HealthRequest } from '../containers/health.ts'
import { parseDeviceFlag } from '../containers/host-devices.ts'
import { parseMountFlag, parseTmpfsFlag, parseVolumeFlag } from '../containers/mounts.ts'
import { parseKeyValues, parseRestartPolicy, parseUlimit } from '../containers/policies.ts'
import { parseBytes, parseCpuList, parseCpus, parseDuration, parseInteger } from '../containers/quantities.ts'
import type {
  ContainerRequest,
  LogRequest,
  NamespaceChoice,
  ResourceRequest,
  SecurityRequest,
} from '../containers/request.ts'
import { RequestError } from '../containers/request-error.ts'
import { checkDeviceCgroupRule } from '../containers/resources.ts'
import type { PullFlags } from './flags.ts'

type Texts = readonly string[]

/** As commander gives them. */
export interface CreateFlags extends PullFlags, ResourceFlags {
  readonly name?: string
  readonly rm?: boolean
  readonly interactive?: boolean
  readonly tty?: boolean
  readonly init?: boolean
  readonly entrypoint?: string
  readonly env: Texts
  readonly envFile: Texts
  readonly workdir?: string
  readonly user?: string
  readonly groupAdd: Texts
  readonly hostname?: string
  readonly domainname?: string
  readonly label: Texts
  readonly labelFile: Texts
  readonly annotation: Texts
  readonly cidfile?: string
  readonly pull: 'always' | 'missing' | 'never'
  readonly volume: Texts
  readonly mount: Texts
  readonly volumesFrom: Texts
  readonly tmpfs: Texts
  readonly shmSize?: string
  readonly readOnly?: boolean
  readonly network?: string
  readonly net?: string
  readonly dns: Texts
  readonly dnsSearch: Texts
  readonly dnsOption: Texts
  readonly dnsOpt: Texts
  readonly addHost: Texts
  readonly pid?: string
  readonly ipc?: string
  readonly uts?: string
  readonly userns?: string
  readonly cgroupns?: string
  readonly cgroupParent?: string
  readonly privileged?: boolean
  readonly capAdd: Texts
  readonly capDrop: Texts
  readonly securityOpt: Texts
  readonly device: Texts
  readonly deviceCgroupRule: Texts
  readonly sysctl: Texts
  readonly ulimit: Texts
  readonly oomScoreAdj?: string
  readonly stopSignal?: string
  readonly stopTimeout?: string
  readonly logDriver?: 'json-file' | 'none'
  readonly logOpt: Texts
  readonly healthCmd?: string
  readonly healthInterval?: string
  readonly healthTimeout?: string
  readonly healthRetries?: string
  readonly healthStartPeriod?: string
  readonly healthStartInterval?: string
  readonly healthcheck: boolean
  readonly attach: Texts
}

export interface RunFlags extends CreateFlags {
  readonly detach?: boolean
  readonly sigProxy: boolean
  readonly detachKeys?: string
}

/** Those that `update` has, too. */
export interface ResourceFlags {
  readonly memory?: string
  readonly memorySwap?: string
  readonly memoryReservation?: string
  readonly cpus?: string
  readonly cpuShares?: string
  readonly cpuPeriod?: string
  readonly cpuQuota?: string
  readonly cpusetCpus?: string
  readonly cpusetMems?: string
  readonly pidsLimit?: string
  readonly restart?: string
}

/** Reads the files that are named, and variables of this process; nothing else is looked at. Throws `RequestError`. */
export async function requestOf(command: Texts, flags: CreateFlags): Promise<ContainerRequest> {
  const directory = process.cwd()
  checkUserNamespace(flags.userns)
  const labels = [...(await Promise.all(flags.labelFile.map(linesOf))).flat(), ...flags.label]
  return withoutEmpty({
    command,
    entrypoint: flags.entrypoint,
    environment: await changedEnvironment(flags),
    workingDirectory: flags.workdir,
    user: flags.user,
    groups: flags.groupAdd,
    terminal: flags.tty,
    interactive: flags.interactive,
    init: flags.init,

    name: flags.name || undefined, // as docker, for scripts
    hostname: checkHostname(flags.hostname || undefined),
    domainname: flags.domainname,
    labels: keyValues(labels, '--label'),
    annotations: keyValues(flags.annotation, '--annotation'),

    network: network(flags.network ?? flags.net),
    pid: namespaceChoice(flags.pid, '--pid', []) as ContainerRequest['pid'],
    ipc: namespaceChoice(flags.ipc, '--ipc', ['private', 'none', 'shareable']) as ContainerRequest['ipc'],
    uts: namespaceChoice(flags.uts, '--uts', [], false) as 'host' | undefined,
    cgroup: namespaceChoice(flags.cgroupns, '--cgroupns', ['private'], false) as ContainerRequest['cgroup'],
    sysctls: keyValues(flags.sysctl, '--sysctl'),

    ...security(flags),
    ...resources(flags),
    oomScoreAdjust: optional(flags.oomScoreAdj, (text) => parseInteger(text, '--oom-score-adj', -1000, 1000)),
    ulimits: flags.ulimit.map(parseUlimit),
    devices: flags.device.map(parseDeviceFlag),
    deviceCgroupRules: flags.deviceCgroupRule.map(checkDeviceCgroupRule),
    shmBytes: optional(flags.shmSize, (text) => parseBytes(text, '--shm-size')),
    cgroupParent: flags.cgroupParent,

    mounts: [
      ...flags.volume.map((text) => parseVolumeFlag(text, directory)),
      ...flags.mount.map((text) => parseMountFlag(text, directory)),
      ...flags.tmpfs.map(parseTmpfsFlag),
    ],
    volumesFrom: flags.volumesFrom,
    dns: flags.dns,
    dnsSearch: flags.dnsSearch,
    dnsOptions: [...flags.dnsOption, ...flags.dnsOpt],
    extraHosts: flags.addHost,

    autoRemove: flags.rm,
    stopSignal: flags.stopSignal,
    stopTimeoutSeconds: optional(flags.stopTimeout, (text) => parseInteger(text, '--stop-timeout', -1)),
    health: health(flags),
    log: log(flags),
  })
}

/** Of files, then of options, as `NAME=VALUE`; an option that names what is not set here takes it away. Throws `RequestError`. */
export async function changedEnvironment(flags: { readonly env: Texts; readonly envFile: Texts }): Promise<Texts> {
  const ofFiles = (await Promise.all(flags.envFile.map(variablesOf))).flat()
  return [...ofFiles.flatMap(fromHere), ...flags.env.flatMap((each) => fromHere(each)[0] ?? each)]
}

/** What is limited, of `run` and of `update`. */
export function resources(flags: ResourceFlags): ResourceRequest & Pick<ContainerRequest, 'restart'> {
  return withoutEmpty({
    memoryBytes: optional(flags.memory, (text) => limitOf(text, '--memory')),
    memorySwapBytes: optional(flags.memorySwap, (text) => parseBytes(text, '--memory-swap')),
    memoryReservationBytes: optional(flags.memoryReservation, (text) => limitOf(text, '--memory-reservation')),
    cpus: optional(flags.cpus, (text) => parseCpus(text, availableParallelism())),
    cpuShares: optional(flags.cpuShares, (text) => parseInteger(text, '--cpu-shares', 0, 262144)),
    cpuPeriodMicroseconds: optional(flags.cpuPeriod, (text) => parseInteger(text, '--cpu-period', 0, 1_000_000)),
    cpuQuotaMicroseconds: optional(flags.cpuQuota, (text) => parseInteger(text, '--cpu-quota', -1)),
    cpusetCpus: optional(flags.cpusetCpus, (text) => parseCpuList(text, '--cpuset-cpus')),
    cpusetMems: optional(flags.cpusetMems, (text) => parseCpuList(text, '--cpuset-mems')),
    pidsLimit: optional(flags.pidsLimit, (text) => parseInteger(text, '--pids-limit', -1)),
    restart: optional(flags.restart, parseRestartPolicy),
  })
}

/** Where -1 means nothing. */
function limitOf(text: string, flag: string): number {
  if (text === '-1') throw new RequestError(`invalid size "-1" for ${flag}: leave it out for no limit`)
  return parseBytes(text, flag)
}

function security(flags: CreateFlags): SecurityRequest {
  const options: { -readonly [key in keyof SecurityRequest]: SecurityRequest[key] } = {}
  for (const text of flags.securityOpt) {
    const [key, value] = text.split(/[=:](.*)/s)
    if (key === 'seccomp' && value) options.seccomp = value
    else if (key === 'apparmor' && value) options.apparmor = value
    else if (key === 'no-new-privileges' && /^(true|false)?$/.test(value ?? ''))
      options.noNewPrivileges = value !== 'false'
    else if (key === 'systempaths' && value === 'unconfined') options.systemPaths = value
    else if (key !== 'label')
      throw new RequestError(
        `invalid --security-opt ${JSON.stringify(text)}: it is seccomp=FILE|unconfined, apparmor=PROFILE|unconfined, no-new-privileges[=false] or systempaths=unconfined`,
      )
  }
  return withoutEmpty({
    ...options,
    privileged: flags.privileged,
    readOnly: flags.readOnly,
    addedCapabilities: flags.capAdd,
    droppedCapabilities: flags.capDrop,
  })
}

function network(text: string | undefined): ContainerRequest['network'] {
  if (text !== undefined && (text === 'bridge' || text === 'default' || !/^(none|host|container:.*)$/.test(text)))
    throw new RequestError(`--network ${text}: there are no bridge networks yet; it is none, host or container:NAME`)
  return namespaceChoice(text, '--network', ['none']) as ContainerRequest['network']
}

function namespaceChoice(
  text: string | undefined,
  flag: string,
  words: Texts,
  ofContainers = true,
): NamespaceChoice | string | undefined {
  if (text === undefined || text === '') return undefined
  if (text === 'host' || words.includes(text) || (ofContainers && /^container:.+/.test(text))) return text
  const choices = [...words, 'host', ...(ofContainers ? ['container:NAME'] : [])]
  throw new RequestError(`invalid value ${JSON.stringify(text)} for ${flag}: it is ${choices.join(', ')}`)
}

/** There is nothing to switch off yet. */
function checkUserNamespace(text: string | undefined): void {
  if (text !== undefined && text !== 'host' && text !== '')
    throw new RequestError(
      `invalid value ${JSON.stringify(text)} for --userns: containers of root are in the host's user namespace, so it is host`,
    )
}

function checkHostname(name: string | undefined): string | undefined {
  if (name !== undefined && !/^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,62}$/.test(name))
    throw new RequestError(
      `invalid host name ${JSON.stringify(name)}: it has letters, digits, "_", "-" and ".", at most 63, and begins with none of the last two`,
    )
  return name
}

function health(flags: CreateFlags): HealthRequest | undefined {
  const duration = (text: string | undefined, flag: string): number | undefined =>
    optional(text, (given) => {
      const ms = parseDuration(given, flag)
      if (ms !== 0 && ms < 1) throw new RequestError(`${flag} must not be less than 1ms`)
      return ms
    })
  const request = withoutEmpty({
    disabled: flags.healthcheck ? undefined : true,
    command: flags.healthCmd,
    intervalMs: duration(flags.healthInterval, '--health-interval'),
    timeoutMs: duration(flags.healthTimeout, '--health-timeout'),
    startPeriodMs: duration(flags.healthStartPeriod, '--health-start-period'),
    startIntervalMs: duration(flags.healthStartInterval, '--health-start-interval'),
    retries: optional(flags.healthRetries, (text) => parseInteger(text, '--health-retries', 0)),
  })
  return Object.keys(request).length > 0 ? request : undefined
}

function log(flags: CreateFlags): LogRequest | undefined {
  if (flags.logDriver === undefined && flags.logOpt.length === 0) return undefined
  const options = parseKeyValues(flags.logOpt, '--log-opt')
  const unknown = Object.keys(options).find((key) => !['max-size', 'max-file', 'mode', 'compress'].includes(key))
  if (unknown !== undefined)
    throw new RequestError(`unknown log option ${JSON.stringify(unknown)}: there are max-size and max-file`)
  const maxSizeBytes = parseBytes(options['max-size'] ?? '-1', '--log-opt max-size')
  const maxFiles = parseInteger(options['max-file'] ?? '1', '--log-opt max-file', 1)
  if (maxFiles > 1 && maxSizeBytes <= 0) throw new RequestError('--log-opt max-file needs max-size, too')
  return { driver: flags.logDriver ?? 'json-file', maxSizeBytes: Math.max(0, maxSizeBytes), maxFiles }
}

/** docker's way: a name alone is taken from here, or left out if it is not set here. */
function fromHere(assignment: string): Texts {
  if (assignment.includes('=') || assignment === '') return [assignment]
  const value = process.env[assignment]
  return value === undefined ? [] : [`${assignment}=${value}`]
}

async function variablesOf(path: string): Promise<Texts> {
  const lines = await linesOf(path)
  for (const line of lines) {
    const [name = ''] = line.split('=', 1)
    if (name === '' || /\s/.test(name))
      throw new RequestError(
        `invalid variable ${JSON.stringify(name)} in ${path}: write NAME=VALUE, or NAME to take it from here`,
      )
  }
  return lines
}

/** Without comments and empty lines. */
async function linesOf(path: string): Promise<Texts> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new RequestError(`cannot read ${path} (${cause.code}): it should have one NAME=VALUE a line`, 125, { cause })
  })
  return text
    .split('\n')
    .map((line) => line.replace(/\r$/, '').trimStart())
    .filter((line) => line !== '' && !line.startsWith('#'))
}

const optional = <T>(text: string | undefined, parse: (text: string) => T): T | undefined =>
  text === undefined ? undefined : parse(text)

const keyValues = (texts: Texts, flag: string): Readonly<Record<string, string>> | undefined =>
  texts.length === 0 ? undefined : parseKeyValues(texts, flag)

type Present<T> = { [key in keyof T]?: Exclude<T[key], undefined> }

/** What was not asked for is left out, an empty list also: the record says what was. */
function withoutEmpty<T extends object>(fields: T): Present<T> {
  const entries = Object.entries(fields).filter(
    ([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0),
  )
  return Object.fromEntries(entries) as Present<T>
}
