/** The whole application in this process: real routes, real store, a temporary directory, a free port. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { type IncomingHttpHeaders, request } from 'node:http'
import { request as requestSecurely } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import type { ConnectionOptions } from 'node:tls'
import { Accounts } from '../../storage/accounts.ts'
import type { StorageDriver } from '../../storage/driver.ts'
import { openFsDriver } from '../../storage/fs/driver.ts'
import { openStore, type StoreOptions } from '../../storage/open.ts'
import { SigningKeys } from '../../storage/signing-keys.ts'
import type { Store } from '../../storage/store.ts'
import { type AccessSettings, openAccess } from '../access/access.ts'
import type { ForeignTokens } from '../access/guard.ts'
import { accessLog, type RequestObserver } from '../access-log.ts'
import { createApp, routesOf } from '../app.ts'
import { allowEverything } from '../authorize.ts'
import { listen } from '../listener.ts'
import { createLog } from '../log.ts'
import { RefusalLog } from '../refusals.ts'
import type { Authorize, Middleware, Route } from '../routing.ts'
import { DEFAULT_RULES, type RegistryRules } from '../rules.ts'
import type { TlsKeeper } from '../tls/keeper.ts'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  json(): unknown
  /** Of the first error in the envelope. */
  errorCode(): string
}

interface Asked {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
  /** Where the application speaks TLS: whom to believe, and as whom. */
  readonly tls?: ConnectionOptions
}

export interface ServedApp extends AsyncDisposable {
  readonly url: string
  readonly store: Store
  /** Of the data. */
  readonly directory: string
  readonly accounts: Accounts
  readonly signingKeys: SigningKeys
  readonly routes: readonly Route[]
  /** What the application logged, parsed. */
  readonly logged: Record<string, unknown>[]
  /** `path` goes out exactly as it is. A body has a Content-Length unless the headers say `Transfer-Encoding`. */
  ask(method: string, path: string, asked?: Asked): Promise<Answer>
  /** All files below the data directory, by path. */
  files(): Promise<string[]>
}

export interface Changes {
  /** Instead of `authorize`: accounts, tokens and a policy, as these settings have them. */
  readonly access?: AccessSettings
  readonly foreignTokens?: ForeignTokens
  readonly authorize?: Authorize
  readonly rules?: Partial<RegistryRules>
  readonly references?: StoreOptions['references']
  readonly admit?: Middleware
  /** A connection on which nothing moves. Default: long. */
  readonly idleMs?: number
  readonly tls?: TlsKeeper
  /** Instead of a folder of its own; closed with it. */
  readonly driver?: StorageDriver
  readonly keyRefreshMs?: number
  /** Besides the access log. */
  readonly observers?: readonly RequestObserver[]
  /** To put a fault between the application and its store. */
  readonly store?: (real: Store) => Store
}

export async function serveApp({
  access: settings,
  foreignTokens,
  authorize = allowEverything,
  rules = {},
  references = 'sparse-index',
  admit,
  idleMs = 120_000,
  tls,
  driver: given,
  keyRefreshMs,
  observers = [],
  store: change = (real) => real,
}: Changes = {}): Promise<ServedApp> {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-server-'))
  const driver = given ?? (await openFsDriver(directory))
  const logged: Record<string, unknown>[] = []
  const log = createLog({ write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) })
  const real = await openStore(driver, {
    references,
    onDamagedRecord: ({ key, problem }) => log.error({ record: key, problem }, 'a record is damaged'),
  })
  const accounts = new Accounts(driver)
  const signingKeys = new SigningKeys(driver)
  const store = change(real)
  const access = settings && (await openAccess(settings, accounts, signingKeys, log, foreignTokens, keyRefreshMs))
  const deps = {
    store,
    log,
    authorize: access?.authorize ?? authorize,
    tokenService: access?.tokenService,
    rules: { ...DEFAULT_RULES, ...rules },
    observers: [accessLog(log), ...observers],
    ...(admit ? { admit } : {}),
  }
  const listener = await listen(createApp(deps), [{ host: '127.0.0.1', port: 0 }], {
    refusals: new RefusalLog(log),
    headersMs: 60_000,
    idleMs,
    keepAliveMs: 75_000,
    maxConnections: 1_000,
    tls,
  })
  return {
    url: listener.url,
    store,
    directory,
    accounts,
    signingKeys,
    routes: routesOf(deps),
    logged,
    ask: (method, path, asked) => ask(listener.url, method, path, asked),
    async files() {
      const entries = await readdir(directory, { recursive: true, withFileTypes: true })
      return entries
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    },
    async [Symbol.asyncDispose]() {
      await listener.stop(0, async () => {})
      access?.close()
      await store.close()
      await rm(directory, { recursive: true, force: true, maxRetries: 10 }) // a handler may still tidy up after its client
    },
  }
}

async function ask(
  url: string,
  method: string,
  path: string,
  { headers = {}, body, tls }: Asked = {},
): Promise<Answer> {
  const { hostname, port, protocol } = new URL(url)
  const length =
    body === undefined || 'Transfer-Encoding' in headers ? {} : { 'Content-Length': Buffer.byteLength(body) }
  return await new Promise((resolve, reject) => {
    const options = { hostname, port, method, path, agent: false, headers: { ...length, ...headers } } as const
    const req = protocol === 'https:' ? requestSecurely({ ...options, ...tls }) : request(options)
    req.on('error', reject)
    req.on('response', (res) => {
      buffer(res).then((bytes) => {
        const json = (): unknown => JSON.parse(bytes.toString())
        const errorCode = (): string => (json() as { errors: { code: string }[] }).errors[0]?.code ?? 'no errors'
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body: bytes, json, errorCode })
      }, reject)
    })
    req.end(body)
  })
}
