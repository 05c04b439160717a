/**
 * A body that is read behind Node's back, from the socket's descriptor: Node stops reading, and afterwards its parser is told
 * that so many bytes went by. So everything else stays as it is: keep-alive, pipelining, limits, errors. Only on a plain socket, only with
 * `Content-Length`, and only when this request is the first in line on its connection.
 */
import { Socket } from 'node:net'
import { type HttpParser, parserOf, skipBody } from '../native/http-parser.ts'
import { watching } from '../native/plain-socket.ts'
import type { SocketBody, SocketReader, TakenSocket } from '../storage/driver.ts'
import type { Context } from './routing.ts'

/** With less than this to come, handing the work over costs more than doing it. */
const WORTH_BYTES = 512 * 1024

interface Handle {
  readonly fd: number
  /** What Node believes: it is left alone. */
  readonly reading?: boolean
  readStart(): number
  readStop(): number
}

/** `undefined` where a body cannot be taken at all; `expected` is asked for when it is taken. */
export function socketBody(ctx: Context, lengthBytes: number, expected: () => void): SocketBody | undefined {
  if (!(ctx.req.socket instanceof Socket) || 'encrypted' in ctx.req.socket) return undefined
  return {
    take() {
      const parts = partsOf(ctx)
      if (!parts || lengthBytes - ctx.state.bodyBytes - ctx.req.readableLength < WORTH_BYTES) return undefined
      expected()
      return new Taken(ctx, parts.handle, parts.parser, lengthBytes)
    },
  }
}

/** Of Node's own; missing or not what is known of them, the body is read as usual. */
function partsOf({ req, res }: Context): { readonly handle: Handle; readonly parser: HttpParser } | undefined {
  const { socket } = req
  const { _handle: handle, _paused } = socket as Partial<{ _handle: Handle; _paused: boolean }>
  if (req.complete || socket.destroyed || res.socket !== socket || _paused === true) return undefined
  if (!handle || !(handle.fd >= 0) || typeof handle.readStart !== 'function') return undefined
  const parser = parserOf(socket)
  return parser && { handle, parser }
}

class Taken implements TakenSocket {
  readonly arrived: readonly Uint8Array[]
  readonly leftBytes: number
  readonly #ctx: Context
  readonly #handle: Handle
  readonly #parser: HttpParser
  #idle: Disposable | undefined
  #end: { readonly receivedBytes: number; readonly error?: Error | undefined } = { receivedBytes: 0 }

  constructor(ctx: Context, handle: Handle, parser: HttpParser, lengthBytes: number) {
    this.#ctx = ctx
    this.#handle = handle
    this.#parser = parser
    handle.readStop()
    handle.readStart = () => 0 // whatever makes Node want to read on meanwhile
    const piece = ctx.req.read() as Uint8Array | null
    this.arrived = piece ? [piece] : []
    ctx.state.bodyBytes += piece?.length ?? 0
    this.leftBytes = lengthBytes - ctx.state.bodyBytes
  }

  /** Not remembered: once Node has closed it, somebody else's connection may have its number. */
  get descriptor(): number {
    const { fd } = this.#handle
    if (fd >= 0 && !this.#ctx.req.socket.destroyed) return fd
    throw Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' })
  }

  watch(reader: SocketReader): void {
    this.#idle = watching(this.#ctx.req.socket, {
      movedBytes: () => reader.receivedBytes(),
      isExcused: () => reader.isOurTurn(),
      cancel: () => reader.cancel(),
    })
  }

  ended(receivedBytes: number, error?: Error): void {
    this.#end = { receivedBytes, error }
  }

  [Symbol.dispose](): void {
    const { req, state } = this.#ctx
    const { receivedBytes, error } = this.#end
    this.#idle?.[Symbol.dispose]()
    state.bodyBytes += receivedBytes
    delete (this.#handle as Partial<Handle>).readStart // the class's own is back
    if (req.socket.destroyed) return
    const failure = error ?? this.#skip(receivedBytes)
    if (failure) {
      req.socket.destroy(failure)
      return
    }
    if (this.#handle.reading) this.#handle.readStart()
    if (req.complete) req.resume() // nobody reads to its end
  }

  /** As if Node had read them; what the parser finds wrong. */
  #skip(count: number): Error | undefined {
    return skipBody(this.#parser, count, (bytes) => {
      const parsed = this.#parser.execute(bytes)
      return parsed instanceof Error ? parsed : undefined
    })
  }
}
