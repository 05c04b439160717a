/** The two shapes of success that several handlers share. Everything that can fail comes before a call of these. */
import type { Context } from './routing.ts'

export type Headers = Readonly<Record<string, string | string[]>>

export function answerEmpty(ctx: Context, status: number, headers: Headers): void {
  ctx.body = null // removes the content headers and sets 204
  ctx.status = status
  setHeaders(ctx, headers)
}

/** A body of `null` is sent in another way, and the headers stay. No charset or other parameter is added to the type: clients compare it with what they pushed. */
export function answerBytes(ctx: Context, contentType: string, body: Context['body'], headers: Headers = {}): void {
  ctx.status = 200
  ctx.res.setHeader('Content-Type', contentType)
  setHeaders(ctx, headers)
  if (body !== null) ctx.body = body
}

function setHeaders({ res }: Context, headers: Headers): void {
  for (const name in headers) res.setHeader(name, headers[name] as string | string[])
}

/** The same bytes, as Koa knows them. */
export const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength)

/** Whether an `If-None-Match` or `If-Match` list names this tag. Comparison is weak: our tags stand for identical bytes. */
export function matchesEtag(header: string, etag: string): boolean {
  if (header === '') return false
  const tags = header.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(etag)
}

/** Content never changes under a digest, so the digest is its entity tag. */
export const etagOf = (digest: string): string => `"${digest}"`
