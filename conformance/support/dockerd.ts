/**
 * A docker daemon of the test's own: its socket, its folders, no bridge, no firewall rules, its containers in the
 * workspace's cgroup. The daemon is Debian's; the clients are all that the machine has.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { type Finished, run } from './commands.ts'
import { startDaemon } from './daemon.ts'
import { findAll } from './needs.ts'
import type { Workspace } from './workspace.ts'

/** Long, because a build inside compiles all of native/, and machines that test everything at once are slow. */
const COMMAND_TIMEOUT_MS = 600_000

export interface Dockerd extends AsyncDisposable {
  /** The clients on this machine, one path per distinct program. */
  readonly clients: readonly string[]
  /** For a client that the test starts itself. */
  readonly env: NodeJS.ProcessEnv
  /** Runs the first client on PATH, whatever the exit code. */
  ask(args: readonly string[]): Promise<Finished>
  /** Runs a client (the first on PATH unless told); throws with all that it and the daemon said if that fails. */
  docker(args: readonly string[], client?: string): Promise<string>
  log(): string
}

/** It touches neither the machine's links nor its firewall. */
const WITHOUT_NETWORK = ['--bridge=none', '--iptables=false', '--ip6tables=false']

/** `prefix`: of the command, to run the daemon elsewhere; `flags`: instead of those that keep it from the network. */
export async function startDockerd(
  workspace: Workspace,
  prefix: readonly string[] = [],
  flags: readonly string[] = WITHOUT_NETWORK,
): Promise<Dockerd> {
  const folder = workspace.path('docker')
  await mkdir(folder, { recursive: true })
  await writeFile(`${folder}/daemon.json`, '{}\n') // the machine's own is not ours to follow
  const socket = `unix://${folder}/docker.sock`
  const env = { ...workspace.env, DOCKER_HOST: socket, DOCKER_CONFIG: `${folder}/config`, DOCKER_BUILDKIT: '0' }
  const clients = await findAll('docker')
  const [program = 'dockerd'] = await findAll('dockerd')
  const ask = (args: readonly string[], client = clients[0] ?? 'docker'): Promise<Finished> =>
    run(client, args, { env, cwd: folder, timeoutMs: COMMAND_TIMEOUT_MS })
  const [first = program, ...rest] = [...prefix, program]
  const daemon = await startDaemon(
    first,
    [
      rest,
      ['--host', socket],
      ['--data-root', `${folder}/data`],
      ['--exec-root', `${folder}/exec`],
      ['--pidfile', `${folder}/pid`],
      ['--config-file', `${folder}/daemon.json`],
      ['--cgroup-parent', `/${workspace.cgroupParent}`],
      ['--storage-driver', 'overlay2'],
      flags,
    ].flat(),
    { env, cwd: folder, ready: async () => (await ask(['version'])).code === 0 },
  )
  return {
    clients,
    env,
    ask,
    docker: async (args, client) => {
      const { code, stdout, stderr } = await ask(args, client)
      if (code !== 0) {
        throw new Error(`docker ${args.join(' ')} exited with ${code}:\n${stdout}${stderr}\n${daemon.log()}`)
      }
      return stdout
    },
    log: daemon.log,
    [Symbol.asyncDispose]: async () => {
      await daemon[Symbol.asyncDispose]()
      await workspace.removeCgroups()
    },
  }
}
