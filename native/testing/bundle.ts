// Bundles for the runtime's tests: docker's configuration around the static program of init.cc.
import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { EXECUTABLE, runCommand } from './cli.ts'

const native = fileURLToPath(new URL('..', import.meta.url))
const payload = join(native, 'build/test-init')

/** docker's default set without CAP_MKNOD, written out: what the client gives is no business of the runtime's, which is tested where there is no client. */
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

interface Mount {
  destination: string
  type: string
  source: string
  options: string[]
}

/** What docker gives, as plain data that a test changes before it is written. */
export function dockerConfig(...args: string[]) {
  const mounts: Mount[] = [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro', 'nosuid', 'noexec', 'nodev'] },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
    },
  ]
  return {
    ociVersion: '1.0.2',
    root: { path: 'rootfs', readonly: false },
    hostname: 'inside',
    mounts,
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 } as Record<string, unknown>,
      args: ['/init', ...args],
      env: ['PATH=/bin:/'],
      cwd: '/',
      capabilities: {
        bounding: [...CAPABILITIES] as string[],
        effective: [...CAPABILITIES] as string[],
        permitted: [...CAPABILITIES] as string[],
      },
      noNewPrivileges: true,
    } as Record<string, unknown> & { args: string[]; env: string[] },
    linux: {
      namespaces: ['mount', 'network', 'uts', 'pid', 'ipc', 'cgroup'].map((type) => ({ type })),
      maskedPaths: ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/scsi', '/sys/firmware'],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    } as Record<string, unknown>,
  }
}

export type BundleConfig = ReturnType<typeof dockerConfig>

/** A temporary place with bundles and a state root, and the means to prove that nothing is left behind. */
export class Bench {
  readonly directory: string
  readonly stateRoot: string
  #count = 0

  private constructor(directory: string) {
    this.directory = directory
    this.stateRoot = join(directory, 'state')
  }

  static async open(): Promise<Bench> {
    await buildPayload()
    return new Bench(await mkdtemp(join(tmpdir(), 'gantry-runtime-')))
  }

  /** An id that no other test uses, so that what is left behind can be recognised. */
  nextId(): string {
    return `test-${process.pid}-${++this.#count}`
  }

  /** A bundle with its own root file system. `prepare` may add to the root, which holds /init and empty directories. */
  async bundle(config: BundleConfig | string, prepare?: (rootfs: string) => Promise<unknown>): Promise<string> {
    const bundle = await mkdtemp(join(this.directory, 'bundle-'))
    const rootfs = join(bundle, 'rootfs')
    await mkdir(rootfs)
    await copyFile(payload, join(rootfs, 'init'))
    await prepare?.(rootfs)
    for (const name of ['proc', 'sys', 'dev', 'tmp', 'etc']) {
      await mkdir(join(rootfs, name)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error // the test made something of its own there
      })
    }
    await writeFile(join(bundle, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config))
    return bundle
  }

  /** What a test left. Once told it goes, so that the next test is not blamed for it. */
  async leftovers(): Promise<string[]> {
    const found = await this.present()
    if (found.length > 0) await this.#takeDown(found)
    return found
  }

  /** Everything that there is of containers of this bench: state, cgroups, mounts, processes. */
  async present(): Promise<string[]> {
    const found = (await readdir(this.stateRoot).catch(() => [])).map((name) => `state ${name}`)
    const mine = `test-${process.pid}-`
    for (const hierarchy of ['', ...(await readdir('/sys/fs/cgroup').catch(() => []))]) {
      for (const name of await readdir(join('/sys/fs/cgroup', hierarchy, 'gantry')).catch(() => [])) {
        if (name.startsWith(mine)) found.push(`cgroup ${hierarchy}/gantry/${name}`)
      }
    }
    const mounts = await readFile('/proc/self/mountinfo', 'utf8')
    if (mounts.includes(this.directory)) found.push('a mount')
    for (const pid of await readdir('/proc')) {
      if (!/^\d+$/.test(pid)) continue
      const cgroup = await readFile(join('/proc', pid, 'cgroup'), 'utf8').catch(() => '')
      const status = await readFile(join('/proc', pid, 'stat'), 'utf8').catch(() => '')
      const ended = status === '' || /\) [ZX] /.test(status) // whether init has reaped an orphan is not our affair
      if (cgroup.includes(mine) && !ended) found.push(`process ${pid}`)
    }
    return found
  }

  async #takeDown(found: readonly string[]): Promise<void> {
    for (const line of found) {
      const [kind, name = ''] = line.split(' ')
      if (kind === 'state') await runCommand(EXECUTABLE, ['--root', this.stateRoot, 'delete', '--force', name])
      if (kind === 'process') await runCommand('kill', ['-KILL', name]) // it may have ended by now
    }
    for (const line of found) {
      if (line.startsWith('cgroup ')) await rmdir(join('/sys/fs/cgroup', line.slice('cgroup '.length))).catch(() => {})
    }
  }

  async close(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** The static program of init.cc, compiled if its source is newer. Resolves to its path. */
export async function buildPayload(): Promise<string> {
  const source = join(native, 'testing/init.cc')
  const built = await stat(payload).catch(() => undefined)
  if (built && built.mtimeMs >= (await stat(source)).mtimeMs) return payload
  const temporary = `${payload}.${process.pid}`
  await mkdir(join(native, 'build'), { recursive: true })
  await promisify(execFile)('g++', ['-std=c++20', '-O1', '-static', '-s', '-o', temporary, source])
  await rename(temporary, payload)
  return payload
}
