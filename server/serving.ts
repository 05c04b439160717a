/**
 * One process that serves: store, application, listeners, health, metrics, from the configuration. With `workers:` each
 * worker is one of these.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { Accounts } from '../storage/accounts.ts'
import type { StorageDriver } from '../storage/driver.ts'
import { howToHeal } from '../storage/healing.ts'
import { openStore } from '../storage/open.ts'
import { probeStorage } from '../storage/probe.ts'
import { eachOnce } from '../storage/records.ts'
import { SigningKeys } from '../storage/signing-keys.ts'
import type { Store } from '../storage/store.ts'
import { type Access, openAccess } from './access/access.ts'
import { auditLog } from './access/audit.ts'
import { trustedIssuers } from './access/oidc.ts'
import { claimsAskedFor } from './access/policy.ts'
import { SecretWrong } from './access/token-keys.ts'
import { accessLog } from './access-log.ts'
import { type Address, AddressUnusable, isLocal, printAddress } from './address.ts'
import { createApp } from './app.ts'
import { allowEverything } from './authorize.ts'
import { accessSettingsOf, isRestricted, originsOf } from './config/access.ts'
import { policyFor } from './config/policies.ts'
import type { Config } from './config/schema.ts'
import { Health, withHealth } from './health.ts'
import { integrityOptions } from './integrity.ts'
import { type Listener, type ListenOptions, listen } from './listener.ts'
import type { Log, Logs } from './log.ts'
import { measuredDriver, measuredUploads } from './measured.ts'
import { Metrics, type MetricsSnapshot } from './metrics.ts'
import { connectionsOf, openFilesLimit } from './open-files.ts'
import { RateLimit, rateLimited } from './rate-limit.ts'
import { CannotServe, reason } from './reasons.ts'
import { Redirects } from './redirects.ts'
import { RefusalLog } from './refusals.ts'
import { openDriver, placeOf } from './storage-place.ts'
import { TlsUnusable } from './tls/files.ts'
import { TlsKeeper } from './tls/keeper.ts'
import { redirectToHttps } from './tls/redirect.ts'
import { tlsFilesOf } from './tls/settings.ts'

/** They ask once, and go elsewhere. */
const MOST_REDIRECTED = 200

export interface Serving {
  /** With the real ports. */
  readonly addresses: readonly Address[]
  readonly rateLimit: RateLimit | undefined
  snapshot(): Promise<MetricsSnapshot>
  /** Why no more work should be sent here; `undefined` if it should. */
  problem(): Promise<string | undefined>
  /** Says that it stops, waits as long as it was told to, then until everything is finished or `stop.timeout` has passed. */
  stop(): Promise<void>
}

/** `workers`: how many processes share the limits. Throws `CannotServe`. */
export async function startServing(
  config: Config,
  { log, access: accessTo, audit }: Logs,
  workers: number,
): Promise<Serving> {
  keepNurserySmall()
  const metrics = new Metrics()
  const maxConnections = connectionsOf(config.limits.connections, workers, await openFilesLimit())
  const { store, driver, health } = await open(config, { metrics, log, audit }, workers)
  const access = await closingOnFailure(store, () => accessOf(config, driver, log))
  const rateLimit = rateLimitOf(config, workers > 1)
  const origins = originsOf(config)
  const app = createApp({
    store,
    log,
    observers: [metrics, ...(accessTo ? [accessLog(accessTo)] : []), ...(audit ? [auditLog(audit)] : [])],
    authorize: access?.authorize ?? allowEverything,
    tokenService: access?.tokenService,
    redirects: config.s3.redirect === 'never' ? undefined : new Redirects(config.s3.redirect, origins),
    rules: { manifestBytes: config.limits.manifest, readonly: config.readonly, warnings: config.warnings },
    ...(rateLimit ? { admit: rateLimited(rateLimit, (req) => origins.of(req).address) } : {}),
  })
  const problem = (): Promise<string | undefined> => health.problem()
  const tls = await closingOnFailure(store, () => tlsOf(config, log))
  if (tls) metrics.certificateExpires(() => tls.identity.expiresAt)
  const options = listenOptions(config, log, maxConnections)
  const listener = await closingOnFailure(store, () =>
    orCannotServe(listen(withHealth(problem, app), config.listen, { ...options, tls })),
  )
  const redirect = await closingOnFailure(store, () =>
    redirectOf(config, listener.addresses, options).catch(async (error: unknown) => {
      await listener.stop(0, async () => {})
      throw error
    }),
  )
  return {
    addresses: listener.addresses,
    rateLimit,
    problem,
    snapshot: () => metrics.snapshot(),
    async stop() {
      health.stopping()
      log.info({ delayMs: config.stop.delay, timeoutMs: config.stop.timeout }, 'stopping')
      await delay(config.stop.delay)
      await redirect?.stop(0, async () => {})
      await listener.stop(config.stop.timeout, () => store.uploads.checkpointAll())
      tls?.close()
      await store.uploads.checkpointAll() // what a cut connection had sent is being recorded: let that finish
      access?.close()
      await store.close()
      log.info({}, 'stopped')
    },
  }
}

