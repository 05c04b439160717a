/**
 * The outermost middleware: gives each request an id, and writes one line for it when its answer is out or its
 * connection is gone. The line has no query, no header and no address beyond the peer's: nothing in it is a secret.
 */
import { randomUUID } from 'node:crypto'
import type { Log } from './log.ts'
import type { Context, Middleware } from './routing.ts'

/** What a client may choose as id: nothing that could break a log line or a header. */
const SANE_ID = /^[A-Za-z0-9._:-]{1,128}$/

export const accessLog =
  (log: Log): Middleware =>
  async (ctx, next) => {
    const started = performance.now()
    const writtenBefore = ctx.req.socket.bytesWritten
    const given = ctx.get('X-Request-Id')
    ctx.state.requestId = SANE_ID.test(given) ? given : randomUUID()
    ctx.state.bodyBytes = 0
    ctx.set('X-Request-Id', ctx.state.requestId)
    ctx.res.once('close', () => log.info(accessLine(ctx, started, writtenBefore), 'request'))
    await next()
  }

function accessLine(ctx: Context, started: number, writtenBefore: number): object {
  const { requestId, repository, bodyBytes } = ctx.state
  return {
    id: requestId,
    method: ctx.method,
    path: ctx.path,
    status: ctx.res.statusCode,
    // Whether the client got the whole answer; false when it went away or the body failed half-way.
    finished: ctx.res.writableFinished,
    bytesIn: bodyBytes,
    bytesOut: ctx.req.socket.bytesWritten - writtenBefore,
    durationMs: Math.round((performance.now() - started) * 10) / 10,
    ...(repository === undefined ? {} : { repository }),
    remote: ctx.req.socket.remoteAddress,
    agent: ctx.get('User-Agent') || undefined,
  }
}
