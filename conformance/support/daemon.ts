/** A daemon of the test's own: started in a process group, waited for until it answers, and ended with all that it started. */
import { closed, startGroup, stopGroup, until } from './commands.ts'

/** Long, because a machine that tests everything at once is slow; a daemon that has ended is not waited for. */
const READY_TIMEOUT_MS = 120_000
const KEPT_LOG_CHARACTERS = 32 * 1024

export interface Daemon extends AsyncDisposable {
  /** The last lines that it wrote to either of its outputs. */
  log(): string
}

interface DaemonOptions {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  /** Whether it answers. */
  ready(): Promise<boolean>
}

/** Resolves when it is ready. Throws with its log if it ends before that or takes too long; nothing is left of it then. */
export async function startDaemon(
  program: string,
  args: readonly string[],
  { cwd, env, ready }: DaemonOptions,
): Promise<Daemon> {
  const child = startGroup(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-KEPT_LOG_CHARACTERS)
    })
  }
  let ended: number | undefined
  closed(child).then(
    (code) => {
      ended = code
    },
    (error: Error) => {
      ended = -1
      log += error.message
    },
  )
  try {
    await until(`${program} to answer`, READY_TIMEOUT_MS, async () => {
      if (ended !== undefined) throw new Error(`${program} ended with ${ended} before it was ready`)
      return (await ready()) || undefined
    })
  } catch (cause) {
    await stopGroup(child)
    throw new Error(`${program} does not start:\n${log}`, { cause })
  }
  return { log: () => log, [Symbol.asyncDispose]: () => stopGroup(child) }
}
