/** `gantry run` and `gantry create`, on the command line. What the values mean is read by run-request.ts. */
import { type Command, InvalidArgumentError, Option } from './cli-commander.ts'
import { booleansByValue, type Cli, collected, withPlainHttp, withPlatform, withProgress } from './cli-context.ts'
import type { CreateFlags, RunFlags } from './run-request.ts'

const RUN_HELP = `
Examples:
  $ gantry run --rm localhost:5000/debian echo Hello World
  $ gantry run --rm -ti localhost:5000/debian bash      a shell in a terminal of its own; ctrl-p ctrl-q leaves it running
  $ gantry run -d --name db -v data:/var/lib/data localhost:5000/postgres
  $ echo text | gantry run --rm -i localhost:5000/debian tr a-z A-Z
  $ gantry run --rm --security-opt seccomp=profile.json localhost:5000/debian
  $ gantry run --rm -e GREETING=Hello -w /tmp -u nobody localhost:5000/debian sh -c 'echo $GREETING'

Networks are none (the default until there are bridges: the container has its own loopback), host, and container:NAME. Exit codes: the
command's; 128+n if signal n killed it; 127 if it is not there; 126 if it cannot be executed; 125 if Gantry itself failed.
`

const CREATE_HELP = `
Examples:
  $ gantry create --name job localhost:5000/debian make -C /src
  $ gantry start -a job

Takes every option of \`gantry run\` that says what the container is; prints its id.
`

export function register(cli: Cli): void {
  if (cli.asked === 'create') registerCreate(cli)
  else registerRun(cli)
}

function registerRun({ verb, withRoot, output, setExitCode }: Cli): void {
  booleansByValue(describing(verb('run <image> [command...]', RUN_HELP)))
    .option('-d, --detach', 'leave it running and print its id')
    .option('-a, --attach <stream>', 'stdin, stdout or stderr: only these (default: both outputs)', collected, [])
    .option('--no-sig-proxy', 'keep signals to this command')
    .option('--detach-keys <keys>', 'which keys leave it running (default: ctrl-p,ctrl-q)')
    .action(async (image: string, command: string[], flags: RunFlags) => {
      const { runVerb } = await import('./verb-run.ts')
      setExitCode(await runVerb(image, command, withRoot(flags), output))
    })
}

function registerCreate({ verb, withRoot, output }: Cli): void {
  booleansByValue(describing(verb('create <image> [command...]', CREATE_HELP)))
    .option('-a, --attach <stream>', 'for docker’s sake: start -a attaches', collected, [])
    .action(async (image: string, command: string[], flags: CreateFlags) => {
      const { createVerb } = await import('./verb-run.ts')
      await createVerb(image, command, withRoot(flags), output)
    })
}

