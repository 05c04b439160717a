/** Registries that are killed and come back, by the kinds of places that they serve: the ways in which Gantry is really run. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readdir, readFile, rm, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { StorageDriver } from '../../storage/driver.ts'
import { openFsDriver } from '../../storage/fs/driver.ts'
import { parseBlobRecord } from '../../storage/s3/blob-record.ts'
import { Bucket } from '../../storage/s3/bucket.ts'
import { openS3Driver } from '../../storage/s3/driver.ts'
import { run, succeed, until } from '../support/commands.ts'
import { type ServedRegistry, startGantry } from '../support/gantry-serve.ts'
import { type S3Kind, type S3Server, startS3 } from '../support/s3-server.ts'
import type { Workspace } from '../support/workspace.ts'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'
import { keysBelow } from './keys.ts'
import type { Random } from './random.ts'
import { stormOf } from './storm.ts'

export interface Fleet extends AsyncDisposable {
  /** Of each process or port, whether somebody is there or not. */
  readonly urls: readonly string[]
  /** What the registry promises to lose at most of what it was sent when it is killed. */
  readonly resentBytes: number
  /** Whether there are S3 calls, which can be spoiled. */
  readonly callsS3: boolean
  /** S3 calls that were spoiled. */
  faulted(): number
  /** Among them, false versions of records. */
  lies(): number
  /** Resolves when nothing is under way that a process which died has asked of the storage. */
  settled(): Promise<void>
  /** `kill -9` of the process at that place among `urls`, at a moment that chance chooses, and its return. Resolves to where it was killed. */
  kill(place: number, random: Random): Promise<string>
  /** No more faults from here on. */
  calm(): Promise<void>
  /** The place itself, without a registry. */
  openDriver(): Promise<StorageDriver>
  /** Temporary files, parts of uploads that are not complete, data that no blob is made of. */
  leftovers(): Promise<readonly string[]>
  log(): string
}

const MIB = 1024 * 1024
const PART_BYTES = 5 * MIB
/** What two sockets hold beside, at Linux's largest (`tcp_rmem`, `tcp_wmem`), and the registry in front of its storage. */
const IN_PIPES_BYTES = (32 + 4 + 4) * MIB
/** A syscall that never comes is not waited for longer. */
const SYSCALL_TIMEOUT_MS = 1_500
/** Between which a process dies: those that make something durable or visible, and those that read. */
const SYSCALLS = ['pwritev', 'pwrite64', 'write', 'fdatasync', 'fsync', 'link', 'rename', 'unlink', 'rmdir', 'mkdir', 'ftruncate', 'openat', 'close', 'fcntl', 'writev'] // biome-ignore format: a list

export const FLEETS = {
  'one process on a disk': (workspace, random) => DiskFleet.open(workspace, random, { processes: 1 }),
  'workers on a disk': (workspace, random) => DiskFleet.open(workspace, random, { processes: 1, workers: 2 }),
  'replicas on one disk': (workspace, random) => DiskFleet.open(workspace, random, { processes: 2 }),
  'a disk that fills': (workspace, random) => DiskFleet.open(workspace, random, { processes: 1, diskMib: 48 }),
  'replicas on versitygw': (workspace, random) => BucketFleet.open(workspace, random, 'versitygw', 2),
  'replicas on minio': (workspace, random) => BucketFleet.open(workspace, random, 'minio', 2),
} as const satisfies Record<string, (workspace: Workspace, random: Random) => Promise<Fleet>>

export type FleetName = keyof typeof FLEETS

/** A registry under one address, whoever runs there at the moment. */
class Seat {
  readonly url: string
  #registry: ServedRegistry
  readonly #start: (port: number) => Promise<ServedRegistry>
  #said = ''

  private constructor(registry: ServedRegistry, start: (port: number) => Promise<ServedRegistry>) {
    this.#registry = registry
    this.#start = start
    this.url = registry.url
  }

  static async open(start: (port: number) => Promise<ServedRegistry>): Promise<Seat> {
    return new Seat(await start(0), start)
  }

  get process(): ChildProcess {
    return this.#registry.process
  }

  /** After its death. */
  async return(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, 'exit')
    this.#said = `${this.#said}${this.#registry.log()}\n--- killed ---\n`.slice(-64_000)
    await this.#registry[Symbol.asyncDispose]()
    this.#registry = await this.#start(Number(new URL(this.url).port))
  }

  log(): string {
    return this.#said + this.#registry.log()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#registry[Symbol.asyncDispose]()
  }
}

class DiskFleet implements Fleet {
  readonly callsS3 = false
  readonly urls: readonly string[]
  readonly resentBytes = 32 * MIB + IN_PIPES_BYTES
  readonly #seats: readonly Seat[]
  readonly #folder: string
  readonly #workers: number
  readonly #filler: Filler | undefined
  readonly #owned: AsyncDisposableStack

  private constructor(
    seats: readonly Seat[],
    folder: string,
    workers: number,
    filler: Filler | undefined,
    owned: AsyncDisposableStack,
  ) {
    this.#owned = owned
    this.#seats = seats
    this.#folder = folder
    this.#workers = workers
    this.#filler = filler
    this.urls = seats.map(({ url }) => url)
  }

