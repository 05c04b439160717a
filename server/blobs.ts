/** Blobs: end-2 (GET, HEAD, ranges) and end-10 (DELETE) of the distribution specification. */
import type { Digest } from '../storage/model/digest.ts'
import type { Store } from '../storage/store.ts'
import { answerBytes, answerEmpty, asBuffer, etagOf, matchesEtag } from './answers.ts'
import { isAllowed } from './authorize.ts'
import { canSendFile, sendFile } from './file-answers.ts'
import { parseRange } from './ranges.ts'
import type { Redirects } from './redirects.ts'
import type { Authorize, Context, Params } from './routing.ts'

type BlobParams = Params<'name' | 'digest'>

export const getBlob =
  (store: Store, authorize: Authorize, redirects?: Redirects) =>
  async (ctx: Context, { name, digest }: BlobParams): Promise<void> => {
    const repository = store.repository(name)
    const headers = { 'Docker-Content-Digest': digest, ETag: etagOf(digest), 'Accept-Ranges': 'bytes' }
    const unchanged = matchesEtag(ctx.get('If-None-Match'), etagOf(digest))
    if (unchanged || ctx.method === 'HEAD') {
      const blob = await repository.statBlob(digest)
      if (blob.aging && ctx.method === 'HEAD' && (await isAllowed(authorize, ctx, 'push', name))) {
        await repository.touchBlob(digest) // a pusher who learns that it exists does not send it
      }
      if (unchanged) return answerEmpty(ctx, 304, headers)
      answerBytes(ctx, 'application/octet-stream', '', headers)
      ctx.length = blob.sizeBytes
      return
    }

    const elsewhere = redirects && (await redirects.of(ctx, repository, digest))
    if (elsewhere) return answerEmpty(ctx, 307, { 'Docker-Content-Digest': digest, Location: elsewhere.href })

    const content = await repository.readBlob(digest, (sizeBytes) => wantedRange(ctx, digest, sizeBytes))
    const { range, sizeBytes, bytes } = content
    const byKernel = canSendFile(ctx, content)
    answerBytes(ctx, 'application/octet-stream', byKernel ? null : bytes ? asBuffer(bytes) : content.body, headers)
    ctx.status = range ? 206 : 200
    if (range) ctx.set('Content-Range', `bytes ${range.start}-${range.end}/${sizeBytes}`)
    ctx.length = range ? range.end - range.start + 1 : sizeBytes
    if (byKernel) await sendFile(ctx, content)
  }

/** A range on the condition of another version of the content is no range (RFC 9110 section 13.1.5). */
function wantedRange(ctx: Context, digest: Digest, sizeBytes: number): ReturnType<typeof parseRange> {
  const condition = ctx.get('If-Range')
  if (condition !== '' && condition !== etagOf(digest)) return undefined
  return parseRange(ctx.get('Range'), sizeBytes)
}

export const deleteBlob =
  (store: Store) =>
  async (ctx: Context, { name, digest }: BlobParams): Promise<void> => {
    await store.repository(name).unlinkBlob(digest)
    answerEmpty(ctx, 202, {})
  }
