// Runs build/gantry-runtime as docker and podman would, and collects what it says.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const EXECUTABLE = fileURLToPath(new URL('../build/gantry-runtime', import.meta.url))

export interface CliResult {
  readonly stdout: string
  readonly stderr: string
  /** 128 + signal if one ended it. */
  readonly code: number
}

const SIGKILL = 9
/** How long after the end of a program somebody else's hold on its output is waited for. */
const PIPES_STAY_OPEN_MS = 10

export function runCli(
  stateRoot: string,
  args: readonly string[],
  input: number | 'ignore' = 'ignore',
): Promise<CliResult> {
  return runCommand(EXECUTABLE, ['--root', stateRoot, ...args], input)
}

/** Bounded: a runtime that hangs is killed. `user` is whose process it is, ours if nobody is named. */
export function runCommand(
  command: string,
  args: readonly string[],
  input: number | 'ignore' = 'ignore',
  env: NodeJS.ProcessEnv = process.env,
  user?: number,
): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env,
      ...(user === undefined ? {} : { uid: user, gid: user, cwd: '/' }),
      stdio: [input, 'pipe', 'pipe'],
      timeout: 20_000,
      killSignal: 'SIGKILL',
    })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout?.on('data', (bytes: Buffer) => stdout.push(bytes))
    child.stderr?.on('data', (bytes: Buffer) => stderr.push(bytes))
    child.on('error', reject)
    const settle = (code: number | null): void => {
      child.stdout?.destroy()
      child.stderr?.destroy()
      resolve({
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
        code: code ?? 128 + SIGKILL,
      })
    }
    child.on('close', settle)
    // A created container keeps our pipes open: then what is in them is read, and no end awaited. However late the timer
    // comes, there is a read before what follows it.
    child.on('exit', (code) => setTimeout(() => setImmediate(settle, code), PIPES_STAY_OPEN_MS))
  })
}

/** What `events` tells of, kind by kind, until the container ends. It is watching when `begin` is called. */
export async function watchEvents(stateRoot: string, id: string, begin: () => Promise<unknown>): Promise<string[]> {
  const child = spawn(EXECUTABLE, ['--root', stateRoot, 'events', id], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  })
  const kinds: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    kinds.push((JSON.parse(line) as { type: string }).type)
    if (kinds.length === 1) await begin()
  }
  return kinds
}
