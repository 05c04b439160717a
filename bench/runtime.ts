/**
 * Containers' starts, ends and memory beside crun and runc on the same bundles, turn by turn, each without seccomp and with the default
 * profile; what a program and the least of containers cost is shown with them. crun refuses a machine that has both versions of cgroups
 * mounted; there everything is measured twice: as the machine is, and in a private view of it where only version 2 is mounted.
 * Times of commands are taken by a small native program; only what is called "from Node" has Node in it.
 */
import { cp, mkdir, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defaultSeccomp } from '../client/containers/seccomp.ts'
import { succeed } from '../conformance/support/commands.ts'
import { findAll } from '../conformance/support/needs.ts'
import { CAPABILITIES, dockerConfig } from '../native/testing/bundle.ts'
import { ratio, summarize, table } from './figures.ts'
import { measureHolders } from './runtime-memory.ts'
import {
  BARE,
  type Bundles,
  type Contestant,
  FLOOR,
  HELPER,
  type Profile,
  type RoundsRequest,
  type RoundsResult,
  type Series,
} from './runtime-rounds.ts'

/** Fewer give a first impression. */
const RUNS = Number(process.env['GANTRY_BENCH_RUNS'] ?? 200)
const RUNS_PER_CROWD = 70
const CROWD_SIZE = 100
const TIMEOUT_MS = 10 * 60_000
const CGROUP2_MAGIC = 0x63677270
const CGROUPS = '/sys/fs/cgroup'
const ROUNDS = fileURLToPath(new URL('./runtime-rounds.ts', import.meta.url))
const GANTRY_RUNTIME = fileURLToPath(new URL('../native/build/gantry-runtime', import.meta.url))
const GANTRY = 'gantry-runtime'

/** What we mean to stay below: our p50 to theirs. */
const GOALS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  run: { crun: 0.65, runc: 0.17 },
  'create + start + delete': { crun: 0.7 },
  exec: { crun: 0.7 },
  'from Node': { [BARE]: 2 },
}

/** In this order they are shown; what is not here, behind. */
const WORKS = ['program', 'run', 'create + start + delete', 'of it: delete', 'exec', 'from Node']
const ORDER = [BARE, FLOOR, GANTRY, HELPER, 'crun', 'runc']

/** Run by a shell that has mounts of its own; its arguments are what to run then. */
const ONLY_VERSION_2 = `umount -R ${CGROUPS} && mount -t cgroup2 none ${CGROUPS} && exec "$@"`

