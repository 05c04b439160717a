/**
 * `npm run bench images`, or `images:` and one of `push`, `copy`, `one`, `eight`, `zstd`: the last three are images that are unpacked and pulled. Unpacking, and pulling from our own registry on loopback, beside umoci and skopeo (whose library is podman's), turn by turn on the same disk,
 * content in the page cache. Ours is the package as it is installed. Only ours syncs before it says that it is done.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { succeed } from '../conformance/support/commands.ts'
import { findAll } from '../conformance/support/needs.ts'
import { installPackage, PATH_WITH_NODE } from '../conformance/support/package.ts'
import { Workspace } from '../conformance/support/workspace.ts'
import { startOurs } from './contestants.ts'
import { table } from './figures.ts'
import { type ImageFixture, type ImageTag, makeImageFixture, TAGS } from './image-fixture.ts'
import { benchCopy, benchPush } from './images-transfer.ts'
import { seconds, takeTurns, timed } from './turns.ts'

const TIMEOUT_MS = 10 * 60_000
const UNPACK = fileURLToPath(new URL('./images-unpack.ts', import.meta.url))

interface ImageRunner {
  readonly name: string
  readonly cannot?: readonly ImageTag[]
  /** Into `target`, a folder that is not there yet. Resolves to what it printed. */
  run(tag: ImageTag, target: string): Promise<string>
}

/** Resolves to the text to print. */
export async function benchImages(say: (progress: string) => void, only?: string): Promise<string> {
  if (process.getuid?.() !== 0) return 'images: not measured, unpacking needs root'
  await using workspace = await Workspace.open()
  const gantry = join(installPackage(workspace.path('.')), 'dist/native/build/gantry')
  const texts: string[] = []
  if (only === undefined || only === 'push') texts.push(await benchPush(gantry, say))
  if (only === undefined || only === 'copy') texts.push(await benchCopy(gantry, say))
  const wanted = TAGS.filter((tag) => only === undefined || tag === only)
  if (wanted.length > 0) texts.push(...(await benchLayers(gantry, say, wanted)))
  return texts.join('\n\n')
}

async function benchLayers(
  gantry: string,
  say: (progress: string) => void,
  wanted: readonly ImageTag[],
): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-bench-images-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  say('images: making the image')
  const fixture = await makeImageFixture(folder)
  const { layout } = fixture
  const env = { ...process.env, PATH: PATH_WITH_NODE, HOME: folder, XDG_RUNTIME_DIR: folder }
  const command = (name: string, args: readonly string[]) => succeed(name, args, { env, timeoutMs: TIMEOUT_MS })
  const storage = (target: string, tag: string) =>
    `containers-storage:[overlay@${target}/root+${target}/run:overlay.skip_mount_home=true]bench/${tag}:latest`

  const unpackers: ImageRunner[] = [
    { name: 'gantry', run: (tag, target) => command(process.execPath, [UNPACK, layout, tag, target]) },
  ]
  if ((await findAll('umoci')).length > 0) {
    const unpack = (tag: string, target: string) => command('umoci', ['unpack', '--image', `${layout}:${tag}`, target])
    unpackers.push({ name: 'umoci', cannot: ['zstd'], run: unpack }) // Debian's knows gzip only
  } else say('umoci is not installed: one peer less')
  const hasSkopeo = (await findAll('skopeo')).length > 0
  if (hasSkopeo) {
    const copy = (tag: string, target: string) =>
      command('skopeo', ['copy', `oci:${layout}:${tag}`, storage(target, tag)])
    unpackers.push({ name: 'skopeo', run: copy })
  } else say('skopeo is not installed: one peer less')

  const texts = [summary(fixture)]
  texts.push(await compare('unpack', wanted, unpackers, folder, say))
  if (hasSkopeo) {
    const registry = stack.use(await startOurs(join(folder, 'registry')))
    for (const tag of wanted) {
      const pushing = ['copy', '--preserve-digests', '--dest-tls-verify=false', `oci:${layout}:${tag}`]
      await command('skopeo', [...pushing, `docker://${registry.host}/bench/${tag}:latest`])
    }
    const pulling = ['copy', '--src-tls-verify=false']
    const pullers: ImageRunner[] = [
      {
        name: 'gantry',
        run: (tag, target) =>
          command(gantry, ['pull', '--root', target, '--quiet', `${registry.host}/bench/${tag}:latest`]),
      },
      {
        name: 'skopeo',
        run: (tag, target) =>
          command('skopeo', [...pulling, `docker://${registry.host}/bench/${tag}:latest`, storage(target, tag)]),
      },
    ]
    texts.push(await compare('pull and unpack', wanted, pullers, folder, say))
    const [tag = 'one'] = wanted
    const network = await timed(() => download(registry.url, tag, layout))
    texts.push(`The layers of \`${tag}\` from the registry, thrown away: ${seconds(network)}.`)
  }
  texts.push(await limits(fixture, folder))
  return texts
}

