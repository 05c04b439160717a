/**
 * The one place where a failure becomes an answer. Below it everybody throws. A failure never reaches Koa's own error
 * handling, which would strip the headers; and an answer that comes before the request's body was read reaches the
 * client although it is still sending.
 */
import type { IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { ERRORS, errorEnvelope, type RegistryError } from './errors.ts'
import { toRegistryError } from './facts.ts'
import type { Log } from './log.ts'
import type { Context, Middleware } from './routing.ts'

/** An unread rest up to this size is read and thrown away, so that the connection can be used again. */
const DRAINED_BYTES = 64 * 1024
/** With a longer rest the connection ends, after the client had this long, or this many bytes more, to see the answer. */
const LINGER_MS = 2_000
const LINGER_BYTES = 16 * 1024 * 1024

export const errorAnswers =
  (log: Log): Middleware =>
  async (ctx, next) => {
    try {
      await next()
      if (!bodyEndsSoon(ctx)) ctx.set('Connection', 'close')
    } catch (error) {
      const failure = toRegistryError(error)
      if (clientIsGone(ctx)) {
        ctx.respond = false // nobody is left to answer; the access log has `finished: false`
        return
      }
      if (!failure || failure.status >= 500) {
        log.error({ err: error, id: ctx.state.requestId, method: ctx.method, path: ctx.path }, 'request failed')
      }
      await answer(ctx, failure)
    }
  }

const clientIsGone = (ctx: Context): boolean => ctx.req.socket.destroyed || ctx.req.errored != null

async function answer(ctx: Context, failure: RegistryError | undefined): Promise<void> {
  const { code, status, message } = failure
    ? { ...ERRORS[failure.kind], message: failure.message }
    : { code: 'UNKNOWN', status: 500, message: 'internal error; the log has the cause under this request id' }
  const body = errorEnvelope(code, message, ...(failure?.details ?? []))
  ctx.status = status
  ctx.set((failure?.headers ?? {}) as Record<string, string>)
  ctx.set('Content-Type', 'application/json')
  ctx.body = body
  if (ctx.req.complete || (bodyEndsSoon(ctx) && !closesAfterwards(ctx))) return

  ctx.set('Connection', 'close')
  ctx.respond = false
  if (ctx.get('Expect') === '') {
    ctx.res.flushHeaders()
    if (ctx.method !== 'HEAD') ctx.res.write(body)
    await linger(ctx.req)
    ctx.res.end()
  } else {
    ctx.res.end(ctx.method === 'HEAD' ? undefined : body) // told no before it sent anything
  }
}

/** Whether Node closes the connection behind the answer, whatever of the body has not come by then. */
function closesAfterwards({ res }: Context): boolean {
  return !res.shouldKeepAlive || /close/i.test(String(res.getHeader('Connection') ?? ''))
}

/** Whether Node will have read what is left of the body at small cost once the answer is out. */
function bodyEndsSoon(ctx: Context): boolean {
  if (ctx.req.complete) return true
  const length = ctx.get('Content-Length')
  if (length === '') return ctx.get('Transfer-Encoding') === ''
  return ctx.get('Expect') === '' && Number(length) - ctx.state.bodyBytes <= DRAINED_BYTES
}

/** Closing a socket with unread data resets it, and the reset can overtake the answer: so read on for a moment. */
async function linger(req: IncomingMessage): Promise<void> {
  const enough = new AbortController()
  let bytes = 0
  req.on('data', (chunk: Uint8Array) => {
    bytes += chunk.length
    if (bytes > LINGER_BYTES) {
      req.pause() // the client's own sending stops here; what it has not read yet it still can
      enough.abort()
    }
  })
  for (const event of ['end', 'close', 'error']) req.once(event, () => enough.abort())
  req.resume()
  await delay(LINGER_MS, undefined, { signal: enough.signal }).catch(() => {}) // cut short is as good as over
}
