/** `gantry serve` as a function: serves with one process or with several, says where, and stops cleanly when told. */
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { type Address, printUrl } from './address.ts'
import type { Config } from './config/schema.ts'
import type { Listener } from './listener.ts'
import { openLogs } from './log.ts'
import { printMetrics } from './metrics.ts'
import { listenForOperators, type OperatorsView } from './operators.ts'
import { orCannotServe, type Serving, startServing } from './serving.ts'
import { placeOf } from './storage-place.ts'
import { claimSockets } from './unix-socket.ts'
import { startWorkers } from './workers.ts'

interface Running extends OperatorsView {
  readonly addresses: readonly Address[]
  stop(): Promise<void>
}

/**
 * Serves until `stop` aborts, then until everything is finished or `stop.timeout` has passed. `announce` gets the ready line.
 * Throws `CannotServe` if it cannot start.
 */
export async function serve(config: Config, announce: (line: string) => void, stop: AbortSignal): Promise<void> {
  const logs = openLogs(config)
  await using _sockets = await orCannotServe(claimSockets(config.listen))
  const count = config.workers === 'auto' ? availableParallelism() : config.workers
  const running: Running =
    count === 1 ? alone(await startServing(config, logs, 1)) : await startWorkers(config, count, logs.log)
  let operators: Listener | undefined
  try {
    operators = await listenForOperators(config, running, logs.log)
    const about = [
      placeOf(config),
      ...(operators ? [`metrics on ${operators.url}`] : []),
      ...(count === 1 ? [] : [`${count} workers`]),
    ]
    announce(`gantry: listening on ${running.addresses.map(printUrl).join(', ')} (${about.join(', ')})`)
    if (!stop.aborted) await once(stop, 'abort')
  } finally {
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
