/** All open connections of the registry, with the answers that run on each: how many there may be, and how each ends. */
import type { Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { ERRORS, type ErrorKind, errorEnvelope } from './errors.ts'
import type { RefusalLog } from './refusals.ts'

export interface ConnectionOptions {
  readonly refusals: RefusalLog
  readonly idleMs: number
  /** Of all addresses together. */
  readonly maxConnections: number
}

/** So many connections beyond the limit are told why; what comes on top of them is just closed. */
const TOLD_AT_ONCE = 100
/** How long a refused client has to read why. */
const LINGER_MS = 2_000
/** When connections are scarce, those that wait for nothing are closed this often. */
const EVICT_EVERY_MS = 1_000

/** Why our side closed a connection, where it did so before the answer was out. */
const cuts = new WeakMap<Duplex, string>()
export const whyCut = (socket: Duplex): string | undefined => cuts.get(socket)

interface Connection {
  /** What HTTP runs over: the socket itself, or what TLS makes of it in the end. */
  stream: Socket | undefined
  /** Those that are out are forgotten when the next begins. */
  answers: ServerResponse[]
}

export class Connections {
  readonly #options: ConnectionOptions
  /** By the accepted socket. */
  readonly #open = new Map<Socket, Connection>()
  readonly #byStream = new WeakMap<Duplex, Connection>()
  /** There is no room for them, which they can be told once they speak TLS. */
  readonly #crowded = new WeakSet<Socket>()
  #told = 0
  #evictedAt = Number.NEGATIVE_INFINITY
  #stopping = false

  constructor(options: ConnectionOptions) {
    this.#options = options
  }

  /**
   * Whether anything can be said on it. Beyond the limit that is why it is refused: at once on a plain connection, and else when
   * it is `secured`.
   */
  admit(socket: Socket, server: Server, plain: boolean): boolean {
    if (this.#open.size >= this.#options.maxConnections) {
      this.#evictIdle(server)
      return this.#refuse(socket, plain)
    }
    const connection: Connection = { stream: plain ? socket : undefined, answers: [] }
    this.#open.set(socket, connection)
    this.#byStream.set(socket, connection)
    socket.once('close', () => this.#open.delete(socket))
    return true
  }

  /** TLS has made `stream` of an admitted `socket`. Whether requests may come by it. */
  secured(socket: Socket, stream: Socket): boolean {
    if (this.#crowded.has(socket)) {
      tell(stream, 'tooManyConnections', this.#limit)
      return false
    }
    const connection = this.#open.get(socket)
    if (!connection || this.#stopping) {
      stream.destroy()
      return false
    }
    connection.stream = stream
    this.#byStream.set(stream, connection)
    return true
  }

  answering(socket: Duplex, res: ServerResponse): void {
    const connection = this.#byStream.get(socket)
    if (connection === undefined) return
    const { answers } = connection
    if (answers.length === 1 && answers[0]?.closed) answers[0] = res
    else connection.answers = [...answers.filter(isRunning), res]
    if (this.#stopping) this.#endWith(socket as Socket, res)
  }

  /** The connection ends with this answer, also if it has promised to keep it before the stop. */
  #endWith(socket: Socket, res: ServerResponse): void {
    if (!res.headersSent) res.setHeader('Connection', 'close')
    res.once('close', () => {
      if (this.#answersOn(socket).length === 0) socket.destroySoon()
    })
  }

  /** Nothing moved for long. Between two requests that is no news; and while it is our turn, the client does right to wait. */
  idle(socket: Socket): void {
    const answers = this.#answersOn(socket)
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
    if (error.code === 'ECONNRESET' || error.code?.startsWith('ERR_SSL_')) {
      socket.destroy()
      return
    }
    const kind = PARSER_ERRORS[error.code ?? ''] ?? 'requestMalformed'
    const reason = (error as { reason?: string }).reason ?? error.message // the parser's own words, if it was the parser
    this.#options.refusals.report(ERRORS[kind].message, {
      problem: reason,
      remote: (socket as Socket).remoteAddress,
    })
    const begun = this.#answersOn(socket).some(({ headersSent }) => headersSent)
    if (!socket.writable || begun) socket.destroy()
    else socket.end(refusal(kind, reason), () => socket.destroy())
  }

  get #limit(): string {
    return `at most ${this.#options.maxConnections} at once`
  }

  /** False if there is nothing left to do with it: only so many are told. */
  #refuse(socket: Socket, plain: boolean): boolean {
    this.#options.refusals.report(ERRORS.tooManyConnections.message, {
      limit: this.#options.maxConnections,
      remote: socket.remoteAddress,
    })
    if (this.#told >= TOLD_AT_ONCE) {
      socket.destroy()
      return false
    }
    this.#told++
    socket.once('close', () => this.#told--)
    if (plain) tell(socket, 'tooManyConnections', this.#limit)
    else this.#crowded.add(socket)
    return !plain
  }

  /** From now on each connection ends with its answer; those that never asked anything end now. */
  stop(): void {
    this.#stopping = true
    for (const [socket, { stream }] of this.#open) {
      if (stream) for (const res of this.#answersOn(stream)) this.#endWith(stream, res)
      if ((stream?.bytesRead ?? 0) === 0) socket.destroy()
    }
  }

  cutAll(): void {
    for (const [socket, { stream = socket }] of this.#open) {
      if (this.#answersOn(stream).length > 0) this.#cut(stream, 'the registry stops')
      socket.destroy()
    }
  }

  #answersOn(socket: Duplex): readonly ServerResponse[] {
    return (this.#byStream.get(socket)?.answers ?? []).filter(isRunning)
  }

  #cut(socket: Duplex, why: string): void {
    cuts.set(socket, why)
    this.#options.refusals.report(why, { remote: (socket as Socket).remoteAddress })
  }

  #evictIdle(server: Server): void {
    const now = performance.now()
    if (now - this.#evictedAt < EVICT_EVERY_MS) return
    this.#evictedAt = now
    server.closeIdleConnections()
  }
}

const isRunning = (res: ServerResponse): boolean => !res.closed

/** Whatever it sends, the answer is this one, and then nothing. */
export function tell(socket: Socket, kind: ErrorKind, reason: string): void {
  socket.on('error', () => {}) // it went before it was told
  socket.setTimeout(LINGER_MS, () => socket.destroy())
  socket.once('end', () => socket.destroy())
  socket.resume() // closing with unread bytes would reset the connection, and the reset can overtake the answer
  socket.end(refusal(kind, reason))
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
