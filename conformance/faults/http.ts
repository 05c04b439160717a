/** One request over a connection of its own, and what became of it. */
import { request } from 'node:http'
import { buffer } from 'node:stream/consumers'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

/** `undefined`: cut, refused, or nobody there. */
export type Outcome = Answer | undefined

export interface Question {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** Instead of `body`, without a length; `sent` is told how much went out. */
  readonly pieces?: AsyncIterable<Uint8Array>
  readonly sent?: (bytes: number) => void
}

/** A server that says nothing for so long is a fault in itself. */
const TIMEOUT_MS = 60_000

export function ask(
  method: string,
  url: string,
  { headers = {}, body, pieces, sent }: Question = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const length = pieces ? {} : { 'Content-Length': `${body?.length ?? 0}` }
    const asking = request(url, { method, agent: false, headers: { ...length, ...headers } })
    asking.setTimeout(TIMEOUT_MS, () => reject(new Error(`${method} ${url} was not answered within ${TIMEOUT_MS} ms`)))
    asking.on('error', () => resolve(undefined))
    let answered = false
    asking.on('close', () => answered || resolve(undefined))
    asking.on('response', (answer) => {
      answered = true
      buffer(answer).then(
        (bytes) => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: bytes }),
        () => resolve(undefined),
      )
    })
    if (!pieces) return void asking.end(body)
    const closed = new Promise((resolve) => asking.once('close', resolve))
    void (async () => {
      for await (const piece of pieces) {
        if (asking.destroyed) break
        const full = !asking.write(piece)
        sent?.(piece.length)
        if (full) await Promise.race([new Promise((go) => asking.once('drain', go)), closed])
      }
      asking.end()
    })()
  })
}
