/**
 * The user's verbs of the command `gantry`: arguments become one call of the library, its answer becomes text or JSON, its failure one line
 * that says what to do. What a verb needs is loaded when it runs. Exit codes are docker's: for `run` the container's own, 125 if Gantry failed,
 * 126 and 127 if the command cannot be executed or is not there; for the other verbs 0 and 1.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { CommonFlags, PullFlags, RunFlags, SecurityOption } from './flags.ts'
import { type Output, processOutput } from './output.ts'

const DEFAULT_ROOT = '/var/lib/gantry'

const ROOT_HELP = `
Examples:
  $ gantry serve                                        a registry on 127.0.0.1:5000
  $ gantry pull localhost:5000/debian
  $ gantry run --rm localhost:5000/debian echo Hello World
  $ gantry run --rm -ti localhost:5000/debian bash

gantry VERB --help says more about each. Environment: GANTRY_ROOT, DOCKER_CONFIG, NO_COLOR.
`

const PULL_HELP = `
Examples:
  $ gantry pull localhost:5000/debian                   the tag "latest"
  $ gantry pull registry.example/team/app:1.2
  $ gantry pull registry.example/team/app@sha256:…      exactly this
  $ gantry pull --platform linux/arm64 localhost:5000/debian

A broken pull keeps the layers that were finished; the next one fetches the others. Credentials are read from docker's config.json.
Plain http is spoken only to this machine, or with --plain-http.
`

const RUN_HELP = `
Examples:
  $ gantry run --rm localhost:5000/debian echo Hello World
  $ gantry run --rm -ti localhost:5000/debian bash      a shell in a terminal of its own
  $ echo text | gantry run --rm -i localhost:5000/debian tr a-z A-Z
  $ gantry run --rm --security-opt seccomp=profile.json localhost:5000/debian
  $ gantry run --rm -e GREETING=Hello -w /tmp -u nobody localhost:5000/debian sh -c 'echo $GREETING'

The container has no network yet but its own loopback. Exit codes: the command's; 128+n if signal n killed it; 127 if it is not there; 126 if
it cannot be executed; 125 if Gantry itself failed.
`

const RMI_HELP = `
Examples:
  $ gantry rmi localhost:5000/debian
  $ gantry rmi 4f1c0d                                   by the beginning of its id: all its names

What no other image and no container needs is deleted.
`

/** Carried out by the server's half; here for the help. */
const OPERATOR_VERBS = [
  ['serve', 'run the registry'],
  ['user', 'who may log in to it'],
  ['robot', 'accounts of pipelines'],
  ['keys', 'the keys that sign its tokens'],
  ['policy', 'who may do what, and why'],
  ['repo', 'what is in it'],
  ['storage', 'try out and verify where it keeps its content'],
  ['import', 'take over what another registry has stored'],
  ['config', 'check, show and explain its configuration'],
] as const

