// Attacks that somebody has published on runtimes, each with the defence that holds it off; ../runtime-attacks.system.test.ts
// makes them.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, chown, copyFile, mkdir, readdir, readFile, rmdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Bench, type BundleConfig, buildPayload, dockerConfig } from './bundle.ts'
import { EXECUTABLE, runCommand } from './cli.ts'
import type { Face, FaceName, Outcome, Started } from './faces.ts'
import { belongingTo, ORDINARY_USER, withUserNamespace } from './user-namespace.ts'

const CGROUPS = '/sys/fs/cgroup'
/** The name of a file that is beside the bundles, and in no container. */
export const HOST_MARK = 'a-file-of-the-host'
const PACKET = fileURLToPath(new URL('./helper-packet.py', import.meta.url))
export type Prepare = (rootfs: string) => Promise<unknown>

/** Whom an attack is made on. */
interface Target {
  readonly face: Face
  readonly bench: Bench
  run(config: BundleConfig, prepare?: Prepare): Promise<Outcome>
  start(config: BundleConfig, prepare?: Prepare): Promise<Started>
  /** How often a race is run. */
  readonly tries: number
  /** A new directory of the host. */
  victim(): Promise<string>
}

export interface Attack {
  readonly cves: string
  readonly what: string
  /** What holds it off: a name of src/core/defence.h. */
  readonly without: string
  /** Where it can be made at all, if not through both. */
  readonly faces?: readonly FaceName[]
  /** Resolves to whether it succeeded, or as far as that can be told without doing harm. */
  readonly perform: (target: Target) => Promise<boolean>
}

/** docker's configuration with nothing mounted on or below /dev, so that what the image has there is met. */
function bareDev(...args: string[]): BundleConfig {
  const config = dockerConfig(...args)
  config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith('/dev'))
  return config
}

const joining = (pid: number): object[] => [
  ...['mount', 'network', 'uts', 'ipc', 'cgroup'].map((type) => ({ type })),
  { type: 'pid', path: `/proc/${pid}/ns/pid` },
]

const prepareFifo: Prepare = (rootfs) => runCommand('mkfifo', [join(rootfs, 'fifo')])

/** Whatever the program of a container is: this is the runtime, in the same root, waiting for somebody to read its log. */
function selfAsProgram(bundle: string, companion: number): BundleConfig {
  const config = dockerConfig()
  config.root.path = join(bundle, 'rootfs')
  config.linux['namespaces'] = joining(companion)
  config.process.args = ['/proc/self/exe', '--log', '/fifo', 'state', 'nosuch']
  return config
}

const isAlive = async (pid: number): Promise<boolean> =>
  !/^$|\) [ZX] /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''))

