/**
 * A body that lies in a file, or comes from another socket, sent by the kernel behind Node's back: Node writes the headers,
 * and finds when it goes on that everything is out. Only on a plain socket, and only when this answer is the first in line on its connection.
 */
import { transferFile } from '../native/file-transfer.ts'
import { descriptorOf, flushed, whileConnected } from '../native/plain-socket.ts'
import type { Transfer } from '../storage/driver.ts'
import type { BlobContent } from '../storage/store.ts'
import type { Context } from './routing.ts'

/** With less than this, handing the work over costs more than doing it. */
const WORTH_BYTES = 128 * 1024

/** Whether `content` can be sent in this way. */
export function canSendFile(ctx: Context, { file, relay }: BlobContent): boolean {
  const { lengthBytes } = file ?? relay ?? { lengthBytes: 0 }
  return lengthBytes >= WORTH_BYTES && descriptorNow(ctx) !== undefined
}

const descriptorNow = ({ req, res }: Context): number | undefined =>
  res.socket === req.socket ? descriptorOf(req.socket) : undefined

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
  const descriptor = descriptorNow(ctx)
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
