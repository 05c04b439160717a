/** A containerd of the test's own: its socket, its folders, no CRI, layers fetched in parallel pieces. */
import { mkdir, writeFile } from 'node:fs/promises'
import { run } from './commands.ts'
import { startDaemon } from './daemon.ts'
import { goTool } from './go-tools.ts'
import type { Workspace } from './workspace.ts'

/** A layer that is larger is fetched by several requests for ranges at a time. */
export const PIECE_BYTES = 512 * 1024

export interface Containerd extends AsyncDisposable {
  /** A client that talks to it: the program and its first arguments. */
  readonly ctr: readonly [program: string, ...args: string[]]
}

export async function startContainerd(workspace: Workspace): Promise<Containerd> {
  const folder = workspace.path('containerd')
  await mkdir(folder, { recursive: true })
  const address = `${folder}/containerd.sock`
  await writeFile(
    `${folder}/config.toml`,
    `version = 3
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[grpc]
address = "${address}"
[plugins."io.containerd.internal.v1.opt"]
path = "${folder}/opt"
[plugins."io.containerd.transfer.v1.local"]
max_concurrent_downloads = 3
concurrent_layer_fetch_buffer = ${PIECE_BYTES}
`,
  )
  const { env } = workspace
  const ctr = [goTool('ctr'), '--address', address] as const
  const [program, ...args] = ctr
  const daemon = await startDaemon(goTool('containerd'), ['--config', `${folder}/config.toml`], {
    env,
    cwd: folder,
    ready: async () => (await run(program, [...args, 'version'], { env })).code === 0,
  })
  return { ctr, [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() }
}
