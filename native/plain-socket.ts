/** A socket of Node's that the kernel is given work on, behind Node's back: plain, and with nothing left for Node to write. */
import { Socket } from 'node:net'

/** Bytes that move on a socket without Node. */
export interface Movement {
  readonly done: Promise<number>
  /** So far. */
  sentBytes(): number
  /** Nothing can be sent, because nothing comes: not the socket's fault. */
  isStarved?(): boolean
  cancel(): void
}

/** `undefined` where there is none: by TLS, or closed. Not to be remembered: once Node has closed it, somebody else's connection may have its number. */
export function descriptorOf(socket: unknown): number | undefined {
  if (!(socket instanceof Socket) || 'encrypted' in socket) return undefined
  const { fd } = (socket as { readonly _handle?: { readonly fd?: number } | null })._handle ?? {}
  return fd !== undefined && fd >= 0 ? fd : undefined
}

/** Resolves when Node has nothing left to write on the socket. */
export async function flushed(socket: Socket): Promise<void> {
  if (socket.writableLength === 0) return
  await new Promise<void>((resolve) => socket.write('', () => resolve())) // called with an error too: the transfer will tell
}

/** What is known of bytes that move without Node. */
export interface Watched {
  /** So far. */
  movedBytes(): number
  /** Nothing moves, and that is not the other end's fault. */
  isExcused?(): boolean
  cancel(): void
}

/**
 * Until it is disposed: cancels when the socket closes. Node sees nothing move on it meanwhile: whether something does is
 * looked at as often as Node would have looked, and told by the same event.
 */
export function watching(socket: Socket, watched: Watched): Disposable {
  const idleMs = socket.timeout ?? 0
  let before = 0
  const look = (): void => {
    const moved = watched.movedBytes()
    if (moved === before && !watched.isExcused?.()) socket.emit('timeout')
    before = moved
  }
  const timer = idleMs > 0 ? setInterval(look, idleMs) : undefined
  const cancel = (): void => watched.cancel()
  socket.setTimeout(0)
  socket.once('close', cancel)
  if (socket.destroyed) cancel()
  return {
    [Symbol.dispose]() {
      clearInterval(timer)
      socket.off('close', cancel)
      socket.setTimeout(idleMs)
    },
  }
}

/** Resolves to the bytes that were moved. */
export async function whileConnected(socket: Socket, movement: Movement): Promise<number> {
  using _watch = watching(socket, { movedBytes: () => movement.sentBytes(), cancel: () => movement.cancel() })
  return await movement.done
}
