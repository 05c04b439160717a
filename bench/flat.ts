/**
 * Flat costs: pages of listings of a registry with 100 000 tags, 100 000 repositories and 10 000 referrers, beside the
 * same pages of one with ten of each. The trees are written in the form that the storage gives them, without its syncs.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { openFsDriver } from '../storage/fs/driver.ts'
import { catalogKey, manifestKey, newNonce, referrerKey, tagKey, tagListKey } from '../storage/layout.ts'
import { type Digest, digestOf } from '../storage/model/digest.ts'
import { parseRepositoryName, parseTag } from '../storage/model/reference.ts'
import { openStore } from '../storage/open.ts'
import { sealed, unsealed } from '../storage/sealed.ts'
import { type Contestant, childrenOf, startOurs } from './contestants.ts'
import { median, ratio, table } from './figures.ts'
import { buildLoad, putLoad } from './load.ts'

const ROUNDS = 5
const SLICE_SECONDS = 0.5
const PUSHES = 20
const PAGE = 10
const MIB = 1024 * 1024

const NAME = parseRepositoryName('flat/many')
const SUBJECT = digestOf(Buffer.from('the subject'))
const ARTIFACT_TYPE = 'application/vnd.example.flat'
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const MANIFEST = JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [] })

interface Sizes {
  readonly tags: number
  readonly repositories: number
  readonly referrers: number
}
const FEW: Sizes = { tags: 10, repositories: 10, referrers: 10 }
const MANY: Sizes = { tags: 100_000, repositories: 100_000, referrers: 10_000 }

const padded = (index: number): string => String(index).padStart(6, '0')
const tagOf = (index: number) => parseTag(`t${padded(index)}`)
const repositoryOf = (index: number) => parseRepositoryName(`flat/r${padded(index)}`)

/** Resolves to the text to print. */
export async function benchFlat(say: (progress: string) => void): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-flat-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const generator = await buildLoad(folder)
  const registries: Contestant[] = []
  for (const [name, sizes] of Object.entries({ few: FEW, many: MANY })) {
    say(`flat: writing ${sizes.tags} tags, ${sizes.repositories} repositories, ${sizes.referrers} referrers`)
    await writeTree(join(folder, name), sizes)
    registries.push(stack.use(await startOurs(join(folder, name))))
  }
  const [few, many] = registries as [Contestant, Contestant]
  const before = [await residentBytes(few.pid), await residentBytes(many.pid)]

  const rows: string[][] = []
  for (const { name, path } of PAGES) {
    say(`flat: ${name}`)
    const first: number[] = []
    for (const [registry, sizes] of [
      [few, FEW],
      [many, MANY],
    ] as const) {
      first.push(await milliseconds(() => get(registry, path(sizes))))
    }
    const taken: [number[], number[]] = [[], []]
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [registry, sizes, samples] of [
        [few, FEW, taken[0]],
        [many, MANY, taken[1]],
      ] as const) {
        const load = { scenario: 'request', method: 'GET', path: path(sizes) } as const
        const job = { address: registry.host, connections: 1, seconds: SLICE_SECONDS, ...load }
        samples.push((await putLoad(generator, job)).p50Ms)
      }
    }
    rows.push(rowOf(name, median(taken[0]), median(taken[1]), first))
  }
  say('flat: pages between pushes')
  const between = [await pagesBetweenPushes(few, FEW), await pagesBetweenPushes(many, MANY)] as const
  rows.push(rowOf('tags: a page after each push of a new tag', ...between, []))

  const after = [await residentBytes(few.pid), await residentBytes(many.pid)]
  const memory = [before, after].map((pair) => pair.map((bytes) => (bytes / MIB).toFixed(0)))
  return [
    `Pages of ${PAGE} (referrers: as the server cuts them, or all) of listings with ${FEW.tags} entries, and with ${MANY.tags} tags, ${MANY.repositories} repositories, ${MANY.referrers} referrers`,
    '"p50": one request at a time, median of slices turn by turn; "first": the first request for it, when nothing is kept yet',
    table([['', 'few p50 ms', 'many p50 ms', 'many/few', 'few first ms', 'many first ms'], ...rows]),
    `resident memory, MiB: ${memory[0]?.join(' and ')} before, ${memory[1]?.join(' and ')} after`,
  ].join('\n')
}

