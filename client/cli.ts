/**
 * The user's verbs of the command `gantry`: arguments become one call of the library, its answer becomes text or JSON, its failure one line
 * that says what to do. `FAMILIES` is the table of them; the file that registers a verb is loaded when the verb is used, and what the verb needs when it runs. Exit codes are docker's: for
 * `run` the container's own, 125 if Gantry failed, 126 and 127 if the command cannot be executed or is not there; for the other verbs 0 and 1.
 */

import { DiskFull, isFull } from './store/disk-full.ts'
import { DEFAULT_ROOT, storeRoot } from './store/store.ts'
import { Command, CommanderError } from './verbs/cli-commander.ts'
import type { Cli } from './verbs/cli-context.ts'
import type { CommonFlags } from './verbs/flags.ts'
import { ungrouped } from './verbs/grouped-verbs.ts'
import { type Output, processOutput } from './verbs/output.ts'

const ROOT_HELP = `
Examples:
  $ gantry serve                                        a registry on 127.0.0.1:5000
  $ gantry pull localhost:5000/debian
  $ gantry run --rm localhost:5000/debian echo Hello World
  $ gantry run --rm -ti localhost:5000/debian bash

gantry VERB --help says more about each. Environment: GANTRY_ROOT, DOCKER_CONFIG, NO_COLOR.
`

/** A file of verbs: what each is for, and how the file is loaded. */
interface Family {
  readonly verbs: Readonly<Record<string, string>>
  readonly aliases?: readonly string[]
  readonly load: () => Promise<{ readonly register: (cli: Cli) => void }>
}

const FAMILIES: readonly Family[] = [
  {
    verbs: {
      pull: 'fetch an image from a registry into the local store',
      images: 'list the images of the local store',
      rmi: 'remove images from the local store',
      tag: 'give an image of the local store another name',
      history: 'show how an image came about',
      save: 'write images into an archive that docker loads',
      load: 'take images from an archive',
      import:
        'make an image of a tar of a root filesystem (or, with distribution, take over what another registry has stored)',
      image: 'look after the local store',
    },
    load: () => import('./verbs/cli-images.ts'),
  },
  {
    verbs: {
      push: 'send an image of the local store to a registry',
      copy: 'copy an image between registries, layouts, archives and the local store',
    },
    load: () => import('./verbs/cli-transfer.ts'),
  },
  {
    verbs: { run: 'run a command in a new container', create: 'make a container without starting it' },
    load: () => import('./verbs/cli-run.ts'),
  },
  {
    verbs: {
      ps: 'list containers',
      start: 'start containers',
      stop: 'end containers',
      restart: 'end containers and start them again',
      kill: 'send containers a signal',
      pause: 'freeze containers',
      unpause: 'let frozen containers go on',
      wait: 'wait for containers to end and print their exit codes',
      rename: 'give a container another name',
      rm: 'remove containers',
      update: 'change the limits of containers',
      attach: 'join a running container',
      logs: 'show what a container has said',
      exec: 'run a command in a running container',
      cp: 'copy files out of a container or into it',
      commit: 'make an image of a container',
      export: 'write the root filesystem of a container into a tar',
      diff: 'list what a container has changed of its image',
      top: 'list the processes of a container',
      stats: 'show what containers use',
      events: 'show what happens to containers',
      port: 'list published ports: none yet',
      inspect: 'show all that is known of containers, volumes and images',
    },
    load: () => import('./verbs/cli-containers.ts'),
  },
  {
    verbs: {
      container: 'the verbs about containers, and prune',
      volume: 'what containers keep and share',
      info: 'show the store, what is in it, and the machine',
      system: 'what concerns all containers',
      completion: 'print what teaches a shell to complete this command',
      unshare: 'run a command as root of the user namespace of your containers',
    },
    load: () => import('./verbs/cli-groups.ts'),
  },
  {
    verbs: {
      login: 'log in to a registry',
      logout: 'log out of a registry',
      tags: 'list the tags of a repository, or the repositories of a registry',
      delete: 'delete tags or manifests in a registry',
      sync: 'copy whole repositories from registry to registry',
      manifest: 'look at manifests, and put indexes together',
      artifact: 'push, pull, attach and find artifacts',
    },
    aliases: ['search-tags'],
    load: () => import('./verbs/cli-registry.ts'),
  },
  {
    verbs: { man: 'print pages of the manual' },
    load: () => import('./verbs/cli-man.ts'),
  },
  {
    verbs: { version: 'show the versions of Gantry, its runtime and Node' },
    load: () => import('./verbs/cli-version.ts'),
  },
]

/** Carried out by the server's half; here for the help. */
const OPERATOR_VERBS = [
  ['serve', 'run the registry'],
  ['user', 'who may log in to it'],
  ['robot', 'accounts of pipelines'],
  ['keys', 'the keys that sign its tokens'],
  ['policy', 'who may do what, and why'],
  ['repo', 'what is in it'],
  ['storage', 'try out and verify where it keeps its content'],
  ['config', 'check, show and explain its configuration'],
] as const

