/**
 * `copy` from registry to registry, half of whose layers are there, and `push`, beside crane, skopeo and docker. Each turn has a registry of
 * its own: none may mount what another one has brought.
 */
import { rm } from 'node:fs/promises'
import { type Content, imageOf, writeLayout } from '../conformance/interop/content.ts'
import { pushOver } from '../conformance/interop/moves.ts'
import { succeed } from '../conformance/support/commands.ts'
import { startDockerd } from '../conformance/support/dockerd.ts'
import { goTool, notBuilt } from '../conformance/support/go-tools.ts'
import { missing } from '../conformance/support/needs.ts'
import { PATH_WITH_NODE } from '../conformance/support/package.ts'
import { Workspace } from '../conformance/support/workspace.ts'
import { type Contestant, startOurs } from './contestants.ts'
import { table } from './figures.ts'
import { type Runner, takeTurns } from './turns.ts'

const TIMEOUT_MS = 10 * 60_000
const COPIED_LAYERS = Array.from({ length: 20 }, () => 6_000_000)
const PUSHED_LAYERS = Array.from({ length: 10 }, () => 30_000_000)
const TAG = 'v1'

type Say = (progress: string) => void

/** `gantry`: the command of our package. Resolves to the text to print. */
export async function benchCopy(gantry: string, say: Say): Promise<string> {
  await using workspace = await Workspace.open()
  const command = commandIn(workspace)
  await using from = await startOurs(workspace.path('from'))
  const content = await imageOf('copied', COPIED_LAYERS)
  await pushOver(from.url, 'bench/copied', content)
  const source = `${from.host}/bench/copied:${TAG}`
  const half = { ...content, manifests: new Map(), blobs: everyOther(content.blobs) }
  const runner = freshRegistries(workspace, 'bench/copied', ({ url }) => pushOver(url, 'bench/copied', half))
  const runners = [runner('gantry', (target) => command(gantry, 'copy', '--quiet', source, target))]
  const noCrane = await notBuilt('crane')
  if (noCrane) say(`crane: ${noCrane}; one peer less`)
  else runners.push(runner('crane', (target) => command(goTool('crane'), 'copy', source, target)))
  const noSkopeo = await missing('skopeo')
  const plain = ['--src-tls-verify=false', '--dest-tls-verify=false']
  if (noSkopeo) say(`skopeo: ${noSkopeo}; one peer less`)
  else
    runners.push(
      runner('skopeo', (target) => command('skopeo', 'copy', ...plain, `docker://${source}`, `docker://${target}`)),
    )
  return await oneRow(`copy, ${COPIED_LAYERS.length} layers of 6 MB, half there`, runners, workspace, say)
}

/** `gantry`: the command of our package. Resolves to the text to print. */
export async function benchPush(gantry: string, say: Say): Promise<string> {
  await using workspace = await Workspace.open()
  const command = commandIn(workspace)
  const layout = workspace.path('layout')
  await writeLayout(layout, await imageOf('pushed', PUSHED_LAYERS), TAG)
  const [root, name] = [workspace.path('store'), `localhost:5000/bench/pushed:${TAG}`]
  await command(gantry, '--root', root, 'copy', '--quiet', `oci:${layout}:${TAG}`, `local:${name}`)
  const runner = freshRegistries(workspace, 'bench/pushed')
  const runners = [runner('gantry', (target) => command(gantry, '--root', root, 'push', '--quiet', name, target))]
  const noCrane = await notBuilt('crane')
  if (noCrane) say(`crane: ${noCrane}; one peer less`)
  else runners.push(runner('crane', (target) => command(goTool('crane'), 'push', layout, target)))
  await using stack = new AsyncDisposableStack()
  const noDocker = await missing('docker', 'dockerd', 'containerd', 'runc')
  if (noDocker) say(`docker: ${noDocker}; one peer less`)
  else {
    const daemon = stack.use(await startDockerd(workspace, ['unshare', '--mount']))
    const tar = workspace.path('image.tar')
    const archive = `docker-archive:${tar}:bench/pushed:${TAG}`
    await command(gantry, 'copy', '--quiet', `oci:${layout}:${TAG}`, archive)
    await daemon.docker(['load', '--input', tar])
    runners.push(
      runner('docker', async (target) => {
        await daemon.docker(['tag', `bench/pushed:${TAG}`, target])
        return await daemon.docker(['push', '--quiet', target])
      }),
    )
  }
  return await oneRow(`push, ${PUSHED_LAYERS.length} layers of 30 MB`, runners, workspace, say)
}

/** Makes runners, each turn of which has a registry of its own; `fill` puts in what is there already. */
const freshRegistries =
  (workspace: Workspace, repository: string, fill: (registry: Contestant) => Promise<void> = async () => {}) =>
  (name: string, run: (target: string) => Promise<string>): Runner => {
    let registry: Contestant | undefined
    return {
      name,
      prepare: async (round) => {
        const folder = workspace.path(`registry-${name}-${round}`)
        const started = await startOurs(folder)
        registry = started
        await fill(started)
        return async () => {
          await started[Symbol.asyncDispose]()
          await rm(folder, { recursive: true, force: true })
        }
      },
      run: async () => await run(`${registry?.host}/${repository}:${TAG}`),
    }
  }

const commandIn =
  ({ env }: Workspace) =>
  (name: string, ...args: readonly string[]): Promise<string> =>
    succeed(name, args, { env: { ...env, PATH: PATH_WITH_NODE }, timeoutMs: TIMEOUT_MS })

const everyOther = (blobs: Content['blobs']): Content['blobs'] => new Map([...blobs].filter((_, i) => i % 2 === 0))

async function oneRow(what: string, runners: readonly Runner[], { directory }: Workspace, say: Say): Promise<string> {
  const names = runners.map(({ name }) => name)
  const { row } = await takeTurns(what, names, runners, directory, say)
  return table([['', ...names, 'better peer / gantry'], row])
}
