/** gantry-runtime under Debian's podman, beside runc: the same commands, and what can be seen of them has to be the same. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import type { Finished } from '../support/commands.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { missing } from '../support/needs.ts'
import { Terminal } from '../support/terminal.ts'
import { Workspace } from '../support/workspace.ts'
import { bothRuntimes, boxRoot, comparableMounts, type Runtime, seen, untilSays } from './seen.ts'

const skip = await missing('podman', 'conmon', 'runc', 'unshare', 'ip', 'busybox', 'python3')

/** The part of it that is of our runtime is what README asks for. */
const containersConf = (folder: string, gantry: string): string => `[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "${folder}/tmp"
runtime_supports_json = ["runc", "gantry-runtime"]
runtime_supports_nocgroup = ["gantry-runtime"]
[engine.runtimes]
gantry-runtime = ["${gantry}"]
`

describe('podman with gantry-runtime', { skip }, () => {
  const cleanup = new AsyncDisposableStack()
  let workspace: Workspace
  let machine: Machine
  let command: readonly [string, ...string[]]
  let env: NodeJS.ProcessEnv
  let root: string
  let runc: Runtime
  let gantry: Runtime

  before(async () => {
    workspace = await Workspace.open()
    cleanup.defer(async () => {
      const left = await workspace.leftovers()
      await workspace[Symbol.asyncDispose]()
      assert.deepEqual(left, [])
    })
    cleanup.defer(() => workspace.removeCgroups())
    machine = cleanup.use(await startMachine(workspace))
    // Where podman and runtimes have their state: nobody else's.
    assert.equal((await machine.run('mount', ['-t', 'tmpfs', 'tmpfs', '/run'])).code, 0)
    ;[runc, gantry] = await bothRuntimes()
    const folder = workspace.path('podman')
    await mkdir(folder)
    await writeFile(`${folder}/containers.conf`, containersConf(folder, gantry.path))
    env = { ...workspace.env, CONTAINERS_CONF: `${folder}/containers.conf`, TMPDIR: folder }
    const store = ['--root', `${folder}/root`, '--runroot', `${folder}/run`, '--storage-driver', 'overlay']
    const [first = '', ...rest] = [...machine.prefix, 'podman', ...store]
    command = [first, ...rest]
    root = workspace.path('root')
    await boxRoot(root)
    cleanup.defer(async () => {
      const { code, stderr } = await podman('rm', '--all', '--force', '--time=0')
      assert.deepEqual([code, stderr], [0, ''])
    })
  })
  after(async () => await cleanup.disposeAsync())

  const podman = (...args: readonly string[]): Promise<Finished> => seen([...command, ...args], env, root)
  /** Flags first, then the program. */
  function create(runtime: Runtime, flags: readonly string[], ...program: readonly string[]): readonly string[] {
    const unless = (prefix: string, flag: string): readonly string[] =>
      flags.some((given) => given.startsWith(prefix)) ? [] : [flag]
    const parent = unless('--cgroups=', `--cgroup-parent=/${workspace.cgroupParent}`)
    const network = unless('--network=', '--network=none')
    return ['--runtime', runtime.name, 'run', ...parent, ...network, ...flags, '--rootfs', root, ...program]
  }
  const runs = (runtime: Runtime, flags: readonly string[], ...program: readonly string[]): Promise<Finished> =>
    podman(...create(runtime, ['--rm', ...flags], ...program))

  const same: readonly [what: string, code: number, flags: readonly string[], program: readonly string[]][] = [
    ['ends as the program does', 7, [], ['sh', '-c', 'exit 7']],
    [
      'has its user, its rights and its cgroups',
      0,
      [],
      ['sh', '-c', 'id; cat /proc/self/cgroup; grep -E "^Cap|^NoNew|^Sec|^Shd|^Sig[PBIC]|^Groups" /proc/self/status'],
    ],
    [
      'is another user with other groups, directory and mask',
      0,
      ['--user=5:6', '--group-add=9', '--workdir=/tmp', '--umask=0077'],
      ['sh', '-c', 'id; pwd; umask'],
    ],
    ['gains no privileges', 0, ['--security-opt=no-new-privileges'], ['grep', '^NoNewPrivs', '/proc/self/status']],
    ['is unconfined', 0, ['--security-opt=seccomp=unconfined'], ['grep', '^Seccomp:', '/proc/self/status']],
    [
      'is unmasked',
      0,
      ['--security-opt=unmask=ALL'],
      ['sh', '-c', 'grep -c /proc/ /proc/mounts; ls /sys/firmware >/dev/null'],
    ],
    [
      'has the capabilities it is given',
      0,
      ['--cap-drop=ALL', '--cap-add=CHOWN'],
      ['grep', '^Cap', '/proc/self/status'],
    ],
    [
      'is read-only but for its mounts',
      1,
      ['--read-only', '--tmpfs=/tmp', '--volume=/usr:/volume:ro'],
      ['sh', '-c', 'echo y > /tmp/y && cat /tmp/y && ls -d /volume/bin; echo z > /volume/z; echo x > /x'],
    ],
    [
      'has limits',
      0,
      ['--memory=32m', '--cpus=0.5', '--cpu-shares=512', '--pids-limit=77', '--cpuset-cpus=0'],
      [
        'sh',
        '-c',
        'cd /sys/fs/cgroup && cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus',
      ],
    ],
    ['has the device it is given', 0, ['--device=/dev/fuse'], ['/init', 'stat', '/dev/fuse']],
    [
      'has its own kernel settings and names',
      0,
      ['--sysctl=net.ipv4.ip_forward=1', '--oom-score-adj=300', '--shm-size=1m', '--hostname=box'],
      ['sh', '-c', 'cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj; hostname; grep shm /proc/mounts'],
    ],
    [
      'has the host’s namespaces',
      0,
      ['--network=host', '--pid=host', '--ipc=host', '--uts=host'],
      ['sh', '-c', 'ip address; cat /proc/1/comm; hostname'],
    ],
  ]
  for (const [what, code, flags, program] of same) {
    it(`a container ${what}, as with runc`, async () => {
      const theirs = await runs(runc, flags, ...program)
      assert.equal(theirs.code, code, theirs.stderr)
      assert.deepEqual(await runs(gantry, flags, ...program), theirs)
    })
  }

  it('a tmpfs begins with what it covers, as with runc', async () => {
    const theirs = await runs(runc, ['--tmpfs=/bin'], 'ls', '-ln', '/bin')
    assert.match(theirs.stdout, / busybox$/m)
    const listed = (text: string): string => text.replaceAll(/ \w{3} +\d+ \d\d:\d\d /g, ' ') // links get the time of their copy
    assert.equal(listed((await runs(gantry, ['--tmpfs=/bin'], 'ls', '-ln', '/bin')).stdout), listed(theirs.stdout))
  })

  it('a container without cgroups of its own is in those of its caller', async () => {
    const { code, stdout, stderr } = await runs(gantry, ['--cgroups=disabled'], 'cat', '/proc/self/cgroup')
    assert.equal(code, 0, stderr)
    assert.equal(stdout, await readFile('/proc/self/cgroup', 'utf8'))
  })

  it('a container has the mounts that runc gives it, with the same options', async () => {
    const mounts = async (runtime: Runtime): Promise<readonly string[]> =>
      comparableMounts((await runs(runtime, [], 'cat', '/proc/mounts')).stdout)
    assert.deepEqual(await mounts(gantry), await mounts(runc))
  })

  it('a program that is not there or cannot be run is told of in the same words: 127, 126', async () => {
    for (const [program, expected] of [
      ['nosuch', 127],
      ['/nosuch', 127],
      ['/etc', 126],
    ] as const) {
      const ours = await runs(gantry, [], program)
      const theirs = await runs(runc, [], program)
      const words = (text: string): string =>
        text.replace('runc: runc create failed: ', 'gantry-runtime: ').replace('stat /nosuch: ', '')
      assert.deepEqual([ours.code, theirs.code], [expected, expected], ours.stderr)
      assert.equal(ours.stderr.replace(': it is a directory', ''), words(theirs.stderr))
    }
  })

  it('a terminal is one', async () => {
    const args = create(gantry, ['--rm', '-it'], '/init', 'tty', '--', 'exit', '6')
    await using terminal = new Terminal([...command, ...args], { columns: 71, rows: 17, env })
    await terminal.expect(/tty 1 1 1 controlling 1 name \/dev\/pts\/0/)
    assert.equal(await terminal.exited, 6)
  })

  it('a container that stays is entered, measured, held, limited, joined, and stopped, as with runc', async () => {
    const steps = async (runtime: Runtime): Promise<readonly unknown[]> => {
      const name = `stays-${runtime.name}`
      const all: unknown[] = []
      const step = async (...args: readonly string[]): Promise<Finished> => {
        const { code, stdout, stderr } = await podman('--runtime', runtime.name, ...args)
        const plain = (text: string): string => text.replaceAll(name, 'NAME').replaceAll(runtime.name, 'RUNTIME')
        return { code, stdout: plain(stdout), stderr: plain(stderr) }
      }
      const status = async (): Promise<string> => (await step('inspect', '--format={{.State.Status}}', name)).stdout
      const flags = ['--detach', '--name', name, '--hostname=box']
      all.push((await podman(...create(runtime, flags, 'sh', '-c', 'echo begun; exec sleep 100'))).code, await status())
      all.push(await step('exec', name, 'sh', '-c', 'id; hostname; cat /proc/1/cmdline; exit 3'))
      all.push(await step('exec', '--user=7:8', '--workdir=/bin', '--env=A=b', name, 'sh', '-c', 'id; pwd; echo $A'))
      all.push((await step('exec', name, 'nosuch')).code, (await step('exec', name, '/etc')).code)
      all.push((await step('exec', '--detach', name, 'sleep', '100')).code)
      all.push((await step('top', name, 'pid,args')).stdout.match(/sleep 100/g)?.length)
      all.push((await step('stats', '--no-stream', '--format={{.PIDs}}', name)).stdout)
      all.push((await step('pause', name)).code, await status(), (await step('unpause', name)).code, await status())
      all.push((await step('update', '--memory=64m', '--cpus=0.5', name)).code)
      const limits = ['/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/cpu/cpu.cfs_quota_us']
      all.push(await step('exec', name, 'cat', ...limits))
      all.push((await step('cp', `${name}:/init`, workspace.path(name))).code)
      const joins = ['--network', '--pid', '--ipc'].map((namespace) => `${namespace}=container:${name}`)
      all.push(await runs(runtime, joins, 'sh', '-c', 'cat /proc/1/cmdline; ip address'))
      all.push((await step('logs', name)).stdout, (await step('kill', '--signal=KILL', name)).code)
      await untilSays('the container to stop', /^exited/, () => step('inspect', '--format={{.State.Status}}', name))
      all.push((await step('inspect', '--format={{.State.ExitCode}}', name)).stdout, (await step('start', name)).code)
      all.push((await step('stop', '--time=0', name)).code, (await step('rm', name)).code)
      return all
    }
    assert.deepEqual(await steps(gantry), await steps(runc))
  })
})
