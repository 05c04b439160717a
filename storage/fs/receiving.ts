/**
 * Large content from a socket into an upload's file, by the addon's own threads. They go on receiving while what they have
 * passed is synced and recorded, one step at a time.
 */
import type { FileHandle } from 'node:fs/promises'
import { endOf, type ReceptionProgress, receiveFile } from '../../native/file-reception.ts'
import type { HashedCheckpoint, TakenSocket } from '../driver.ts'
import { SizeMismatch } from '../errors.ts'
import type { DigestAlgorithm, HashStates } from '../model/digest.ts'
import { diskFailure } from './files.ts'

/** So much is sent again after a crash, twice at most, and what came in a second: a quick upload is over before its first checkpoint. */
export const CHECKPOINT_BYTES = 16 * 1024 * 1024
export const CHECKPOINT_MS = 1_000

export interface ReceiveFrom {
  readonly offset: number
  /** After the bytes before. */
  readonly hashes: HashStates
}

/** `lasting` is done before the first checkpoint. */
export async function* receiveInto(
  file: FileHandle,
  body: TakenSocket,
  { offset, hashes }: ReceiveFrom,
  lasting: Promise<void> | undefined,
  signal: AbortSignal,
): AsyncGenerator<HashedCheckpoint> {
  signal.throwIfAborted()
  const algorithms = Object.keys(hashes) as DigestAlgorithm[]
  const reception = receiveFile({
    socket: body.descriptor,
    file: file.fd,
    pieces: body.arrived,
    offset,
    lengthBytes: body.leftBytes,
    stepBytes: CHECKPOINT_BYTES,
    states: algorithms.map((algorithm) => Buffer.from(hashes[algorithm] ?? '', 'base64')),
  })
  const cancel = (): void => reception.cancel()
  signal.addEventListener('abort', cancel)
  body.watch(reception)
  let durable = offset
  let durableAtMs = performance.now()
  let last: ReceptionProgress | undefined
  try {
    for (;;) {
      const progress = await reception.next()
      if (progress.over) last = progress
      else if (performance.now() - durableAtMs < CHECKPOINT_MS) {
        reception.goOn()
        continue
      }
      const { error, receivedBytes } = progress
      if (error?.step === WRITE_STEP) {
        await file.truncate(durable).catch(() => {}) // a full disk gets back what nobody was told is kept
        diskFailure(error)
      }
      if (progress.offset > durable) await Promise.all([file.datasync(), lasting]).catch(diskFailure)
      durable = progress.offset
      durableAtMs = performance.now()
      const states = algorithms.map((algorithm, index) => [algorithm, base64(progress.states[index])] as const)
      const complete = last !== undefined && error === undefined && receivedBytes === body.leftBytes
      yield { offset: durable, state: {}, hashes: Object.fromEntries(states), complete }
      if (complete) return
      if (last) throw reasonOf(last, body, signal)
      reception.goOn()
    }
  } finally {
    signal.removeEventListener('abort', cancel)
    last ??= await endOf(reception)
    body.ended(last.receivedBytes, last.error?.step === READ_STEP ? last.error : undefined)
  }
}

/** What the addon calls its steps. */
const READ_STEP = 'read a socket'
const WRITE_STEP = 'write a file'

const base64 = (state: Uint8Array = new Uint8Array()): string => Buffer.from(state).toString('base64')

/** Why it ended before everything was there. */
function reasonOf(
  { error, receivedBytes }: ReceptionProgress,
  { arrived, leftBytes }: TakenSocket,
  signal: AbortSignal,
) {
  if (signal.aborted) return signal.reason
  if (error?.code === 'ECANCELED') return Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' })
  if (error) return error
  const before = arrived.reduce((total, { length }) => total + length, 0)
  return new SizeMismatch(`the body ended after ${before + receivedBytes} of ${before + leftBytes} bytes`)
}
