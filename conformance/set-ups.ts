/**
 * The set-ups in which the upstream suite has to find nothing, each a registry started the way a user starts it. One table:
 * where the content is, how many processes serve it, who may ask. `npm test` takes some of its rows, `npm run test:full` all.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { request as requestSecurely } from 'node:https'
import { join } from 'node:path'
import { selfSigned } from '../server/tls/self-signed.ts'
import { startBalancer } from './support/balancer.ts'
import { gantry, type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { notBuilt } from './support/go-tools.ts'
import { startReverseProxy } from './support/reverse-proxy.ts'
import { startS3 } from './support/s3-server.ts'

type Environment = Readonly<Record<string, string>>

/** One set-up, running: whom the suite asks, and what it has to know beside that. */
interface Running extends AsyncDisposable {
  /** `127.0.0.1:<port>` */
  readonly host: string
  readonly suite: Environment
  log(): string
  /** Throws if the set-up was not what its name says: a suite over one connection meets one process only. */
  verify(): Promise<void>
}

interface SetUp {
  /** As in the titles of tests. */
  readonly name: string
  /** Why it cannot run here, or `false`. */
  readonly skip: string | false
  /** `directory` is for data, sockets and logs, and is empty. */
  open(directory: string): Promise<Running>
}

/** What makes a registry of one row: its processes differ in nothing but where they listen. */
interface Place {
  readonly directory: string
  readonly env: NodeJS.ProcessEnv
  /** Absent where the content is in a bucket. */
  readonly dataDirectory?: string
}

interface Served {
  readonly host: string
  readonly registries: readonly ServedRegistry[]
  /** With TLS: the file that says whom to believe. */
  readonly authority?: string
  verify?(): Promise<void>
}

/** What is made goes onto the stack. */
type Serve = (place: Place, stack: AsyncDisposableStack) => Promise<Served>

const PROCESSES = 3
const USER = 'suite'
const PASSWORD = 'correct horse battery'
const TOKENS_SECRET = randomBytes(32).toString('hex')

const STORAGES = ['a disk', 'versitygw', 'minio'] as const

/** How it is served. */
const SERVERS = {
  'one process': async (place, stack) => {
    const registry = stack.use(await startGantry(place))
    return { host: registry.host, registries: [registry] }
  },

  'one process with TLS': async (place, stack) => {
    const registry = stack.use(await startGantry({ ...place, env: { ...place.env, GANTRY_TLS_SELF_SIGNED: 'true' } }))
    return { host: registry.host, registries: [registry], authority: join(registry.dataDirectory, 'tls', 'ca.crt') }
  },

  'one process behind a proxy that ends TLS': async (place, stack) => {
    const env = { ...place.env, GANTRY_PROXIES: '127.0.0.1' }
    const registry = stack.use(await startGantry({ ...place, env }))
    const { file, authorityFile } = await selfSigned(place.directory, ['127.0.0.1'])
    const pem = await readFile(file, 'utf8')
    const { host } = stack.use(
      await startReverseProxy({ port: portOf(registry.url) }, { tls: { cert: pem, key: pem } }),
    )
    return { host, registries: [registry], authority: authorityFile }
  },

  'workers behind one port': async (place, stack) => {
    const log = join(place.directory, 'access.log')
    const env = { ...place.env, GANTRY_WORKERS: `${PROCESSES}`, GANTRY_ACCESS_LOG: log }
    const registry = stack.use(await startGantry({ ...place, env }))
    const { host } = stack.use(await startReverseProxy({ port: portOf(registry.url) }))
    const verify = async (): Promise<void> => {
      const lines = (await readFile(log, 'utf8')).trim().split('\n')
      const answered = Map.groupBy(lines, (line) => (JSON.parse(line) as { worker?: number }).worker)
      assert.equal(answered.size, PROCESSES, 'each worker was asked')
    }
    return { host, registries: [registry], verify }
  },

  'replicas behind a balancer': async (place, stack) => {
    const starting = Array.from({ length: PROCESSES }, async () => stack.use(await startGantry(place)))
    const registries = await Promise.all(starting)
    const balancer = stack.use(await startBalancer(registries.map(({ url }) => url)))
    // The suite keeps its connection; behind this each request has its own.
    const { host } = stack.use(await startReverseProxy({ port: portOf(balancer.url) }, { keepsHost: true }))
    const verify = async (): Promise<void> => {
      const [least, most] = [Math.min(...balancer.handedOn), Math.max(...balancer.handedOn)]
      assert.ok(least > 100 && most - least <= 1, `in turn: ${balancer.handedOn.join(', ')} connections`)
    }
    return { host, registries, verify }
  },

  'a unix socket behind a reverse proxy that rewrites Host': async (place, stack) => {
    const socketPath = join(place.directory, 'gantry.sock')
    const registry = stack.use(await startGantry({ ...place, socketPath }))
    const { host } = stack.use(await startReverseProxy({ socketPath }))
    return { host, registries: [registry] }
  },
} as const satisfies Record<string, Serve>

const LOGIN = { OCI_USERNAME: USER, OCI_PASSWORD: PASSWORD }
const EVERYBODY = "[{ who: everyone, repositories: '*', actions: [pull, push, delete] }]"

