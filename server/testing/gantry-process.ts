/** `gantry` as a process of its own, through what the launcher calls, without the launcher. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'

const CLI = pathToFileURL(join(import.meta.dirname, '..', 'cli.ts')).href
const SCRIPT = `
  const { runServerCli } = await import(${JSON.stringify(CLI)})
  process.exitCode = await runServerCli(process.argv.slice(1))`

/** As the launcher would have one; not in the user's, which tests leave alone. */
const COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/gantry-tests')

type Environment = Readonly<Record<string, string>>

/** Runs until it ends. */
export async function runGantry(
  args: readonly string[],
  env?: Environment,
  input?: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = start(args, env, undefined, input === undefined ? 'ignore' : 'pipe')
  child.stdin?.on('error', () => {}).end(input) // it need not read what it is given
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout ?? assert.fail()),
    text(child.stderr ?? assert.fail()),
    once(child, 'exit'),
  ])
  return { code: code as number, stdout, stderr }
}

/** Begins it: whoever does so ends it. `said` is what it has printed so far. */
export function startGantry(
  args: readonly string[],
  env?: Environment,
): { readonly child: ChildProcess; readonly exit: Promise<unknown[]>; said(): string } {
  const child = start(args, env)
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk
  })
  return { child, exit: once(child, 'exit'), said: () => said }
}

export interface GantryProcess extends AsyncDisposable {
  readonly child: ChildProcess
  readonly ready: string
  readonly url: string
  readonly metricsUrl: string
  readonly data: string
  /** Code and signal. */
  readonly exit: Promise<unknown[]>
  /** What it has logged so far, parsed. */
  logged(): Record<string, unknown>[]
  /** Of its workers. */
  workers(): Promise<number[]>
}

export interface ServeOptions {
  readonly args?: readonly string[]
  readonly env?: Environment
  readonly listen?: string
  /** By default a folder of its own, which goes with it. */
  readonly data?: string
  /** How many files it may have open. */
  readonly openFiles?: number
  /** Who it runs as; the group is the same number. By default who runs the test. */
  readonly uid?: number
}

/** A running `gantry serve` that has said that it is ready; killed at the end if it still runs. */
export async function serveGantry(options: ServeOptions = {}): Promise<GantryProcess> {
  const own = options.data === undefined ? await mkdtemp(join(tmpdir(), 'gantry-process-')) : undefined
  const data = options.data ?? own ?? ''
  const args = ['serve', '--listen', options.listen ?? '127.0.0.1:0', ...(options.args ?? [])]
  const child = start(args, { GANTRY_DATA: data, ...options.env }, options)
  let log = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    log += chunk
  })
  const exit = once(child, 'exit')
  const removeOwn = async (): Promise<void> => {
    if (own !== undefined) await rm(own, { recursive: true, force: true, maxRetries: 5 })
  }
  const said = once(child.stdout?.setEncoding('utf8') ?? child, 'data') as Promise<[string]>
  const [ready] = await Promise.race([said, exit.then((): [string?] => [])])
  if (ready === undefined) {
    await removeOwn()
    assert.fail(`it ended before it was ready: ${log}`)
  }
  return {
    child,
    ready,
    data,
    exit,
    url: /https?:\/\/[^ ,]+/.exec(ready)?.[0] ?? '',
    metricsUrl: /metrics on (http:\/\/[^ ,)]+)/.exec(ready)?.[1] ?? '',
    logged: () =>
      log
        .split('\n')
        .filter((line) => line.startsWith('{') && line.endsWith('}'))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    async workers() {
      const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
      return children.split(' ').filter(Boolean).map(Number)
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exit
      await removeOwn()
    },
  }
}

function start(
  args: readonly string[],
  env: Environment = {},
  { openFiles, uid }: Pick<ServeOptions, 'openFiles' | 'uid'> = {},
  stdin: 'ignore' | 'pipe' = 'ignore',
): ChildProcess {
  const node = [process.execPath, '--input-type=module', '--eval', SCRIPT, '--', ...args]
  const limited = openFiles === undefined ? node : ['sh', '-c', `ulimit -n ${openFiles}; exec "$@"`, 'sh', ...node]
  return spawn(limited[0] ?? '', limited.slice(1), {
    stdio: [stdin, 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: COMPILE_CACHE, ...env },
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
}
