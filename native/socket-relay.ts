/**
 * Bytes of one socket into another, moved by the kernel (`splice(2)`): none of them passes through this process's memory. Or hashed on their way, outside of JavaScript.
 * Threads of the addon's own wait for both, however slow, and however many.
 */
import { getSystemErrorName } from 'node:util'
import { loadAddon } from './addon.ts'
import type { HashAlgorithm } from './hash.ts'

interface Relayer {
  start(
    from: number,
    to: number,
    pieces: readonly Uint8Array[],
    length: number,
    algorithm?: string,
    digestHex?: string,
  ): number
  movedBytes(id: number): number
  isStarved(id: number): boolean
  cancel(id: number): void
}

export interface RelayStart {
  /** Descriptors of sockets that do not block; nobody else reads from the one, or writes into the other, until the end. Neither need stay open. */
  readonly from: number
  readonly to: number
  /** Sent first; they must not change until the end. */
  readonly pieces: readonly Uint8Array[]
  /** Of `from`: so much is read, and no more. */
  readonly lengthBytes: number
  /** What all of it has to be; if it is not, the last of it is not sent, and the error's step says so. */
  readonly digest?: { readonly algorithm: HashAlgorithm; readonly hex: string }
}

export interface RelayEnd {
  /** Of the pieces and of `from`, as far as `to` took it: what was read and not sent is lost. */
  readonly sentBytes: number
  /** All was sent, and nothing, the end included, has come of `from` behind it: who is asked again there is the first to be answered. */
  readonly silent: boolean
  /** The system's, `ECANCELED` among them. Without one, and with less sent than wanted, `from` has said all. */
  readonly error?: NodeJS.ErrnoException & {
    readonly step: 'read a socket' | 'write a socket' | 'compare a digest' | 'relay'
  }
  /** What it turned out to be, where that was asked for and all has come. */
  readonly digestHex?: string
}

export interface SocketRelay {
  /** Never rejects. */
  readonly done: Promise<RelayEnd>
  /** So far; 0 when it is over. */
  sentBytes(): number
  /** Whether it waits for `from`, and has sent all that came. */
  isStarved(): boolean
  /** `done` settles soon; nothing happens if it has. */
  cancel(): void
}

interface Running {
  /** Kept from being collected. */
  readonly pieces: readonly Uint8Array[]
  resolve(end: RelayEnd): void
}

const running = new Map<number, Running>()
let opened: Relayer | undefined

function relayer(): Relayer {
  if (opened) return opened
  const { openSocketRelay } = loadAddon<{
    openSocketRelay(
      onEnd: (id: number, errno: number, step: string, sent: number, silent: boolean, digestHex: string) => void,
      into: object,
    ): void
  }>()
  const into = {}
  openSocketRelay((id, errno, step, sentBytes, silent, digestHex) => {
    const relay = running.get(id)
    running.delete(id)
    relay?.resolve({
      sentBytes,
      silent,
      ...(digestHex ? { digestHex } : {}),
      ...(errno === 0 ? {} : { error: failure(errno, step) }),
    })
  }, into)
  opened = into as Relayer
  return opened
}

function failure(errno: number, step: string): NonNullable<RelayEnd['error']> {
  const code = getSystemErrorName(-errno)
  const error = Object.assign(new Error(`${step}: ${code}`), { code, errno: -errno, step })
  return error as NonNullable<RelayEnd['error']>
}

/** Throws if the process has no descriptor left. */
export function relaySocket({ from, to, pieces, lengthBytes, digest }: RelayStart): SocketRelay {
  const { start, movedBytes, isStarved, cancel } = relayer()
  const { promise, resolve } = Promise.withResolvers<RelayEnd>()
  const id = start(from, to, pieces, lengthBytes, digest?.algorithm, digest?.hex)
  running.set(id, { pieces, resolve })
  return {
    done: promise,
    sentBytes: () => movedBytes(id),
    isStarved: () => isStarved(id),
    cancel: () => cancel(id),
  }
}
