/** The audit log: one line for each login, refusal, write and delete: who, from where, what, with what result. */
import type { RequestObserver, RequestReport } from '../access-log.ts'
import type { Log } from '../log.ts'
import { TOKEN_PATH } from './guard.ts'

export const auditLog = (log: Log): RequestObserver => ({
  ended(report) {
    const event = eventOf(report)
    if (event === undefined) return
    const { id, method, path, status, repository, subject, client, remote, agent } = report
    const result = status < 400 ? 'done' : status === 401 || status === 403 ? 'refused' : 'failed'
    log.info({ event, result, subject, client: client ?? remote, method, path, repository, status, id, agent }, 'audit')
  },
})

/** `undefined` for what is only read, and for the first question of a client that does not know yet that it must log in. */
function eventOf({ route, method, status, subject }: RequestReport): string | undefined {
  if (route === TOKEN_PATH) return 'login'
  if (status === 401 && subject === undefined) return undefined
  if (status === 401 || status === 403) return 'refusal'
  if (method === 'DELETE') return 'delete'
  return ['PUT', 'POST', 'PATCH'].includes(method) ? 'write' : undefined
}
