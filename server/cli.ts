/** The operator's verbs of the command `gantry`, as the launcher hands them over. Exit codes: 0, 1 for a failure, 2 for bad usage. */
import { Command, CommanderError, Option } from 'commander'
import { StorageFact } from '../storage/errors.ts'
import { addAccountVerbs, type CliParts } from './cli-accounts.ts'
import { addImportVerb } from './cli-import.ts'
import { addInitVerb } from './cli-init.ts'
import { addPolicyVerbs } from './cli-policy.ts'
import { addRepositoryVerbs } from './cli-repositories.ts'
import { addStorageVerbs } from './cli-storage.ts'
import { type ConfigKey, keysOf } from './config/key.ts'
import { printEffective, printReference } from './config/print.ts'
import { ConfigInvalid, type Effective, readConfig } from './config/read.ts'
import { CONFIG } from './config/schema.ts'
import { serve } from './main.ts'
import { PasswordUnusable } from './password-prompt.ts'
import { CannotServe } from './reasons.ts'
import { tlsProblem } from './tls/settings.ts'

const SERVE_HELP = `
Docker, podman, skopeo and other OCI clients can push and pull at once:

  $ gantry serve &
  gantry: listening on http://127.0.0.1:5000 (data in /home/me/gantry-data, metrics on http://127.0.0.1:5099)
  $ docker tag alpine localhost:5000/alpine
  $ docker push localhost:5000/alpine

The data directory is all there is to keep or to back up. The access log is JSON on standard error.
SIGTERM or SIGINT stops it: running answers finish, running uploads are kept for the client to resume, and after
--stop-timeout what is left is cut. A second signal ends it at once.

Everything can be set in a YAML file (--config FILE, or GANTRY_CONFIG) and by variables such as GANTRY_LISTEN and GANTRY_DATA;
flags win over variables, variables over the file. \`gantry config docs\` lists all there is to set.
`

const CONFIG_HELP = `
With the same flags and variables as \`gantry serve\`:

  $ gantry config check --config gantry.yaml && systemctl restart gantry
`

type Flags = Readonly<Record<string, unknown>>

/** `argv` begins with the verb. Resolves to the exit code when the command is over; prints for people on the process's streams. */
export async function runServerCli(argv: readonly string[]): Promise<number> {
  const program = new Command('gantry').exitOverride()
  withKeys(program.command('serve'))
    .summary('run the registry')
    .description('Run the registry: an OCI distribution server on one directory.')
    .showHelpAfterError('(gantry serve --help says more)')
    .addHelpText('after', SERVE_HELP)
    .action(async (flags: Flags) => await runServe(await effective(flags)))

  const config = program.command('config').description('Look at the configuration of the registry.')
  withKeys(config.command('check'))
    .description('Say what is wrong with the configuration, all at once, or that nothing is.')
    .addHelpText('after', CONFIG_HELP)
    .action(async (flags: Flags) => {
      const { config } = await effective(flags)
      const problem = await tlsProblem(config)
      if (problem !== undefined) throw new CannotServe(problem)
      process.stdout.write('the configuration is valid\n')
    })
  withKeys(config.command('show'))
    .description(
      'Print the configuration that is in force as YAML, with where each value comes from; secrets are left out.',
    )
    .action(async (flags: Flags) => void process.stdout.write(printEffective((await effective(flags)).values)))
  config
    .command('docs')
    .description('Print the reference of all keys, variables and flags, in Markdown.')
    .action(() => void process.stdout.write(printReference(keysOf(CONFIG))))

  const parts: CliParts = { withKeys, configOf: async (flags) => (await effective(flags)).config }
  addStorageVerbs(program, parts)
  addAccountVerbs(program, { ...parts, withKeys: withPlace })
  addPolicyVerbs(program, { ...parts, withKeys: withPlace })
  addRepositoryVerbs(program, parts)
  addImportVerb(program, parts)
  addInitVerb(program)

  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error // else nobody reads any more: a pager was left, `head` has enough
  })
  try {
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2 // commander has said what is wrong
    if (error instanceof ConfigInvalid) return complain(argv, error.message, 2)
    if (error instanceof CannotServe || error instanceof StorageFact || error instanceof PasswordUnusable) {
      return complain(argv, error.message, 1)
    }
    throw error
  }
}

/** For a verb that needs to know no more than where the registry keeps what it keeps. */
const withPlace = (command: Command): Command => withKeys(command, ['data', 'storage'])

/** A flag for each key that has one, or for those in `only`, with the schema's words. */
function withKeys(command: Command, only?: readonly string[]): Command {
  command.option('--config <file>', 'the configuration, in YAML')
  for (const { flag, doc, initial, repeatable } of keysOf(CONFIG)) {
    if (!flag || (only && !only.includes(flag[0]))) continue
    const [name, value] = flag
    const words = `${doc.replaceAll('`', '')} (default: ${initial})`
    const option = new Option(value === undefined ? `--${name}` : `--${name} <${value}>`, words)
    command.addOption(repeatable ? option.argParser(oneMore) : option)
  }
  return command
}

/** As a variable has several. */
const oneMore = (text: string, before: string | undefined): string =>
  before === undefined ? text : `${before},${text}`

async function effective({ config, ...given }: Flags): Promise<Effective> {
  const flags = Object.fromEntries(flagged().map(({ flag }) => [flag?.[0] ?? '', given[attributeOf(flag?.[0] ?? '')]]))
  return await readConfig({ file: config as string | undefined, flags, env: process.env })
}

const flagged = (): readonly ConfigKey[] => keysOf(CONFIG).filter(({ flag }) => flag)

/** As commander names the values of its options. */
const attributeOf = (flag: string): string => new Option(`--${flag}`).attributeName()

function complain(argv: readonly string[], message: string, exitCode: number): number {
  const verb = ['serve', 'init'].includes(argv[0] ?? '') ? argv[0] : `${argv[0]} ${argv[1]}`
  for (const line of message.split('\n')) process.stderr.write(`gantry ${verb}: ${line}\n`)
  return exitCode
}

async function runServe({ config }: Effective): Promise<void> {
  const stop = new AbortController()
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143)
    stop.abort()
  }
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  try {
    await serve(config, (line) => process.stdout.write(`${line}\n`), stop.signal)
  } finally {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
  }
}
