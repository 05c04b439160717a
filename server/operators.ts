/** The listener for those who run the registry, apart from the one for its users: `/metrics`, `/livez`, `/readyz`. */
import type { RequestListener } from 'node:http'
import { type Address, AddressUnusable } from './address.ts'
import type { Config } from './config/schema.ts'
import { answerText, withHealth } from './health.ts'
import { type Listener, listen } from './listener.ts'
import type { Log } from './log.ts'
import { METRICS_TYPE } from './metrics.ts'
import { reason } from './reasons.ts'
import { listenOptions, orCannotServe } from './serving.ts'

const USUAL: Address = { host: '127.0.0.1', port: 5099 }
const ANY: Address = { host: '127.0.0.1', port: 0 }
const MOST_CONNECTIONS = 100

export interface OperatorsView {
  problem(): Promise<string | undefined>
  metrics(): Promise<string>
}

/** `undefined` if it is not wanted. Throws `CannotServe`; but the usual place that is taken, by a second registry perhaps, is no reason. */
export async function listenForOperators(config: Config, view: OperatorsView, log: Log): Promise<Listener | undefined> {
  const wanted = config.metrics.listen
  if (wanted === 'off') return undefined
  const at = (address: Address): Promise<Listener> =>
    listen(withHealth(view.problem, metricsApp(view)), [address], listenOptions(config, log, MOST_CONNECTIONS))
  if (wanted !== 'auto') return await orCannotServe(at(wanted))
  if (config.listen.some((address) => 'port' in address && address.port === 0)) return await orCannotServe(at(ANY))
  try {
    return await at(USUAL)
  } catch (error) {
    if (error instanceof AddressUnusable) return await orCannotServe(at(ANY))
    throw error
  }
}

const metricsApp =
  (view: OperatorsView): RequestListener =>
  (req, res) => {
    if (req.url !== '/metrics') return answerText(res, 404, 'here are /metrics, /livez and /readyz')
    view.metrics().then(
      (text) => answerText(res, 200, text.trimEnd(), METRICS_TYPE),
      (error: unknown) => answerText(res, 500, reason(error)),
    )
  }
