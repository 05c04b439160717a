/**
 * Requests of a registry's day beside its peers, in one run: each kind of request, at each number of connections, turn by
 * turn in slices of about a second. The load generator shares the machine's cores with the server, so the CPU time that
 * the server used per operation is printed too: it does not depend on what the generator leaves over.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Contestant, cpuSeconds, startContestants } from './contestants.ts'
import { benchCredentials } from './credentials.ts'
import { syncedFilesPerSecond } from './disk.ts'
import { median, ratio, table } from './figures.ts'
import { buildLoad, type Load, putLoad } from './load.ts'
import { type Fixture, pushFixture } from './registry-fixture.ts'

const KB = 1_000
const MB = 1_000_000
const ROUNDS = 3
const SLICE_SECONDS = 1
/** A repository of its own for what is pushed, so that it does not weigh on what is read. */
const PUSHED = 'bench/pushed'

/** As clients send them; the peers say 404 to who does not accept a manifest's type. */
const CLIENT_HEADERS = {
  'User-Agent': 'bench',
  Accept: 'application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*',
}

interface Kind {
  readonly name: string
  readonly connections: readonly number[]
  readonly load: (fixture: Fixture, seed: number, connections: number) => Load
}

const get = (path: (fixture: Fixture) => string, method: 'GET' | 'HEAD' = 'GET'): Kind['load'] => {
  return (fixture) => ({ scenario: 'request', method, path: path(fixture), headers: CLIENT_HEADERS })
}
const push = (scenario: 'put' | 'chunked' | 'push', sizeBytes: number, most: number): Kind['load'] => {
  return (_, seed, connections) => ({
    scenario,
    repository: PUSHED,
    sizeBytes,
    chunkBytes: 10 * MB,
    most: Math.max(most, connections),
    seed,
  })
}
const getLarge: Kind['load'] = ({ name, large }, _, connections) => ({
  scenario: 'request',
  method: 'GET',
  path: `/v2/${name}/blobs/${large}`,
  most: Math.max(connections, 24),
})

const FEW = [1, 8] as const
const ALL = [1, 8, 64] as const
const KINDS: readonly Kind[] = [
  { name: 'HEAD manifest by tag', connections: ALL, load: get(({ name }) => `/v2/${name}/manifests/latest`, 'HEAD') },
  { name: 'GET manifest', connections: ALL, load: get(({ name, manifest }) => `/v2/${name}/manifests/${manifest}`) },
  { name: 'HEAD blob', connections: ALL, load: get(({ name, small }) => `/v2/${name}/blobs/${small}`, 'HEAD') },
  { name: 'GET blob 1 kB', connections: ALL, load: get(({ name, small }) => `/v2/${name}/blobs/${small}`) },
  { name: 'GET tags list', connections: ALL, load: get(({ name }) => `/v2/${name}/tags/list`) },
  { name: 'GET blob 1 MB', connections: ALL, load: get(({ name, medium }) => `/v2/${name}/blobs/${medium}`) },
  { name: 'GET blob 100 MB', connections: ALL, load: getLarge },
  { name: 'small push (6 requests)', connections: ALL, load: push('push', 10 * KB, 2_000) },
  { name: 'PUT blob 1 MB', connections: ALL, load: push('put', MB, 400) },
  // 64 at once would write 6.4 GB a slice: that measures the disk.
  { name: 'PUT blob 100 MB', connections: FEW, load: push('put', 100 * MB, 4) },
  { name: 'PUT blob 100 MB chunked', connections: FEW, load: push('chunked', 100 * MB, 4) },
]

interface Sample {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly cpuMicroseconds: number
}

