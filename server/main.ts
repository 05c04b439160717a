/** `gantry serve` as a function: serves with one process or with several, says where, and stops cleanly when told. */
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { type Address, printUrl } from './address.ts'
import type { Config } from './config/schema.ts'
import type { Listener } from './listener.ts'
import { openLogs } from './log.ts'
import { printMetrics } from './metrics.ts'
import { listenForOperators, type OperatorsView } from './operators.ts'
import { CannotServe, reason } from './reasons.ts'
import { orCannotServe, type Serving, startServing } from './serving.ts'
import { placeOf } from './storage-place.ts'
import { howToTrust } from './tls/self-signed.ts'
import { tlsFilesOf, withSelfSigned } from './tls/settings.ts'
import { claimSockets } from './unix-socket.ts'
import { startWorkers } from './workers.ts'

/** Looks whether what the registry made for itself is about to expire. */
const RENEW_EVERY_MS = 12 * 60 * 60_000

interface Running extends OperatorsView {
  readonly addresses: readonly Address[]
  stop(): Promise<void>
}

/**
 * Serves until `stop` aborts, then until everything is finished or `stop.timeout` has passed. `announce` gets the ready line.
 * Throws `CannotServe` if it cannot start.
 */
export async function serve(wanted: Config, announce: (line: string) => void, stop: AbortSignal): Promise<void> {
  const logs = openLogs(wanted)
  const { config, made } = await orCannotMake(wanted, withSelfSigned(wanted))
  await using _sockets = await orCannotServe(claimSockets(config.listen))
  const count = config.workers === 'auto' ? availableParallelism() : config.workers
  const running: Running =
    count === 1 ? alone(await startServing(config, logs, 1)) : await startWorkers(config, count, logs.log)
  let operators: Listener | undefined
  const renewing = setInterval(() => {
    withSelfSigned(wanted).catch((err: unknown) => logs.log.error({ err }, 'the TLS certificate cannot be renewed'))
  }, RENEW_EVERY_MS).unref()
  try {
    operators = await listenForOperators(config, running, logs.log)
    const about = [
      placeOf(config),
      ...(operators ? [`metrics on ${operators.url}`] : []),
      ...(count === 1 ? [] : [`${count} workers`]),
    ]
    const secure = tlsFilesOf(config) !== undefined
    const urls = running.addresses.map((address) => printUrl(address, secure))
    announce(`gantry: listening on ${urls.join(', ')} (${about.join(', ')})`)
    const first = running.addresses.find((address) => 'port' in address)
    if (made && first) announce(howToTrust(made, first))
    if (!stop.aborted) await once(stop, 'abort')
  } finally {
    clearInterval(renewing)
    await running.stop()
    await operators?.stop(0, async () => {}) // last, so that /readyz says why until the end
  }
}

const alone = (serving: Serving): Running => ({
  addresses: serving.addresses,
  problem: () => serving.problem(),
  metrics: async () => printMetrics([await serving.snapshot()]),
  stop: () => serving.stop(),
})

async function orCannotMake<T>({ data }: Config, making: Promise<T>): Promise<T> {
  try {
    return await making
  } catch (cause) {
    throw new CannotServe(`cannot make a certificate in ${data}/tls: ${reason(cause)}`, { cause })
  }
}