  static async open(
    workspace: Workspace,
    random: Random,
    { processes, workers = 0, diskMib }: { processes: number; workers?: number; diskMib?: number },
  ): Promise<DiskFleet> {
    const folder = workspace.path(`disk-${random.below(2 ** 31)}`)
    await mkdir(folder)
    const env = { ...workspace.env, ...(workers > 0 ? { GANTRY_WORKERS: `${workers}` } : {}) }
    const dataDirectory = join(folder, 'data')
    await using stack = new AsyncDisposableStack()
    stack.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
    if (diskMib !== undefined) {
      await succeed('mount', ['-t', 'tmpfs', '-o', `size=${diskMib}m`, 'tmpfs', folder])
      stack.defer(async () => void (await run('umount', ['--lazy', folder])))
    }
    const start = (port: number): Promise<ServedRegistry> => startGantry({ dataDirectory, port, env })
    const seats: Seat[] = []
    for (let n = 0; n < processes; n += 1) seats.push(stack.use(await Seat.open(start)))
    const filler =
      diskMib === undefined ? undefined : stack.use(new Filler(join(folder, 'filler'), random.fork('filler')))
    return new DiskFleet(seats, dataDirectory, workers, filler, stack.move())
  }

  faulted = (): number => 0
  lies = (): number => 0
  /** The kernel has done, or left undone, what a dead process asked. */
  settled = async (): Promise<void> => {}