/** `argv` begins with the verb or a global option. Resolves to the exit code; prints on the process's descriptors. */
export async function runClientCli(argv: readonly string[], output: Output = processOutput): Promise<number> {
  let exitCode = 0
  const program = clientProgram(output, (code) => {
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
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : failureCode // commander has said what is wrong
    for (const line of explain(error)) output.note(line)
    const { exitCode: own } = (error instanceof SuppressedError ? error.suppressed : error) as { exitCode?: unknown }
    return typeof own === 'number' ? own : failureCode
  }
}

function clientProgram(output: Output, setExitCode: (code: number) => void): Command {
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
  const flagsOf = <Flags extends CommonFlags>(flags: Flags): Flags & { readonly root: string } => ({
    ...flags,
    root: flags.root ?? program.opts<CommonFlags>().root ?? (process.env['GANTRY_ROOT'] || DEFAULT_ROOT),
  })
  const verb = (usage: string, description: string, help = ''): Command =>
    program
      .command(usage)
      .description(description)
      .option('--root <dir>', `the local store (GANTRY_ROOT; default: ${DEFAULT_ROOT})`)
      .addHelpText('after', help)

  for (const [name, description] of OPERATOR_VERBS) program.command(name).description(description).helpOption(false)

  pulling(verb('pull <image>', 'fetch an image from a registry into the local store', PULL_HELP))
    .option('-q, --quiet', 'print only the name of the image')
    .option('--json', 'print what was pulled as JSON')
    .action(async (image: string, flags: PullFlags) => {
      const { pullVerb } = await import('./verb-pull.ts')
      await pullVerb(image, flagsOf(flags), output)
    })

  pulling(verb('run <image> [command...]', 'run a command in a new container', RUN_HELP))
    .passThroughOptions()
    .option('--rm', 'remove the container when it ends')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give the container a terminal of its own')
    .option('-e, --env <name=value>', 'set a variable; NAME alone takes it from here', collected, [])
    .option('-w, --workdir <dir>', 'working directory in the container; made if missing')
    .option('-u, --user <user[:group]>', 'by name or number')
    .option('--entrypoint <program>', "instead of the image's")
    .option('--security-opt <seccomp=…>', 'unconfined, or the file of a profile in docker’s format', securityOption, [])
    .option('-q, --quiet', 'say nothing about the pull')
    .action(async (image: string, command: string[], flags: RunFlags) => {
      const { runVerb } = await import('./verb-run.ts')
      setExitCode(await runVerb(image, command, flagsOf(flags), output))
    })

  verb('images', 'list the images of the local store')
    .option('-q, --quiet', 'only the ids')
    .option('--digests', 'show the digests of the manifests too')
    .option('--json', 'as JSON')
    .action(async (flags: CommonFlags & { readonly digests?: boolean }) => {
      const { imagesVerb } = await import('./verb-images.ts')
      await imagesVerb(flagsOf(flags), output)
    })

  verb('rmi <image...>', 'remove images from the local store', RMI_HELP)
    .option('--json', 'as JSON')
    .action(async (images: string[], flags: CommonFlags) => {
      const { removeImagesVerb } = await import('./verb-images.ts')
      await removeImagesVerb(images, flagsOf(flags), output)
    })

  verb('version', 'show the versions of Gantry, its runtime and Node')
    .option('--json', 'as JSON')
    .action(async (flags: CommonFlags) => {
      const { versionVerb } = await import('./verb-version.ts')
      await versionVerb(flags, output)
    })
  return program
}

const pulling = (command: Command): Command =>
  command
    .option('--plain-http', 'speak http, not https, to the registry')
    .option('--platform <os/arch[/variant]>', 'of an image for several (default: this machine)', parsePlatform)
    .addOption(
      new Option('--progress <style>', 'how to show what is going on')
        .choices(['auto', 'tty', 'plain', 'json'])
        .default('auto'),
    )

function securityOption(text: string, before: readonly SecurityOption[]): readonly SecurityOption[] {
  const [name, value] = text.split(/=(.*)/s)
  if (name !== 'seccomp' || !value)
    throw new InvalidArgumentError('it must be seccomp=unconfined or seccomp=FILE; no-new-privileges is always on')
  return [...before, { seccomp: value }]
}

function parsePlatform(text: string): { os: string; architecture: string; variant?: string } {
  const [os, architecture, variant, ...more] = text.split('/')
  if (!os || !architecture || more.length > 0)
    throw new InvalidArgumentError('Write OS/ARCH or OS/ARCH/VARIANT, for example linux/arm64.')
  return { os, architecture, ...(variant ? { variant } : {}) }
}

const collected = (value: string, before: readonly string[]): readonly string[] => [...before, value]

/** The first word that is no global option. */
function verbOf(argv: readonly string[]): string | undefined {
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--root') i++
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
  return [harmless(`gantry: ${error.message}`), ...cause, ...stack]
}

/** Control characters, and those that turn the direction of text, are shown and not obeyed. */
const harmless = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
