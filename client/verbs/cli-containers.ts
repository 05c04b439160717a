/** The verbs about containers that are there, on the command line. */
import { type Command, Option } from './cli-commander.ts'
import { booleansByValue, type Cli, collected, listing, withJson, withPlainHttp, withPlatform } from './cli-context.ts'
import type { ResourceFlags } from './run-request.ts'
import type { AttachFlags } from './verb-attach.ts'
import type { CommitFlags } from './verb-commit.ts'
import type { StartFlags } from './verb-containers.ts'
import type { CpFlags } from './verb-cp.ts'
import type { EventsFlags } from './verb-events.ts'
import type { ExecFlags } from './verb-exec.ts'
import type { InspectAnyFlags } from './verb-inspect-any.ts'
import type { LogsFlags } from './verb-logs.ts'
import type { PsFlags } from './verb-ps.ts'
import type { StatsFlags } from './verb-stats.ts'

type Names = readonly string[]

const PS_HELP = `
Examples:
  $ gantry ps                                           those that run
  $ gantry ps -a --filter status=exited --filter exited=1
  $ gantry ps --format '{{.Names}}: {{.Status}}'
  $ gantry ps -aq | xargs gantry rm

A --format is table, table with fields of your own, json, or a template as docker has them. Filters: id, name, label, status, exited,
ancestor, before, since, volume, network, health.
`

const LOGS_HELP = `
Examples:
  $ gantry logs -f --tail 20 web
  $ gantry logs --since 10m -t web
`

const EXEC_HELP = `
Examples:
  $ gantry exec web ls -l /srv
  $ gantry exec -ti web sh                              a shell
  $ gantry exec -u 0 -e DEBUG=1 web /usr/sbin/reload

Exit codes: the command's; 127 if it is not there; 126 if it cannot be executed; 1 if the container does not run.
`

const CP_HELP = `
Examples:
  $ gantry cp web:/var/log/app.log .
  $ gantry cp ./site/. web:/srv/www                     what is in the folder, into the folder
  $ gantry cp web:/srv/www - | tar -t                   a tar, out of it and, with - first, into it

Works on stopped containers too. What comes in belongs to root, what goes out to you, unless -a keeps owners.
`

const STATS_HELP = `
Examples:
  $ gantry stats
  $ gantry stats --no-stream --format '{{.Name}}: {{.CPUPerc}} {{.MemUsage}}' web
`

const EVENTS_HELP = `
Examples:
  $ gantry events --filter event=die --format '{{.Actor.Attributes.name}} ended: {{.Actor.Attributes.exitCode}}'
  $ gantry events --json

From now on, until it is interrupted: what happened before is not remembered.
`

const COMMIT_HELP = `
Examples:
  $ gantry commit web localhost:5000/team/web:debug
  $ gantry commit -c 'CMD ["/srv/app"]' -c 'ENV MODE=test' -m 'with the tools' web localhost:5000/team/web:2
  $ gantry commit web                                   without a name: by its id, for gantry tag

What the container has written becomes a layer on those of its image; volumes are not in it. A container that runs is frozen meanwhile.
`

const EXPORT_HELP = `
Examples:
  $ gantry export -o rootfs.tar web
  $ gantry export web | gantry import - localhost/flat:1     an image of one layer

Volumes, and what else is mounted in the container, are left out.
`

const INSPECT_HELP = `
Examples:
  $ gantry inspect web
  $ gantry inspect --format '{{.State.Status}} {{json .Mounts}}' web
  $ gantry inspect localhost:5000/debian
  $ gantry inspect --platform linux/arm64 registry.example/team/app:1.2     looked at where it is, not fetched
  $ gantry inspect oci:folder:1.2

A container, else a volume, else an image of the local store, else where its name says: HOST/NAME:TAG, oci:, oci-archive:, docker-archive:, local:.
`

