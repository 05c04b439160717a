/**
 * `/livez`: this process answers. `/readyz`: it can do its work, which is to store, so storage is really asked; 503 with the
 * reason when it cannot, and from the moment on that a stop is wanted, so that load balancers look away first.
 */
import type { RequestListener, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { reason } from './reasons.ts'

/** Storage that takes longer than this does not work, whatever it answers then. */
const PATIENCE_MS = 5_000
/** However many ask, storage is asked this often. */
const BELIEVED_MS = 1_000

export class Health {
  readonly #probe: () => Promise<void>
  readonly #patienceMs: number
  #stopping = false
  #asked: Promise<string | undefined> | undefined

  /** `probe` rejects with what is wrong. */
  constructor(probe: () => Promise<void>, patienceMs = PATIENCE_MS) {
    this.#probe = probe
    this.#patienceMs = patienceMs
  }

  stopping(): void {
    this.#stopping = true
  }

  /** Why no more work should be sent here; `undefined` if it should. */
  async problem(): Promise<string | undefined> {
    if (this.#stopping) return 'the registry is stopping'
    this.#asked ??= this.#ask()
    const patience = new AbortController()
    const words = `storage has not answered for ${this.#patienceMs / 1_000} s`
    const late = delay(this.#patienceMs, words, patience).catch(() => undefined)
    try {
      return await Promise.race([this.#asked, late])
    } finally {
      patience.abort()
    }
  }

  /** One question at a time: storage that hangs is not asked again and again. */
  #ask(): Promise<string | undefined> {
    const problem = this.#probe().then(
      () => undefined,
      (error: unknown) => `storage does not work: ${reason(error)}`,
    )
    const forget = (): void => {
      this.#asked = undefined
    }
    void problem.then(() => setTimeout(forget, BELIEVED_MS).unref())
    return problem
  }
}

/** Answers the two paths, and hands everything else on. */
export const withHealth =
  (problem: () => Promise<string | undefined>, app: RequestListener): RequestListener =>
  (req, res) => {
    if (req.url === '/livez') answerText(res, 200, 'ok')
    else if (req.url === '/readyz') {
      problem().then(
        (found) => answerText(res, found === undefined ? 200 : 503, found ?? 'ok'),
        (error: unknown) => answerText(res, 503, reason(error)),
      )
    } else app(req, res)
  }

export function answerText(
  res: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain; charset=utf-8',
): void {
  res.writeHead(status, {
    'Content-Type': type,
    'Cache-Control': 'no-store',
    'Content-Length': Buffer.byteLength(text) + 1,
  })
  res.end(`${text}\n`)
}
