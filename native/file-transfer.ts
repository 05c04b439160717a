/**
 * Bytes of a file into a socket, moved by the kernel (`sendfile(2)`): none of them passes through this process's memory.
 * Threads of the addon's own wait for sockets and disks, however slow, and however many.
 */
import { getSystemErrorName } from 'node:util'
import { loadAddon } from './addon.ts'

interface Sender {
  start(socket: number, file: number, start: number, length: number): number
  movedBytes(id: number): number
  cancel(id: number): void
}

export interface FileTransfer {
  /** Resolves to the bytes sent, fewer than wanted only if the file ended early. Rejects with the system's error (`code`), `ECANCELED` among them. */
  readonly done: Promise<number>
  /** So far; 0 when it is over. */
  sentBytes(): number
  /** `done` settles soon; nothing happens if it has. */
  cancel(): void
}

const waiting = new Map<number, { resolve(sent: number): void; reject(error: Error): void }>()
let opened: Sender | undefined

function sender(): Sender {
  if (opened) return opened
  const { openFileSender } = loadAddon<{
    openFileSender(onEnd: (id: number, errno: number, sent: number) => void, into: object): void
  }>()
  const into = {}
  openFileSender((id, errno, sent) => {
    const { resolve, reject } = waiting.get(id) ?? {}
    waiting.delete(id)
    if (errno === 0) resolve?.(sent)
    else reject?.(failure(errno))
  }, into)
  opened = into as Sender
  return opened
}

function failure(errno: number): Error {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`send a file: ${code}`), { code, errno: -errno, step: 'send a file' })
}

/**
 * Sends `lengthBytes` (more than none) of the open file from `startBytes` on. Both are descriptors. The file must stay open until `done` settles; the
 * socket, which must not block and into which nobody else may write meanwhile, need not. Throws if the process has no descriptor left.
 */
export function transferFile(socket: number, file: number, startBytes: number, lengthBytes: number): FileTransfer {
  const { start, movedBytes, cancel } = sender()
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const id = start(socket, file, startBytes, lengthBytes)
  waiting.set(id, { resolve, reject })
  return {
    done: promise,
    sentBytes: () => movedBytes(id),
    cancel: () => cancel(id),
  }
}
