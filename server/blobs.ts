/** Blobs: end-2 (GET, HEAD, ranges) and end-10 (DELETE) of the distribution specification. */
import type { BlobStat, Store } from '../storage/store.ts'
import { answerBytes, answerEmpty, etagOf, matchesEtag } from './answers.ts'
import { isAllowed } from './authorize.ts'
import { parseRange } from './ranges.ts'
import type { Authorize, Context, Params } from './routing.ts'

type BlobParams = Params<'name' | 'digest'>

export const getBlob =
  (store: Store, authorize: Authorize) =>
  async (ctx: Context, { name, digest }: BlobParams): Promise<void> => {
    const repository = store.repository(name)
    const blob = await repository.statBlob(digest)
    if (blob.aging && ctx.method === 'HEAD' && (await isAllowed(authorize, ctx, 'push', name))) {
      await repository.touchBlob(digest) // a pusher who learns that it exists does not send it
    }
    const headers = { 'Docker-Content-Digest': digest, ETag: etagOf(digest), 'Accept-Ranges': 'bytes' }
    if (matchesEtag(ctx.get('If-None-Match'), etagOf(digest))) return answerEmpty(ctx, 304, headers)

    const range = ctx.method === 'HEAD' ? undefined : wantedRange(ctx, blob)
    const content = ctx.method === 'HEAD' ? undefined : await repository.readBlob(digest, range)

    answerBytes(ctx, 'application/octet-stream', content?.body ?? '', headers)
    ctx.length = range ? range.end - range.start + 1 : blob.sizeBytes
    if (range) {
      ctx.status = 206
      ctx.set('Content-Range', `bytes ${range.start}-${range.end}/${blob.sizeBytes}`)
    }
  }

/** A range on the condition of another version of the content is no range (RFC 9110 section 13.1.5). */
function wantedRange(ctx: Context, blob: BlobStat): ReturnType<typeof parseRange> {
  const condition = ctx.get('If-Range')
  if (condition !== '' && condition !== etagOf(blob.digest)) return undefined
  return parseRange(ctx.get('Range'), blob.sizeBytes)
}

export const deleteBlob =
  (store: Store) =>
  async (ctx: Context, { name, digest }: BlobParams): Promise<void> => {
    await store.repository(name).unlinkBlob(digest)
    answerEmpty(ctx, 202, {})
  }