export function register({ verb, withRoot, output, setExitCode }: Cli): void {
  listing(booleansByValue(verb('ps', PS_HELP)))
    .option('-a, --all', 'those that do not run, too')
    .option('-l, --latest', 'the one that was made last')
    .option('-n, --last <number>', 'as many as were made last')
    .option('--no-trunc', 'whole ids and commands')
    .option('-s, --size', 'how much they have written, too')
    .option('-f, --filter <key=value>', 'only those', collected, [])
    .action(async (flags: Omit<PsFlags, 'root'>) => {
      const { psVerb } = await import('./verb-ps.ts')
      await psVerb(withRoot(flags), output)
    })

  booleansByValue(verb('start <container...>'))
    .option('-a, --attach', 'stay, with its output')
    .option('-i, --interactive', 'stay, and pass standard input on')
    .option('--detach-keys <keys>', 'which keys leave it running (default: ctrl-p,ctrl-q)')
    .option('--no-sig-proxy', 'keep signals to this command')
    .action(async (names: Names, flags: Omit<StartFlags, 'root'>) => {
      const { startVerb } = await import('./verb-containers.ts')
      setExitCode(await startVerb(names, withRoot(flags), output))
    })

  stopping(verb('stop <container...>')).action(async (names: Names, flags: StopFlags) => {
    const { stopVerb } = await import('./verb-containers.ts')
    await stopVerb(names, withRoot(flags), output)
  })

  stopping(verb('restart <container...>')).action(async (names: Names, flags: StopFlags) => {
    const { restartVerb } = await import('./verb-containers.ts')
    await restartVerb(names, withRoot(flags), output)
  })

  verb('kill <container...>')
    .option('-s, --signal <signal>', 'by name or number', 'KILL')
    .action(async (names: Names, flags: { readonly signal: string }) => {
      const { killVerb } = await import('./verb-containers.ts')
      await killVerb(names, withRoot(flags), output)
    })

  verb('pause <container...>').action(async (names: Names, flags: object) => {
    const { pauseVerb } = await import('./verb-containers.ts')
    await pauseVerb(names, withRoot(flags), output)
  })

  verb('unpause <container...>').action(async (names: Names, flags: object) => {
    const { resumeVerb } = await import('./verb-containers.ts')
    await resumeVerb(names, withRoot(flags), output)
  })

  verb('wait <container...>').action(async (names: Names, flags: object) => {
    const { waitVerb } = await import('./verb-containers.ts')
    await waitVerb(names, withRoot(flags), output)
  })

  verb('rename <container> <name>').action(async (name: string, wanted: string, flags: object) => {
    const { renameVerb } = await import('./verb-containers.ts')
    await renameVerb(name, wanted, withRoot(flags))
  })

  booleansByValue(verb('rm <container...>'))
    .option('-f, --force', 'kill those that run')
    .option('-v, --volumes', 'their volumes that have no name, too')
    .action(async (names: Names, flags: { readonly force?: boolean; readonly volumes?: boolean }) => {
      const { removeVerb } = await import('./verb-containers.ts')
      await removeVerb(names, withRoot(flags), output)
    })

  limiting(verb('update <container...>')).action(async (names: Names, flags: ResourceFlags) => {
    const { updateVerb } = await import('./verb-containers.ts')
    await updateVerb(names, withRoot(flags), output)
  })

  booleansByValue(verb('attach <container>'))
    .option('--no-stdin', 'look on only')
    .option('--no-sig-proxy', 'keep signals to this command')
    .option('--detach-keys <keys>', 'which keys leave it running (default: ctrl-p,ctrl-q)')
    .action(async (name: string, flags: Omit<AttachFlags, 'root'>) => {
      const { attachVerb } = await import('./verb-attach.ts')
      setExitCode(await attachVerb(name, withRoot(flags)))
    })

  booleansByValue(verb('logs <container>', LOGS_HELP))
    .option('-f, --follow', 'go on until it ends')
    .option('-n, --tail <number>', 'only the last lines', 'all')
    .option('--since <time>', 'not those before: 2026-01-02T15:04:05Z, seconds since 1970, or 10m ago')
    .option('--until <time>', 'not those after')
    .option('-t, --timestamps', 'the time before each line')
    .addOption(new Option('--details').hideHelp())
    .action(async (name: string, flags: Omit<LogsFlags, 'root'>) => {
      const { logsVerb } = await import('./verb-logs.ts')
      await logsVerb(name, withRoot(flags))
    })

  booleansByValue(verb('exec <container> <command...>', EXEC_HELP))
    .passThroughOptions()
    .option('-d, --detach', 'leave it running')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give it a terminal of its own')
    .option('-e, --env <name=value>', 'set a variable', collected, [])
    .option('--env-file <file>', 'variables, one a line', collected, [])
    .option('-w, --workdir <dir>', 'working directory in the container')
    .option('-u, --user <user[:group]>', 'by name or number')
    .option('--privileged', 'with every right')
    .option('--detach-keys <keys>', 'which keys leave it running (default: ctrl-p,ctrl-q)')
    .action(async (name: string, command: Names, flags: Omit<ExecFlags, 'root'>) => {
      const { execVerb } = await import('./verb-exec.ts')
      setExitCode(await execVerb(name, command, withRoot(flags)))
    })

  booleansByValue(verb('cp <source> <target>', CP_HELP))
    .option('-a, --archive', 'keep owners')
    .option('-L, --follow-link', 'what the source points to, if it is a link')
    .option('-q, --quiet', 'for docker’s sake: nothing is said anyhow')
    .action(async (source: string, target: string, flags: Omit<CpFlags, 'root'>) => {
      const { cpVerb } = await import('./verb-cp.ts')
      await cpVerb(source, target, withRoot(flags))
    })

  withJson(booleansByValue(verb('commit <container> [name]', COMMIT_HELP)))
    .option('-a, --author <author>', 'who made it: "Ada <ada@example.org>"')
    .option(
      '-c, --change <instruction>',
      'CMD, ENTRYPOINT, ENV, USER, WORKDIR, STOPSIGNAL, LABEL, EXPOSE or VOLUME, as in a Dockerfile',
      collected,
      [],
    )
    .option('-m, --message <text>', 'for its history')
    .option('-p, --pause', 'freeze it meanwhile, if it runs', true)
    .option('--no-pause', 'read it while it runs')
    .action(async (container: string, name: string | undefined, flags: Omit<CommitFlags, 'root'>) => {
      const { commitVerb } = await import('./verb-commit.ts')
      await commitVerb(container, name, withRoot(flags), output)
    })

  verb('diff <container>').action(async (name: string, flags: object) => {
    const { diffVerb } = await import('./verb-diff.ts')
    await diffVerb(name, withRoot(flags), output)
  })

  verb('export <container>', EXPORT_HELP)
    .option('-o, --output <file>', 'instead of standard output')
    .action(async (name: string, flags: { readonly output?: string }) => {
      const { exportVerb } = await import('./verb-export.ts')
      await exportVerb(name, withRoot(flags))
    })

  verb('top <container> [options...]')
    .passThroughOptions()
    .action(async (name: string, options: Names, flags: object) => {
      const { topVerb } = await import('./verb-top.ts')
      await topVerb(name, options, withRoot(flags), output)
    })

  withJson(booleansByValue(verb('stats [container...]', STATS_HELP)))
    .option('-a, --all', 'those that do not run, too')
    .option('--no-stream', 'once, and no more')
    .option('--no-trunc', 'whole ids')
    .option('--format <format>', 'table, json, or a template')
    .action(async (names: Names, flags: Omit<StatsFlags, 'root'>) => {
      const { statsVerb } = await import('./verb-stats.ts')
      await statsVerb(names, withRoot(flags), output)
    })

  withJson(booleansByValue(verb('events', EVENTS_HELP)))
    .option('-f, --filter <key=value>', 'only those: container, event, image, label', collected, [])
    .option('--format <format>', 'json, or a template')
    .option('--until <time>', 'and then end')
    .addOption(new Option('--since <time>').hideHelp())
    .action(async (flags: Omit<EventsFlags, 'root'>) => {
      const { eventsVerb } = await import('./verb-events.ts')
      await eventsVerb(withRoot(flags), output)
    })

  verb('port <container> [port]').action(async (name: string, port: string | undefined, flags: object) => {
    const { portVerb } = await import('./verb-top.ts')
    await portVerb(name, port, withRoot(flags))
  })

  withJson(withPlatform(withPlainHttp(booleansByValue(verb('inspect <name...>', INSPECT_HELP)))))
    .option('-f, --format <template>', 'what to print of each')
    .addOption(new Option('--type <type>', 'what it is').choices(['container', 'volume', 'image']))
    .option('-s, --size', 'how much a container has written, too')
    .action(async (names: Names, flags: Omit<InspectAnyFlags, 'root'>) => {
      const { inspectVerb } = await import('./verb-inspect-any.ts')
      await inspectVerb(names, withRoot(flags), output)
    })
}

interface StopFlags {
  readonly time?: string
  readonly signal?: string
}

const stopping = (command: Command): Command =>
  command
    .option('-t, --time <seconds>', 'after which it is killed (default: 10, or what it was made with)')

    .option('-s, --signal <signal>', "what ends it (default: the image's, or TERM)")

const limiting = (command: Command): Command =>
  command
    .option('-m, --memory <bytes>', 'its memory at most')
    .option('--memory-swap <bytes>', 'memory and swap together; -1 for any amount of swap')
    .option('--memory-reservation <bytes>', 'what it is pushed back to when memory is short')
    .option('--cpus <number>', 'its share of the processors at most')
    .option('-c, --cpu-shares <weight>', 'its weight among others')
    .option('--cpu-period <microseconds>', 'the period of --cpu-quota')
    .option('--cpu-quota <microseconds>', 'processor time in each period')
    .option('--cpuset-cpus <list>', 'on which processors it runs')
    .option('--cpuset-mems <list>', 'on which memory nodes')
    .option('--pids-limit <number>', 'how many processes; -1 for any number')
    .option('--restart <policy>', 'no, always, unless-stopped, on-failure[:TIMES]')