const digestOf = async (file: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex')

export const ATTACKS: readonly Attack[] = [
  {
    cves: 'CVE-2019-5736',
    what: 'writing to the runtime’s executable through /proc/PID/exe',
    without: 'kReadOnlySelf',
    faces: ['command line'],
    perform: async ({ face, bench }) => {
      const before = await digestOf(face.executable)
      const detached = async (bundle: string): Promise<number> => {
        const id = bench.nextId()
        const pidFile = join(bench.directory, `${id}.pid`)
        const words = ['--root', bench.stateRoot, 'run', '--detach', '--pid-file', pidFile, '-b', bundle, id]
        const { code, stderr } = await runCommand(face.executable, words)
        assert.equal(code, 0, stderr)
        return Number(await readFile(pidFile, 'utf8'))
      }
      const bundle = await bench.bundle(dockerConfig('to', '/said', '--', 'overwrite-exe', '/fifo'), prepareFifo)
      const attacker = await detached(bundle)
      await detached(await bench.bundle(selfAsProgram(bundle, attacker)))
      while (await isAlive(attacker)) await delay(5) // nobody runs the executable meanwhile: it could be written to
      for (const id of await readdir(bench.stateRoot)) {
        const words = ['--root', bench.stateRoot, 'delete', '--force', id] // the other one may be about to end
        const { code, stderr } = await runCommand(EXECUTABLE, words)
        assert.equal(code, 0, stderr)
      }
      assert.match(await readFile(join(bundle, 'rootfs/said'), 'utf8'), /found an executable/)
      return (await digestOf(face.executable)) !== before
    },
  },
  {
    cves: 'CVE-2019-5736',
    what: 'getting hold of the runtime’s executable where it is writable',
    without: 'kReadOnlySelf',
    faces: ['helper'], // it runs as long as its containers: what could be written to is busy until then
    perform: async (target) => {
      const bundle = await target.bench.bundle(dockerConfig('overwrite-exe', '/fifo'), prepareFifo)
      const attacker = target.face.start(bundle)
      await target.run(selfAsProgram(bundle, await attacker.pid))
      const { output } = await attacker.ended
      const [, found] = /an executable that is (.*)/.exec(output) ?? assert.fail(output)
      return found === 'writable'
    },
  },
  {
    cves: 'CVE-2024-21626',
    what: 'a working directory behind an inherited descriptor',
    without: 'kNothingInherited',
    perform: async (target) => {
      for (let fd = 3; fd < 24; ++fd) {
        const config = dockerConfig('ls', '..', '--', 'ls', '../..', '--', 'ls', '../../..')
        config.process['cwd'] = `/proc/self/fd/${fd}`
        const { output } = await target.run(config)
        if (output.includes(HOST_MARK)) return true
      }
      return false
    },
  },
  {
    cves: 'CVE-2024-21626',
    what: 'exec in a working directory behind an inherited descriptor',
    without: 'kNothingInherited',
    faces: ['command line'],
    perform: async ({ face, bench, start }) => {
      const container = await start(dockerConfig('sleep', '60'))
      await container.pid
      const [id = ''] = await readdir(bench.stateRoot)
      const words = ['ls', '..', '--', 'ls', '../..', '--', 'ls', '../../..']
      let escaped = false
      for (let fd = 3; fd < 24 && !escaped; ++fd) {
        const exec = ['--root', bench.stateRoot, 'exec', '--cwd', `/proc/self/fd/${fd}`, id, '/init', ...words]
        escaped = (await runCommand(face.executable, exec)).stdout.includes(HOST_MARK)
      }
      await runCommand(face.executable, ['--root', bench.stateRoot, 'kill', id, 'KILL'])
      await container.ended
      return escaped
    },
  },
  {
    cves: 'CVE-2016-9962',
    what: 'a look into the descriptors of a process that is about to be the container’s',
    without: 'kNotDumpable',
    perform: async (target) => {
      const attacker = await target.start(dockerConfig('spy', '--', 'sleep', '60'))
      const config = dockerConfig('true')
      config.linux['namespaces'] = joining(await attacker.pid)
      Object.assign(config, { hooks: { startContainer: [{ path: '/init', args: ['init', 'sleep', '60'] }] } })
      const waiting = await target.start(config)
      while (!/spied|spy on|saw nobody/.test(attacker.said())) await delay(5)
      await attacker.kill() // and with the first process of their namespace all others end
      await Promise.all([attacker.ended, waiting.ended])
      assert.doesNotMatch(attacker.said(), /saw nobody/)
      return /spied/.test(attacker.said())
    },
  },
  {
    cves: 'CVE-2019-16884, CVE-2019-19921',
    what: 'a volume on /proc that swallows what is written there',
    without: 'kProcIsProc',
    perform: async (target) => {
      const config = dockerConfig('cat', '/proc/self/attr/exec')
      const volume = await target.victim()
      await mkdir(join(volume, 'self/attr'), { recursive: true })
      await writeFile(join(volume, 'self/attr/exec'), 'no label was ever written')
      config.mounts.push({ destination: '/proc', type: 'bind', source: volume, options: ['bind'] })
      return (await target.run(config)).output.includes('no label was ever written')
    },
  },
  {
    cves: 'CVE-2023-27561',
    what: 'a volume that a symlink of the image leads into /proc',
    without: 'kProcIsProc',
    perform: async (target) => {
      const config = dockerConfig('ls', '/proc/sys')
      config.linux['readonlyPaths'] = []
      config.mounts.push({ destination: '/innocent', type: 'tmpfs', source: 't', options: [] })
      const { output } = await target.run(config, (rootfs) => symlink('/proc/sys', join(rootfs, 'innocent')))
      return output === '' // what was there is covered
    },
  },
  {
    cves: 'CVE-2023-28642, CVE-2025-52881',
    what: 'an image’s own /proc that is written to instead of the kernel’s',
    without: 'kHostProc',
    perform: async (target) => {
      const config = dockerConfig('true')
      config.mounts = config.mounts.filter(({ destination }) => destination !== '/proc')
      for (const name of ['maskedPaths', 'readonlyPaths']) config.linux[name] = []
      config.linux['sysctl'] = { 'net.ipv4.ip_forward': '1' }
      let file = ''
      await target.run(config, async (rootfs) => {
        file = join(rootfs, 'proc/sys/net/ipv4/ip_forward')
        await mkdir(join(rootfs, 'proc/sys/net/ipv4'), { recursive: true })
        await writeFile(file, 'as it was')
      })
      return (await readFile(file, 'utf8')) !== 'as it was'
    },
  },
  {
    cves: 'CVE-2025-31133',
    what: 'an image’s /dev/null that leads to a file of the host, to be shown where something is masked',
    without: 'kHostNull',
    perform: async (target) => {
      const secret = join(await target.victim(), 'secret')
      await writeFile(secret, HOST_MARK)
      const config = bareDev('cat', '/etc/masked')
      config.linux['maskedPaths'] = ['/etc/masked']
      const { output } = await target.run(config, async (rootfs) => {
        for (const name of ['dev', 'etc']) await mkdir(join(rootfs, name))
        await writeFile(join(rootfs, 'etc/masked'), '')
        await symlink(secret, join(rootfs, 'dev/null'))
      })
      return output.includes(HOST_MARK)
    },
  },
  {
    cves: 'CVE-2025-52565, CVE-2026-88264',
    what: 'an image’s /dev/console that leads to what is masked or read-only',
    without: 'kConsoleNotFollowed',
    perform: async (target) => {
      const config = bareDev('stat', '/proc/sys/kernel/hostname')
      config.process['terminal'] = true
      config.mounts.push({ destination: '/dev/pts', type: 'devpts', source: 'devpts', options: [] })
      const { output } = await target.run(config, async (rootfs) => {
        await mkdir(join(rootfs, 'dev'))
        await symlink('../proc/sys/kernel/hostname', join(rootfs, 'dev/console'))
      })
      return /hostname mode 20\d+ device 136:/.test(output)
    },
  },
  {
    cves: 'CVE-2026-41579, CVE-2026-47766, CVE-2026-88265',
    what: 'an image’s /dev that is a symlink to a directory of the host',
    without: 'kRootedPaths',
    perform: async (target) => {
      const victim = await target.victim()
      await target.run(bareDev('true'), (rootfs) => symlink(victim, join(rootfs, 'dev')))
      return (await readdir(victim)).length > 0
    },
  },
  {
    cves: 'CVE-2021-30465, CVE-2024-45310, CVE-2026-41568, CVE-2026-42306',
    what: 'a directory that becomes a symlink to the host while the target of a mount is made in it',
    without: 'kRootedPaths',
    perform: async (target) => {
      const victim = await target.victim()
      const config = dockerConfig('true')
      config.mounts.push({ destination: '/way/new', type: 'tmpfs', source: 't', options: [] })
      const bundle = await target.bench.bundle(config, async (rootfs) => {
        await mkdir(join(rootfs, 'way'))
        await symlink(victim, join(rootfs, 'other'))
      })
      const names = ['way', 'other'].map((name) => join(bundle, 'rootfs', name))
      const racer = spawn(await buildPayload(), ['exchange', ...names], { stdio: 'ignore', timeout: 60_000 })
      try {
        for (let i = 0; i < target.tries; ++i) {
          await target.face.start(bundle).ended
          if ((await readdir(victim)).length > 0) return true
        }
        return false
      } finally {
        racer.kill('SIGKILL')
      }
    },
  },
  {
    cves: 'CVE-2022-24769, CVE-2022-27649, CVE-2022-27650, CVE-2022-29162',
    what: 'rights that a user’s program inherits, by a file that asks for them',
    without: 'kNothingInheritable',
    perform: async (target) => {
      const config = dockerConfig('exec', '/privileged', 'cat', '/proc/self/status')
      config.process['user'] = { uid: 1000, gid: 1000 }
      config.process['noNewPrivileges'] = false
      const { output } = await target.run(config, async (rootfs) => {
        await copyFile(await buildPayload(), join(rootfs, 'privileged'))
        await runCommand('setcap', ['cap_sys_chroot+ei', join(rootfs, 'privileged')])
      })
      const [, permitted] = /^CapPrm:\s+(\S+)$/m.exec(output) ?? assert.fail(output)
      return permitted !== '0000000000000000'
    },
  },
  {
    cves: 'CVE-2016-3697, CVE-2024-40635, CVE-2026-30892',
    what: 'an id that would wrap to root’s',
    without: 'kStrictIds',
    perform: async (target) => {
      const config = dockerConfig('id')
      config.process['user'] = { uid: 2 ** 32, gid: 2 ** 32 }
      return /^uid 0 /m.test((await target.run(config)).output)
    },
  },
  {
    cves: 'CVE-2021-43784',
    what: 'a message whose lengths are not those of what it holds',
    without: 'kCheckedLengths',
    faces: ['helper'],
    perform: async ({ face, bench }) => {
      const bundle = await bench.bundle(dockerConfig('true'))
      const words = [PACKET, face.executable, bench.stateRoot, bench.nextId(), bundle, '/and/what/was/not/counted']
      const { stdout, stderr } = await runCommand('python3', words)
      assert.match(stdout, /^helper: /m, stderr)
      return /^started/m.test(stdout)
    },
  },
  {
    cves: 'CVE-2017-5226',
    what: 'input pushed into the terminal of whoever started it',
    without: 'kOwnSession',
    faces: ['command line'], // the helper has no terminal, and containers one of their own
    perform: async ({ face, bench }) => {
      const bundle = await bench.bundle(dockerConfig('tty'))
      const command = [face.executable, '--root', bench.stateRoot, 'run', '-b', bundle, bench.nextId()].join(' ')
      const { stdout } = await runCommand('/usr/bin/script', ['--quiet', '--return', '--command', command, '/dev/null'])
      assert.match(stdout, /^tty 1 1 1 /)
      return /controlling 1/.test(stdout)
    },
  },
  {
    cves: 'CVE-2023-25809',
    what: 'an ordinary user’s own cgroups, shown to a container that has no cgroup namespace',
    without: 'kReadOnlyCgroups',
    faces: ['command line'],
    perform: async ({ face, bench }) => {
      const name = bench.nextId()
      const unified = (await readFile('/proc/self/mountinfo', 'utf8')).match(/ (\S+) \S+ - cgroup2 /)?.[1] ?? ''
      const delegated = join(unified, name)
      const inside = unified === CGROUPS ? CGROUPS : join(CGROUPS, 'unified')
      const config = withUserNamespace(
        [{ containerID: 0, hostID: ORDINARY_USER, size: 1 }],
        ...['mkdir', join(inside, 'made'), '--', 'stat', join(inside, 'made')],
      )
      config.linux['namespaces'] = (config.linux['namespaces'] as { type: string }[]).filter(
        ({ type }) => type !== 'cgroup',
      )
      config.linux['cgroupsPath'] = `/${name}/box`
      const cgroups = config.mounts.find(({ type }) => type === 'cgroup')
      if (cgroups !== undefined) cgroups.options = ['rw']
      const bundle = await bench.bundle(config, belongingTo(ORDINARY_USER))
      const stateRoot = join(bench.directory, name)
      for (const path of [stateRoot, delegated, join(delegated, 'caller')]) await mkdir(path)
      try {
        for (const path of [stateRoot, delegated, join(delegated, 'caller')])
          await chown(path, ORDINARY_USER, ORDINARY_USER)
        for (const path of [delegated, join(delegated, 'caller')])
          await chown(join(path, 'cgroup.procs'), ORDINARY_USER, ORDINARY_USER)
        for (const path of [bench.directory, bundle]) await chmod(path, 0o755)
        const user = [
          'setpriv',
          `--reuid=${ORDINARY_USER}`,
          `--regid=${ORDINARY_USER}`,
          '--clear-groups',
          '--inh-caps=-all',
        ]
        const script = `echo 0 > ${delegated}/caller/cgroup.procs; exec "$@"`
        const run = [face.executable, '--root', stateRoot, 'run', '-b', bundle, name]
        const { stdout, stderr } = await runCommand('sh', ['-ec', script, 'sh', ...user, ...run])
        assert.match(stdout, /made/, stderr)
        return /made mode 4/.test(stdout)
      } finally {
        for (const path of ['box', 'caller', '']) await rmdir(join(delegated, path)).catch(() => {})
      }
    },
  },
]
