/**
 * A command that is killed at a step: strace tells of each system call that changes something, and holds whoever made it for a moment, in
 * which he is killed. Which of a command's processes that is, is the test's to say.
 */
import { execFileSync } from 'node:child_process'
import { createReadStream, existsSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { closed, killGroup, run, startGroup } from '../../conformance/support/commands.ts'
import type { Workspace } from '../../conformance/support/workspace.ts'

/** Who can be killed: the command itself, a monitor, or what the runtime has cloned, for either, and is not the container's program yet. */
export type Role = 'command' | 'monitor' | 'child'

/** Those that change what others see: names, mounts, processes, what is in files and cgroups, and messages. */
const STEPS = [
  'mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,link,linkat,unlink,unlinkat,rmdir',
  'mount,umount2,move_mount,fsmount,pivot_root,setns,unshare,clone,clone3,vfork,fork,execve',
  'fsync,fdatasync,sendto,sendmsg,write,ftruncate,pidfd_send_signal',
].join(',')
const PAUSE_MICROSECONDS = 3000
const TIMEOUT_MS = 60_000
const LOOK_MS = 50
const SHOWN_LINES = 60
const END_TIMEOUT_MS = 15_000

export interface Stepped extends AsyncDisposable {
  /** How many steps those of that role have made, and the last of them, as strace writes it. */
  readonly steps: number
  readonly last: string
  /** Whether somebody was killed at it. */
  readonly killed: boolean
}

export interface KillPoint {
  readonly role: Role
  /** From 1 on; 0 is never. */
  readonly at: number
  /** A monitor that runs already. */
  readonly monitor?: number
}

/** Resolves when the command has ended. strace stays with what goes on behind it: to be disposed of once that has ended, too. */
export async function killedAt(workspace: Workspace, command: readonly string[], point: KillPoint): Promise<Stepped> {
  const fifo = workspace.path(`steps-${process.hrtime.bigint()}`)
  execFileSync('mkfifo', [fifo])
  const also = point.monitor === undefined ? [] : ['-p', `${point.monitor}`]
  const strace = startGroup(
    'strace',
    [
      ['-f', '--seccomp-bpf', '-q', '-s', '80', '-o', fifo, '-e', 'signal=none'],
      ['-e', `trace=${STEPS}`, '-e', `inject=${STEPS}:delay_exit=${PAUSE_MICROSECONDS}`],
      also,
      command,
    ].flat(),
    {
      env: { ...workspace.env, UV_THREADPOOL_SIZE: '1', NODE_DISABLE_COMPILE_CACHE: '1' },
      stdio: ['ignore', 'ignore', 'ignore'],
    },
  )
  const straceEnded = closed(strace)
  const roles = new Roles()
  let [steps, last, killed] = [0, 'none', false]
  const recent: string[] = []
  const ended = Promise.withResolvers<void>()
  const lines = createInterface({ input: createReadStream(fifo) })
  lines.on('line', (line) => {
    recent.push(line)
    if (recent.length > SHOWN_LINES) recent.shift()
    const [, pid = '', what = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (what.startsWith('execve(')) roles.command ??= pid
    if (what.startsWith('+++') && pid === roles.command) ended.resolve()
    if (killed || !isStep(what) || roles.of(pid) !== point.role) return
    steps++
    last = what.slice(0, 160)
    if (steps === point.at) killed = kill(pid)
  })
  lines.on('close', () => ended.resolve())
  const looking = setInterval(() => {
    if (roles.command !== undefined && !existsSync(`/proc/${roles.command}`)) ended.resolve() // strace does not always say so
  }, LOOK_MS)
  const dispose = async (): Promise<void> => {
    await Promise.race([straceEnded, delay(END_TIMEOUT_MS, undefined, { ref: false })])
    killGroup(strace, 'SIGKILL')
    await straceEnded
    lines.close()
    await rm(fifo, { force: true })
  }
  ended.promise.then(() => clearInterval(looking))
  const late = await Promise.race([ended.promise.then(() => false), delay(TIMEOUT_MS, true, { ref: false })])
  if (late) {
    const doing = await run('ps', ['-eo', 'pid,ppid,stat,wchan:32,args'])
    killGroup(strace, 'SIGKILL')
    await dispose()
    const said = [...recent, doing.stdout.split('\n').filter((line) => line.includes(workspace.directory))].flat()
    throw new Error(`${command.join(' ')} took more than ${TIMEOUT_MS} ms:\n${said.join('\n')}`)
  }
  return { steps, last, killed, [Symbol.asyncDispose]: dispose }
}

/** Of those that ended well; threads that wake each other up, and threads themselves, change nothing. */
const isStep = (what: string): boolean =>
  /^(\w+\(|<\.\.\. \w+ resumed)/.test(what) &&
  !/<unfinished \.\.\.>| = -1 |CLONE_THREAD|^write\(\d+, "\\1\\0|^<\.\.\. write resumed>.* = 8\b/.test(what)

/** Who is who: by what it runs, and whether it is in a process namespace of its own. */
class Roles {
  /** The pid of the command. */
  command: string | undefined
  readonly #known = new Map<string, Role>()

  of(pid: string): Role | undefined {
    const known = this.#known.get(pid)
    const role = known === 'child' ? undefined : known // it may have become the program
    if (role !== undefined) return role
    const found = this.#find(pid)
    if (found !== undefined) this.#known.set(pid, found)
    return found
  }

  #find(pid: string): Role | undefined {
    const status = procFile(pid, 'status')
    if (/^Tgid:\s+(\d+)$/m.exec(status)?.[1] === this.command) return 'command'
    const [, verb] = /\0(monitor|exec)\0/.exec(procFile(pid, 'cmdline')) ?? []
    if (verb === undefined) return undefined
    if (/^NSpid:\s+\d+\s+\d+/m.test(status)) return 'child'
    return verb === 'monitor' ? 'monitor' : undefined
  }
}

function procFile(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return '' // it has ended
  }
}

function kill(pid: string): boolean {
  try {
    process.kill(Number(pid), 'SIGKILL')
    return true
  } catch {
    return false
  }
}