/** The options that say what a container is. */
export function describing(command: Command): Command {
  return withProgress(withPlatform(withPlainHttp(command)))
    .passThroughOptions()
    .helpOption('--help', 'display help for command') // -h is --hostname
    .option('--name <name>', 'a name of its own')
    .option('--rm', 'remove the container when it ends')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give the container a terminal of its own')
    .option('--init', 'a small init as its first process, which reaps orphans and passes signals on')
    .option('--entrypoint <program>', "instead of the image's")
    .option('-e, --env <name=value>', 'set a variable; NAME alone takes it from here', collected, [])
    .option('--env-file <file>', 'variables, one a line', collected, [])
    .option('-w, --workdir <dir>', 'working directory in the container; made if missing')
    .option('-u, --user <user[:group]>', 'by name or number')
    .option('--group-add <group>', 'a further group, by name or number', collected, [])
    .option('-h, --hostname <name>', 'its host name (default: the beginning of its id)')
    .option('--domainname <name>', 'its NIS domain name')
    .option('-l, --label <key=value>', 'a label', collected, [])
    .option('--label-file <file>', 'labels, one a line', collected, [])
    .option('--annotation <key=value>', 'an annotation for the runtime', collected, [])
    .option('--cidfile <file>', 'write its id into a file that is not there yet')
    .addOption(
      new Option('--pull <when>', 'fetch the image').choices(['always', 'missing', 'never']).default('missing'),
    )
    .option(
      '-v, --volume <source:target[:options]>',
      'a volume by name, or a folder by its absolute path',
      collected,
      [],
    )
    .option('--mount <type=…,source=…,target=…>', 'a bind, volume or tmpfs', collected, [])
    .option('--volumes-from <container[:ro]>', 'what that container has mounted', collected, [])
    .option('--tmpfs <target[:options]>', 'a folder in memory', collected, [])
    .option('--shm-size <bytes>', 'of /dev/shm (default: 64m)')
    .option('--read-only', 'make its root filesystem read-only')
    .option('--network <mode>', 'none, host or container:NAME (default: none)')
    .addOption(new Option('--net <mode>').hideHelp())
    .option('--dns <address>', 'a name server', collected, [])
    .option('--dns-search <domain>', 'a domain that names are looked up in', collected, [])
    .option('--dns-option <option>', 'an option of the resolver', collected, [])
    .addOption(new Option('--dns-opt <option>').hideHelp().argParser(collected).default([]))
    .option('--add-host <name:address>', 'a line in /etc/hosts', collected, [])
    .addOption(new Option('--expose <port>').hideHelp().argParser(collected).default([]))
    .addOption(new Option('--disable-content-trust').hideHelp())
    .addOption(new Option('--volume-driver <driver>').hideHelp().choices(['local']))
    .addOption(new Option('--isolation <kind>').hideHelp().choices(['default']))
    .addOption(new Option('-p, --publish <ports>').hideHelp().argParser(noPorts))
    .addOption(new Option('-P, --publish-all').hideHelp().argParser(noPorts))
    .option('--pid <mode>', 'host or container:NAME')
    .option('--ipc <mode>', 'private, none, host, shareable or container:NAME')
    .option('--uts <mode>', 'host')
    .option('--userns <mode>', 'host')
    .option('--cgroupns <mode>', 'private or host')
    .option('--cgroup-parent <path>', 'the control group, or slice of systemd’s, in which its own is made')
    .option('--privileged', 'every right and device of this machine: no protection at all')
    .option('--cap-add <capability>', 'a right more, or ALL', collected, [])
    .option('--cap-drop <capability>', 'a right less, or ALL', collected, [])
    .option(
      '--security-opt <option>',
      'seccomp=FILE|unconfined, apparmor=PROFILE|unconfined, no-new-privileges[=false], systempaths=unconfined',
      collected,
      [],
    )
    .option('--device <source[:target[:rwm]]>', 'a device of this machine', collected, [])
    .option('--device-cgroup-rule <rule>', 'a further rule, such as "c 1:3 rwm"', collected, [])
    .option('--sysctl <name=value>', 'a kernel parameter of its namespaces', collected, [])
    .option('--ulimit <type=soft[:hard]>', 'a limit, such as nofile=1024:2048', collected, [])
    .option('-m, --memory <bytes>', 'its memory at most, such as 512m')
    .option('--memory-swap <bytes>', 'memory and swap together; -1 for any amount of swap')
    .option('--memory-reservation <bytes>', 'what it is pushed back to when memory is short')
    .option('--cpus <number>', 'its share of the processors at most, such as 1.5')
    .option('-c, --cpu-shares <weight>', 'its weight among others (default: 1024)')
    .option('--cpu-period <microseconds>', 'the period of --cpu-quota')
    .option('--cpu-quota <microseconds>', 'processor time in each period')
    .option('--cpuset-cpus <list>', 'on which processors it runs, such as 0-2,4')
    .option('--cpuset-mems <list>', 'on which memory nodes')
    .option('--pids-limit <number>', 'how many processes; -1 for any number')
    .option('--oom-score-adj <number>', 'how willingly the kernel kills it when memory is short: -1000 to 1000')
    .option('--stop-signal <signal>', "what ends it (default: the image's, or TERM)")
    .option('--stop-timeout <seconds>', 'after which SIGKILL does (default: 10)')
    .option('--restart <policy>', 'no, always, unless-stopped, on-failure[:TIMES]')
    .addOption(new Option('--log-driver <driver>', 'where its output is kept').choices(['json-file', 'none']))
    .option('--log-opt <key=value>', 'max-size or max-file', collected, [])
    .option('--health-cmd <command>', 'what says whether it is well')
    .option('--health-interval <duration>', 'between two checks (default: 30s)')
    .option('--health-timeout <duration>', 'a check that takes longer has failed (default: 30s)')
    .option('--health-retries <number>', 'failures in a row that make it unhealthy (default: 3)')
    .option('--health-start-period <duration>', 'in which failures do not count')
    .option('--health-start-interval <duration>', 'between checks in that period')
    .option('--no-healthcheck', 'leave the check out that the image has')
}

function noPorts(): never {
  throw new InvalidArgumentError(
    'ports cannot be published yet: there is no bridge network. With --network host the container has the ports of this machine.',
  )
}
