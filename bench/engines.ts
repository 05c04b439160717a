/**
 * What runs containers, each over a store of its own on the same disk, with the same image (busybox in one layer): Gantry as it is installed, Debian's podman, Debian's
 * docker with a daemon. All containers are without a network, so that nobody pays for a bridge that another does not make.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { busyboxLayer, pullMade } from '../client/testing/busybox-image.ts'
import { type Finished, run } from '../conformance/support/commands.ts'
import { startDockerd } from '../conformance/support/dockerd.ts'
import { missing } from '../conformance/support/needs.ts'
import { installPackage, PATH_WITH_NODE } from '../conformance/support/package.ts'
import type { Workspace } from '../conformance/support/workspace.ts'

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface Engine {
  readonly name: string
  /** Program and leading arguments; the verb comes next. */
  readonly command: readonly [string, ...string[]]
  readonly env: NodeJS.ProcessEnv
  readonly image: string
  /** Flags of `run` beyond those that all have. */
  readonly runFlags: readonly string[]
}

/** Ours first, then the peers that run here; `say` is told which do not. Owned by `stack`. */
export async function startEngines(
  stack: AsyncDisposableStack,
  workspace: Workspace,
  say: (text: string) => void,
): Promise<readonly Engine[]> {
  const layer = await busyboxLayer()
  const tar = workspace.path('box.tar')
  await writeFile(tar, layer)
  const engines = [await ours(workspace, layer)]
  for (const [name, peer, tools] of [
    ['podman', podman, ['podman', 'conmon']],
    ['docker', docker, ['docker', 'dockerd', 'containerd', 'runc']],
  ] as const) {
    const reason = await missing(...tools)
    if (reason) say(`${name}: ${reason}; one peer less`)
    else engines.push(await peer(stack, workspace, tar))
  }
  for (const engine of engines) stack.defer(() => removeAll(engine))
  return engines
}

/** Runs it to its end; throws with what it said if it fails. */
export async function ask(engine: Engine, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await askAnyhow(engine, args)
  if (code !== 0) throw new Error(`${engine.name} ${args.join(' ')} exited with ${code}:\n${stdout}${stderr}`)
  return stdout.trim()
}

function askAnyhow({ command: [program, ...leading], env }: Engine, args: readonly string[]): Promise<Finished> {
  return run(program, [...leading, ...args], { env })
}

async function removeAll(engine: Engine): Promise<void> {
  const { stdout } = await askAnyhow(engine, ['ps', '--all', '--quiet'])
  if (stdout.trim() !== '') await ask(engine, ['rm', '--force', ...stdout.trim().split('\n')])
}

async function ours(workspace: Workspace, layer: Buffer): Promise<Engine> {
  const root = workspace.path('gantry')
  await mkdir(workspace.path('package'))
  const image = await pullMade(root, [layer], { Cmd: ['sh'], Env: [PATH] })
  return {
    name: 'gantry',
    command: [join(installPackage(workspace.path('package')), 'dist/native/build/gantry'), '--root', root],
    env: { ...workspace.env, PATH: PATH_WITH_NODE },
    image,
    runFlags: [],
  }
}

/** Nothing of the machine's own; no limits raised, which not every container may; no locks in shared memory; a log that can be read again. */
const containersConf = (folder: string, runtime: string): string => `[containers]
default_ulimits = []
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "${folder}/tmp"
runtime = "${runtime}"
`

/** With crun, which is faster than runc, unless crun refuses the machine's cgroups. */
async function podman(_: AsyncDisposableStack, workspace: Workspace, tar: string): Promise<Engine> {
  const folder = workspace.path('podman')
  await mkdir(folder)
  const storage = ['--root', `${folder}/root`, '--runroot', `${folder}/run`, '--storage-driver', 'overlay']
  const engine: Engine = {
    name: 'podman',
    command: ['podman', ...storage, '--storage-opt', 'overlay.skip_mount_home=true'],
    env: { ...workspace.env, CONTAINERS_CONF: `${folder}/containers.conf`, TMPDIR: folder },
    image: 'localhost/bench/box:latest',
    runFlags: [`--cgroup-parent=/${workspace.cgroupParent}`],
  }
  await writeFile(`${folder}/containers.conf`, containersConf(folder, 'runc'))
  await ask(engine, ['import', '--change', `ENV ${PATH}`, '--change', 'CMD ["sh"]', tar, engine.image])
  for (const runtime of ['crun', 'runc']) {
    await writeFile(`${folder}/containers.conf`, containersConf(folder, runtime))
    const probe = ['run', '--rm', '--network=none', ...engine.runFlags, engine.image, 'true']
    if ((await askAnyhow(engine, probe)).code === 0) return { ...engine, name: `podman (${runtime})` }
  }
  throw new Error(`podman runs nothing here; try ${engine.command.join(' ')} run --rm ${engine.image} true`)
}

async function docker(stack: AsyncDisposableStack, workspace: Workspace, tar: string): Promise<Engine> {
  const daemon = stack.use(await startDockerd(workspace, ['unshare', '--mount']))
  const image = 'bench/box:latest'
  await daemon.docker(['import', '--change', `ENV ${PATH}`, '--change', 'CMD ["sh"]', tar, image])
  return { name: 'docker', command: [daemon.clients[0] ?? 'docker'], env: daemon.env, image, runFlags: [] }
}

/** Memory of the process that holds a container (its init's parent), KiB: what is its alone, and with its share of what it has in common with others. */
export async function holderMemory(engine: Engine, container: string): Promise<{ alone: number; share: number }> {
  const pid = await ask(engine, ['inspect', '--format', '{{.State.Pid}}', container])
  const [, parent] = /^PPid:\s+(\d+)$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  const rollup = await readFile(`/proc/${parent}/smaps_rollup`, 'utf8')
  const kib = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(rollup)?.[1])
  return { alone: kib('Private_Clean') + kib('Private_Dirty'), share: kib('Pss') }
}
