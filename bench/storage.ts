/**
 * What storing costs, on a disk and on S3 servers, beside distribution v3 on the same server: the end of a large upload against
 * that of a small one, parallel pushes and pulls, memory under many uploads, a page of many tags, and requests to S3.
 */
import { mkdtemp, readFile, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Content } from '../conformance/support/blobs.ts'
import { type S3Kind, s3Kinds, startS3 } from '../conformance/support/s3-server.ts'
import type { StorageDriver } from '../storage/driver.ts'
import { openFsDriver } from '../storage/fs/driver.ts'
import { blobKey, newNonce, tagListKey } from '../storage/layout.ts'
import { type Digest, parseDigest } from '../storage/model/digest.ts'
import { parseRepositoryName, parseTag } from '../storage/model/reference.ts'
import { openS3Driver } from '../storage/s3/driver.ts'
import { type Contestant, startOurs, startV3 } from './contestants.ts'
import { startCountingProxy } from './counting-proxy.ts'
import { median, ratio, table } from './figures.ts'
import { buildLoad, putLoad } from './load.ts'
import { append, close, expectStatus, putManifest, startUpload } from './storage-steps.ts'

const MB = 1_000_000
const MIB = 1024 * 1024
const FULL = process.env['GANTRY_BENCH_FULL'] === '1'
/** Both above one part. */
const COMMITTED = { small: 20 * MB, large: (FULL ? 2_000 : 200) * MB }
const COMMIT_ROUNDS = FULL ? 2 : 3
const STREAMED_BYTES = (FULL ? 256 : 32) * MB
const AT_ONCE = [1, 8, 32] as const
const PULLS = 2
/** What all pushes of two registries leave, and the parts of those that are put together at the moment. */
const NEEDED_BYTES = 3 * AT_ONCE.reduce((total, connections) => total + connections, 0) * STREAMED_BYTES
const UPLOADS = { atOnce: 100, sizeBytes: (FULL ? 64 : 16) * MB }
const TAGS = FULL ? 20_000 : 2_000
const TAGS_WRITTEN_AT_ONCE = 16
const PAGE = 100
/** Nothing here is cut by the clock. */
const SECONDS = 3_600

const NAME = parseRepositoryName('bench/storage')

const MEASURES = {
  commit: benchCommit,
  streams: benchStreams,
  memory: benchMemory,
  listing: benchListing,
  requests: benchRequests,
} as const

type Say = (progress: string) => void

/** Where content is kept: how each of the two is told. */
interface Place extends AsyncDisposable {
  readonly name: string
  ours(prefix: string): Promise<Contestant>
  theirs(): Promise<Contestant | undefined>
  /** Another hand on what `ours(prefix)` keeps. */
  driver(prefix: string): Promise<StorageDriver>
  /** Where a client can fetch what `ours(prefix)` keeps by itself, without a registry between: what the S3 server alone gives. */
  direct?(prefix: string, digest: Digest): Promise<URL>
  /** As `ours`, with a count of its requests. */
  counted?(prefix: string): Promise<{ readonly registry: Contestant; count(): number } & AsyncDisposable>
}

