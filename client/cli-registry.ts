/** The verbs about a registry, on the command line. */
import { type Cli, withJson, withPlainHttp } from './cli-context.ts'
import type { CommonFlags } from './flags.ts'
import type { LoginFlags } from './verb-login.ts'

const LOGIN_HELP = `
Examples:
  $ gantry login localhost:5000
  $ pass show registry | gantry login -u ci --password-stdin registry.example

What you type is tried out first, then kept where docker keeps it: with the credential helper of its config.json, or in that file. Where the
registry's token service gives an identity token, that is kept and not the password.
`

const LOGOUT_HELP = `
Examples:
  $ gantry logout localhost:5000
`

const TAGS_HELP = `
Examples:
  $ gantry tags localhost:5000/team/app
  $ gantry tags localhost:5000                          the repositories that you may see
`

export function register({ verb, withRoot, output }: Cli): void {
  withJson(withPlainHttp(verb('login <registry>', LOGIN_HELP)))
    .option('-u, --username <name>', 'who you are; else you are asked')
    .option('-p, --password <password>', 'seen by everybody who lists processes: rather use --password-stdin')
    .option('--password-stdin', 'take the password from standard input')
    .action(async (registry: string, flags: LoginFlags) => {
      const { loginVerb } = await import('./verb-login.ts')
      await loginVerb(registry, flags, output)
    })

  withJson(verb('logout <registry>', LOGOUT_HELP)).action(async (registry: string, flags: CommonFlags) => {
    const { logoutVerb } = await import('./verb-login.ts')
    await logoutVerb(registry, flags, output)
  })

  withJson(withPlainHttp(verb('tags <repository>', TAGS_HELP).alias('search-tags'))).action(
    async (place: string, flags: CommonFlags) => {
      const { tagsVerb } = await import('./verb-tags.ts')
      await tagsVerb(place, withRoot(flags), output)
    },
  )
}