/**
 * Pieces of bodies are short-lived objects whose bytes lie outside of V8's heap, which therefore collects them late. A young
 * generation that does not grow is collected often, and gives them back: measured, half the resident memory.
 */
const keepNurserySmall = (): void => setFlagsFromString('--semi-space-growth-factor=1')

async function closingOnFailure<T>(store: Store, begin: () => Promise<T>): Promise<T> {
  try {
    return await begin()
  } catch (error) {
    await store.close()
    throw error
  }
}

/** `undefined` where everybody may do everything: there are no accounts, and nothing is said about who may what. */
async function accessOf(config: Config, driver: StorageDriver, log: Log): Promise<Access | undefined> {
  const accounts = new Accounts(driver)
  if (!isRestricted(config) && (await accounts.isEmpty())) {
    demandUnreachable(config)
    return undefined
  }
  if (config.storage === 's3' && config.tokens.secret === 'off') {
    throw new CannotServe(
      'whoever may read the bucket could sign tokens: set tokens.secret (GANTRY_TOKENS_SECRET) to 32 characters or more, the same for all replicas',
    )
  }
  const onDamagedRecord = eachOnce((damage) => log.error(howToHeal(damage), 'a record is damaged'))
  try {
    const settings = accessSettingsOf(config)
    const foreignTokens = trustedIssuers(config.oidc, claimsAskedFor(settings.policy), log)
    return await openAccess(settings, accounts, new SigningKeys(driver, onDamagedRecord), log, foreignTokens)
  } catch (error) {
    if (error instanceof SecretWrong) throw new CannotServe(error.message, { cause: error })
    throw error
  }
}

/** Without accounts, being reachable from elsewhere must be wanted. */
function demandUnreachable({ listen: addresses, allowAnonymous }: Config): void {
  const reachable = addresses.find((address) => !isLocal(address))
  if (reachable === undefined || allowAnonymous) return
  throw new CannotServe(
    `${printAddress(reachable)} can be reached from other machines, and this registry has no accounts: everyone could push and delete. ` +
      'Make one with `gantry user add NAME` (on the same data), or accept that with --allow-anonymous, or listen on 127.0.0.1',
  )
}

async function open(
  config: Config,
  observers: { readonly metrics: Metrics; readonly log: Log; readonly audit: Log | undefined },
  workers: number,
): Promise<{ store: Store; driver: StorageDriver; health: Health }> {
  const { metrics } = observers
  try {
    const driver = measuredDriver(await openDriver(config, workers), metrics)
    const store = await openStore(driver, {
      references: policyFor(config.references),
      ...integrityOptions(config, observers),
    })
    return {
      store: { ...store, uploads: measuredUploads(store.uploads, metrics) },
      driver,
      health: new Health(() => probeStorage(driver, { write: !config.readonly })),
    }
  } catch (cause) {
    throw new CannotServe(`cannot keep ${placeOf(config)}: ${reason(cause)}`, { cause })
  }
}

async function tlsOf(config: Config, log: Log): Promise<TlsKeeper | undefined> {
  const files = tlsFilesOf(config)
  try {
    return files && (await TlsKeeper.open(files, log))
  } catch (error) {
    if (error instanceof TlsUnusable) throw new CannotServe(error.message, { cause: error })
    throw error
  }
}

async function redirectOf(
  { tls, publicUrl }: Config,
  addresses: readonly Address[],
  options: ListenOptions,
): Promise<Listener | undefined> {
  const first = addresses.find((address) => 'port' in address)
  if (tls.redirect === 'off' || !first) return undefined
  const app = redirectToHttps(publicUrl === 'auto' ? undefined : publicUrl, first.port)
  const maxConnections = Math.min(options.maxConnections, MOST_REDIRECTED)
  return await orCannotServe(listen(app, [tls.redirect], { ...options, maxConnections }))
}

function rateLimitOf({ rateLimit: { requests, burst } }: Config, shared: boolean): RateLimit | undefined {
  if (requests === 'off') return undefined
  return new RateLimit({
    requestsPerSecond: requests,
    burst: burst === 'auto' ? Math.max(1, Math.ceil(10 * requests)) : burst,
    shared,
  })
}

export const listenOptions = ({ timeouts }: Config, log: Log, maxConnections: number): ListenOptions => ({
  refusals: new RefusalLog(log),
  headersMs: timeouts.headers,
  idleMs: timeouts.idle,
  keepAliveMs: timeouts.keepAlive,
  maxConnections,
})

/** Which address it was, why, and what to do. */
export async function orCannotServe<T>(listening: Promise<T>): Promise<T> {
  try {
    return await listening
  } catch (error) {
    if (!(error instanceof AddressUnusable)) throw error
    const taken = (error.cause as NodeJS.ErrnoException | undefined)?.code === 'EADDRINUSE'
    const advice = taken ? '; stop what uses it, or choose another with --listen' : ''
    throw new CannotServe(`cannot listen on ${printAddress(error.address)}: ${reason(error.cause)}${advice}`, {
      cause: error,
    })
  }
}
