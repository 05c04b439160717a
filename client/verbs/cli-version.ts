/** `gantry version`, on the command line. */
import { type Cli, withJson } from './cli-context.ts'
import type { VersionFlags } from './verb-version.ts'

export function register({ verb, output }: Cli): void {
  withJson(verb('version'))
    .option(
      '-f, --format <template>',
      "what to print, as of docker's document: {{.Client.Version}}, {{.Server.Version}}",
    )
    .action(async (flags: VersionFlags) => {
      const { versionVerb } = await import('./verb-version.ts')
      await versionVerb(flags, output)
    })
}
