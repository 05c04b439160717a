/**
 * One process that serves: store, application, listeners, health, metrics, from the configuration. With `workers:` each
 * worker is one of these.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { openStore } from '../storage/open.ts'
import { probeStorage } from '../storage/probe.ts'
import type { Store } from '../storage/store.ts'
import { accessLog } from './access-log.ts'
import { type Address, AddressUnusable, printAddress } from './address.ts'
import { createApp } from './app.ts'
import { allowEverything } from './authorize.ts'
import { policyFor } from './config/policies.ts'
import type { Config } from './config/schema.ts'
import { Health, withHealth } from './health.ts'
import { type Listener, type ListenOptions, listen } from './listener.ts'
import type { Log } from './log.ts'
import { measuredDriver, measuredUploads } from './measured.ts'
import { Metrics, type MetricsSnapshot } from './metrics.ts'
import { connectionsOf, openFilesLimit } from './open-files.ts'
import { RateLimit, rateLimited } from './rate-limit.ts'
import { CannotServe, reason } from './reasons.ts'
import { RefusalLog } from './refusals.ts'
import { openDriver, placeOf } from './storage-place.ts'

export interface Logs {
  readonly log: Log
  /** `undefined`: no lines for requests. */
  readonly access: Log | undefined
}

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
export async function startServing(config: Config, { log, access }: Logs, workers: number): Promise<Serving> {
  keepNurserySmall()
  const metrics = new Metrics()
  const maxConnections = connectionsOf(config.limits.connections, workers, await openFilesLimit())
  const { store, health } = await open(config, metrics, workers)
  const rateLimit = rateLimitOf(config, workers > 1)
  const app = createApp({
    store,
    log,
    observers: [metrics, ...(access ? [accessLog(access)] : [])],
    authorize: allowEverything,
    rules: { manifestBytes: config.limits.manifest, readonly: config.readonly, warnings: config.warnings },
    ...(rateLimit ? { admit: rateLimited(rateLimit) } : {}),
  })
  const problem = (): Promise<string | undefined> => health.problem()
  let listener: Listener
  try {
    const options = listenOptions(config, log, maxConnections)
    listener = await orCannotServe(listen(withHealth(problem, app), config.listen, options))
  } catch (error) {
    await store.close()
    throw error
  }
  return {
    addresses: listener.addresses,
    rateLimit,
    problem,
    snapshot: () => metrics.snapshot(),
    async stop() {
      health.stopping()
      log.info({ delayMs: config.stop.delay, timeoutMs: config.stop.timeout }, 'stopping')
      await delay(config.stop.delay)
      await listener.stop(config.stop.timeout, () => store.uploads.checkpointAll())
      await store.uploads.checkpointAll() // what a cut connection had sent is being recorded: let that finish
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

async function open(config: Config, metrics: Metrics, workers: number): Promise<{ store: Store; health: Health }> {
  try {
    const driver = measuredDriver(await openDriver(config, workers), metrics)
    const store = await openStore(driver, { references: policyFor(config.references) })
    return {
      store: { ...store, uploads: measuredUploads(store.uploads, metrics) },
      health: new Health(() => probeStorage(driver, { write: !config.readonly })),
    }
  } catch (cause) {
    throw new CannotServe(`cannot keep ${placeOf(config)}: ${reason(cause)}`, { cause })
  }
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
