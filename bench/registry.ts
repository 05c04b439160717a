/**
 * PUT and GET of one blob of 512 MB, beside Debian's docker-registry in the same run: both on loopback over plain HTTP, both
 * storing on the same disk, turn by turn. A PUT is what docker sends: POST, one chunked PATCH, PUT with the digest.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Content, drainBlob, pushBlob } from '../conformance/support/blobs.ts'
import { startGroup, stopGroup, until } from '../conformance/support/commands.ts'
import { startGantry } from '../conformance/support/gantry-serve.ts'
import { findAll } from '../conformance/support/needs.ts'
import { type Figures, ratio, summarize, table } from './figures.ts'

const MB = 1_000_000
const BLOB_BYTES = 512 * MB
const ROUNDS = 5
const READY_TIMEOUT_MS = 20_000

interface Contestant extends AsyncDisposable {
  readonly name: string
  readonly url: string
}

/** Resolves to the text to print. */
export async function benchRegistry(say: (progress: string) => void): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-bench-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const contestants: Contestant[] = [stack.use(await gantry(join(folder, 'gantry')))]
  const [peer] = await findAll('docker-registry')
  if (peer === undefined) say('docker-registry is not installed: no peer to compare with')
  else contestants.push(stack.use(await dockerRegistry(peer, join(folder, 'peer'))))

  const times = new Map(contestants.map(({ name }) => [name, { put: [] as number[], get: [] as number[] }]))
  for (let round = 0; round < ROUNDS; round++) {
    const content = new Content(BLOB_BYTES) // new each time: nobody may know it already
    const digest = content.digest()
    for (const { name, url } of round % 2 === 0 ? contestants : contestants.toReversed()) {
      say(`registry, round ${round + 1} of ${ROUNDS}: ${name}`)
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

async function gantry(dataDirectory: string): Promise<Contestant> {
  const registry = await startGantry({ dataDirectory })
  return {
    name: 'gantry',
    url: registry.url,
    [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
  }
}

async function dockerRegistry(executable: string, folder: string): Promise<Contestant> {
  const port = await freePort()
  await mkdir(folder, { recursive: true })
  const config = {
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(folder, 'data') }, delete: { enabled: true } },
    http: { addr: `127.0.0.1:${port}` },
  }
  await writeFile(join(folder, 'config.yml'), JSON.stringify(config)) // JSON is YAML
  const child = startGroup(executable, ['serve', join(folder, 'config.yml')], { stdio: 'ignore' })
  const stop = (): Promise<void> => stopGroup(child)
  try {
    await until('docker-registry to listen', READY_TIMEOUT_MS, () => accepts(port))
  } catch (error) {
    await stop()
    throw error
  }
  return {
    name: 'docker-registry',
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: stop,
  }
}

/** One that was free a moment ago: the peer cannot choose for itself and tell. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(address !== null && typeof address === 'object' ? address.port : 0))
    })
  })
}

function accepts(port: number): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(undefined))
  })
}
