/** What a running container uses, from the files of its control groups, of either version, and of its network namespace. */
import { readFile } from 'node:fs/promises'
import { totalmem } from 'node:os'

const CGROUPS = '/sys/fs/cgroup'
const NANOSECONDS_PER_MICROSECOND = 1000

export interface Usage {
  /** Since it was made. */
  readonly cpuNanoseconds: number
  /** Without the pages of files that could go at once, as docker counts. */
  readonly memoryBytes: number
  /** The machine's, if it has no limit of its own. */
  readonly memoryLimitBytes: number
  readonly receivedBytes: number
  readonly sentBytes: number
  readonly readBytes: number
  readonly writtenBytes: number
  readonly processes: number
}

/** Reads one of the files with that name, `undefined` if there is none. */
type Text = (name: string) => Promise<string | undefined>

/** `pid`: of the container's first process. `undefined` if it has ended. */
export async function usageOf(pid: number): Promise<Usage | undefined> {
  const groups = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => undefined)
  if (groups === undefined) return undefined
  const folders = groups.trim().split('\n').flatMap(foldersOf)
  const text: Text = async (name) => {
    for (const folder of folders) {
      const found = await readFile(`${folder}/${name}`, 'utf8').catch(() => undefined) // another hierarchy has it, or none
      if (found !== undefined) return found
    }
    return undefined
  }
  const [cpuNanoseconds, memory, network, disk, pids] = await Promise.all([
    cpu(text),
    memoryUse(text),
    networkUse(pid),
    diskUse(text),
    text('pids.current'),
  ])
  return { cpuNanoseconds, ...memory, ...network, ...disk, processes: Number(pids ?? 0) }
}

/** Of a line of /proc/PID/cgroup (cgroups(7)), wherever its hierarchy is usually mounted. */
function foldersOf(line: string): readonly string[] {
  const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
  if (controllers === '') return [`${CGROUPS}${path}`, `${CGROUPS}/unified${path}`]
  return controllers.split(',').map((controller) => `${CGROUPS}/${controller}${path}`)
}

/** The number behind a word at the beginning of a line. */
function field(text: string | undefined, word: string): number {
  const [, number] = new RegExp(`^${word} (\\d+)$`, 'm').exec(text ?? '') ?? []
  return Number(number ?? 0)
}

async function cpu(text: Text): Promise<number> {
  const usage = await text('cpuacct.usage')
  if (usage !== undefined) return Number(usage)
  return field(await text('cpu.stat'), 'usage_usec') * NANOSECONDS_PER_MICROSECOND
}

async function memoryUse(text: Text): Promise<Pick<Usage, 'memoryBytes' | 'memoryLimitBytes'>> {
  const either = async (one: string, other: string) => (await text(one)) ?? (await text(other))
  const [used, limit, parts] = await Promise.all([
    either('memory.current', 'memory.usage_in_bytes'),
    either('memory.max', 'memory.limit_in_bytes'),
    text('memory.stat'),
  ])
  const idle = field(parts, 'total_inactive_file') || field(parts, 'inactive_file')
  const own = Number(limit ?? 'max') || Number.POSITIVE_INFINITY // "max" is none
  return {
    memoryBytes: Math.max(0, Number(used ?? 0) - idle),
    memoryLimitBytes: Math.min(own, totalmem()),
  }
}

/** Over all its links but the loopback (proc_net_dev(5)). */
async function networkUse(pid: number): Promise<Pick<Usage, 'receivedBytes' | 'sentBytes'>> {
  const lines = (await readFile(`/proc/${pid}/net/dev`, 'utf8').catch(() => '')).split('\n').slice(2)
  const sums = { receivedBytes: 0, sentBytes: 0 }
  for (const line of lines) {
    const [name, counts = ''] = line.trim().split(':')
    const numbers = counts.trim().split(/\s+/).map(Number)
    if (!name || name === 'lo') continue
    sums.receivedBytes += numbers[0] ?? 0
    sums.sentBytes += numbers[8] ?? 0
  }
  return sums
}

/** Of every device: `8:0 rbytes=1 wbytes=2 …` in version 2, a line `8:0 Read 1` for each kind in version 1. */
async function diskUse(text: Text): Promise<Pick<Usage, 'readBytes' | 'writtenBytes'>> {
  const lines = (await text('io.stat')) ?? (await text('blkio.throttle.io_service_bytes')) ?? ''
  const sum = (pattern: RegExp): number =>
    [...lines.matchAll(pattern)].reduce((total, [, bytes]) => total + Number(bytes), 0)
  return {
    readBytes: sum(/(?:\brbytes=|^\d+:\d+ Read )(\d+)/gm),
    writtenBytes: sum(/(?:\bwbytes=|^\d+:\d+ Write )(\d+)/gm),
  }
}
