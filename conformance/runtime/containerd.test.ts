/** gantry-runtime under Debian's containerd, beside runc: the same commands of `ctr`, and what can be seen of them has to be the same. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Finished } from '../support/commands.ts'
import { startDebianContainerd } from '../support/containerd.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { missing } from '../support/needs.ts'
import { Terminal } from '../support/terminal.ts'
import { Workspace } from '../support/workspace.ts'
import { bothRuntimes, boxRoot, comparableMounts, type Runtime, seen, untilSays } from './seen.ts'

const skip = await missing('containerd', 'ctr', 'runc', 'unshare', 'ip', 'busybox', 'python3')

describe('containerd with gantry-runtime', { skip }, () => {
  const cleanup = new AsyncDisposableStack()
  let workspace: Workspace
  let machine: Machine
  let command: readonly [string, ...string[]]
  let root: string
  let runc: Runtime
  let gantry: Runtime
  let count = 0

  before(async () => {
    workspace = await Workspace.open()
    cleanup.defer(async () => {
      const left = await workspace.leftovers()
      await workspace[Symbol.asyncDispose]()
      assert.deepEqual(left, [])
    })
    cleanup.defer(() => workspace.removeCgroups())
    machine = cleanup.use(await startMachine(workspace))
    // Where shims have their sockets, and runtimes their state: nobody else's.
    assert.equal((await machine.run('mount', ['-t', 'tmpfs', 'tmpfs', '/run'])).code, 0)
    const containerd = cleanup.use(await startDebianContainerd(workspace, machine))
    command = containerd.ctr
    root = workspace.path('root')
    await boxRoot(root)
    ;[runc, gantry] = await bothRuntimes()
  })
  after(async () => await cleanup.disposeAsync())

  const ctr = (...args: readonly string[]): Promise<Finished> => seen([...command, ...args], workspace.env, root)
  /** Flags first, then the program; the id is a new one. */
  function create(
    runtime: Runtime,
    flags: readonly string[],
    ...program: readonly string[]
  ): readonly [id: string, args: readonly string[]] {
    const id = `c${++count}`
    const cgroup = `--cgroup=/${workspace.cgroupParent}/${id}`
    const ours = [cgroup, '--env=PATH=/bin', `--runc-binary=${runtime.path}`, '--rootfs']
    return [id, ['run', ...ours, ...flags, root, id, ...program]]
  }
  async function runs(runtime: Runtime, flags: readonly string[], ...program: readonly string[]): Promise<Finished> {
    const [id, args] = create(runtime, ['--rm', ...flags], ...program)
    const { code, stdout, stderr } = await ctr(...args)
    return { code, stdout: stdout.replaceAll(id, 'NAME'), stderr: stderr.replaceAll(id, 'NAME') }
  }

  const same: readonly [what: string, flags: readonly string[], program: readonly string[]][] = [
    ['ends as the program does', [], ['sh', '-c', 'exit 7']],
    [
      'has its user, its rights and its cgroups',
      [],
      ['sh', '-c', 'id; cat /proc/self/cgroup; grep -E "^Cap|^NoNew|^Sec|^Shd|^Sig[PBIC]" /proc/self/status'],
    ],
    [
      'is filtered by containerd’s profile',
      ['--seccomp'],
      ['grep', '-E', '^Seccomp:|^NoNewPrivs', '/proc/self/status'],
    ],
    [
      'has the capabilities it is given',
      ['--cap-drop=CAP_CHOWN', '--cap-add=CAP_SYS_PTRACE'],
      ['grep', '^Cap', '/proc/self/status'],
    ],
    [
      'is read-only but for its mounts',
      ['--read-only', '--mount=type=tmpfs,src=t,dst=/tmp', '--mount=type=bind,src=/usr,dst=/etc,options=rbind:ro'],
      ['sh', '-c', 'echo x > /x; echo y > /tmp/y; echo z > /etc/z; cat /tmp/y; ls -d /etc/bin'],
    ],
    [
      'has limits',
      ['--memory-limit=33554432', '--cpus=0.5', '--cpu-shares=512'],
      ['sh', '-c', 'cd /sys/fs/cgroup && cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares'],
    ],
    ['has the device it is given', ['--device=/dev/fuse'], ['/init', 'stat', '/dev/fuse']],
    ['has its directory and variables', ['--cwd=/bin', '--env=A=b'], ['sh', '-c', 'pwd; echo $A']],
    ['has no network but its own', [], ['ip', 'address']],
    ['has the host’s network', ['--net-host'], ['ip', 'address']],
    ['may gain privileges', ['--allow-new-privs'], ['grep', '^NoNewPrivs', '/proc/self/status']],
  ]
  for (const [what, flags, program] of same) {
    it(`a container ${what}, as with runc`, async () => {
      const theirs = await runs(runc, flags, ...program)
      const ours = await runs(gantry, flags, ...program)
      assert.deepEqual(ours, theirs)
    })
  }

  it('a container has the mounts that runc gives it, with the same options', async () => {
    const mounts = async (runtime: Runtime): Promise<readonly string[]> =>
      comparableMounts((await runs(runtime, [], 'cat', '/proc/mounts')).stdout)
    assert.deepEqual(await mounts(gantry), await mounts(runc))
  })

  it('a program that is not there is told of in the same words', async () => {
    for (const program of ['nosuch', '/nosuch', '/etc']) {
      const words = async (runtime: Runtime): Promise<readonly [number, string]> => {
        const { code, stderr } = await runs(runtime, [], program)
        return [
          code,
          stderr.replace('runc create failed: ', '').replace(': it is a directory', '').replace('stat /nosuch: ', ''),
        ] // the name of the runtime that says so
      }
      assert.deepEqual(await words(gantry), await words(runc))
    }
  })

  it('a terminal is one, of the size of the caller’s', async () => {
    const [, args] = create(gantry, ['--rm', '--tty'], '/init', 'tty', '--', 'size', '--', 'exit', '6')
    await using terminal = new Terminal([...command, ...args], { columns: 71, rows: 17, env: workspace.env })
    await terminal.expect(/tty 1 1 1 controlling 1 name \/dev\/pts\/0/)
    assert.equal(await terminal.exited, 6)
  })

  it('a container that stays is entered, measured, held, and killed, as with runc', async () => {
    const steps = async (runtime: Runtime): Promise<readonly unknown[]> => {
      const all: unknown[] = []
      const [id, args] = create(runtime, ['--detach'], 'sleep', '100')
      const step = async (...words: readonly string[]): Promise<Finished> => {
        const { code, stdout, stderr } = await ctr(...words)
        return { code, stdout: stdout.replaceAll(id, 'NAME'), stderr: stderr.replaceAll(id, 'NAME') }
      }
      const status = async (): Promise<string | undefined> =>
        new RegExp(`^${id}\\s+\\d+\\s+(\\w+)`, 'm').exec((await ctr('task', 'ls')).stdout)?.[1]
      all.push((await step(...args)).code, await status())
      all.push(await step('task', 'exec', '--exec-id=one', id, 'sh', '-c', 'id; cat /proc/1/cmdline; exit 3'))
      all.push(await step('task', 'exec', '--exec-id=two', id, 'nosuch'))
      all.push((await step('task', 'ps', id)).stdout.trim().split('\n').length)
      all.push((await step('task', 'metrics', id)).stdout.match(/memory.usage_in_bytes/)?.length)
      all.push((await step('task', 'pause', id)).code, await status())
      all.push((await step('task', 'resume', id)).code, await status())
      all.push((await step('task', 'rm', id)).code) // it runs
      all.push((await step('task', 'kill', '--signal=SIGKILL', id)).code)
      await untilSays('the container to stop', /STOPPED/, () => ctr('task', 'ls'))
      all.push((await step('task', 'kill', '--signal=SIGKILL', id)).code)
      all.push((await step('task', 'rm', id)).code, (await step('container', 'rm', id)).code)
      return all
    }
    assert.deepEqual(await steps(gantry), await steps(runc))
  })

  it('a shim that is killed leaves nothing of its container', async () => {
    const [id, args] = create(gantry, ['--detach'], 'sleep', '100')
    await ctr(...args)
    const shim = await machine.run('sh', ['-c', `grep -las 'contain[e]rd-shim.*-id.${id}.' /proc/[0-9]*/cmdline`])
    const pids = [...shim.stdout.matchAll(/^\/proc\/(\d+)\//gm)].map(([, pid]) => Number(pid))
    assert.equal(pids.length, 1, shim.stdout)
    process.kill(pids[0] ?? 0, 'SIGKILL')
    await untilSays('the task to go', /^TASK\s+PID\s+STATUS\s*$/, () => ctr('task', 'ls'))
    const states = await machine.run('ls', ['/run/containerd/runc/default'])
    assert.deepEqual([states.code, states.stdout], [0, ''])
    assert.equal((await ctr('container', 'rm', id)).code, 0)
  })
})
