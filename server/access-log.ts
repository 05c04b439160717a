/**
 * The outermost middleware: gives each request an id, and reports it when its answer is out or its connection is gone, to
 * the access log and to the metrics. A report has no query, no header and no address beyond the peer's: nothing in it is a secret.
 */
import { randomUUID } from 'node:crypto'
import { whyCut } from './connections.ts'
import type { RequestLog } from './log.ts'
import type { Context, Middleware } from './routing.ts'

/** What a client may choose as id: nothing that could break a log line or a header. */
const SANE_ID = /^[A-Za-z0-9._:-]{1,128}$/

export interface RequestReport {
  readonly id: string
  readonly method: string
  readonly path: string
  /** The pattern of the path, such as `/v2/:name/blobs/:digest`; absent if no route has it. */
  readonly route: string | undefined
  readonly status: number
  /** Whether the client got the whole answer; false when it went away or the body failed half-way. */
  readonly finished: boolean
  /** Why, if not, as far as it was our side's decision. */
  readonly cut: string | undefined
  readonly bytesIn: number
  readonly bytesOut: number
  readonly durationMs: number
  readonly repository: string | undefined
  /** Of the connection. */
  readonly remote: string | undefined
  /** Who asked and from where, as far as that was looked at: what a proxy that is believed says. */
  readonly subject: string | undefined
  readonly client: string | undefined
  readonly claims: Readonly<Record<string, string>> | undefined
  readonly proves: boolean
  readonly agent: string | undefined
}

export interface RequestObserver {
  began?(): void
  ended(report: RequestReport): void
}

export const reportRequests =
  (observers: readonly RequestObserver[]): Middleware =>
  async (ctx, next) => {
    const started = performance.now()
    const writtenBefore = ctx.req.socket.bytesWritten
    const remote = ctx.req.socket.remoteAddress // a socket that is closed does not know it any more
    const given = ctx.req.headers['x-request-id']
    ctx.state.requestId = typeof given === 'string' && SANE_ID.test(given) ? given : randomUUID()
    ctx.state.bodyBytes = 0
    ctx.state.fileBytes = 0
    ctx.res.setHeader('X-Request-Id', ctx.state.requestId)
    for (const observer of observers) observer.began?.()
    ctx.res.on('close', () => {
      const report = reportOf(ctx, remote, started, writtenBefore)
      for (const observer of observers) observer.ended(report)
    })
    await next()
  }

function reportOf(ctx: Context, remote: string | undefined, started: number, writtenBefore: number): RequestReport {
  const { requestId, repository, bodyBytes, fileBytes, route, subject, claims, proves = false, client } = ctx.state
  const finished = ctx.res.writableFinished
  return {
    id: requestId,
    method: ctx.method,
    path: ctx.path,
    route,
    status: ctx.res.statusCode,
    finished,
    cut: finished ? undefined : whyCut(ctx.req.socket),
    bytesIn: bodyBytes,
    bytesOut: ctx.req.socket.bytesWritten - writtenBefore + fileBytes,
    durationMs: Math.round((performance.now() - started) * 10) / 10,
    repository,
    remote,
    subject,
    claims,
    proves,
    client,
    agent: ctx.req.headers['user-agent'] || undefined,
  }
}

/** One line for each request; what is `undefined` is left out of it. */
export const accessLog = (log: RequestLog): RequestObserver => ({
  ended(report) {
    const { id, method, path, status, finished, cut, bytesIn, bytesOut, durationMs, repository, remote } = report
    const what = `"id":"${id}","method":"${method}","path":${JSON.stringify(path)},"status":${status},"finished":${finished}`
    const how = `,"bytesIn":${bytesIn},"bytesOut":${bytesOut},"durationMs":${durationMs}`
    const who = `${text('remote', remote)}${text('subject', report.subject)}${text('client', report.client)}`
    const where = text('repository', repository)
    log.infoJson(`${what}${text('cut', cut)}${how}${where}${who}${text('agent', report.agent)}`, 'request')
  },
})

const text = (name: string, value: string | undefined): string =>
  value === undefined ? '' : `,"${name}":${JSON.stringify(value)}`
