/**
 * Pages of a listing: the parameters `n` and `last`, the `Link` to the next page (RFC 8288), and an answer that is
 * streamed part by part, so that a listing of any length needs no memory.
 */
import { Readable } from 'node:stream'
import type { Page } from '../storage/store.ts'
import { RegistryError } from './errors.ts'

/** A larger `n` gets this many and a Link: no request holds the server for long. */
export const LARGEST_PAGE = 10_000

/** Throws `PAGINATION_NUMBER_INVALID`. Without `n` there is no limit. */
export function parsePage(query: URLSearchParams): Page {
  const count = query.get('n')
  const last = query.get('last')
  if (count !== null && !/^[0-9]{1,15}$/.test(count)) {
    throw new RegistryError('pageSizeInvalid', { detail: { n: count, expected: 'a number, 0 or more' } })
  }
  return {
    ...(count === null ? {} : { limit: Math.min(Number(count), LARGEST_PAGE) }),
    ...(last === null || last === '' ? {} : { last }),
  }
}

/** The value of a `Link` header to the page of `path` that these parameters select. */
export function nextLink(path: string, parameters: Readonly<Record<string, string | number>>): string {
  const query = new URLSearchParams(
    Object.entries(parameters).map(([key, value]): [string, string] => [key, String(value)]),
  )
  return `<${path}?${query.toString()}>; rel="next"`
}

/** At most `limit` items, and whether there are more. Reads no part that begins beyond the next item. */
export async function takePage<T>(
  parts: AsyncIterable<readonly T[]>,
  limit: number,
): Promise<{ readonly page: T[]; readonly more: boolean }> {
  const page: T[] = []
  for await (const part of parts) {
    page.push(...part.slice(0, limit + 1 - page.length))
    if (page.length > limit) return { page: page.slice(0, limit), more: true }
  }
  return { page, more: false }
}

/**
 * A JSON document whose list `field` is written while its `parts` are read. Resolves when the first piece (or the whole) is
 * known, so that a failure to begin is still an error answer; a later failure breaks the stream.
 */
export async function streamListing(
  head: Readonly<Record<string, unknown>>,
  field: string,
  parts: AsyncIterable<readonly unknown[]>,
): Promise<Readable | string> {
  const pieces = document(head, field, parts)
  const first = (await pieces.next()).value ?? ''
  if (first.length < PIECE_CHARACTERS) return first // the end was in it, and an answer of known length costs less
  const stream = Readable.from(prefixed(first, pieces), { objectMode: false })
  // Also when it ends before anybody read a byte. How the listing takes that is nobody's news any more.
  stream.once('close', () => void pieces.return(undefined).catch(() => {}))
  return stream
}

/** Written in pieces of about this many characters: one piece an item would be one system call an item. */
const PIECE_CHARACTERS = 16_384

async function* document(
  head: Readonly<Record<string, unknown>>,
  field: string,
  parts: AsyncIterable<readonly unknown[]>,
): AsyncGenerator<string, undefined> {
  let piece = `${JSON.stringify(head).slice(0, -1)}${Object.keys(head).length > 0 ? ',' : ''}${JSON.stringify(field)}:[`
  let separator = ''
  for await (const part of parts) {
    for (const item of part) {
      piece += separator + JSON.stringify(item)
      separator = ','
      if (piece.length >= PIECE_CHARACTERS) {
        yield piece
        piece = ''
      }
    }
  }
  yield `${piece}]}`
}

async function* prefixed<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield first
  yield* rest
}