/** Resolves to the text to print. */
export async function benchRuntime(say: (progress: string) => void): Promise<string> {
  if (process.getuid?.() !== 0) return 'start of a container: not measured, it needs root'
  const folder = await mkdtemp(join(tmpdir(), 'gantry-bench-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const request = await prepare(folder)
  const rounds = [process.execPath, ROUNDS, JSON.stringify(request)]
  const measure = async ([command = '', ...args]: readonly string[]): Promise<RoundsResult> => {
    await succeed(command, args, { timeoutMs: TIMEOUT_MS })
    return JSON.parse(await readFile(join(folder, 'rounds.json'), 'utf8')) as RoundsResult
  }

  const reports: string[] = []
  if ((await statfs(CGROUPS)).type === CGROUP2_MAGIC) {
    say(`runtime: ${RUNS} rounds`)
    reports.push(report('cgroups of version 2', await measure(rounds)))
  } else {
    say(`runtime: ${RUNS} rounds, the machine as it is`)
    reports.push(report('this machine as it is, both versions of cgroups', await measure(rounds)))
    say(`runtime: ${RUNS} rounds, only cgroups of version 2 in view`)
    const undo = await rememberControllers()
    stack.defer(undo)
    const versionTwo = await measure(['unshare', '--mount', 'sh', '-c', ONLY_VERSION_2, 'sh', ...rounds])
    reports.push(report('only cgroups of version 2 in view', versionTwo))
  }
  const holders = await measureHolders(folder, request.bundles.default.long)
  const sizes = holders.map(({ name, residentKb, anonymousKb }) => [name, `${residentKb}`, `${anonymousKb}`])
  reports.push(
    `memory of what holds one detached container\n${table([['', 'resident KiB', 'anonymous KiB'], ...sizes])}`,
  )
  return reports.join('\n\n')
}

async function prepare(folder: string): Promise<RoundsRequest> {
  const built = async (name: string, source: string): Promise<string> => {
    const path = join(folder, name)
    await succeed('g++', ['-std=c++20', '-O2', '-static', '-s', '-o', path, source])
    return path
  }
  const source = (name: string): string => fileURLToPath(new URL(`./${name}.cc`, import.meta.url))
  const text = join(folder, 'program.cc')
  await writeFile(text, '#include <unistd.h>\nint main(int words, char**) { while (words > 1) pause(); }\n')
  const program = await built('program', text)
  const bundles = async (profile: Profile): Promise<Bundles> => ({
    short: await makeBundle(join(folder, `${profile}-short`), program, profile, ['/bin/true']),
    long: await makeBundle(join(folder, `${profile}-long`), program, profile, ['/bin/true', 'wait']),
  })
  const none = await bundles('none')
  return {
    runs: RUNS,
    crowds: Math.ceil(RUNS / RUNS_PER_CROWD),
    crowdSize: CROWD_SIZE,
    folder,
    timer: await built('timer', source('runtime-timer')),
    floor: [await built('floor', source('runtime-floor')), join(none.short, 'rootfs'), '/bin/true'],
    bare: [program],
    bundles: { none, default: await bundles('default') },
    contestants: await findContestants(folder),
  }
}

/** docker's configuration around a static program that ends at once, or never. */
async function makeBundle(bundle: string, program: string, profile: Profile, args: string[]): Promise<string> {
  const rootfs = join(bundle, 'rootfs')
  for (const name of ['bin', 'proc', 'sys', 'dev']) await mkdir(join(rootfs, name), { recursive: true })
  await cp(program, join(rootfs, 'bin', 'true'))
  const config = dockerConfig()
  config.process.args = args
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch
  if (profile === 'default') config.linux['seccomp'] = defaultSeccomp(architecture, CAPABILITIES)
  await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
  return bundle
}

async function findContestants(folder: string): Promise<readonly Contestant[]> {
  const found: Contestant[] = [{ name: GANTRY, commands: [[GANTRY_RUNTIME, '--root', join(folder, 'gantry')]] }]
  for (const peer of ['crun', 'runc']) {
    const [path] = await findAll(peer)
    if (path === undefined) continue
    const [version = ''] = (await succeed(path, ['--version'])).split('\n')
    const plain = [path, '--root', join(folder, peer)]
    // crun sets a limit for its device filter that a machine without CAP_SYS_RESOURCE does not let it set.
    const commands = peer === 'crun' ? [plain, [...plain, '--cgroup-manager=disabled']] : [plain]
    found.push({ name: version.replace(' version', ''), commands })
  }
  return found
}

function report(condition: string, { series, absent, failures }: RoundsResult): string {
  const works = [...new Set(series.map(({ work }) => work))].sort((a, b) => place(WORKS, a) - place(WORKS, b))
  const rows = works.flatMap((work) =>
    (['none', 'default'] as const).flatMap((profile) => {
      const own = series
        .filter((each) => each.work === work && each.profile === profile)
        .sort((a, b) => place(ORDER, a.who) - place(ORDER, b.who))
      return own.map((each) => row(each, oursBeside(each, series)))
    }),
  )
  const header = ['', 'seccomp', 'who', 'p50 ms', 'p99 ms', 'n', 'peak KiB', 'ours to it', 'goal']
  const missing = absent.map(({ name, said }) => `${name} does not run: ${said}\n`)
  if (failures.length > 0)
    missing.push(`${failures.length} failed, and are not in the table; the first: ${failures[0]}\n`)
  return `containers, ${condition}\n${table([header, ...rows])}\n${missing.join('')}`.trimEnd()
}

function place(order: readonly string[], name: string): number {
  const found = order.findIndex((beginning) => name.startsWith(beginning))
  return found < 0 ? order.length : found
}

/** What the row is compared with: a spawn from Node has no profile, and is compared with both. */
function oursBeside({ work, profile, who }: Series, series: readonly Series[]): readonly Series[] {
  if (who === GANTRY || who === HELPER) return []
  const comparable = (each: Series): boolean =>
    each.work === work && (who === BARE || each.profile === profile) && each.who === (who === BARE ? HELPER : GANTRY)
  return series.filter(comparable)
}

function row(series: Series, ours: readonly Series[]): readonly string[] {
  const { work, profile, who, ms, peakKb } = series
  const { n, p50, p99 } = summarize(ms)
  const ratios = ours.map((each) => ratio(summarize(each.ms).p50, p50)).join(', ')
  const goal = Object.entries(GOALS[work] ?? {}).find(([name]) => who.startsWith(name))?.[1]
  const peak = Math.max(...peakKb)
  const figures = [p50.toFixed(2), p99.toFixed(2), `${n}`, peak === 0 ? '' : `${peak}`]
  return [work, profile, who, ...figures, ratios, goal === undefined ? '' : `${goal.toFixed(2)}x`]
}

/** crun switches controllers on for the children of the root cgroup, and leaves them on. */
async function rememberControllers(): Promise<() => Promise<void>> {
  const file = join(CGROUPS, 'unified', 'cgroup.subtree_control')
  const read = async (): Promise<readonly string[]> =>
    (await readFile(file, 'utf8').catch(() => '')).split(/\s+/).filter((name) => name !== '')
  const before = await read()
  return async () => {
    for (const name of await read()) {
      if (!before.includes(name)) await writeFile(file, `-${name}`).catch(() => {}) // somebody else has come to use it
    }
  }
}