const summary = ({ files, tarBytes, blobBytes }: ImageFixture): string => {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`
  const blobs = TAGS.map((tag) => `${tag} ${megabytes(blobBytes[tag])}`).join(', ')
  return `An image of ${files} files of /usr, ${megabytes(tarBytes)} as a tar; compressed: ${blobs}.`
}

async function compare(
  what: string,
  tags: readonly ImageTag[],
  runners: readonly ImageRunner[],
  folder: string,
  say: (progress: string) => void,
): Promise<string> {
  const names = runners.map(({ name }) => name)
  const rows: (readonly string[])[] = [[what, ...names, 'better peer / gantry']]
  const stages: string[] = []
  for (const tag of tags) {
    const able = runners.filter(({ cannot }) => !cannot?.includes(tag))
    const turns = able.map(({ name, run }) => ({ name, run: (target: string) => run(tag, target) }))
    const { row, printed } = await takeTurns(`${what} ${tag}`, names, turns, folder, say)
    rows.push(row)
    if (printed.startsWith('{"inflateMs"')) stages.push(`${tag}: ${stagesIn(printed)}`)
  }
  const costs =
    stages.length > 0
      ? `\nWhat stages of ours cost (CPU; the disk: time that nothing else passes):\n${stages.join('\n')}`
      : ''
  return `${table(rows)}${costs}`
}

function stagesIn(printed: string): string {
  const { inflateMs, hashMs, parseMs, fillMs, finishMs } = JSON.parse(printed) as Record<string, number>
  const parts = {
    inflate: inflateMs,
    hash: hashMs,
    'parse and make names': parseMs,
    'fill files': fillMs,
    disk: finishMs,
  }
  return Object.entries(parts)
    .map(([stage, ms = 0]) => `${stage} ${(ms / 1000).toFixed(2)} s`)
    .join(', ')
}

/** What no unpacker can go below here: writing the files, inflating them, hashing what comes. */
async function limits({ tar, layout }: ImageFixture, folder: string): Promise<string> {
  const target = join(folder, 'target')
  await mkdir(target)
  const extract = () => succeed('tar', ['--extract', '--file', tar, '--directory', target], { timeoutMs: TIMEOUT_MS })
  const written = await timed(extract)
  const synced = written + (await timed(() => succeed('sync', ['--file-system', target], { timeoutMs: TIMEOUT_MS })))
  await rm(target, { recursive: true })
  const [layer = ''] = await layersOf(layout, 'one')
  const gunzip = ['-c', 'exec gzip -dc < "$0" > /dev/null', join(layout, 'blobs', layer.replace(':', '/'))]
  const inflated = await timed(() => succeed('sh', gunzip, { timeoutMs: TIMEOUT_MS }))
  const hash = createHash('sha256')
  const hashed = await timed(async () => {
    for await (const chunk of createReadStream(join(layout, 'blobs', layer.replace(':', '/')))) hash.update(chunk)
  })
  return `Limits: \`tar -x\` of the tar ${seconds(written)}, with the disk's sync ${seconds(synced)}; \`gzip -d\` alone ${seconds(inflated)}; the blob's hash alone ${seconds(hashed)}.`
}

async function layersOf(layout: string, tag: ImageTag): Promise<readonly string[]> {
  const json = async (path: string) => JSON.parse(await readFile(join(layout, path), 'utf8'))
  const { manifests } = (await json('index.json')) as {
    manifests: { digest: string; annotations: Record<string, string> }[]
  }
  const chosen = manifests.find(({ annotations }) => Object.values(annotations).includes(tag))
  const { layers } = await json(`blobs/${chosen?.digest.replace(':', '/')}`)
  return layers.map(({ digest }: { digest: string }) => digest)
}

async function download(url: string, tag: ImageTag, layout: string): Promise<void> {
  for (const digest of await layersOf(layout, tag)) {
    const { body } = await fetch(`${url}/v2/bench/${tag}/blobs/${digest}`)
    for await (const _ of body ?? []);
  }
}
