/**
 * Reading a request's body: as it comes, counted, never through a parser. Giving up half-way leaves the connection
 * alive (destroying the request would reset it before the answer is out), and a client that waits for `100 Continue`
 * gets it only when the body is wanted.
 */
import type { SocketBody } from '../storage/driver.ts'
import { type ErrorKind, RegistryError } from './errors.ts'
import type { Context } from './routing.ts'
import { socketBody } from './socket-body.ts'

export interface RequestBody {
  /** To be read once. Fails when the client goes away before the end. */
  readonly bytes: AsyncIterable<Uint8Array>
  /** From `Content-Length`; `undefined` for a chunked body. */
  readonly lengthBytes: number | undefined
  /** The same bytes where they lie, if they can be read from there. */
  readonly socket: SocketBody | undefined
}

/** `undefined` when the request announces no body at all, or an empty one. */
export function requestBody(ctx: Context): RequestBody | undefined {
  const declared = ctx.get('Content-Length')
  const chunked = ctx.get('Transfer-Encoding') !== ''
  if (!chunked && (declared === '' || Number(declared) === 0)) return undefined
  const lengthBytes = chunked ? undefined : Number(declared)
  const socket = lengthBytes === undefined ? undefined : socketBody(ctx, lengthBytes, () => welcome(ctx))
  return { bytes: arriving(ctx), lengthBytes, socket }
}

function welcome(ctx: Context): void {
  if (ctx.get('Expect').toLowerCase() === '100-continue') ctx.res.writeContinue()
}

async function* arriving(ctx: Context): AsyncGenerator<Uint8Array> {
  welcome(ctx)
  for await (const chunk of ctx.req.iterator({ destroyOnReturn: false })) {
    const bytes = chunk as Uint8Array
    ctx.state.bodyBytes += bytes.length
    yield bytes
  }
}

/** The whole of a small body. Throws 413 as soon as it is known to be longer than `limitBytes`. */
export async function readSmallBody(
  ctx: Context,
  limitBytes: number,
  tooLong: ErrorKind = 'manifestTooLarge',
): Promise<Uint8Array> {
  const body = requestBody(ctx)
  if (!body) return new Uint8Array()
  const chunks: Uint8Array[] = []
  let size = body.lengthBytes ?? 0
  if (size > limitBytes) throw tooLarge(tooLong, size, limitBytes)
  size = 0
  for await (const chunk of body.bytes) {
    size += chunk.length
    if (size > limitBytes) throw tooLarge(tooLong, size, limitBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

const tooLarge = (kind: ErrorKind, size: number, limit: number): RegistryError =>
  new RegistryError(kind, { detail: { size, expected: `at most ${limit} bytes` } })
