/**
 * A body that lies in a file, or comes from another socket, sent by the kernel behind Node's back: Node writes the headers,
 * and finds when it goes on that everything is out. Only on a plain socket, and only when this answer is the first in line on its connection.
 */
import { Socket } from 'node:net'
import { transferFile } from '../native/file-transfer.ts'
import type { Transfer } from '../storage/driver.ts'
import type { BlobContent } from '../storage/store.ts'
import type { Context } from './routing.ts'

/** With less than this, handing the work over costs more than doing it. */
const WORTH_BYTES = 128 * 1024

/** Whether `content` can be sent in this way. */
export function canSendFile(ctx: Context, { file, relay }: BlobContent): boolean {
  const { lengthBytes } = file ?? relay ?? { lengthBytes: 0 }
  return lengthBytes >= WORTH_BYTES && descriptorOf(ctx) !== undefined
}

function descriptorOf({ req, res }: Context): number | undefined {
  const { socket } = req
  if (!(socket instanceof Socket) || 'encrypted' in socket || res.socket !== socket) return undefined
  const { fd } = (socket as { readonly _handle?: { readonly fd?: number } | null })._handle ?? {}
  return fd !== undefined && fd >= 0 ? fd : undefined
}

/**
 * Sends status and headers as they are set, then the file, and ends the answer; disposes of `content`. Resolves when that is
 * over. Never throws: it is too late for another answer, so that the connection is cut if the body cannot be completed.
 */
export async function sendFile(ctx: Context, content: BlobContent): Promise<void> {
  const { res, req } = ctx
  const { socket } = req
  ctx.respond = false
  try {
    res.flushHeaders()
    await flushed(socket)
    const { transfer, lengthBytes } = begun(() => openDescriptorOf(ctx), content)
    const sent = await whileConnected(socket, transfer)
    ctx.state.fileBytes = sent
    if (sent < lengthBytes) throw new Error(`the file ended ${lengthBytes - sent} bytes early`)
    res.end()
  } catch (error) {
    if (!socket.destroyed) ctx.app.emit('error', error, ctx)
    socket.destroy()
  } finally {
    content.body.destroy()
  }
}

function openDescriptorOf(ctx: Context): number {
  const descriptor = descriptorOf(ctx)
  if (descriptor === undefined) throw Object.assign(new Error('the client left'), { code: 'EPIPE' })
  return descriptor
}

function begun(
  descriptor: () => number,
  { file, relay }: BlobContent,
): { readonly transfer: Transfer; readonly lengthBytes: number } {
  if (file) {
    const { startBytes, lengthBytes } = file
    return { transfer: transferFile(descriptor(), file.file, startBytes, lengthBytes), lengthBytes }
  }
  if (!relay) throw new Error('there is nothing to send')
  return { transfer: relay.into(descriptor), lengthBytes: relay.lengthBytes }
}

/** Resolves when Node has nothing left to write on the socket. */
async function flushed(socket: Socket): Promise<void> {
  if (socket.writableLength === 0) return
  await new Promise<void>((resolve) => socket.write('', () => resolve())) // called with an error too: the transfer will tell
}

/** Node sees nothing move on the socket meanwhile: whether something does is looked at as often as it would have looked. */
async function whileConnected(socket: Socket, transfer: Transfer): Promise<number> {
  const idleMs = socket.timeout ?? 0
  let before = 0
  const watch = (): void => {
    const sent = transfer.sentBytes()
    if (sent === before) socket.emit('timeout')
    before = sent
  }
  const timer = idleMs > 0 ? setInterval(watch, idleMs) : undefined
  const cancel = (): void => transfer.cancel()
  socket.setTimeout(0)
  socket.once('close', cancel)
  try {
    return await transfer.done
  } finally {
    clearInterval(timer)
    socket.off('close', cancel)
    socket.setTimeout(idleMs)
  }
}