/** Resolves to the text to print. `only` is a place, or a place and what is measured there (`minio requests`). */
export async function benchStorage(say: Say, only?: string): Promise<string> {
  const [onlyPlace, onlyMeasure] = only?.split(' ') ?? []
  const folder = await mkdtemp(join(tmpdir(), 'gantry-storage-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < NEEDED_BYTES) {
    const [needed, found] = [NEEDED_BYTES, bavail * bsize].map((bytes) => `${Math.round(bytes / MB)} MB`)
    throw new Error(`${tmpdir()} has ${found} left, and ${needed} are needed: set TMPDIR to a folder of a larger disk`)
  }
  const generator = await buildLoad(folder)
  const opens = new Map<string, () => Promise<Place>>([['disk', async () => diskPlace(join(folder, 'disk'), say)]])
  for (const { kind, skip } of await s3Kinds()) {
    if (skip === false) opens.set(kind, () => s3Place(kind, join(folder, kind), say))
    else say(`storage: not on ${kind}: ${skip}`)
  }
  const report: string[] = []
  for (const [name, open] of opens) {
    if (onlyPlace !== undefined && name !== onlyPlace) continue
    report.push(`== ${name} ==`)
    for (const [what, measure] of Object.entries(MEASURES)) {
      if (onlyMeasure !== undefined && what !== onlyMeasure) continue
      say(`storage, ${name}: ${what}`)
      await using place = await open() // empty for each, so that the disk need not hold what all of them bring
      const text = await measure(place, generator)
      if (text !== '') report.push(text)
    }
  }
  return [`Storage${FULL ? '' : ', with small sizes; GANTRY_BENCH_FULL=1 takes those of the goals'}`, ...report].join(
    '\n',
  )
}

function diskPlace(folder: string, say: Say): Place {
  return {
    name: 'disk',
    ours: (prefix) => startOurs(join(folder, prefix)),
    theirs: () => startV3(join(folder, 'distribution'), say),
    driver: (prefix) => openFsDriver(join(folder, prefix)),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

async function s3Place(kind: S3Kind, folder: string, say: Say): Promise<Place> {
  const server = await startS3(kind)
  const started = (prefix: string, env: NodeJS.ProcessEnv): Promise<Contestant> =>
    startOurs(join(folder, prefix), [], env)
  const driver = (prefix: string): Promise<StorageDriver> => openS3Driver(server.settings({ prefix: `${prefix}/` }))
  const { bucket, credentials } = server.settings()
  const storage = {
    s3: {
      accesskey: credentials?.accessKeyId,
      secretkey: credentials?.secretAccessKey,
      region: 'us-east-1',
      regionendpoint: server.endpoint,
      bucket,
      rootdirectory: '/distribution',
      forcepathstyle: true,
      secure: false,
    },
    redirect: { disable: true }, // both send the bytes themselves
  }
  return {
    name: kind,
    ours: (prefix) => started(prefix, server.env(prefix)),
    theirs: () => startV3(join(folder, 'distribution'), say, storage),
    driver,
    async direct(prefix, digest) {
      const opened = await driver(prefix)
      try {
        const url = await opened.locate?.(blobKey(digest))
        if (!url) throw new Error(`${digest} is not in one object`)
        return url
      } finally {
        await opened.close()
      }
    },
    async counted(prefix) {
      const proxy = await startCountingProxy(server.endpoint)
      const registry = await started(prefix, { ...server.env(prefix), GANTRY_S3_ENDPOINT: proxy.endpoint })
      return {
        registry,
        count: () => proxy.count(),
        async [Symbol.asyncDispose]() {
          await registry[Symbol.asyncDispose]()
          await proxy[Symbol.asyncDispose]()
        },
      }
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

/** Both of a place, or ours alone; gone when the stack is. */
async function bothOf(place: Place, prefix: string, stack: AsyncDisposableStack): Promise<readonly Contestant[]> {
  const theirs = await place.theirs()
  return [stack.use(await place.ours(prefix)), ...(theirs ? [stack.use(theirs)] : [])]
}

async function benchCommit(place: Place): Promise<string> {
  await using stack = new AsyncDisposableStack()
  const rows: string[][] = []
  for (const { name, url } of await bothOf(place, 'commit', stack)) {
    const times = { small: [] as number[], large: [] as number[] }
    for (let round = 0; round < COMMIT_ROUNDS; round += 1) {
      for (const size of ['small', 'large'] as const) times[size].push(await commitMs(url, COMMITTED[size]))
    }
    const [small, large] = [median(times.small), median(times.large)]
    rows.push([name, small.toFixed(1), large.toFixed(1), ratio(large, small)])
  }
  const sizes = [COMMITTED.small, COMMITTED.large].map((bytes) => `${bytes / MB} MB, ms`)
  return `The closing PUT of an upload, median of ${COMMIT_ROUNDS}\n${table([['', ...sizes, 'large/small'], ...rows])}`
}

async function commitMs(url: string, sizeBytes: number): Promise<number> {
  const content = new Content(sizeBytes)
  const location = await append(url, await startUpload(url, NAME), content.pieces())
  const digest = content.digest()
  const begin = performance.now()
  await close(url, location, digest)
  return performance.now() - begin
}

async function benchStreams(place: Place, generator: string): Promise<string> {
  await using stack = new AsyncDisposableStack()
  const registries = await bothOf(place, 'streams', stack)
  const pulled = new Map<Contestant, string>()
  for (const registry of registries) {
    const content = new Content(STREAMED_BYTES)
    const digest = content.digest()
    await close(
      registry.url,
      await append(registry.url, await startUpload(registry.url, NAME), content.pieces()),
      digest,
    )
    pulled.set(registry, digest)
  }
  const [ours] = registries
  const direct = ours && (await place.direct?.('streams', parseDigest(pulled.get(ours) ?? '')))
  const rows: string[][] = []
  let seed = Date.now() % 2 ** 32
  for (const kind of ['push', 'pull'] as const) {
    for (const connections of AT_ONCE) {
      const speeds: number[] = []
      for (const registry of registries) {
        seed += 1
        const most = kind === 'push' ? connections : PULLS * connections
        const job = { address: registry.host, connections, seconds: SECONDS, most } as const
        const load =
          kind === 'push'
            ? ({ scenario: 'put', repository: NAME, sizeBytes: STREAMED_BYTES, seed } as const)
            : ({ scenario: 'request', method: 'GET', path: `/v2/${NAME}/blobs/${pulled.get(registry)}` } as const)
        const { operations, seconds } = await putLoad(generator, { ...job, ...load })
        speeds.push((operations * STREAMED_BYTES) / MB / seconds)
      }
      const [ours = 0, theirs] = speeds
      const compared = theirs === undefined ? '' : ratio(ours, theirs)
      const shown = speeds.map((speed) => speed.toFixed(0))
      const alone = kind === 'pull' && direct ? (await directSpeed(generator, direct, connections)).toFixed(0) : ''
      rows.push([`${kind}, ${connections} at once`, ...shown, compared, ...(direct ? [alone] : [])])
    }
  }
  const names = registries.map(({ name }) => `${name} MB/s`)
  const header = ['', ...names, 'ours is', ...(direct ? ['S3 alone MB/s'] : [])]
  return `Blobs of ${STREAMED_BYTES / MB} MB, whole\n${table([header, ...rows])}`
}

/** One pull for each connection: versitygw closes it behind a signed URL. */
async function directSpeed(generator: string, { host, pathname, search }: URL, connections: number): Promise<number> {
  const { operations, seconds } = await putLoad(generator, {
    address: host,
    connections,
    seconds: SECONDS,
    most: connections,
    scenario: 'request',
    method: 'GET',
    path: pathname + search,
  })
  return (operations * STREAMED_BYTES) / MB / seconds
}

async function benchMemory(place: Place, generator: string): Promise<string> {
  await using registry = await place.ours('memory')
  const { atOnce, sizeBytes } = UPLOADS
  const before = await peakBytes(registry.pid)
  await putLoad(generator, {
    address: registry.host,
    connections: atOnce,
    seconds: SECONDS,
    scenario: 'put',
    repository: NAME,
    sizeBytes,
    most: atOnce,
    seed: Date.now() % 2 ** 32,
  })
  const [first, peak] = [before, await peakBytes(registry.pid)].map((bytes) => `${(bytes / MIB).toFixed(0)} MiB`)
  return `Peak of resident memory under ${atOnce} uploads of ${sizeBytes / MB} MB at once: ${peak}; before: ${first}`
}

async function peakBytes(pid: number): Promise<number> {
  const [, kib] = /^VmHWM:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) * 1024
}

async function benchListing(place: Place): Promise<string> {
  const prefix = 'listing'
  const first = await place.ours(prefix)
  await putManifest(first.url, NAME, 'first').finally(() => first[Symbol.asyncDispose]())
  const driver = await place.driver(prefix)
  try {
    for (let from = 0; from < TAGS; from += TAGS_WRITTEN_AT_ONCE) {
      const tags = Array.from({ length: TAGS_WRITTEN_AT_ONCE }, (_, index) =>
        parseTag(`t${`${from + index}`.padStart(6, '0')}`),
      )
      const entry = { unique: true, afterPowerLoss: 'anything' } as const
      await Promise.all(tags.map((tag) => driver.write(tagListKey(NAME, tag, newNonce()), new Uint8Array(), entry)))
    }
  } finally {
    await driver.close()
  }
  const path = `/v2/${NAME}/tags/list?n=${PAGE}&last=t${`${TAGS / 2}`.padStart(6, '0')}`
  const ask = async (url: string): Promise<number> => {
    const begin = performance.now()
    const response = await fetch(url + path)
    const { tags } = (await response.json()) as { readonly tags: readonly string[] }
    expectStatus(response, 200, 'a page of tags')
    if (tags.length !== PAGE) throw new Error(`a page has ${tags.length} tags, not ${PAGE}`)
    return performance.now() - begin
  }
  await using registry = await place.ours(prefix)
  const cold = await ask(registry.url)
  const times: number[] = []
  for (let round = 0; round < COMMIT_ROUNDS; round += 1) times.push(await ask(registry.url))
  let requests = ''
  if (place.counted) {
    await using counted = await place.counted(prefix)
    counted.count()
    await ask(counted.registry.url)
    requests = `, ${counted.count()} requests to S3`
  }
  return `${PAGE} of ${TAGS} tags, from the middle: ${cold.toFixed(1)} ms the first time, then ${median(times).toFixed(1)} ms${requests}`
}

async function benchRequests(place: Place): Promise<string> {
  if (!place.counted) return ''
  await using counted = await place.counted('requests')
  const { url } = counted.registry
  const rows: string[][] = [['start-up', `${counted.count()}`]]
  const step = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    counted.count()
    const result = await work()
    rows.push([name, `${counted.count()}`])
    return result
  }
  const get =
    (path: string, method = 'GET', status = 200) =>
    async (): Promise<void> => {
      const response = await fetch(url + path, { method })
      await response.arrayBuffer()
      expectStatus(response, status, `${method} ${path}`)
    }
  const absent = new Content(5).digest()
  await step('HEAD of a blob that is not there', get(`/v2/${NAME}/blobs/${absent}`, 'HEAD', 404))
  for (const [size, sizeBytes] of [
    ['2 KB', 2_000],
    ['1 MB', MB],
    ['20 MB', 20 * MB],
    ['200 MB', 200 * MB],
  ] as const) {
    const content = new Content(sizeBytes)
    const digest = content.digest()
    const session = await step(`POST, for ${size}`, () => startUpload(url, NAME))
    const location = await step(`PATCH of ${size}`, () => append(url, session, content.pieces()))
    await step(`closing PUT after ${size}`, () => close(url, location, digest))
    await step(`HEAD of ${size}`, get(`/v2/${NAME}/blobs/${digest}`, 'HEAD'))
    await step(`GET of ${size}`, get(`/v2/${NAME}/blobs/${digest}`))
    await step(`mount of ${size}`, get(`/v2/${NAME}-too/blobs/uploads/?mount=${digest}&from=${NAME}`, 'POST', 201))
    const whole = new Content(sizeBytes)
    await step(`PUT of ${size} at once, with its POST`, async () => {
      const bytes = Buffer.concat([...whole.pieces()])
      await close(url, await startUpload(url, NAME), whole.digest(), bytes)
    })
  }
  const config = new Content(2_000)
  const blob = { digest: config.digest(), size: config.size }
  await close(url, await startUpload(url, NAME), blob.digest, Buffer.concat([...config.pieces()]))
  await putManifest(url, NAME, 'another', { blob, annotations: { first: 'of its repository' } })
  const manifest = await step('manifest PUT, new tag', () => putManifest(url, NAME, 'latest', { blob }))
  await step('manifest PUT, the same again', () => putManifest(url, NAME, 'latest', { blob }))
  const moved = { moved: 'here' }
  await step('manifest PUT, tag that moves', () => putManifest(url, NAME, 'latest', { blob, annotations: moved }))
  await step('manifest GET by tag', get(`/v2/${NAME}/manifests/latest`))
  await step('manifest GET by digest', get(`/v2/${NAME}/manifests/${manifest}`))
  await step('tags/list', get(`/v2/${NAME}/tags/list`))
  return `Requests to S3, counted at a proxy\n${table([['', 'requests'], ...rows])}`
}
