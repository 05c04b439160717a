/**
 * PUT and GET of one blob of 512 MB beside the peers: all on loopback over plain HTTP, all storing on the same disk, turn
 * by turn. A PUT is what docker sends: POST, one chunked PATCH, PUT with the digest.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Content, drainBlob, pushBlob } from '../conformance/support/blobs.ts'
import { startContestants } from './contestants.ts'
import { type Figures, ratio, summarize, table } from './figures.ts'

const MB = 1_000_000
const BLOB_BYTES = 512 * MB
const ROUNDS = 5

/** Resolves to the text to print. */
export async function benchLargeBlob(say: (progress: string) => void): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-bench-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const contestants = await startContestants(stack, folder, say)

  const times = new Map(contestants.map(({ name }) => [name, { put: [] as number[], get: [] as number[] }]))
  for (let round = 0; round < ROUNDS; round++) {
    const content = new Content(BLOB_BYTES) // new each time: nobody may know it already
    const digest = content.digest()
    for (const { name, url } of round % 2 === 0 ? contestants : contestants.toReversed()) {
      say(`blob, round ${round + 1} of ${ROUNDS}: ${name}`)
      const taken = times.get(name)
      taken?.put.push(await seconds(() => pushBlob(url, 'bench', content, digest)))
      taken?.get.push(await seconds(() => drainBlob(url, 'bench', digest)))
    }
  }

  const figures = contestants.map(({ name }) => {
    const { put, get } = times.get(name) ?? { put: [], get: [] }
    return { name, put: summarize(put), get: summarize(get) }
  })
  const [ours] = figures
  const rows = figures.map(({ name, put, get }) => [
    name,
    ...cells(put, ours?.put ?? put),
    ...cells(get, ours?.get ?? get),
  ])
  const header = ['', 'PUT MB/s', '(best)', 'ours is', 'GET MB/s', '(best)', 'ours is']
  return `PUT and GET of ${BLOB_BYTES / MB} MB, median and best of ${ROUNDS}; "ours is": Gantry's speed as a multiple\n${table([header, ...rows])}`
}

function cells(time: Figures, ours: Figures): readonly string[] {
  const speed = (taken: number): string => (BLOB_BYTES / MB / taken).toFixed(0)
  return [speed(time.p50), speed(time.min), ratio(time.p50, ours.p50)]
}

async function seconds(work: () => Promise<void>): Promise<number> {
  const begin = performance.now()
  await work()
  return (performance.now() - begin) / 1000
}