/** Who may ask, as settings of the registry and of the suite; with an account nobody else may, unless the policy says so. */
const ACCESSES = {
  'without accounts': { account: false, registry: {}, suite: {} },
  'a new token for each request': { account: true, registry: {}, suite: { ...LOGIN, OCI_CACHE_AUTH: 'false' } },
  'tokens kept': { account: true, registry: {}, suite: { ...LOGIN, OCI_CACHE_AUTH: 'true' } },
  'tokens for everybody': { account: true, registry: { GANTRY_POLICY_RULES: EVERYBODY }, suite: {} },
  'Basic alone': { account: true, registry: { GANTRY_ACCOUNTS_BASIC: 'only' }, suite: LOGIN },
  'Basic alone, kept': {
    account: true,
    registry: { GANTRY_ACCOUNTS_BASIC: 'only' },
    suite: { ...LOGIN, OCI_CACHE_AUTH: 'true' },
  },
} as const satisfies Record<string, { account: boolean; registry: Environment; suite: Environment }>

interface Row {
  readonly storage: (typeof STORAGES)[number]
  readonly server: keyof typeof SERVERS
  readonly access: keyof typeof ACCESSES
}

const rows: readonly Row[] = STORAGES.flatMap((storage) =>
  namesOf(SERVERS).flatMap((server) =>
    namesOf(ACCESSES).flatMap((access) => {
      // Where the content is, and who asks, is nothing to what stands between one machine's processes and its port.
      const isBetween = server === 'workers behind one port' || server.startsWith('a unix socket')
      if (isBetween && (storage !== 'a disk' || access !== 'without accounts')) return []
      return isSecure(server) && storage !== 'a disk' ? [] : [{ storage, server, access }]
    }),
  ),
)

function isSecure(server: Row['server']): boolean {
  return server.endsWith('TLS')
}

/**
 * Each way to serve, each kind of access, and each place, but not each with each: a way to ask meets TLS, or none, once on a
 * disk, and replicas where their processes have to agree on something, which is tokens. image.test.ts has three replicas on
 * versitygw without accounts.
 */
function isAlwaysTested({ storage, server, access }: Row): boolean {
  if (access === 'Basic alone, kept' || access === 'tokens for everybody') return false
  if (isSecure(server)) return server === 'one process with TLS' && access === 'tokens kept'
  if (server !== 'replicas behind a balancer') return storage === 'a disk' && access !== 'tokens kept'
  if (storage !== 'versitygw') return access === 'without accounts'
  return access === 'a new token for each request' || access === 'tokens kept'
}

/** All of them in `npm run test:full`. */
export async function setUps(): Promise<readonly SetUp[]> {
  const wanted = rows.filter((row) => process.env['GANTRY_TEST_MATRIX'] === 'full' || isAlwaysTested(row))
  return await Promise.all(
    wanted.map(async (row) => ({
      name: `${row.server}, ${row.storage}, ${row.access}`,
      skip: row.storage === 'a disk' ? false : await notBuilt(row.storage),
      open: (directory) => open(row, directory),
    })),
  )
}

async function open(row: Row, directory: string): Promise<Running> {
  await using stack = new AsyncDisposableStack()
  const access = ACCESSES[row.access]
  const place = await placeOf(row.storage, { directory, env: { ...process.env, ...ENV, ...access.registry } }, stack)
  if (access.account) await addUser(place)
  const serve: Serve = SERVERS[row.server]
  const { host, registries, authority, verify } = await serve(place, stack)
  const log = (): string => registries.map((registry) => registry.log()).join('\n---\n')
  const owned = stack.move()
  return {
    host,
    suite: { ...access.suite, ...(authority === undefined ? {} : { OCI_TLS: 'enabled', SSL_CERT_FILE: authority }) },
    log,
    async verify() {
      await verify?.()
      assert.equal(await statusOf(host, authority), access.account ? 401 : 200)
      assert.ok(!log().includes(PASSWORD), 'the password is in no log')
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** The suite's sparse data set pushes an image without its first layer, which only this policy takes. */
const ENV = { GANTRY_REFERENCES: 'sparse', GANTRY_S3_PART_SIZE: '5MiB' }

async function placeOf(storage: Row['storage'], place: Place, stack: AsyncDisposableStack): Promise<Place> {
  if (storage === 'a disk') return { ...place, dataDirectory: join(place.directory, 'data') }
  const server = stack.use(await startS3(storage, place.env))
  // Whoever may read the bucket must not be able to sign tokens.
  return { ...place, env: { ...place.env, ...server.env('store'), GANTRY_TOKENS_SECRET: TOKENS_SECRET } }
}

async function addUser({ env, dataDirectory }: Place): Promise<void> {
  const data = dataDirectory === undefined ? [] : ['--data', dataDirectory]
  await gantry(['user', 'add', USER, '--password-stdin', ...data], { env, input: PASSWORD })
}

/** Of a request without credentials. */
async function statusOf(host: string, authority: string | undefined): Promise<number> {
  const url = `//${host}/v2/`
  const asking =
    authority === undefined
      ? request(`http:${url}`, { agent: false })
      : requestSecurely(`https:${url}`, { agent: false, ca: await readFile(authority) })
  const [answer] = await once(asking.end(), 'response')
  answer.resume()
  return answer.statusCode
}

const portOf = (url: string): number => Number(new URL(url).port)

function namesOf<T extends object>(choices: T): (keyof T & string)[] {
  return Object.keys(choices) as (keyof T & string)[]
}
