/**
 * The HTTP servers around the application: time-outs fit for uploads of hours, a limit on connections, clear answers to what
 * is not even HTTP, and a stop that lets running answers finish. Relies on nothing of the registry's protocol.
 */
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Address, AddressUnusable, printUrl } from './address.ts'
import { ERRORS, type ErrorKind, errorEnvelope } from './errors.ts'
import type { RefusalLog } from './refusals.ts'

export interface ListenOptions {
  readonly refusals: RefusalLog
  readonly headersMs: number
  readonly idleMs: number
  readonly keepAliveMs: number
  /** Of all addresses together. */
  readonly maxConnections: number
}

/** Room for manifests pushed with many `tag` parameters. */
const MAX_HEADER_BYTES = 32 * 1024
/** So many connections beyond the limit are told why; what comes on top of them is just closed. */
const TOLD_AT_ONCE = 100
/** How long a refused client has to read why. */
const LINGER_MS = 2_000
/** When connections are scarce, those that wait for nothing are closed this often. */
const EVICT_EVERY_MS = 1_000

export interface Listener {
  /** With the real ports. */
  readonly addresses: readonly Address[]
  /** Of the first address. */
  readonly url: string
  /**
   * Accepts no more, closes idle connections, resolves when the running answers are out or after `graceMs`, having
   * called `lastCall` shortly before that; then cuts what remains.
   */
  stop(graceMs: number, lastCall: () => Promise<void>): Promise<void>
}

/** Throws `AddressUnusable`, listening nowhere, if one of the addresses cannot be had. */
export async function listen(
  app: RequestListener,
  addresses: readonly Address[],
  options: ListenOptions,
): Promise<Listener> {
  const connections = new Connections(options)
  const servers: Server[] = []
  try {
    for (const address of addresses) servers.push(await bind(address, app, connections, options))
  } catch (error) {
    for (const server of servers) server.close()
    throw error
  }
  const bound = servers.map((server) => addressOf(server))
  return {
    addresses: bound,
    url: bound[0] ? printUrl(bound[0]) : '',
    async stop(graceMs, lastCall) {
      connections.stop()
      await closeWithin(servers, connections, graceMs, lastCall)
    },
  }
}

async function bind(
  address: Address,
  app: RequestListener,
  connections: Connections,
  { headersMs, idleMs, keepAliveMs }: ListenOptions,
): Promise<Server> {
  const serve: RequestListener = (req, res) => {
    connections.answering(req.socket, res)
    app(req, res)
  }
  const server = createServer(
    {
      requestTimeout: 0, // Node's limit on whole requests would cut long uploads
      headersTimeout: headersMs,
      connectionsCheckingInterval: Math.min(30_000, Math.ceil(headersMs / 2)),
      keepAliveTimeout: keepAliveMs,
      maxHeaderSize: MAX_HEADER_BYTES,
      noDelay: true,
    },
    serve,
  )
  // A client that has said all (FIN) may still be listening: Node would otherwise end our side before the answer is out.
  Object.assign(server, { httpAllowHalfOpen: true })
  server.setTimeout(idleMs)
  server.on('timeout', (socket) => connections.idle(socket))
  server.on('checkContinue', serve) // whoever wants the body says `100 Continue`
  server.on('checkExpectation', serve) // what we cannot do is ignored (RFC 9110 section 10.1.1): Node would answer 417 without a body
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => connections.refuseGarbage(error, socket))
  const accept = server.listeners('connection') as ((socket: Socket) => void)[]
  server.removeAllListeners('connection').on('connection', (socket) => {
    if (connections.admit(socket, server)) for (const listener of accept) listener.call(server, socket)
  })

  const { promise: listening, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', (cause) => reject(new AddressUnusable(address, cause))).listen(address, resolve)
  await listening
  return server
}

function addressOf(server: Server): Address {
  const bound = server.address() as AddressInfo | string
  return typeof bound === 'string' ? { path: bound } : { host: bound.address, port: bound.port }
}

/** Why our side closed a connection, where it did so before the answer was out. */
const cuts = new WeakMap<Duplex, string>()
export const whyCut = (socket: Duplex): string | undefined => cuts.get(socket)

/** All open connections of the registry, with the answers that run on each. */
class Connections {
  readonly #options: ListenOptions
  readonly #open = new Map<Duplex, Set<ServerResponse>>()
  #told = 0
  #evictedAt = Number.NEGATIVE_INFINITY
  #stopping = false

  constructor(options: ListenOptions) {
    this.#options = options
  }

