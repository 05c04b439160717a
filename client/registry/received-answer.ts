/** The body of an answer into a file, hashed on its way, by threads of the addon: none of it passes through JavaScript. */
import type { IncomingMessage } from 'node:http'
import { endOf, type ReceptionProgress, receiveFile } from '../../native/file-reception.ts'
import { type SocketHandle, takeBody } from '../../native/taken-answer.ts'
import type { Received, ReceivingFile } from '../store/content.ts'
import type { Patience } from './bounded-body.ts'
import { RegistryMisbehaves } from './refusals.ts'

/** So often whoever reads the file meanwhile is told. */
const STEP_BYTES = 512 * 1024

/**
 * Throws the connection's error where it breaks off, the system's where the file cannot be written, `RegistryMisbehaves` where the body drips, the signal's
 * reason. The connection ends with the body: what comes behind one that was not read by Node could be taken for the next answer.
 */
export async function* receivedAnswer(
  answer: IncomingMessage,
  handle: SocketHandle,
  { descriptor, before }: ReceivingFile,
  { windowMs, windowBytes }: Patience,
  signal: AbortSignal | undefined,
): AsyncGenerator<Received> {
  using _connection = { [Symbol.dispose]: () => void answer.destroy() }
  const bodyBytes = takeBody(answer, handle)
  const arrived = answer.read() as Uint8Array | null
  const lengthBytes = bodyBytes - (arrived?.length ?? 0)
  const reception = receiveFile({
    socket: handle.fd,
    file: descriptor,
    pieces: arrived ? [arrived] : [],
    offset: before.offset,
    lengthBytes,
    stepBytes: STEP_BYTES,
    states: [before.hashState],
  })
  const cancel = (): void => reception.cancel()
  signal?.addEventListener('abort', cancel)
  if (signal?.aborted) cancel()
  let isSlow = false
  let receivedBefore = 0
  const watch = setInterval(() => {
    const received = reception.receivedBytes()
    isSlow = !reception.isOurTurn() && received - receivedBefore < windowBytes
    receivedBefore = received
    if (isSlow) cancel()
  }, windowMs)
  let last: ReceptionProgress | undefined
  try {
    while (!last) {
      const progress = await reception.next()
      if (progress.over) last = progress
      yield { offset: progress.offset, hashState: progress.states[0] ?? before.hashState }
      if (!progress.over) reception.goOn()
    }
    signal?.throwIfAborted()
    if (isSlow)
      throw new RegistryMisbehaves(`a body that brings less than ${windowBytes} bytes in ${windowMs / 1000} seconds`)
    if (last.error) throw last.error
    if (last.receivedBytes < lengthBytes)
      throw Object.assign(new Error('the other side closed the connection'), { code: 'ECONNRESET' })
  } finally {
    clearInterval(watch)
    signal?.removeEventListener('abort', cancel)
    if (!last) await endOf(reception)
  }
}
