/** A buildkitd of the test's own, and buildx in front of it: no docker daemon takes part. */
import { mkdir, writeFile } from 'node:fs/promises'
import { type Finished, run } from './commands.ts'
import { startDaemon } from './daemon.ts'
import { goTool } from './go-tools.ts'
import type { Workspace } from './workspace.ts'

const BUILDER = 'conformance'

export interface Buildkitd extends AsyncDisposable {
  /** Runs a command of buildx, whatever its exit code. */
  buildx(...args: string[]): Promise<Finished>
}

/** Speaks plain HTTP to the registries at `hosts` (`127.0.0.1:5000`). */
export async function startBuildkitd(workspace: Workspace, hosts: readonly string[]): Promise<Buildkitd> {
  const folder = workspace.path('buildkit')
  await mkdir(folder, { recursive: true })
  const address = `unix://${folder}/buildkitd.sock`
  await writeFile(
    `${folder}/buildkitd.toml`,
    `root = "${folder}/root"
[grpc]
address = ["${address}"]
[worker.oci]
enabled = true
networkMode = "host"
snapshotter = "overlayfs"
defaultCgroupParent = "/${workspace.cgroupParent}"
[worker.containerd]
enabled = false
${hosts.map((host) => `[registry."${host}"]\nhttp = true\n`).join('')}`,
  )
  const env = { ...workspace.env, BUILDX_CONFIG: `${folder}/buildx`, DOCKER_CONFIG: `${folder}/config` }
  const buildx = (...args: string[]): Promise<Finished> => run(goTool('buildx'), args, { env })
  const created = await buildx('create', '--name', BUILDER, '--driver', 'remote', '--use', address)
  if (created.code !== 0) throw new Error(`buildx does not know the daemon: ${created.stderr}`)
  const daemon = await startDaemon(goTool('buildkitd'), ['--config', `${folder}/buildkitd.toml`], {
    env,
    cwd: folder,
    ready: async () => (await buildx('inspect', '--bootstrap', '--timeout=5s', BUILDER)).code === 0,
  })
  return {
    buildx,
    [Symbol.asyncDispose]: async () => {
      await daemon[Symbol.asyncDispose]()
      await workspace.removeCgroups()
    },
  }
}
