/** `gantry run`, on the command line. */
import { InvalidArgumentError } from 'commander'
import { type Cli, collected, withPlainHttp, withPlatform, withProgress } from './cli-context.ts'
import type { RunFlags, SecurityOption } from './flags.ts'

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

export function register({ verb, withRoot, output, setExitCode }: Cli): void {
  withProgress(withPlatform(withPlainHttp(verb('run <image> [command...]', RUN_HELP))))
    .passThroughOptions()
    .option('--rm', 'remove the container when it ends')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give the container a terminal of its own')
    .option('-e, --env <name=value>', 'set a variable; NAME alone takes it from here', collected, [])
    .option('-w, --workdir <dir>', 'working directory in the container; made if missing')
    .option('-u, --user <user[:group]>', 'by name or number')
    .option('--entrypoint <program>', "instead of the image's")
    .option('--security-opt <seccomp=…>', 'unconfined, or the file of a profile in docker’s format', securityOption, [])
    .action(async (image: string, command: string[], flags: RunFlags) => {
      const { runVerb } = await import('./verb-run.ts')
      setExitCode(await runVerb(image, command, withRoot(flags), output))
    })
}

function securityOption(text: string, before: readonly SecurityOption[]): readonly SecurityOption[] {
  const [name, value] = text.split(/=(.*)/s)
  if (name !== 'seccomp' || !value)
    throw new InvalidArgumentError('it must be seccomp=unconfined or seccomp=FILE; no-new-privileges is always on')
  return [...before, { seccomp: value }]
}
