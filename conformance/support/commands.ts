/** Child processes of tests: each bounded in time, each ended by its process id with everything in its group, however the test ends. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

export interface Finished {
  /** As a shell reports it: 128+n for a signal. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** Given to standard input, which is otherwise empty. */
  readonly input?: string | Uint8Array
  readonly timeoutMs?: number
}

const DEFAULT_TIMEOUT_MS = 120_000
const STOP_TIMEOUT_MS = 15_000
const SIGNAL_BASE = 128

/** Runs a command to its end, whatever its exit code. Throws if it cannot be started or takes too long. */
export async function run(command: string, args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
  const child = startGroup(command, args, { cwd: options.cwd, env: options.env, stdio: ['pipe', 'pipe', 'pipe'] })
  const texts = [child.stdout, child.stderr].map(collect)
  child.stdin?.on('error', () => {}) // it need not read what it is given
  child.stdin?.end(options.input ?? '')
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
  let late = false
  const timer = setTimeout(() => {
    late = true
    killGroup(child, 'SIGKILL')
  }, timeoutMs)
  const code = await closed(child).finally(() => clearTimeout(timer)) // its id may soon be somebody else's
  const [stdout = '', stderr = ''] = texts.map((text) => text())
  if (late) {
    throw new Error(`${command} ${args.join(' ')} took more than ${timeoutMs} ms; it said: ${stdout}${stderr}`)
  }
  return { code, stdout, stderr }
}

/** Runs a command that has to succeed; resolves to its standard output. */
export async function succeed(command: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options)
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${code}:\n${stdout}${stderr}`)
  return stdout
}

/** A child that leads a process group of its own. */
export function startGroup(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  return spawn(command, args, { ...options, detached: true })
}

/** Resolves to the status as a shell reports it, once the child has ended and its output is complete. */
export function closed(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? SIGNAL_BASE + constants.signals[signal ?? 'SIGKILL']))
  })
}

/** Asks with SIGTERM, then kills the group. Resolves when the child has ended. */
export async function stopGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    await Promise.race([ended, delay(STOP_TIMEOUT_MS, undefined, { ref: false })])
    killGroup(child, 'SIGKILL')
    await ended
  }
  killGroup(child, 'SIGKILL') // its children may outlive it
}

export function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Asks until the answer is not `undefined`. Throws with what was awaited when time is up. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const answer = await probe()
    if (answer !== undefined) return answer
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`)
    await delay(50)
  }
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = []
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString('utf8')
}
