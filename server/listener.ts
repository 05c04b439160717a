/**
 * The HTTP server around the application: time-outs fit for uploads of hours, clear answers to what is not even HTTP,
 * and a stop that lets running answers finish. Relies on nothing of the registry's protocol.
 */
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { ERRORS, type ErrorKind, errorEnvelope } from './errors.ts'

/** A connection on which nothing moved for this long is cut; an upload's prefix stays. Node's limit on whole requests would cut long uploads. */
const IDLE_MS = 120_000
/** Longer than load balancers keep a connection (60 s), which would otherwise send into a closing one. */
const KEEP_ALIVE_MS = 75_000
const HEADERS_MS = 60_000
/** Room for manifests pushed with many `tag` parameters. */
const MAX_HEADER_BYTES = 32 * 1024

export interface Listener {
  /** With the real port. */
  readonly url: string
  /**
   * Accepts no more, closes idle connections, resolves when the running answers are out or after `graceMs`, having
   * called `lastCall` shortly before that; then cuts what remains.
   */
  stop(graceMs: number, lastCall: () => Promise<void>): Promise<void>
}

/** Rejects with the system's error (`EADDRINUSE`, …) if the address cannot be had. */
export async function listen(app: RequestListener, host: string, port: number): Promise<Listener> {
  const open = new Set<ServerResponse>()
  let stopping = false
  const serve: RequestListener = (req, res) => {
    open.add(res)
    res.once('close', () => open.delete(res))
    if (stopping) res.setHeader('Connection', 'close')
    app(req, res)
  }
  const server = createServer(
    {
      requestTimeout: 0,
      headersTimeout: HEADERS_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      noDelay: true,
    },
    serve,
  )
  server.setTimeout(IDLE_MS)
  server.on('checkContinue', serve) // whoever wants the body says `100 Continue`
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuseGarbage(error, socket, open))

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })

  return {
    url: printUrl(server.address() as AddressInfo),
    async stop(graceMs, lastCall) {
      stopping = true
      for (const res of open) if (!res.headersSent) res.setHeader('Connection', 'close')
      await closeWithin(server, graceMs, lastCall)
    },
  }
}

const printUrl = ({ address, family, port }: AddressInfo): string =>
  `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`

/** The last call comes after most of the time, so that uploads which end by themselves may. */
async function closeWithin(server: Server, graceMs: number, lastCall: () => Promise<void>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  if (await settlesWithin(closed, graceMs * 0.7)) return
  await settlesWithin(Promise.all([closed, lastCall()]), graceMs * 0.3)
  server.closeAllConnections()
  await closed
}

async function settlesWithin(work: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>()
  const timer = setTimeout(() => resolve(false), milliseconds)
  try {
    return await Promise.race([work.then(() => true as const), late])
  } finally {
    clearTimeout(timer)
  }
}

const PARSER_ERRORS: Readonly<Record<string, ErrorKind>> = {
  HPE_HEADER_OVERFLOW: 'headersTooLarge',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'headersTooLarge',
  ERR_HTTP_REQUEST_TIMEOUT: 'requestTooSlow',
}

/** Bytes that no request could be read from. An answer to an earlier request on the connection is never written into. */
function refuseGarbage(error: NodeJS.ErrnoException, socket: Duplex, open: ReadonlySet<ServerResponse>): void {
  const running = [...open].filter(({ req }) => (req as IncomingMessage).socket === socket)
  if (error.code === 'ECONNRESET' || !socket.writable || running.some(({ headersSent }) => headersSent)) {
    socket.destroy()
    return
  }
  const { code, status, message } = ERRORS[PARSER_ERRORS[error.code ?? ''] ?? 'requestMalformed']
  const body = errorEnvelope(code, message, { reason: error.message })
  const head = [
    `HTTP/1.1 ${status} ${message}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Docker-Distribution-API-Version: registry/2.0',
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}
