/**
 * From an accepted connection to one that requests can come by. What a client says first tells whether it speaks TLS at all; who
 * speaks HTTP is told so in HTTP. Handshakes are bounded in time and in number, where the newest wins: whoever only holds connections
 * open pushes out others that do the same, and nobody who means it.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type Connections, tell } from '../connections.ts'
import type { RefusalLog } from '../refusals.ts'

/** The first byte of a TLS record that is a handshake's (RFC 8446 section 5.1). */
const HANDSHAKE_RECORD = 0x16
const HANDSHAKE_MS = 10_000
const MOST_AT_ONCE = 1_000

export interface HandshakeOptions {
  readonly refusals: RefusalLog
  readonly maxConnections: number
  /** From the connection to the end of the handshake. */
  readonly handshakeMs?: number
  readonly maxHandshakes?: number
}

export class Handshakes {
  readonly #refusals: RefusalLog
  readonly #limitMs: number
  readonly #most: number
  /** The oldest first. Who they are from is not known any more once they have failed. */
  readonly #running = new Map<Socket, { readonly timer: NodeJS.Timeout; readonly remote: string | undefined }>()

  /** `server` is one of `node:https`. */
  constructor(server: Server, connections: Connections, options: HandshakeOptions) {
    this.#refusals = options.refusals
    this.#limitMs = options.handshakeMs ?? HANDSHAKE_MS
    // Never all the connections that there may be: those that wait must not keep out those that are served.
    this.#most = Math.min(options.maxHandshakes ?? MOST_AT_ONCE, Math.ceil(options.maxConnections / 2))
    // Node's own would answer a failed handshake with an HTTP error.
    server
      .removeAllListeners('tlsClientError')
      .on('tlsClientError', (error: NodeJS.ErrnoException, stream: TLSSocket) => {
        this.#failed(error, stream)
        stream.destroy()
      })
    const serve = server.listeners('secureConnection') as ((stream: TLSSocket) => void)[]
    server.removeAllListeners('secureConnection').on('secureConnection', (stream: TLSSocket) => {
      const socket = underneath(stream)
      this.#over(socket)
      stream.allowHalfOpen = true // as of any HTTP connection here; in the handshake a client that ends has gone
      if (connections.secured(socket, stream)) for (const listener of serve) listener.call(server, stream)
    })
  }

  /** `secure` makes TLS of a connection. */
  begin(socket: Socket, secure: (socket: Socket) => void): void {
    const [oldest] = this.#running.keys()
    if (oldest && this.#running.size >= this.#most) this.#cut(oldest, 'more TLS handshakes than can be kept waiting')
    const timer = setTimeout(() => this.#cut(socket, 'the TLS handshake took too long'), this.#limitMs)
    this.#running.set(socket, { timer, remote: socket.remoteAddress })
    socket.on('error', () => {}) // it went before it was anything
    socket.once('close', () => this.#over(socket))
    socket.once('readable', () => {
      const said = socket.read() as Buffer | null
      if (said === null) return void socket.destroy() // it looked whether somebody listens
      if (said[0] === HANDSHAKE_RECORD) {
        socket.unshift(said)
        return secure(socket)
      }
      this.#over(socket)
      this.#refusals.report('plain HTTP, or something else that is not TLS', { remote: socket.remoteAddress }, 'info')
      tell(socket, 'requestNotEncrypted', 'expected a URL that begins with https://')
    })
  }

  #over(socket: Socket): void {
    clearTimeout(this.#running.get(socket)?.timer)
    this.#running.delete(socket)
  }

  #cut(socket: Socket, why: string): void {
    this.#over(socket)
    this.#refusals.report(why, { remote: socket.remoteAddress })
    socket.destroy()
  }

  #failed(error: NodeJS.ErrnoException, stream: TLSSocket): void {
    if (error.code === 'ECONNRESET') return // it went, as those do that only look
    const why = WORDS[error.code ?? ''] ?? (error as { reason?: string }).reason ?? error.message
    this.#refusals.report(
      `TLS handshake failed: ${why}`,
      { remote: this.#running.get(underneath(stream))?.remote },
      'info',
    )
  }
}

/** The socket that was accepted: Node keeps it there, and tells it nowhere else. */
const underneath = (stream: TLSSocket): Socket => (stream as unknown as { readonly _parent?: Socket })._parent ?? stream

/** What happens every day, in words for an operator; the others are OpenSSL's. */
const WORDS: Readonly<Record<string, string>> = {
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'the client does not trust the issuer of our certificate',
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: 'the client does not believe our certificate',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'our certificate has expired, the client says',
  'ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE': 'the client does not believe our certificate',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'the client speaks no version of TLS that we accept',
  ERR_SSL_NO_SHARED_CIPHER: 'the client has no cipher that we accept',
  ERR_SSL_NO_APPLICATION_PROTOCOL: 'the client does not speak HTTP/1.1',
}
