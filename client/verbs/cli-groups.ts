/** The verbs that have verbs of their own: `volume`, `container` and `system`. */
import { Argument, type Command, Option } from './cli-commander.ts'
import { booleansByValue, type Cli, collected, listing, withJson } from './cli-context.ts'
import type { Shell } from './verb-completion.ts'
import type { InfoFlags } from './verb-info.ts'
import type { PruneFlags } from './verb-system.ts'
import type { CreateVolumeFlags } from './verb-volumes.ts'

type Names = readonly string[]

const VOLUME_HELP = `
Examples:
  $ gantry volume create data
  $ gantry run -d -v data:/var/lib/data localhost:5000/postgres
  $ gantry volume ls --filter dangling=true
`

const COMPLETION_HELP = `
Examples:
  $ source <(gantry completion bash)                    now; in ~/.bashrc for always
  $ gantry completion zsh > "\${fpath[1]}/_gantry"
  $ gantry completion fish > ~/.config/fish/completions/gantry.fish
`

const CONTAINER_HELP = `
Examples:
  $ gantry container prune --filter until=24h

Everything else about containers is a verb by itself: gantry ps, gantry rm.
`

const INFO_HELP = `
Examples:
  $ gantry info
  $ gantry info --format '{{.ContainersRunning}} of {{.Containers}} run'
`

const SYSTEM_HELP = `
Examples:
  $ gantry system prune --all --volumes                 room on the disk
  $ gantry system start-all                             after a boot: those whose restart policy says so
  $ gantry system unit > /etc/systemd/system/gantry-containers.service
`

const UNSHARE_HELP = `
Examples:
  $ gantry unshare ls -ln ~/.local/share/gantry/volumes/data/_data     with the owners that containers see
  $ gantry unshare node program.mjs                                    a program that uses the library

Whoever is root is already where his containers are: then the command is simply run.
`

export function register(cli: Cli): void {
  informing(booleansByValue(cli.verb('info', INFO_HELP)), cli)
  container(cli)
  volume(cli)
  system(cli)
  completion(cli)
  unshare(cli)
}

function informing(command: Command, { withRoot, output }: Pick<Cli, 'withRoot' | 'output'>): void {
  withJson(command)
    .option('-f, --format <template>', 'what to print')
    .action(async (flags: Omit<InfoFlags, 'root'>) => {
      const { infoVerb } = await import('./verb-info.ts')
      await infoVerb(withRoot(flags), output)
    })
}

function completion({ verb, verbs, output }: Cli): void {
  verb('completion', COMPLETION_HELP)
    .addArgument(new Argument('<shell>', 'bash, zsh or fish').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: Shell) => {
      const { completionVerb } = await import('./verb-completion.ts')
      completionVerb(shell, verbs, output)
    })
}

function unshare({ verb }: Cli): void {
  verb('unshare', UNSHARE_HELP)
    .argument('[command...]', 'else your shell')
    .passThroughOptions()
    .allowUnknownOption()
    .action(async (command: Names) => {
      const { unshareVerb } = await import('./verb-unshare.ts')
      unshareVerb(command)
    })
}

function container({ verb, withRoot, output }: Cli): void {
  const group = verb('container', CONTAINER_HELP)
  booleansByValue(group.command('prune').description('remove all containers that do not run'))
    .option('-f, --force', 'do not ask')
    .option('--filter <key=value>', 'label=KEY[=VALUE], label!=KEY[=VALUE], or until=TIME', collected, [])
    .action(async (flags: { readonly force?: boolean; readonly filter: Names }) => {
      const { pruneContainersVerb } = await import('./verb-containers.ts')
      await pruneContainersVerb(withRoot(flags), output)
    })
}

