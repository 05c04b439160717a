/** bcrypt off the main thread: it is pure JavaScript, and a check takes as long as a hundred requests. The only file beside its thread's that knows of it. */
import { extname, join } from 'node:path'
import { Worker } from 'node:worker_threads'

export interface BcryptQuestion {
  readonly id: number
  readonly password: string
  readonly hash: string
}

export interface BcryptAnswer {
  readonly id: number
  readonly right: boolean
}

const waiting = new Map<number, { resolve(right: boolean): void; reject(error: unknown): void }>()
let thread: Worker | undefined
let asked = 0

/** Rejects if the thread died of it. */
export function verifyBcrypt(password: string, hash: string): Promise<boolean> {
  const id = ++asked
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject })
    const to = running()
    to.ref()
    to.postMessage({ id, password, hash } satisfies BcryptQuestion)
  })
}

/** Begun with the first question; it keeps the process alive while one is open. */
function running(): Worker {
  if (thread) return thread
  const began = new Worker(join(import.meta.dirname, `bcrypt-thread${extname(import.meta.filename)}`))
  began.on('message', ({ id, right }: BcryptAnswer) => {
    waiting.get(id)?.resolve(right)
    waiting.delete(id)
    if (waiting.size === 0) began.unref()
  })
  const ended = (error: unknown): void => {
    if (thread === began) thread = undefined
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  began.on('error', ended).on('exit', (code) => ended(new Error(`the thread for bcrypt ended with ${code}`)))
  thread = began
  return began
}
