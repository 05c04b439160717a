/** What goes into a plain socket without passing through JavaScript: a file, by the kernel; the answer of another registry, hashed on its way. */
import type { FileHandle } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { transferFile } from '../../native/file-transfer.ts'
import type { Movement } from '../../native/plain-socket.ts'
import { type RelayEnd, relaySocket } from '../../native/socket-relay.ts'
import { giveBack, handleOf, type SocketHandle, takeBody } from '../../native/taken-answer.ts'
import { algorithmOf, hexOf } from '../../storage/model/digest.ts'
import { ContentMismatch } from '../store/content.ts'
import type { Patience } from './bounded-body.ts'
import type { BlobIdentity, DirectBody } from './endpoint.ts'
import { RegistryMisbehaves } from './refusals.ts'

/** So much of an open file, which is closed with it. */
export function fileBody(file: FileHandle, startBytes: number, lengthBytes: number): DirectBody {
  return {
    start: (descriptor) => transferFile(descriptor, file.fd, startBytes, lengthBytes),
    [Symbol.asyncDispose]: () => file.close(),
  }
}

/** A blob, whole, that is verified before its last piece is sent. `undefined` if it cannot be taken from Node, or has another length. */
export function answerBody(
  answer: IncomingMessage,
  blob: BlobIdentity,
  { windowMs, windowBytes }: Patience,
): DirectBody | undefined {
  const handle = handleOf(answer)
  if (!handle || Number(answer.headers['content-length']) !== blob.sizeBytes) return undefined
  return {
    start: (descriptor) => relayed(answer, handle, blob, { windowMs, windowBytes }, descriptor),
    [Symbol.asyncDispose]: async () => void answer.destroy(), // nothing happens if its connection was given back
  }
}

function relayed(
  answer: IncomingMessage,
  handle: SocketHandle,
  { digest, sizeBytes }: BlobIdentity,
  { windowMs, windowBytes }: Pick<Patience, 'windowMs' | 'windowBytes'>,
  to: number,
): Movement {
  takeBody(answer, handle)
  const arrived = answer.read() as Uint8Array | null
  const lengthBytes = sizeBytes - (arrived?.length ?? 0)
  const relay = relaySocket({
    from: handle.fd,
    to,
    pieces: arrived ? [arrived] : [],
    lengthBytes,
    digest: { algorithm: algorithmOf(digest), hex: hexOf(digest) },
  })
  let slow: RegistryMisbehaves | undefined
  let before = 0
  const watch = setInterval(() => {
    const sent = relay.sentBytes()
    if (relay.isStarved() && sent - before < windowBytes) {
      slow = new RegistryMisbehaves(`a body that brings less than ${windowBytes} bytes in ${windowMs / 1000} seconds`)
      relay.cancel()
    }
    before = sent
  }, windowMs)
  const ended = async (): Promise<number> => {
    const end = await relay.done
    clearInterval(watch)
    if (slow) throw slow
    const failure = failureOf(end, { digest, sizeBytes })
    if (failure) throw failure
    if (end.silent) await giveBack(answer, handle, lengthBytes)
    return end.sentBytes
  }
  return {
    done: ended(),
    sentBytes: () => relay.sentBytes(),
    isStarved: () => relay.isStarved(),
    cancel: () => relay.cancel(),
  }
}

function failureOf({ sentBytes, digestHex, error }: RelayEnd, { digest, sizeBytes }: BlobIdentity): Error | undefined {
  if (error?.step === 'compare a digest')
    return new ContentMismatch(`the content of ${digest} has the digest ${algorithmOf(digest)}:${digestHex}`)
  if (error && error.step !== 'read a socket') return error
  if (sentBytes === sizeBytes) return undefined
  const cause = error ?? Object.assign(new Error('the other side closed the connection'), { code: 'ECONNRESET' })
  return new Error(`the download of ${digest} broke off after ${sentBytes} of ${sizeBytes} bytes`, { cause })
}
