/** A containerd of the test's own: its socket, its folders, no CRI. The newest, whose layers come in parallel pieces, or Debian's. */
import { mkdir, writeFile } from 'node:fs/promises'
import { run } from './commands.ts'
import { startDaemon } from './daemon.ts'
import { goTool } from './go-tools.ts'
import type { Machine } from './machine.ts'
import type { Workspace } from './workspace.ts'

/** A layer that is larger is fetched by several requests for ranges at a time. */
export const PIECE_BYTES = 512 * 1024

export interface Containerd extends AsyncDisposable {
  /** A client that talks to it: the program and its first arguments. */
  readonly ctr: readonly [program: string, ...args: string[]]
}

export function startContainerd(workspace: Workspace): Promise<Containerd> {
  const config = (folder: string): string => `version = 3
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[grpc]
address = "${folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "${folder}/opt"
[plugins."io.containerd.transfer.v1.local"]
max_concurrent_downloads = 3
concurrent_layer_fetch_buffer = ${PIECE_BYTES}
`
  return start(workspace, [goTool('containerd')], [goTool('ctr')], config)
}

/** Debian's, with its shims and what it mounts on another machine. */
export function startDebianContainerd(workspace: Workspace, { prefix }: Machine): Promise<Containerd> {
  const config = (folder: string): string => `version = 2
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "${folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "${folder}/opt"
`
  return start(workspace, [...prefix, 'containerd'], [...prefix, 'ctr'], config)
}

async function start(
  workspace: Workspace,
  daemonCommand: readonly string[],
  client: readonly string[],
  config: (folder: string) => string,
): Promise<Containerd> {
  const folder = workspace.path('containerd')
  await mkdir(folder, { recursive: true })
  await writeFile(`${folder}/config.toml`, config(folder))
  const { env } = workspace
  const [program = '', ...first] = client
  const args = [...first, '--address', `${folder}/containerd.sock`]
  const [daemonProgram = '', ...daemonArgs] = daemonCommand
  const daemon = await startDaemon(daemonProgram, [...daemonArgs, '--config', `${folder}/config.toml`], {
    env,
    cwd: folder,
    ready: async () => (await run(program, [...args, 'version'], { env })).code === 0,
  })
  return { ctr: [program, ...args], [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() }
}