/** Resolves to the text to print. `only` keeps the kinds whose name contains it. */
export async function benchRegistry(say: (progress: string) => void, only = ''): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-bench-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const generator = await buildLoad(folder)
  const contestants = await startContestants(stack, folder, say)
  const fixtures = new Map<Contestant, Fixture>()
  for (const contestant of contestants) fixtures.set(contestant, await pushFixture(contestant.url))

  const diskBound = async (load: Kind['load'], atOnce: number): Promise<string> => {
    const job = load(fixtures.get(contestants[0] as Contestant) as Fixture, 0, atOnce)
    if (job.scenario !== 'put' && job.scenario !== 'chunked') return ''
    const { sizeBytes, most } = job
    const taken: number[] = []
    for (let round = 0; round < ROUNDS; round += 1) {
      taken.push(await syncedFilesPerSecond(folder, { sizeBytes, atOnce, most, seconds: SLICE_SECONDS }))
    }
    return perSecondText(median(taken))
  }
  const rows: string[][] = []
  let seed = Date.now() % 2 ** 32
  for (const { name, connections: counts, load } of KINDS.filter((kind) => kind.name.includes(only))) {
    for (const connections of counts) {
      say(`registry: ${name}, ${connections} at once`)
      const samples = new Map<Contestant, Sample[]>(contestants.map((contestant) => [contestant, []]))
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const [contestant, taken] of turns(samples, round)) {
          seed += 1
          const job = load(fixtures.get(contestant) as Fixture, seed, connections)
          taken.push(await slice(generator, contestant, connections, job))
        }
      }
      rows.push(rowOf(name, connections, [...samples.values()].map(middle), await diskBound(load, connections)))
    }
  }
  const names = contestants.flatMap(({ name }) => [name, '', '', ''])
  const units = contestants.flatMap(() => ['op/s', 'p50 ms', 'p99 ms', 'cpu µs'])
  say('registry: who asks')
  const ours = contestants[0] as Contestant
  const credentials = await benchCredentials(generator, folder, ours, fixtures.get(ours) as Fixture)
  return [
    'Requests beside peers: median of 3 slices each, turn by turn. The generator shares the cores with the server.',
    'Durability: gantry syncs bytes and folder before it answers, distribution v3 syncs bytes, docker-registry 2.8 neither.',
    '"speed": operations a second as a multiple of the better peer; "cpu": its CPU time an operation as a multiple of ours.',
    '"disk": files of that size that a program writes and syncs a second which does nothing else.',
    table([['', 'at once', ...names, '', '', ''], ['', '', ...units, 'speed', 'cpu', 'disk'], ...rows]),
    credentials,
  ].join('\n')
}

/** Who begins changes each round: what the one before left in caches and queues falls on everybody. */
function turns<T>(samples: ReadonlyMap<Contestant, T>, round: number): readonly (readonly [Contestant, T])[] {
  const all = [...samples]
  return all.map((_, index) => all[(index + round) % all.length] as (typeof all)[number])
}

async function slice(generator: string, { host, pid }: Contestant, connections: number, job: Load): Promise<Sample> {
  const before = await cpuSeconds(pid)
  const result = await putLoad(generator, { address: host, connections, seconds: SLICE_SECONDS, ...job })
  const used = (await cpuSeconds(pid)) - before
  return {
    perSecond: result.operations / result.seconds,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    cpuMicroseconds: (used * 1e6) / result.operations,
  }
}

const middle = (samples: readonly Sample[]): Sample => ({
  perSecond: median(samples.map(({ perSecond }) => perSecond)),
  p50Ms: median(samples.map(({ p50Ms }) => p50Ms)),
  p99Ms: median(samples.map(({ p99Ms }) => p99Ms)),
  cpuMicroseconds: median(samples.map(({ cpuMicroseconds }) => cpuMicroseconds)),
})

const perSecondText = (perSecond: number): string => perSecond.toFixed(perSecond < 100 ? 1 : 0)

function rowOf(name: string, connections: number, [ours, ...peers]: readonly Sample[], disk: string): string[] {
  const all = [ours as Sample, ...peers]
  const cells = all.flatMap(({ perSecond, p50Ms, p99Ms, cpuMicroseconds }) => [
    perSecondText(perSecond),
    p50Ms.toFixed(2),
    p99Ms.toFixed(2),
    cpuMicroseconds.toFixed(0),
  ])
  if (!ours || peers.length === 0) return [name, `${connections}`, ...cells, '', '', disk]
  const best = Math.max(...peers.map(({ perSecond }) => perSecond))
  const thrifty = Math.min(...peers.map(({ cpuMicroseconds }) => cpuMicroseconds))
  return [name, `${connections}`, ...cells, ratio(ours.perSecond, best), ratio(thrifty, ours.cpuMicroseconds), disk]
}