  /** Whether there is room for it; if not, it is told so. */
  admit(socket: Socket, server: Server): boolean {
    if (this.#open.size >= this.#options.maxConnections) {
      this.#evictIdle(server)
      this.#refuse(socket)
      return false
    }
    this.#open.set(socket, new Set())
    socket.once('close', () => this.#open.delete(socket))
    return true
  }

  answering(socket: Socket, res: ServerResponse): void {
    const answers = this.#open.get(socket)
    answers?.add(res)
    res.once('close', () => {
      answers?.delete(res)
      // An answer that began before the stop has promised to keep the connection.
      if (this.#stopping && answers?.size === 0) socket.destroySoon()
    })
    if (this.#stopping) res.setHeader('Connection', 'close')
  }

  /** Nothing moved for long. Between two requests that is no news; and while it is our turn, the client does right to wait. */
  idle(socket: Socket): void {
    const answers = [...(this.#open.get(socket) ?? [])]
    if (answers.some(({ req, headersSent }) => !headersSent && (req.complete || req.readableLength > 0))) {
      socket.setTimeout(this.#options.idleMs)
      return
    }
    if (answers.length > 0) {
      this.#cut(socket, `nothing moved for ${this.#options.idleMs / 1_000} s`)
    }
    socket.destroy()
  }

  /** Bytes that no request could be read from. An answer to an earlier request on the connection is never written into. */
  refuseGarbage(error: NodeJS.ErrnoException, socket: Duplex): void {
    if (error.code === 'ECONNRESET') {
      socket.destroy()
      return
    }
    const kind = PARSER_ERRORS[error.code ?? ''] ?? 'requestMalformed'
    const reason = (error as { reason?: string }).reason ?? error.message // the parser's own words, if it was the parser
    this.#options.refusals.report(ERRORS[kind].message, {
      problem: reason,
      remote: (socket as Socket).remoteAddress,
    })
    const answers = [...(this.#open.get(socket) ?? [])]
    if (!socket.writable || answers.some(({ headersSent }) => headersSent)) socket.destroy()
    else socket.end(refusal(kind, reason), () => socket.destroy())
  }

  /** From now on each connection ends with its answer; those that never asked anything end now. */
  stop(): void {
    this.#stopping = true
    for (const [socket, answers] of this.#open) {
      for (const res of answers) if (!res.headersSent) res.setHeader('Connection', 'close')
      if ((socket as Socket).bytesRead === 0) socket.destroy()
    }
  }

  cutAll(): void {
    for (const [socket, answers] of this.#open) {
      if (answers.size > 0) this.#cut(socket, 'the registry stops')
      socket.destroy()
    }
  }

  #cut(socket: Duplex, why: string): void {
    cuts.set(socket, why)
    this.#options.refusals.report(why, { remote: (socket as Socket).remoteAddress })
  }

  #refuse(socket: Socket): void {
    this.#options.refusals.report(ERRORS.tooManyConnections.message, {
      limit: this.#options.maxConnections,
      remote: socket.remoteAddress,
    })
    if (this.#told >= TOLD_AT_ONCE) {
      socket.destroy()
      return
    }
    this.#told++
    socket.once('close', () => this.#told--)
    socket.on('error', () => {}) // it went before it was told
    socket.setTimeout(LINGER_MS, () => socket.destroy())
    socket.once('end', () => socket.destroy())
    socket.resume() // closing with unread bytes would reset the connection, and the reset can overtake the answer
    socket.end(refusal('tooManyConnections', `at most ${this.#options.maxConnections} at once`))
  }

  #evictIdle(server: Server): void {
    const now = performance.now()
    if (now - this.#evictedAt < EVICT_EVERY_MS) return
    this.#evictedAt = now
    server.closeIdleConnections()
  }
}

const PARSER_ERRORS: Readonly<Record<string, ErrorKind>> = {
  HPE_HEADER_OVERFLOW: 'headersTooLarge',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'headersTooLarge',
  ERR_HTTP_REQUEST_TIMEOUT: 'requestTooSlow',
}

/** A whole answer, for a connection on which none can be made the usual way. */
function refusal(kind: ErrorKind, reason: string): string {
  const { code, status, message } = ERRORS[kind]
  const body = errorEnvelope(code, message, { reason })
  const head = [
    `HTTP/1.1 ${status} ${message}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Docker-Distribution-API-Version: registry/2.0',
    ...(status === 503 ? ['Retry-After: 5'] : []),
    'Connection: close',
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

/** The last call comes after most of the time, so that uploads which end by themselves may. */
async function closeWithin(
  servers: readonly Server[],
  connections: Connections,
  graceMs: number,
  lastCall: () => Promise<void>,
): Promise<void> {
  const closed = Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))))
  for (const server of servers) server.closeIdleConnections()
  if (await settlesWithin(closed, graceMs * 0.7)) return
  await settlesWithin(Promise.all([closed, lastCall()]), graceMs * 0.3)
  connections.cutAll()
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
