/** Restart policies, ulimits and lists of `KEY=VALUE` as docker's users write them. Throws `RequestError`. */
import { parseInteger } from './quantities.ts'
import type { RestartPolicy, Ulimit } from './request.ts'
import { RequestError } from './request-error.ts'

const RESTART_POLICIES = new Set(['no', 'always', 'unless-stopped', 'on-failure'])

/** `on-failure:3` */
export function parseRestartPolicy(text: string): RestartPolicy {
  const [name = '', count, ...more] = text.split(':')
  const policy = (name === '' ? 'no' : name) as RestartPolicy['policy']
  if (!RESTART_POLICIES.has(policy) || more.length > 0)
    throw new RequestError(
      `invalid restart policy ${JSON.stringify(text)}: it must be no, always, unless-stopped, on-failure or on-failure:TIMES`,
    )
  if (count !== undefined && policy !== 'on-failure')
    throw new RequestError(`the restart policy ${policy} takes no number of retries; only on-failure does`)
  return { policy, maximumRetries: count === undefined ? 0 : parseInteger(count, '--restart', 0) }
}

const ULIMITS: Readonly<Record<string, true>> = Object.fromEntries(
  'as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'
    .split(' ')
    .map((name) => [name, true]),
)

/** `nofile=1024:2048`; -1 is no limit. */
export function parseUlimit(text: string): Ulimit {
  const [, name = '', soft = '', hard = soft] = /^([a-z]+)=(-?[0-9]+)(?::(-?[0-9]+))?$/.exec(text) ?? []
  if (!ULIMITS[name])
    throw new RequestError(
      `invalid ulimit ${JSON.stringify(text)}: write TYPE=SOFT[:HARD], for example nofile=1024:2048; the types are ${Object.keys(ULIMITS).join(', ')}`,
    )
  const limit = { name, soft: parseInteger(soft, '--ulimit', -1), hard: parseInteger(hard, '--ulimit', -1) }
  if (limit.hard !== -1 && (limit.soft === -1 || limit.soft > limit.hard))
    throw new RequestError(
      `the soft limit must be less than or equal to the hard limit: ${soft} > ${hard} in --ulimit ${text}`,
    )
  return limit
}

/** `KEY=VALUE` or `KEY`, each once; the last one counts. */
export function parseKeyValues(texts: readonly string[], flag: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    texts.map((text) => {
      const [key = '', value = ''] = text.split(/=(.*)/s)
      if (key.trim() === '')
        throw new RequestError(`invalid value ${JSON.stringify(text)} for ${flag}: write KEY=VALUE`)
      return [key, value]
    }),
  )
}
