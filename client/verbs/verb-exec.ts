/** `gantry exec`: this process's own streams become the program's; no byte passes through here. */
import { isatty } from 'node:tty'
import { type ExecRequest, type RunningExec, startExec } from '../containers/exec.ts'
import { type House, openHouse } from '../containers/house.ts'
import { StartError } from '../containers/start.ts'
import { UserError } from '../containers/user.ts'
import { parseDetachKeys } from './detach-keys.ts'
import { changedEnvironment } from './run-request.ts'

export interface ExecFlags {
  readonly root: string
  readonly detach?: boolean
  readonly interactive?: boolean
  readonly tty?: boolean
  readonly env: readonly string[]
  readonly envFile: readonly string[]
  readonly workdir?: string
  readonly user?: string
  readonly privileged?: boolean
  readonly detachKeys?: string
}

/** Docker's exit code for a user who is not there. */
const NO_SUCH_USER = 126

/** The terminal sends its own to the whole group, the runtime that stays with the program included. */
const OF_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT']
const FORWARDED: readonly NodeJS.Signals[] = [...OF_TERMINAL, 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGTERM', 'SIGCONT']

/** Resolves to the exit code. */
export async function execVerb(reference: string, command: readonly string[], flags: ExecFlags): Promise<number> {
  if (flags.tty && flags.interactive && !flags.detach && !isatty(0))
    throw new StartError('the input device is not a TTY; leave -t out, or give it a terminal', 1)
  const detachKeys = parseDetachKeys(flags.detachKeys)
  const house = await openHouse(flags.root)
  const request = {
    command,
    environment: await changedEnvironment(flags),
    ...(flags.workdir === undefined ? {} : { workingDirectory: flags.workdir }),
    ...(flags.user === undefined ? {} : { user: flags.user }),
    ...(flags.privileged ? { privileged: true } : {}),
    ...(flags.tty ? { terminal: true } : {}),
  }
  if (flags.detach) {
    const { exited } = await started(house, reference, request, {
      stdio: ['ignore', 'ignore', 'ignore'],
      detached: true,
    })
    return await exited
  }
  const { child, exited, left } = await started(house, reference, request, {
    stdio: [flags.interactive ? 'inherit' : 'ignore', 'inherit', 'inherit'],
    detachKeys,
  })
  const listeners = FORWARDED.map((signal) => {
    const listener = (): void => {
      if (!(OF_TERMINAL.includes(signal) && isatty(0))) child.kill(signal)
    }
    process.on(signal, listener)
    return () => process.off(signal, listener)
  })
  try {
    return await Promise.race([exited, left.then(() => 0)])
  } catch (error) {
    if (error instanceof StartError) return error.exitCode // the runtime has said why on standard error
    throw error
  } finally {
    for (const stop of listeners) stop()
  }
}

async function started(
  house: House,
  reference: string,
  request: ExecRequest,
  how: Parameters<typeof startExec>[3],
): Promise<RunningExec> {
  return await startExec(house, reference, request, how).catch((cause: Error) => {
    throw cause instanceof UserError ? new StartError(cause.message, NO_SUCH_USER, { cause }) : cause
  })
}
