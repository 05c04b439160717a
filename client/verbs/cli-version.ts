/** `gantry version`, on the command line. */
import { type Cli, withJson } from './cli-context.ts'
import type { CommonFlags } from './flags.ts'

export function register({ verb, output }: Cli): void {
  withJson(verb('version')).action(async (flags: CommonFlags) => {
    const { versionVerb } = await import('./verb-version.ts')
    await versionVerb(flags, output)
  })
}
