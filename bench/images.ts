/**
 * Unpacking, and pulling from our own registry on loopback, beside umoci and skopeo (whose library is podman's), turn by turn on the same disk,
 * content in the page cache. Only ours syncs before it says that it is done.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { succeed } from '../conformance/support/commands.ts'
import { findAll } from '../conformance/support/needs.ts'
import { startOurs } from './contestants.ts'
import { median, ratio, table } from './figures.ts'
import { type ImageFixture, type ImageTag, makeImageFixture, TAGS } from './image-fixture.ts'

const ROUNDS = 3
const TIMEOUT_MS = 10 * 60_000
const LAUNCHER = fileURLToPath(new URL('../client/gantry.mjs', import.meta.url))
const UNPACK = fileURLToPath(new URL('./images-unpack.ts', import.meta.url))

interface Runner {
  readonly name: string
  readonly cannot?: readonly ImageTag[]
  /** Into `target`, a folder that is not there yet. Resolves to what it printed. */
  run(tag: ImageTag, target: string): Promise<string>
}

/** Resolves to the text to print. */
export async function benchImages(say: (progress: string) => void, only?: string): Promise<string> {
  if (process.getuid?.() !== 0) return 'images: not measured, unpacking needs root'
  const folder = await mkdtemp(join(tmpdir(), 'gantry-bench-images-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  say('images: making the image')
  const fixture = await makeImageFixture(folder)
  const { layout } = fixture
  const env = { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder }
  const command = (name: string, args: readonly string[]) => succeed(name, args, { env, timeoutMs: TIMEOUT_MS })
  const storage = (target: string, tag: string) =>
    `containers-storage:[overlay@${target}/root+${target}/run:overlay.skip_mount_home=true]bench/${tag}:latest`

  const unpackers: Runner[] = [
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
  const wanted = TAGS.filter((tag) => only === undefined || tag === only)
  texts.push(await compare('unpack', wanted, unpackers, folder, say))
  if (hasSkopeo) {
    const registry = stack.use(await startOurs(join(folder, 'registry')))
    for (const tag of wanted) {
      const pushing = ['copy', '--preserve-digests', '--dest-tls-verify=false', `oci:${layout}:${tag}`]
      await command('skopeo', [...pushing, `docker://${registry.host}/bench/${tag}:latest`])
    }
    const pulling = ['copy', '--src-tls-verify=false']
    const pullers: Runner[] = [
      {
        name: 'gantry',
        run: (tag, target) =>
          command(process.execPath, [
            LAUNCHER,
            'pull',
            '--root',
            target,
            '--quiet',
            `${registry.host}/bench/${tag}:latest`,
          ]),
      },
      {
        name: 'skopeo',
        run: (tag, target) =>
          command('skopeo', [...pulling, `docker://${registry.host}/bench/${tag}:latest`, storage(target, tag)]),
      },
    ]
    texts.push(await compare('pull and unpack', wanted, pullers, folder, say))
    const network = await timed(() => download(registry.url, 'one', layout))
    texts.push(`The layer of \`one\` from the registry, thrown away: ${seconds(network)}.`)
  }
  texts.push(await limits(fixture, folder))
  return texts.join('\n\n')
}

const summary = ({ files, tarBytes, blobBytes }: ImageFixture): string => {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`
  const blobs = TAGS.map((tag) => `${tag} ${megabytes(blobBytes[tag])}`).join(', ')
  return `An image of ${files} files of /usr, ${megabytes(tarBytes)} as a tar; compressed: ${blobs}.`
}

/** Turn by turn, each from a disk that has nothing to do. */
async function compare(
  what: string,
  tags: readonly ImageTag[],
  runners: readonly Runner[],
  folder: string,
  say: (progress: string) => void,
): Promise<string> {
  const rows = [[what, ...runners.map(({ name }) => name), 'better peer / gantry']]
  const stages: string[] = []
  for (const tag of tags) {
    const samples = new Map(runners.map(({ name }) => [name, [] as number[]]))
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const { name, run, cannot } of runners) {
        if (cannot?.includes(tag)) continue
        say(`images: ${what}, ${tag}, ${name}, ${round + 1} of ${ROUNDS}`)
        const target = join(folder, 'target')
        await succeed('sync', [])
        const printed: string[] = []
        samples.get(name)?.push(await timed(async () => printed.push(await run(tag, target))))
        const [text = ''] = printed
        if (round === 0 && text.startsWith('{"inflateMs"')) stages.push(`${tag}: ${stagesIn(text)}`)
        await succeed('rm', ['-rf', target], { timeoutMs: TIMEOUT_MS })
      }
    }
    const times = [...samples.values()].map((taken) => (taken.length > 0 ? median(taken) : undefined))
    const [ours = 0, ...peers] = times
    const best = Math.min(...peers.filter((time) => time !== undefined))
    const shown = times.map((time) => (time === undefined ? '-' : seconds(time)))
    rows.push([tag, ...shown, Number.isFinite(best) ? ratio(best, ours) : '-'])
  }
  const costs =
    stages.length > 0
      ? `\nWhat stages of ours cost (CPU; the disk: time that nothing else passes):\n${stages.join('\n')}`
      : ''
  return `Median of ${ROUNDS}.\n${table(rows)}${costs}`
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

/** What no unpacker can go below here: writing the files, and inflating them. */
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
  return `Limits: \`tar -x\` of the tar ${seconds(written)}, with the disk's sync ${seconds(synced)}; \`gzip -d\` alone ${seconds(inflated)}.`
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

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return (performance.now() - begun) / 1000
}

const seconds = (value: number): string => `${value.toFixed(2)} s`
