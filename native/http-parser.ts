/** Node's HTTP parsers, told of bytes of a body that went by without them: keep-alive, pipelining, limits and errors stay Node's. */
import type { Socket } from 'node:net'

/** Never read nor written: a parser counts them. */
const SKIPPED = new Uint8Array(16 * 1024 * 1024)

export interface HttpParser {
  readonly constructor: { readonly kOnBody: number }
  execute(bytes: Uint8Array): number | Error
  [callback: number]: unknown
}

/** The one that reads from the socket now; `undefined` where Node's inner parts are not what is known of them. */
export function parserOf(socket: Socket): HttpParser | undefined {
  const { parser } = socket as Partial<{ parser: HttpParser }>
  const known = typeof parser?.execute === 'function' && typeof parser.constructor.kOnBody === 'number'
  return known ? parser : undefined
}

/** As if `count` bytes of the body that it is in had been read, and nobody had wanted them. `feed` gives them to it; stops at what that gives back. */
export function skipBody<T>(
  parser: HttpParser,
  count: number,
  feed: (bytes: Uint8Array) => T | undefined,
): T | undefined {
  const { kOnBody } = parser.constructor
  const onBody = parser[kOnBody]
  parser[kOnBody] = undefined // it copies no body for nobody
  try {
    for (let left = count; left > 0; left -= SKIPPED.length) {
      const stopped = feed(SKIPPED.subarray(0, Math.min(left, SKIPPED.length)))
      if (stopped !== undefined) return stopped
    }
    return undefined
  } finally {
    parser[kOnBody] = onBody
  }
}
