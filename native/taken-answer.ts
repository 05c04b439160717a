/**
 * The body of an answer, taken from Node while it comes: whoever takes it reads the socket's descriptor. Node goes on with the connection
 * afterwards as if it had read the body itself. Only on a plain socket, and only of a known length.
 */
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { finished } from 'node:stream/promises'
import { parserOf, skipBody } from './http-parser.ts'

export interface SocketHandle {
  readonly fd: number
  /** What Node believes: it is left alone. */
  readonly reading?: boolean
  readStart(): number
  readStop(): number
}

/** `undefined` unless the rest of the body will come, in plain bytes and of a known length, on a socket of which Node has kept nothing. */
export function handleOf(body: unknown): SocketHandle | undefined {
  if (!(body instanceof IncomingMessage) || body.complete || body.destroyed) return undefined
  const { socket, headers } = body
  if (!(socket instanceof Socket) || 'encrypted' in socket || socket.destroyed || socket.readableLength > 0) return
  if (headers['content-length'] === undefined || headers['transfer-encoding'] !== undefined) return undefined
  const { _handle: handle } = socket as Partial<{ _handle: SocketHandle }>
  return handle && handle.fd >= 0 && typeof handle.readStart === 'function' ? handle : undefined
}

/** Node reads no more from the socket, and does not judge it by what it sees of it. How long the whole body is; what has come of it can be `read`. */
export function takeBody(body: IncomingMessage, handle: SocketHandle): number {
  const { socket, headers } = body
  handle.readStop()
  handle.readStart = () => 0
  socket.setTimeout(0)
  socket.setTimeout = () => socket // who asked may set its own some seconds later
  body.on('error', () => {}) // of the connection's end, which is ours
  return Number(headers['content-length'])
}

/** Node goes on with the connection as if it had read the rest of the body, of `skippedBytes`; closed if it cannot. */
export async function giveBack(body: IncomingMessage, handle: SocketHandle, skippedBytes: number): Promise<void> {
  const { socket } = body
  const parser = parserOf(socket)
  if (!parser || socket.destroyed) return
  delete (handle as Partial<SocketHandle>).readStart // the class's own is back, as the socket's
  delete (socket as Partial<Socket>).setTimeout
  const over = finished(body.resume(), { writable: false }).catch(() => {}) // destroyed: it is closed
  skipBody(parser, skippedBytes, (bytes) => (socket.emit('data', bytes) && !body.destroyed ? undefined : 'closed'))
  if (!body.complete) body.destroy()
  if (handle.reading && !socket.destroyed) handle.readStart()
  await over
}