const PAGES: readonly { readonly name: string; readonly path: (sizes: Sizes) => string }[] = [
  ...(['first', 'random', 'last'] as const).map((where) => ({
    name: `tags: ${where} page`,
    path: ({ tags }: Sizes) => `/v2/${NAME}/tags/list?n=${PAGE}${afterOf(where, tags, tagOf)}`,
  })),
  ...(['first', 'random', 'last'] as const).map((where) => ({
    name: `catalog: ${where} page`,
    path: ({ repositories }: Sizes) => `/v2/_catalog?n=${PAGE}${afterOf(where, repositories, repositoryOf)}`,
  })),
  { name: 'referrers: first page', path: () => `/v2/${NAME}/referrers/${SUBJECT}` },
  {
    name: 'referrers: of a type that there is not',
    path: () => `/v2/${NAME}/referrers/${SUBJECT}?artifactType=application/none`,
  },
]

/** A page of ten among ten is the whole, whatever `last` says; so for few entries each page begins at the front. */
function afterOf(where: 'first' | 'random' | 'last', count: number, nameOf: (index: number) => string): string {
  if (where === 'first' || count <= PAGE) return ''
  const index = where === 'last' ? count - PAGE - 1 : Math.floor(Math.random() * (count - 2 * PAGE))
  return `&last=${encodeURIComponent(nameOf(index))}`
}

function rowOf(name: string, few: number, many: number, first: readonly number[]): string[] {
  return [name, few.toFixed(2), many.toFixed(2), ratio(many, few), ...first.map((time) => time.toFixed(1))]
}

async function pagesBetweenPushes(registry: Contestant, { tags }: Sizes): Promise<number> {
  const times: number[] = []
  for (let push = 0; push < PUSHES; push += 1) {
    const response = await fetch(`${registry.url}/v2/${NAME}/manifests/new${push}`, {
      method: 'PUT',
      headers: { 'Content-Type': INDEX_TYPE },
      body: MANIFEST,
    })
    await response.arrayBuffer()
    if (response.status !== 201) throw new Error(`the push was answered ${response.status}`)
    const path = `/v2/${NAME}/tags/list?n=${PAGE}${afterOf('random', tags, tagOf)}`
    times.push(await milliseconds(() => get(registry, path)))
  }
  return median(times)
}

async function get(registry: Contestant, path: string): Promise<void> {
  const response = await fetch(`${registry.url}${path}`)
  await response.arrayBuffer()
  if (response.status !== 200) throw new Error(`${path} was answered ${response.status}`)
}

async function milliseconds(work: () => Promise<void>): Promise<number> {
  const begin = performance.now()
  await work()
  return performance.now() - begin
}

async function writeTree(folder: string, { tags, repositories, referrers }: Sizes): Promise<void> {
  const store = await openStore(await openFsDriver(folder))
  const pushed = await store
    .repository(NAME)
    .putManifest({ mediaType: INDEX_TYPE as never, bytes: Buffer.from(MANIFEST), tags: [tagOf(0)] })
  await store.close()

  const made = new Set<string>()
  const write = (key: string, content: string): void => {
    const path = join(folder, key)
    if (!made.has(dirname(path))) mkdirSync(dirname(path), { recursive: true })
    made.add(dirname(path))
    writeFileSync(path, content)
  }
  const tagRecord = await readFile(join(folder, tagKey(NAME, tagOf(0))), 'utf8')
  for (let index = 1; index < tags; index += 1) {
    write(tagListKey(NAME, tagOf(index), newNonce()), '')
    write(tagKey(NAME, tagOf(index)), tagRecord)
  }
  const repository = await readFile(join(folder, catalogKey(NAME)), 'utf8')
  for (let index = 1; index < repositories; index += 1) write(catalogKey(repositoryOf(index)), repository)
  const record = await readFile(join(folder, manifestKey(NAME, pushed.digest)), 'utf8')
  const header = unsealed(Buffer.from(record.slice(0, record.indexOf('\n'))))
  for (let index = 0; index < referrers; index += 1) writeReferrer(write, header, index)
}

function writeReferrer(write: (key: string, content: string) => void, header: object, index: number): void {
  const subject = { mediaType: INDEX_TYPE, digest: SUBJECT, size: 2 }
  const content = JSON.stringify({
    schemaVersion: 2,
    mediaType: INDEX_TYPE,
    artifactType: ARTIFACT_TYPE,
    manifests: [],
    subject,
    annotations: { index: `${index}` },
  })
  const digest: Digest = digestOf(Buffer.from(content))
  const nonce = newNonce()
  const referrer = { subject: SUBJECT, artifactType: ARTIFACT_TYPE, nonce }
  write(manifestKey(NAME, digest), `${sealed({ ...header, nonce: newNonce(), referrer })}\n${content}`)
  write(referrerKey(NAME, SUBJECT, ARTIFACT_TYPE, digest, nonce), '')
}

/** Of a process and its descendants. */
async function residentBytes(pid: number): Promise<number> {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  let total = Number(kib ?? 0) * 1024
  for (const child of await childrenOf(pid)) total += await residentBytes(child)
  return total
}