  async kill(place: number, random: Random): Promise<string> {
    const seat = this.#seats[place] as Seat
    if (this.#workers > 0 && random.chance(0.8)) return await this.#killWorker(seat, random)
    const how = await die(seat.process.pid ?? 0, random)
    await seat.return()
    return how
  }

  async #killWorker(seat: Seat, random: Random): Promise<string> {
    const workers = await childrenOf(seat.process.pid ?? 0)
    const victim = random.pick(workers)
    const how = await die(victim, random)
    await until('another worker to take its place', 60_000, async () => {
      const now = await childrenOf(seat.process.pid ?? 0)
      return (now.length === this.#workers && !now.includes(victim)) || undefined
    })
    return `worker ${how}`
  }

  async calm(): Promise<void> {
    await this.#filler?.[Symbol.asyncDispose]()
  }

  async openDriver(): Promise<StorageDriver> {
    // What is swept by age is old now.
    const folder = join(this.#folder, 'tmp')
    for (const name of await readdir(folder)) await utimes(join(folder, name), 0, 0).catch(() => {})
    return await openFsDriver(this.#folder)
  }

  async leftovers(): Promise<readonly string[]> {
    return await readdir(join(this.#folder, 'tmp'))
  }

  log(): string {
    return this.#seats.map((seat) => seat.log()).join('\n======\n')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync()
  }
}

class BucketFleet implements Fleet {
  readonly callsS3 = true
  readonly urls: readonly string[]
  /** Four parts to a checkpoint, four that travel, and one that is being filled. */
  readonly resentBytes = 9 * PART_BYTES + IN_PIPES_BYTES
  readonly #seats: readonly Seat[]
  readonly #proxies: readonly FaultProxy[]
  readonly #server: S3Server
  readonly #owned: AsyncDisposableStack
  #faulted = 0
  #lies = 0

  private constructor(
    seats: readonly Seat[],
    proxies: readonly FaultProxy[],
    server: S3Server,
    owned: AsyncDisposableStack,
  ) {
    this.#owned = owned
    this.#seats = seats
    this.#proxies = proxies
    this.#server = server
    this.urls = seats.map(({ url }) => url)
  }

  static async open(workspace: Workspace, random: Random, kind: S3Kind, replicas: number): Promise<BucketFleet> {
    await using stack = new AsyncDisposableStack()
    const server = stack.use(await startS3(kind, workspace.env))
    const seats: Seat[] = []
    const proxies: FaultProxy[] = []
    for (let n = 0; n < replicas; n += 1) {
      const proxy = stack.use(await startFaultProxy(server.endpoint))
      const env = {
        ...workspace.env,
        ...server.env('store'),
        GANTRY_S3_ENDPOINT: proxy.url,
        GANTRY_S3_PART_SIZE: '5MiB',
        GANTRY_S3_TIMEOUT: '4s',
      }
      proxies.push(proxy)
      seats.push(
        stack.use(
          await Seat.open(async (port) => {
            const { storm } = proxy
            proxy.storm = undefined // its probe of the bucket is of another chapter
            const registry = await startGantry({ port, env })
            proxy.storm = storm
            return registry
          }),
        ),
      )
    }
    const fleet = new BucketFleet(seats, proxies, server, stack.move())
    for (const [n, proxy] of proxies.entries()) {
      const storm = stormOf(random.fork(`storm ${n}`))
      proxy.storm = (line) => {
        const fault = storm(line)
        if (fault !== undefined) fleet.#faulted += 1
        if (fault === 'lie about the ETag') fleet.#lies += 1
        return fault
      }
    }
    return fleet
  }

  faulted = (): number => this.#faulted
  lies = (): number => this.#lies
  settled = async (): Promise<void> => void (await Promise.all(this.#proxies.map((proxy) => proxy.settled())))

  async kill(place: number, random: Random): Promise<string> {
    const [seat, proxy] = [this.#seats[place] as Seat, this.#proxies[place] as FaultProxy]
    const how = random.chance(0.5)
      ? await die(seat.process.pid ?? 0, random)
      : await this.#dieAtRequest(seat, proxy, random)
    proxy.forget()
    await seat.return()
    return how
  }

  /** Between two awaits, then: each request to S3 is one. */
  async #dieAtRequest(seat: Seat, proxy: FaultProxy, random: Random): Promise<string> {
    const exited = once(seat.process, 'exit')
    const what = random.pick(['PUT .*/state', 'PUT .*partNumber', 'POST .*uploadId', 'POST .*uploads', 'PUT .*/blobs/', 'PUT .*/links/', 'PUT .*target', 'DELETE ', 'PUT .*/tags/', 'PUT .*/taglist/', 'PUT .*/tagsof/', 'PUT .*/manifests/', 'PUT .*/referrers/', 'GET ', 'PUT .*/data/']) // biome-ignore format: a list
    const done = random.chance(0.5)
    const death = (): void => void seat.process.kill('SIGKILL')
    proxy.next(new RegExp(`^${what}`), { death, done })
    await Promise.race([exited, delay(SYSCALL_TIMEOUT_MS, undefined, { ref: false })])
    seat.process.kill('SIGKILL')
    return `${done ? 'behind' : 'before'} ${what}`
  }

  async calm(): Promise<void> {
    for (const proxy of this.#proxies) proxy.storm = undefined
    await this.settled()
  }

  openDriver(): Promise<StorageDriver> {
    return openS3Driver(this.#server.settings({ prefix: 'store/', partBytes: PART_BYTES }))
  }

  async leftovers(): Promise<readonly string[]> {
    const bucket = new Bucket(this.#server.settings({ prefix: 'store/' }))
    try {
      const blobs = await Promise.all((await keysBelow(bucket, 'blobs/')).map((key) => bucket.get(key)))
      const records = blobs.map(
        (found) => found && parseBlobRecord(found.bytes, { key: '', sizeBytes: found.sizeBytes, etag: '' }),
      )
      const named = new Set(
        records.flatMap((record) =>
          record && 'data' in record.content ? record.content.data.map(({ key }) => key) : [],
        ),
      )
      const orphans = (await keysBelow(bucket, 'data/')).filter((key) => !named.has(key))
      return [...orphans, ...(await this.#server.parts())]
    } finally {
      bucket.close()
    }
  }

  log(): string {
    return this.#seats.map((seat) => seat.log()).join('\n======\n')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync()
  }
}

/** Takes the room of a disk away, and gives it back, in turns that chance chooses. */
class Filler implements AsyncDisposable {
  readonly #stop = new AbortController()
  readonly #running: Promise<void>

  constructor(path: string, random: Random) {
    this.#running = this.#run(path, random)
  }

  async #run(path: string, random: Random): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await delay(random.below(1_500), undefined, { signal: this.#stop.signal }).catch(() => {})
      await this.#fill(path, random.below(8) * 64 * 1024)
      await delay(random.below(700), undefined, { signal: this.#stop.signal }).catch(() => {})
      await rm(path, { force: true })
    }
  }

  /** But for so many bytes. */
  async #fill(path: string, leftBytes: number): Promise<void> {
    await using file = await open(path, 'w')
    const piece = Buffer.alloc(64 * 1024)
    let written = 0
    try {
      for (;;) written += (await file.write(piece)).bytesWritten
    } catch {
      await file.truncate(Math.max(0, written - leftBytes)) // full
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
  }
}

/** `kill -9`, by the clock or at one of its syscalls. Resolves when it is dead. */
async function die(pid: number, random: Random): Promise<string> {
  const [waitMs, bySyscall, name, nth] = [
    random.below(300),
    random.chance(0.5),
    random.pick(SYSCALLS),
    1 + random.below(12),
  ]
  if (!bySyscall) {
    await delay(waitMs)
    killQuietly(pid)
    return `after ${waitMs} ms`
  }
  const inject = `inject=${name}:signal=KILL:when=${nth}`
  const tracer = spawn(
    'strace',
    ['-f', '-qq', '-o', '/dev/null', '-p', `${pid}`, '-e', `trace=${name}`, '-e', inject],
    {
      stdio: 'ignore',
    },
  )
  const ended = once(tracer, 'exit')
  await Promise.race([ended, delay(SYSCALL_TIMEOUT_MS, undefined, { ref: false })])
  killQuietly(pid)
  tracer.kill('SIGKILL')
  await ended
  return `at ${name} ${nth}`
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  return text.split(' ').filter(Boolean).map(Number)
}
