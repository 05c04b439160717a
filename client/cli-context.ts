/** What a file of verbs gets from the command line (`cli.ts`), and the options that several verbs have. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { CommonFlags } from './flags.ts'
import type { Output } from './output.ts'
import type { Platform } from './platform.ts'

export interface Cli {
  readonly output: Output
  /** `usage` begins with the verb, which the table in `cli.ts` has; `help` is printed below the options. */
  verb(usage: string, help?: string): Command
  /** With the folder of the local store, wherever it was said. */
  withRoot<Flags extends CommonFlags>(flags: Flags): Flags & { readonly root: string }
  setExitCode(code: number): void
}

/** Of verbs that show progress on standard error. */
export const withProgress = (command: Command): Command =>
  command
    .addOption(
      new Option('--progress <style>', 'how to show what is going on')
        .choices(['auto', 'tty', 'plain', 'json'])
        .default('auto'),
    )
    .option('-q, --quiet', 'say nothing but the result')

export const withPlainHttp = (command: Command): Command =>
  command.option('--plain-http', 'speak http, not https, to the registry')

export const withPlatform = (command: Command): Command =>
  command.option('--platform <os/arch[/variant]>', 'of an image for several (default: this machine)', parsePlatform)

export const withJson = (command: Command): Command => command.option('--json', 'as JSON')

function parsePlatform(text: string): Platform {
  const [os, architecture, variant, ...more] = text.split('/')
  if (!os || !architecture || more.length > 0)
    throw new InvalidArgumentError('Write OS/ARCH or OS/ARCH/VARIANT, for example linux/arm64.')
  return { os, architecture, ...(variant ? { variant } : {}) }
}

/** Of an option that may be given several times. */
export const collected = (value: string, before: readonly string[]): readonly string[] => [...before, value]