/** docker's, for an option that there is not, or that is not given what it takes; a missing word is 1. */
const USAGE_CODES: Readonly<Record<string, number>> = {
  'commander.unknownOption': 125,
  'commander.optionMissingArgument': 125,
  'commander.invalidArgument': 125,
  'commander.conflictingOption': 125,
}

/** `typed` begins with the verb or a global option. Resolves to the exit code; prints on the process's descriptors. */
export async function runClientCli(typed: readonly string[], output: Output = processOutput): Promise<number> {
  const argv = ungrouped(typed)
  let exitCode = 0
  const program = await clientProgram(verbOf(argv), output, (code) => {
    exitCode = code
  })
  const failureCode = verbOf(argv) === 'run' ? 125 : 1
  if (argv.length === 0) {
    program.outputHelp()
    return 0
  }
  try {
    await program.parseAsync(argv, { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : (USAGE_CODES[error.code] ?? 1) // commander has said what is wrong
    for (const line of explain(error)) output.note(line)
    const { exitCode: own } = (error instanceof SuppressedError ? error.suppressed : error) as { exitCode?: unknown }
    return typeof own === 'number' && own !== 125 ? own : failureCode
  }
}

/** Only the family of `verb` is loaded; of the others the help has a line, which a known verb does not need. */
async function clientProgram(
  verb: string | undefined,
  output: Output,
  setExitCode: (code: number) => void,
): Promise<Command> {
  const program = new Command('gantry')
    .description('A container registry, and a client that pulls and runs images without a daemon.')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.line(text.trimEnd()),
      writeErr: (text) => output.note(text.trimEnd()),
    })
    .showHelpAfterError('(add --help for the options and examples)')
    .option('--root <dir>', `the local store (GANTRY_ROOT; default: ${DEFAULT_ROOT})`)
    .addHelpText('after', ROOT_HELP)
  const cli: Cli = {
    output,
    setExitCode,
    asked: verb,
    verbs: [...FAMILIES.flatMap(({ verbs }) => Object.keys(verbs)), ...OPERATOR_VERBS.map(([name]) => name)],
    withRoot: (flags) => ({
      ...flags,
      root: storeRoot((flags as CommonFlags).root ?? program.opts<CommonFlags>().root),
    }),
    described: async (name) => {
      if (OPERATOR_VERBS.some(([verb]) => verb === name)) return undefined
      const whole = await clientProgram(name, output, setExitCode)
      return name === undefined ? whole : whole.commands.find((command) => command.name() === name)
    },
    verb: (usage, help = '') => {
      const name = usage.split(' ', 1)[0] ?? ''
      return program
        .command(usage)
        .description(FAMILIES.find(({ verbs }) => name in verbs)?.verbs[name] ?? '')
        .option('--root <dir>', `the local store (GANTRY_ROOT; default: ${DEFAULT_ROOT})`)
        .addHelpText('after', help)
    },
  }
  const family = FAMILIES.find(
    ({ verbs, aliases = [] }) => verb !== undefined && (verb in verbs || aliases.includes(verb)),
  )
  if (family) {
    ;(await family.load()).register(cli)
    return program
  }
  for (const [name, description] of OPERATOR_VERBS) program.command(name).description(description).helpOption(false)
  for (const { verbs } of FAMILIES) {
    for (const [name, description] of Object.entries(verbs)) program.command(name).description(description)
  }
  return program
}

/** The first word that is no global option; none, if help is asked for before it. */
function verbOf(argv: readonly string[]): string | undefined {
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--root') i++
    else if (argv[i] === '--help' || argv[i] === '-h') return undefined
    else if (!argv[i]?.startsWith('-')) return argv[i]
  }
  return undefined
}

/** The error's own words, and those of what caused it where they say more. Fit for a terminal: an image or a registry may have put in any. */
function explain(error: unknown): readonly string[] {
  if (error instanceof AggregateError) return error.errors.flatMap(explain)
  if (error instanceof SuppressedError) return [error.suppressed, error.error].flatMap(explain) // the cleaning up failed too
  if (!(error instanceof Error)) return [harmless(`gantry: ${String(error)}`)]
  const cause =
    error.cause instanceof Error && !error.message.includes(error.cause.message)
      ? [harmless(`  because: ${error.cause.message}`)]
      : []
  const stack = process.env['GANTRY_DEBUG'] ? [error.stack ?? ''] : []
  return [harmless(`gantry: ${error.message}${diskAdvice(error)}`), ...cause, ...stack]
}

/** For who reads no names of errors. */
function diskAdvice(error: Error): string {
  if (isFull(error) && !(error instanceof DiskFull))
    return '; the disk of the store is full: `gantry system prune` removes what nothing needs'
  return (error as NodeJS.ErrnoException).code === 'EROFS' ? '; the store is on a disk that is read-only now' : ''
}

/** Control characters, and those that turn the direction of text, are shown and not obeyed. */
const harmless = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
