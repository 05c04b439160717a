/** A registry as a user would start it: a child process, on a free port, over a directory that goes when it is disposed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type CommandOptions, succeed } from './commands.ts'

export const LAUNCHER = fileURLToPath(new URL('../../client/gantry.mjs', import.meta.url))

export interface ServedRegistry extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  /** `127.0.0.1:<port>`, as clients write it in front of a name. */
  readonly host: string
  readonly process: ChildProcess
  readonly dataDirectory: string
  /** The last lines that it wrote to standard error: what to print when a test fails. */
  log(): string
}

const KEPT_LOG_CHARACTERS = 64 * 1024

/** Runs another verb of the launcher; resolves to its standard output. */
export const gantry = (args: readonly string[], options: CommandOptions = {}): Promise<string> =>
  succeed(process.execPath, [LAUNCHER, ...args], options)

interface StartOptions {
  /** Kept when the registry goes; without it there is a new one, which goes too. */
  readonly dataDirectory?: string
  readonly port?: number
  /** Instead of loopback and `port`. */
  readonly address?: string
  /** Of the command, to run it elsewhere. */
  readonly prefix?: readonly string[]
  /** Listens on this unix socket as well. */
  readonly socketPath?: string
  readonly env?: NodeJS.ProcessEnv
}

/** Resolves when the ready line is out. Throws with the log if the process ends before that. */
export async function startGantry(options: StartOptions = {}): Promise<ServedRegistry> {
  const own = options.dataDirectory === undefined ? await mkdtemp(join(tmpdir(), 'gantry-serve-')) : undefined
  const dataDirectory = options.dataDirectory ?? join(own ?? '', 'data')
  const address = options.address ?? `127.0.0.1:${options.port ?? 0}`
  const addresses = [address, ...(options.socketPath ? [`unix:${options.socketPath}`] : [])]
  const serve = [LAUNCHER, 'serve', '--listen', addresses.join(','), '--data', dataDirectory]
  const [program = '', ...args] = [...(options.prefix ?? []), process.execPath, ...serve]
  const child = spawn(program, args, {
    env: options.env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-KEPT_LOG_CHARACTERS)
  })
  const exited = once(child, 'exit')
  const dispose = async (): Promise<void> => {
    child.kill('SIGKILL')
    await exited
    if (own !== undefined) await rm(own, { recursive: true, force: true })
  }
  try {
    const url = await Promise.race([readyUrl(child), exited.then(() => undefined)])
    if (url === undefined) throw new Error(`gantry serve ended before it was ready:\n${log}`)
    return {
      url,
      host: new URL(url).host,
      process: child,
      dataDirectory,
      log: () => log,
      [Symbol.asyncDispose]: dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

async function readyUrl(child: ChildProcess): Promise<string | undefined> {
  if (!child.stdout) return undefined
  for await (const line of createInterface({ input: child.stdout })) {
    const [url] = /https?:\/\/[^ ,]+/.exec(line) ?? []
    if (url !== undefined) return url
  }
  return undefined
}
