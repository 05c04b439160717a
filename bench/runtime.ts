/**
 * The start of a container that runs /bin/true, from the start of the runtime's process to its end, beside crun and runc on
 * the same bundle, turn by turn. crun refuses a machine that has both versions of cgroups mounted; there everything is
 * measured twice: as the machine is, and in a private view of it where only version 2 is mounted.
 */
import { copyFile, mkdir, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { succeed } from '../conformance/support/commands.ts'
import { findAll } from '../conformance/support/needs.ts'
import { dockerConfig } from '../native/testing/bundle.ts'
import { ratio, summarize, table } from './figures.ts'
import type { Contestant, StartTimes } from './runtime-starts.ts'

const RUNS = 200
const TIMEOUT_MS = 5 * 60_000
const CGROUP2_MAGIC = 0x63677270
const CGROUPS = '/sys/fs/cgroup'
const STARTS = fileURLToPath(new URL('./runtime-starts.ts', import.meta.url))
const GANTRY_RUNTIME = fileURLToPath(new URL('../native/build/gantry-runtime', import.meta.url))

/** Run by a shell that has mounts of its own; its arguments are what to run then. */
const ONLY_VERSION_2 = `umount -R ${CGROUPS} && mount -t cgroup2 none ${CGROUPS} && exec "$@"`

/** Resolves to the text to print. */
export async function benchRuntime(say: (progress: string) => void): Promise<string> {
  if (process.getuid?.() !== 0) return 'start of a container: not measured, it needs root'
  const folder = await mkdtemp(join(tmpdir(), 'gantry-bench-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const bundle = await makeBundle(folder)
  const request = JSON.stringify({ runs: RUNS, contestants: await contestants(folder, bundle) })
  const starts = [process.execPath, STARTS, request]

  if ((await statfs(CGROUPS)).type === CGROUP2_MAGIC) {
    say(`runtime: ${RUNS} starts each`)
    return report('cgroups of version 2', await times(starts))
  }
  say(`runtime: ${RUNS} starts each, the machine as it is`)
  const asItIs = await times(starts)
  say(`runtime: ${RUNS} starts each, only cgroups of version 2 in view`)
  const undo = await rememberControllers()
  try {
    const versionTwo = await times(['unshare', '--mount', 'sh', '-c', ONLY_VERSION_2, 'sh', ...starts])
    return [
      report('this machine as it is, both versions of cgroups', asItIs),
      report('only cgroups of version 2 in view', versionTwo),
    ].join('\n\n')
  } finally {
    await undo()
  }
}

/** docker's configuration around a static program that ends at once. */
async function makeBundle(folder: string): Promise<string> {
  const bundle = join(folder, 'bundle')
  const rootfs = join(bundle, 'rootfs')
  for (const name of ['bin', 'proc', 'sys', 'dev']) await mkdir(join(rootfs, name), { recursive: true })
  await writeFile(join(folder, 'true.cc'), 'int main() { return 0; }\n')
  await succeed('g++', ['-O2', '-static', '-s', '-o', join(folder, 'true'), join(folder, 'true.cc')])
  await copyFile(join(folder, 'true'), join(rootfs, 'bin', 'true'))
  const config = dockerConfig()
  config.process.args = ['/bin/true']
  await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
  return bundle
}

/** The last of each one's commands is the bundle and the id, which is added for every start. */
async function contestants(folder: string, bundle: string): Promise<readonly Contestant[]> {
  const found: Contestant[] = [
    { name: 'a process, no container', commands: [[join(bundle, 'rootfs/bin/true')]], kind: 'process' },
    { name: 'gantry-runtime', commands: [[GANTRY_RUNTIME, '--root', join(folder, 'gantry')]], kind: 'runtime', bundle },
  ]
  for (const peer of ['crun', 'runc']) {
    const [path] = await findAll(peer)
    if (path === undefined) continue
    const [version = ''] = (await succeed(path, ['--version'])).split('\n')
    const plain = [path, '--root', join(folder, peer)]
    // crun sets a limit for its device filter that a machine without CAP_SYS_RESOURCE does not let it set.
    const commands = peer === 'crun' ? [plain, [...plain, '--cgroup-manager=disabled']] : [plain]
    found.push({ name: version.replace(' version', ''), commands, kind: 'runtime', bundle })
  }
  return found
}

async function times([command = '', ...args]: readonly string[]): Promise<readonly StartTimes[]> {
  return JSON.parse(await succeed(command, args, { timeoutMs: TIMEOUT_MS })) as readonly StartTimes[]
}

function report(condition: string, starts: readonly StartTimes[]): string {
  const ours = starts.find(({ name }) => name === 'gantry-runtime')
  const rows = starts.map(({ name, milliseconds, problem, options }) => {
    if (milliseconds.length === 0) return [name, 'does not run', '', '', '', problem ?? '']
    const { n, p50, p99, min } = summarize(milliseconds)
    const compared = ours && ours.milliseconds.length > 0 ? ratio(p50, summarize(ours.milliseconds).p50) : ''
    return [[name, ...options].join(' '), min.toFixed(2), p50.toFixed(2), p99.toFixed(2), `${n}`, compared]
  })
  const header = ['', 'min ms', 'p50 ms', 'p99 ms', 'n', 'p50 to ours']
  return `start to end of a container running /bin/true, ${condition}\n${table([header, ...rows])}`
}

/** crun switches controllers on for the children of the root cgroup, and leaves them on. */
async function rememberControllers(): Promise<() => Promise<void>> {
  const file = join(CGROUPS, 'unified', 'cgroup.subtree_control')
  const read = async (): Promise<readonly string[]> =>
    (await readFile(file, 'utf8').catch(() => '')).split(/\s+/).filter((name) => name !== '')
  const before = await read()
  return async () => {
    for (const name of await read()) if (!before.includes(name)) await writeFile(file, `-${name}`)
  }
}
