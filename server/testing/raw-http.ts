/** Requests below the level of an HTTP client: bytes as written here go out, what comes back is read until the end. */
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** A connection that remembers everything it received. */
export class RawConnection implements AsyncDisposable {
  readonly socket: Socket
  /** Resolves when the connection is over, cleanly or not. */
  readonly closed: Promise<void>
  received = ''

  /** `place` is a URL, or the path of a unix socket. */
  constructor(place: string) {
    if (place.startsWith('/')) this.socket = connect(place)
    else {
      const { hostname, port } = new URL(place)
      this.socket = connect(Number(port), hostname)
    }
    this.socket.setEncoding('latin1')
    this.socket.on('data', (text: string) => {
      this.received += text
    })
    this.socket.on('error', () => {}) // a reset is an outcome here; what was received tells the rest
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()))
  }

  write(text: string | Uint8Array): void {
    this.socket.write(text)
  }

  /** Resolves when what was received matches; rejects when the connection ends without that. */
  async until(pattern: RegExp): Promise<string> {
    for (;;) {
      if (pattern.test(this.received)) return this.received
      if (this.socket.closed) throw new Error(`connection ended with: ${this.received}`)
      await delay(2)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
    await this.closed
  }
}

/** Sends `bytes`, reads until the server closes. */
export async function exchange(url: string, bytes: string): Promise<string> {
  await using connection = new RawConnection(url)
  connection.write(bytes)
  await connection.closed
  return connection.received
}
