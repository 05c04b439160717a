/**
 * The folder of one test file, and the guard against what it leaves behind. Its name is unique and travels in the
 * environment of every child, so that processes, mounts and cgroups can be told from those of tests that run beside it.
 */
import { lstat, mkdtemp, readdir, readFile, readlink, rm, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { run } from './commands.ts'

const CGROUPS = '/sys/fs/cgroup'
/** The parent of the cgroups that the runtime makes. */
const OUR_CGROUP = 'gantry'
/** What ends asynchronously (a reaped orphan, a lazily unmounted tree) has this long. */
const SETTLE_TIMEOUT_MS = 10_000

export class Workspace implements AsyncDisposable {
  readonly directory: string
  /** For every child that a test starts. */
  readonly env: NodeJS.ProcessEnv
  /** The test runner ends a file that takes too long in this way. */
  readonly #interrupted = async (): Promise<void> => {
    await this[Symbol.asyncDispose]()
    process.exit(1)
  }
  readonly #cgroupsBefore: ReadonlySet<string>

  private constructor(directory: string, cgroups: readonly string[]) {
    this.directory = directory
    this.env = {
      ...process.env,
      HOME: directory,
      GANTRY_ROOT: join(directory, 'client'),
      GANTRY_TEST_WORKSPACE: directory,
    }
    this.#cgroupsBefore = new Set(cgroups)
    process.once('SIGTERM', this.#interrupted).once('SIGINT', this.#interrupted)
  }

  static async open(): Promise<Workspace> {
    return new Workspace(await mkdtemp(join(tmpdir(), 'gantry-workspace-')), await cgroups(OUR_CGROUP))
  }

  /** Of the cgroups that belong to this workspace by name. */
  get cgroupParent(): string {
    return basename(this.directory)
  }

  /** Those that belong to it by name, as they become empty: a daemon does not remove the parent that it was given. */
  async removeCgroups(): Promise<void> {
    for (const deadline = Date.now() + SETTLE_TIMEOUT_MS; ; await delay(100)) {
      const left = (await cgroups(this.cgroupParent)).toReversed()
      for (const path of left) await rmdir(path).catch(() => {}) // who was killed may still be in it
      if (left.length === 0 || Date.now() > deadline) return
    }
  }

  path(...names: string[]): string {
    return join(this.directory, ...names)
  }

  /** Processes, mounts and cgroups that are there now and should not be, once everything had time to go. */
  async leftovers(): Promise<readonly string[]> {
    const deadline = Date.now() + SETTLE_TIMEOUT_MS
    let found = await this.#find()
    while (found.length > 0 && Date.now() < deadline) {
      await delay(100)
      const again = new Set(await this.#find())
      found = found.filter((thing) => again.has(thing)) // what comes and goes belongs to a test beside this one
    }
    return found
  }

  async #find(): Promise<string[]> {
    const found: string[] = []
    for (const pid of await processIds()) {
      const command = await this.#commandOf(pid)
      if (command !== undefined) found.push(`process ${pid}: ${command}`)
    }
    for (const target of await this.#mounts()) found.push(`mount ${target}`)
    for (const path of await cgroups(this.cgroupParent)) found.push(`cgroup ${path}`)
    for (const path of await cgroups(OUR_CGROUP)) {
      if (!this.#cgroupsBefore.has(path) && basename(path) !== OUR_CGROUP && (await isEmpty(path))) {
        found.push(`cgroup ${path}`)
      }
    }
    return found
  }

  /** Ends every process, mount and cgroup of this workspace, then the folder: for after a failure. */
  async [Symbol.asyncDispose](): Promise<void> {
    process.off('SIGTERM', this.#interrupted).off('SIGINT', this.#interrupted)
    for (const pid of await processIds()) {
      if ((await this.#commandOf(pid)) !== undefined) killQuietly(Number(pid))
    }
    for (const target of (await this.#mounts()).toReversed()) await run('umount', ['--lazy', target])
    await this.removeCgroups()
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 })
  }

  /** What the process runs, if it carries the name of this workspace: in its environment, arguments, or mounts. */
  async #commandOf(pid: string): Promise<string | undefined> {
    if (Number(pid) === process.pid) return undefined
    const [state, environment, command, root, mounts] = await Promise.all([
      procFile(pid, 'stat'),
      procFile(pid, 'environ'),
      procFile(pid, 'cmdline'),
      readlink(`/proc/${pid}/ns/mnt`).catch(() => ''),
      procFile(pid, 'mountinfo'),
    ])
    if (/\) [ZX] /.test(state)) return undefined // it has ended; whoever inherited it has to notice
    const foreign = root !== '' && root !== (await readlink('/proc/self/ns/mnt'))
    const ours =
      [environment, command].some((text) => text.includes(this.directory)) || (foreign && this.#isMadeOf(mounts))
    return ours ? command.replaceAll('\0', ' ').trim() || '(no command line)' : undefined
  }

  /**
   * Whether the mounts of a namespace come from this workspace, as a container's do. A namespace that was copied from
   * this one shows our mounts, too, but at the places where we see them: it belongs to somebody else.
   */
  #isMadeOf(mounts: string): boolean {
    return mounts.split('\n').some((line) => {
      const target = line.split(' ')[4] ?? ''
      return line.includes(this.directory) && !target.startsWith(this.directory)
    })
  }

  async #mounts(): Promise<readonly string[]> {
    const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
    return lines.map((line) => line.split(' ')[4] ?? '').filter((target) => target.startsWith(this.directory))
  }
}

async function processIds(): Promise<readonly string[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
}

const procFile = (pid: string, name: string): Promise<string> =>
  readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '') // it may be gone by now

/** The cgroups below `parent`, itself included, in every hierarchy. */
async function cgroups(parent: string): Promise<readonly string[]> {
  const hierarchies = ['.', ...(await readdir(CGROUPS).catch(() => []))]
  const found = await Promise.all(hierarchies.map((hierarchy) => folders(join(CGROUPS, hierarchy, parent))))
  return found.flat()
}

async function folders(path: string): Promise<readonly string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => undefined)
  if (entries === undefined) return []
  const below = await Promise.all(
    entries.filter((entry) => entry.isDirectory()).map((entry) => folders(join(path, entry.name))),
  )
  return [path, ...below.flat()]
}

async function isEmpty(cgroup: string): Promise<boolean> {
  if (!(await lstat(cgroup).catch(() => undefined))) return false
  return (await readFile(join(cgroup, 'cgroup.procs'), 'utf8').catch(() => '')) === ''
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
