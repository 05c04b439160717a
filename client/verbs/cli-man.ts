/** `gantry man`, on the command line: the pages are made of what the verbs say of themselves. */
import type { Cli } from './cli-context.ts'

const HELP = `
Examples:
  $ gantry man run | man -l -                           read one
  # gantry man --into /usr/local/share/man/man1         install them: then man gantry-run
`

export function register({ verb, verbs, described, output }: Cli): void {
  verb('man [verb]', HELP)
    .option('--into <folder>', 'write a page for each verb, and one for all, into that folder')
    .action(async (name: string | undefined, { into }: { readonly into?: string }) => {
      const { manVerb } = await import('./verb-man.ts')
      await manVerb({ name, into, verbs, described }, output)
    })
}
