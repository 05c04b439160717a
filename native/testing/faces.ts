// The two faces of the runtime, alike: a bundle goes in, what was said and how it ended come out.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Runtime } from '../runtime.ts'
import type { Bench } from './bundle.ts'
import { EXECUTABLE } from './cli.ts'

export interface Outcome {
  /** What the container wrote, and what the runtime had to say. */
  readonly output: string
  /** 128 + signal, as a shell has it; 1 if the runtime refused. */
  readonly code: number
}

/** A container on its way. */
export interface Started {
  /** The first process, as this process sees it, as soon as there is one. */
  readonly pid: Promise<number>
  /** What it has written by now. */
  said(): string
  readonly ended: Promise<Outcome>
  /** Its first process, if there is one: not by the runtime, which may be busy with another. */
  kill(): Promise<void>
}

export interface Face extends AsyncDisposable {
  readonly name: FaceName
  readonly executable: string
  /** The terminal, if the configuration asks for one, is read when the container has ended. */
  start(bundle: string, options?: { readonly terminal?: boolean }): Started
}

export const FACES = ['command line', 'helper'] as const
export type FaceName = (typeof FACES)[number]

export const openFace = (name: FaceName, bench: Bench, executable: string = EXECUTABLE): Promise<Face> =>
  name === 'helper' ? openHelper(bench, executable) : Promise.resolve(openCommandLine(bench, executable))

const TIMEOUT_MS = 20_000

function openCommandLine(bench: Bench, executable: string): Face {
  const start = (bundle: string): Started => {
    const id = bench.nextId()
    const pidFile = join(bench.directory, `${id}.pid`)
    const words = ['--root', bench.stateRoot, 'run', '--pid-file', pidFile, '-b', bundle, id]
    const child: ChildProcess = spawn(executable, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
    })
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    }
    const ended = once(child, 'close').then(([code]) => ({ output: said, code: (code as number | null) ?? 128 + 9 }))
    const pid = (async () => {
      while (child.exitCode === null && child.signalCode === null) {
        const text = await readFile(pidFile, 'utf8').catch(() => '')
        if (text !== '') return Number(text)
        await delay(2)
      }
      throw new Error(`it ended before it began: ${said}`)
    })()
    pid.catch(() => {})
    return { pid, said: () => said, ended, kill: () => kill(pid) }
  }
  return { name: 'command line', executable, start, [Symbol.asyncDispose]: async () => {} }
}

async function openHelper(bench: Bench, executable: string): Promise<Face> {
  const runtime = await Runtime.start({ stateRoot: bench.stateRoot, executable })
  const start: Face['start'] = (bundle, { terminal = false } = {}) => {
    const id = bench.nextId()
    const file = join(bench.directory, `${id}.output`)
    const input = openSync('/dev/null', 'r')
    const output = openSync(file, 'w')
    const running = runtime.run({ id, bundle, stdio: terminal ? 'terminal' : [input, output, output] })
    const said = (): string => readFileSync(file, 'utf8')
    const pid = running.then((container) => container.pid)
    pid.catch(() => {})
    const ended = (async (): Promise<Outcome> => {
      try {
        const container = await running
        const status = await container.exited
        const shown = container.terminal === undefined ? '' : readTerminal(container.terminal)
        return { output: said() + shown, code: 'code' in status ? status.code : 128 + status.signal }
      } catch (error) {
        return { output: said() + (error as Error).message, code: 1 }
      } finally {
        closeSync(input)
        closeSync(output)
      }
    })()
    return { pid, said, ended, kill: () => kill(pid) }
  }
  return { name: 'helper', executable, start, [Symbol.asyncDispose]: () => runtime.close() }
}

async function kill(pid: Promise<number>): Promise<void> {
  const first = await pid.catch(() => undefined)
  if (first !== undefined) process.kill(first, 'SIGKILL')
}

/** What is left in a terminal that nobody writes to any more. */
function readTerminal(fd: number): string {
  const bytes = Buffer.alloc(4096)
  let text = ''
  try {
    for (let got = readSync(fd, bytes); got > 0; got = readSync(fd, bytes)) text += bytes.toString('utf8', 0, got)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error // the other end is closed
  } finally {
    closeSync(fd)
  }
  return text
}
