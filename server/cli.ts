/** The operator's verbs of the command `gantry`, as the launcher hands them over. Exit codes: 0, 1 for a failure, 2 for bad usage. */
import { Command, CommanderError } from 'commander'
import { createLog } from './log.ts'
import { CannotServe, serve } from './main.ts'
import {
  DEFAULT_DATA,
  DEFAULT_LISTEN,
  DEFAULT_REFERENCES,
  DEFAULT_STOP_TIMEOUT_SECONDS,
  readServeSettings,
  type ServeFlags,
  SettingsInvalid,
} from './settings.ts'

const SERVE_HELP = `
Docker, podman, skopeo and other OCI clients can push and pull at once:

  $ gantry serve &
  gantry: listening on http://${DEFAULT_LISTEN} (data in /home/me/gantry-data)
  $ docker tag alpine localhost:5000/alpine
  $ docker push localhost:5000/alpine

The data directory is all there is to keep or to back up. The access log is JSON on standard error.
SIGTERM or SIGINT stops it: running answers finish, running uploads are kept for the client to resume, and after
--stop-timeout what is left is cut. A second signal ends it at once.

Environment (flags win): GANTRY_LISTEN, GANTRY_DATA, GANTRY_REFERENCES.
`

/** `argv` begins with the verb. Resolves to the exit code when the command is over; prints for people on the process's streams. */
export async function runServerCli(argv: readonly string[]): Promise<number> {
  const program = new Command('gantry').exitOverride().showHelpAfterError('(gantry serve --help says more)')
  program
    .command('serve')
    .summary('run the registry')
    .description('Run the registry: an OCI distribution server on one directory.')
    .option('--listen <host:port>', `address to listen on; port 0 takes a free one (default: ${DEFAULT_LISTEN})`)
    .option('--data <dir>', `directory to keep everything in; made if missing (default: ${DEFAULT_DATA})`)
    .option(
      '--stop-timeout <seconds>',
      `after a stop signal, cut what still runs (default: ${DEFAULT_STOP_TIMEOUT_SECONDS})`,
    )
    .option(
      '--references <policy>',
      'what must be there when a manifest is pushed: strict (all), sparse-index (an index may list manifests that are not there), ' +
        `sparse (nothing) (default: ${DEFAULT_REFERENCES})`,
    )
    .option('--allow-anonymous', 'listen beyond this machine although everyone there may push and delete')
    .addHelpText('after', SERVE_HELP)
    .action(async (flags: ServeFlags) => await runServe(flags))
  try {
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2 // commander has said what is wrong
    if (error instanceof SettingsInvalid) return complain(error.message, 2)
    if (error instanceof CannotServe) return complain(error.message, 1)
    throw error
  }
}

function complain(message: string, exitCode: number): number {
  for (const line of message.split('\n')) process.stderr.write(`gantry serve: ${line}\n`)
  return exitCode
}

async function runServe(flags: ServeFlags): Promise<void> {
  const settings = readServeSettings(flags, process.env)
  const stop = new AbortController()
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143)
    stop.abort()
  }
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  try {
    await serve(settings, createLog(), (line) => process.stdout.write(`${line}\n`), stop.signal)
  } finally {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
  }
}