function volume({ verb, withRoot, output }: Cli): void {
  const group = verb('volume', VOLUME_HELP)
  const sub = (usage: string, description: string): Command =>
    booleansByValue(group.command(usage).description(description))
  sub('create [name]', 'make a volume')
    .option('--label <key=value>', 'a label', collected, [])
    .addOption(new Option('-d, --driver <name>', 'what it is kept by').choices(['local']).default('local'))
    .addOption(new Option('--name <name>', 'as docker was told it once').hideHelp())
    .addOption(new Option('-o, --opt <key=value>').argParser(collected).default([]).hideHelp())
    .action(async (name: string | undefined, flags: CreateVolumeFlags & { readonly name?: string }) => {
      const { createVolumeVerb } = await import('./verb-volumes.ts')
      await createVolumeVerb(name ?? flags.name, withRoot(flags), output)
    })
  listing(sub('ls', 'list volumes').alias('list'))
    .option('-f, --filter <key=value>', 'only those', collected, [])
    .action(async (flags: { readonly filter: Names }) => {
      const { listVolumesVerb } = await import('./verb-volumes.ts')
      await listVolumesVerb(withRoot(flags), output)
    })
  sub('inspect <name...>', 'show what is known of volumes')
    .option('-f, --format <template>', 'what to print of each')
    .action(async (names: Names, flags: { readonly format?: string }) => {
      const { inspectVolumesVerb } = await import('./verb-volumes.ts')
      await inspectVolumesVerb(names, withRoot(flags), output)
    })
  sub('rm <name...>', 'remove volumes')
    .option('-f, --force', 'those that are not there are no error')
    .action(async (names: Names, flags: { readonly force?: boolean }) => {
      const { removeVolumesVerb } = await import('./verb-volumes.ts')
      await removeVolumesVerb(names, withRoot(flags), output)
    })
  sub('prune', 'remove volumes that no container uses')
    .option('-a, --all', 'also those that have a name')
    .option('-f, --force', 'do not ask')
    .option('--filter <label=…>', 'only those; label!=… are those without', collected, [])
    .action(async (flags: { readonly all?: boolean; readonly force?: boolean; readonly filter: Names }) => {
      const { pruneVolumesVerb } = await import('./verb-volumes.ts')
      await pruneVolumesVerb(withRoot(flags), output)
    })
}

function system({ verb, withRoot, output }: Cli): void {
  const group = verb('system', SYSTEM_HELP)
  const sub = (usage: string, description: string): Command =>
    booleansByValue(group.command(usage).description(description))
  sub('start-all', 'start the containers whose restart policy says so, as after a boot').action(
    async (flags: object) => {
      const { startAllVerb } = await import('./verb-system.ts')
      await startAllVerb(withRoot(flags), output)
    },
  )
  sub('unit', 'print a systemd unit that does this at every boot').action(async (flags: object) => {
    const { unitVerb } = await import('./verb-system.ts')
    unitVerb(withRoot(flags), output)
  })
  sub('clean-up', 'clear away what killed commands left behind; every other command does this, too').action(
    async (flags: object) => {
      const { cleanUpVerb } = await import('./verb-system.ts')
      await cleanUpVerb(withRoot(flags), output)
    },
  )
  sub('prune', 'remove containers that do not run, and what nothing needs')
    .option('-a, --all', 'also images that no container was made from')
    .option('--volumes', 'also volumes without a name that no container uses')
    .option('-f, --force', 'do not ask')
    .option('--filter <key=value>', 'label=KEY[=VALUE], label!=KEY[=VALUE], or until=TIME', collected, [])
    .action(async (flags: Omit<PruneFlags, 'root'>) => {
      const { pruneVerb } = await import('./verb-system.ts')
      await pruneVerb(withRoot(flags), output)
    })
  informing(sub('info', 'show the store, what is in it, and the machine'), { withRoot, output })
  listing(sub('df', 'show what takes room on the disk')).action(async (flags: object) => {
    const { diskUseVerb } = await import('./verb-system.ts')
    await diskUseVerb(withRoot(flags), output)
  })
}
