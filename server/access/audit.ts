/** The audit log: one line for each login, refusal, write and delete: who, from where, what, with what result. */
import type { RequestObserver, RequestReport } from '../access-log.ts'
import type { Log } from '../log.ts'
import { DOOR_PATH, TOKEN_PATH, UNPROVED } from './guard.ts'

export const auditLog = (log: Log): RequestObserver => ({
  ended(report) {
    const event = eventOf(report)
    if (event === undefined) return
    const { id, method, path, status, repository, subject, claims = {}, client, remote, agent } = report
    const result = status < 400 ? 'done' : REFUSED.includes(status) ? 'refused' : 'failed'
    const who = { subject, ...(Object.keys(claims).length > 0 ? { claims } : {}), client: client ?? remote }
    log.info({ event, result, ...who, method, path, repository, status, id, agent }, 'audit')
  },
})

/** 429: whoever guessed too often is not even looked at. */
const REFUSED: readonly number[] = [401, 403, 429]

/** `undefined` for what is only read, and for the first question of a client that does not know yet that it must log in. */
function eventOf({ route, method, status, subject, proves }: RequestReport): string | undefined {
  if (route === TOKEN_PATH || (route === DOOR_PATH && proves)) return 'login'
  if (status === 401 && subject === undefined) return undefined
  if (status === 401 || status === 403 || subject === UNPROVED) return 'refusal'
  if (method === 'DELETE') return 'delete'
  return ['PUT', 'POST', 'PATCH'].includes(method) ? 'write' : undefined
}
