/**
 * Bytes of a socket into a file, hashed on their way, by threads of the addon's own: none of them passes through
 * JavaScript, and a slow client holds no thread and no memory.
 */
import { getSystemErrorName } from 'node:util'
import { loadAddon } from './addon.ts'

interface Receiver {
  start(
    socket: number,
    file: number,
    pieces: readonly Uint8Array[],
    offset: number,
    length: number,
    step: number,
    states: readonly Uint8Array[],
  ): number
  movedBytes(id: number): number
  resume(id: number): void
  cancel(id: number): void
}

export interface ReceptionStart {
  /** Descriptors: a socket that does not block and from which nobody else reads, and a file, open until the end. */
  readonly socket: number
  readonly file: number
  /** What came before; it must not change until the end. */
  readonly pieces: readonly Uint8Array[]
  /** Where the first byte goes. */
  readonly offset: number
  /** So much is read from the socket, and no more. */
  readonly lengthBytes: number
  /** Progress is told when a multiple of it is passed. */
  readonly stepBytes: number
  /** Of running hashes (`ResumableHash.export`) after the `offset` bytes before. */
  readonly states: readonly Uint8Array[]
}

export interface ReceptionProgress {
  /** Nothing more comes. */
  readonly over: boolean
  /** Behind the last byte that was written: not yet on disk. */
  readonly offset: number
  /** From the socket. Fewer than wanted when it is over without an error: the other side has said all. */
  readonly receivedBytes: number
  /** The hashes after `offset` bytes. */
  readonly states: readonly Uint8Array[]
  /** The system's (`code`, `step`), `ECANCELED` among them. `step` tells the file from the socket. */
  readonly error?: NodeJS.ErrnoException & { readonly step: string }
}

export interface Reception {
  /** One after the other; none is lost. Not to be called again after the one that is over. */
  next(): Promise<ReceptionProgress>
  /** After each progress that is not the end: only one is told at a time, and a step later nothing more is received before this. */
  goOn(): void
  /** So far; 0 when it is over. */
  receivedBytes(): number
  /** Whether progress was told to which nobody has said `goOn` yet. */
  isOurTurn(): boolean
  /** It is over soon; nothing happens if it is. */
  cancel(): void
}

/** Cancels it, and resolves to the last progress. Not after the one that is over. */
export async function endOf(reception: Reception): Promise<ReceptionProgress> {
  reception.cancel()
  for (;;) {
    const progress = await reception.next()
    if (progress.over) return progress
  }
}

/** Progress that came, or who waits for it. */
interface Told {
  readonly pieces: readonly Uint8Array[]
  readonly come: ReceptionProgress[]
  wake: (() => void) | undefined
}

const running = new Map<number, Told>()
let opened: Receiver | undefined

function receiver(): Receiver {
  if (opened) return opened
  const { openFileReceiver } = loadAddon<{
    openFileReceiver(
      tell: (
        id: number,
        over: boolean,
        errno: number,
        step: string,
        offset: number,
        receivedBytes: number,
        states: Uint8Array[],
      ) => void,
      into: object,
    ): void
  }>()
  const into = {}
  openFileReceiver((id, over, errno, step, offset, receivedBytes, states) => {
    const told = running.get(id)
    if (over) running.delete(id)
    const error = errno === 0 ? {} : { error: failure(errno, step) }
    told?.come.push({ over, offset, receivedBytes, states, ...error })
    told?.wake?.()
  }, into)
  opened = into as Receiver
  return opened
}

function failure(errno: number, step: string): NodeJS.ErrnoException & { readonly step: string } {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`${step}: ${code}`), { code, errno: -errno, step })
}

/** Throws if the process has no descriptor left. */
export function receiveFile(wanted: ReceptionStart): Reception {
  const { start, movedBytes, resume, cancel } = receiver()
  const { socket, file, pieces, offset, lengthBytes, stepBytes, states } = wanted
  const id = start(socket, file, pieces, offset, lengthBytes, stepBytes, states)
  const told: Told = { pieces, come: [], wake: undefined }
  let taken = false
  running.set(id, told)
  return {
    async next() {
      while (told.come.length === 0) {
        const { promise, resolve } = Promise.withResolvers<void>()
        told.wake = resolve
        await promise
      }
      taken = true
      return told.come.shift() as ReceptionProgress
    },
    goOn() {
      taken = false
      resume(id)
    },
    isOurTurn: () => taken || told.come.length > 0,
    receivedBytes: () => movedBytes(id),
    cancel: () => cancel(id),
  }
}
