/**
 * Pushing blobs: end-4a/b/c, 5, 6, 11, 13 and 14 of the distribution specification. A session's `Location` carries its
 * identity and its offset in the path, so that no client or proxy can lose them: the offset guards a body that comes
 * without `Content-Range`; a request without body accepts any earlier Location of its session.
 */

import { OffsetMismatch, SessionTaken } from '../storage/errors.ts'
import { parseDigest, parseDigestAlgorithm } from '../storage/model/digest.ts'
import { parseRepositoryName, type RepositoryName } from '../storage/model/reference.ts'
import type { AppendOptions, Store, UploadStatus } from '../storage/store.ts'
import { answerEmpty, type Headers } from './answers.ts'
import { RegistryError } from './errors.ts'
import { parseContentRange, printUploadRange } from './ranges.ts'
import { type RequestBody, requestBody } from './request-body.ts'
import type { Authorize, Context, Params } from './routing.ts'

type SessionParams = Params<'name' | 'upload'> & Partial<Params<'offset'>>

/** POST: a mount, a whole blob in one request, or a new session; what cannot be done at once falls back to the session. */
export const startUpload =
  (store: Store, authorize: Authorize) =>
  async (ctx: Context, { name }: Params<'name'>): Promise<void> => {
    const query = new URLSearchParams(ctx.querystring)
    const mount = query.get('mount')
    if (mount !== null && (await mountBlob(ctx, store, authorize, name, mount, query.get('from')))) return
    const digest = query.get('digest')
    if (digest !== null && mount === null) return await pushAtOnce(ctx, store, name, digest)

    const algorithm = query.get('digest-algorithm')
    const session = await store.uploads.start(name, algorithm === null ? undefined : parseDigestAlgorithm(algorithm))
    answerEmpty(ctx, 202, sessionHeaders(name, session))
  }

/**
 * Whether the blob is now linked here. Someone who may not pull from the source, or from any, simply uploads, as if it were absent (K6).
 * Someone who may, with a token for something else, is told which to ask for: a token is good for what it was given for and nothing else.
 */
async function mountBlob(
  ctx: Context,
  store: Store,
  authorize: Authorize,
  name: RepositoryName,
  mount: string,
  source: string | null,
): Promise<boolean> {
  const digest = parseDigest(mount)
  const from = source === null || source === '' ? undefined : parseRepositoryName(source)
  if (from === undefined) await authorize(ctx, 'mount') // before anything is looked up: what is found must not decide the answer
  const mayRead = (repository: RepositoryName): Promise<boolean> => mayMount(authorize, ctx, repository)
  if (!(await store.repository(name).mountBlob(digest, mayRead, from))) return false
  answerEmpty(ctx, 201, blobHeaders(name, digest))
  return true
}

async function mayMount(authorize: Authorize, ctx: Context, source: RepositoryName): Promise<boolean> {
  try {
    await authorize(ctx, 'mount', source)
    return true
  } catch (error) {
    if (error instanceof RegistryError && error.kind === 'denied') return false
    throw error
  }
}

async function pushAtOnce(ctx: Context, store: Store, name: RepositoryName, text: string): Promise<void> {
  const digest = parseDigest(text)
  const body = requestBody(ctx)
  await store.uploads.push(name, digest, body?.bytes, lengthOf(body))
  answerEmpty(ctx, 201, blobHeaders(name, digest))
}

/** PATCH: a chunk with `Content-Range`, or a stream without. */
export const appendUpload =
  (store: Store) =>
  async (ctx: Context, params: SessionParams): Promise<void> => {
    const body = requestBody(ctx)
    const options = placeOf(ctx, params, body)
    const session = await explained(store, params, () =>
      store.uploads.append(params.name, params.upload, body?.bytes ?? nothing(), options),
    )
    answerEmpty(ctx, 202, sessionHeaders(params.name, session))
  }

/** PUT: the rest of the content if there is any, and the digest of the whole. */
export const commitUpload =
  (store: Store) =>
  async (ctx: Context, params: SessionParams): Promise<void> => {
    const text = new URLSearchParams(ctx.querystring).get('digest')
    if (text === null)
      throw new RegistryError('digestInvalid', {
        detail: { expected: 'the parameter digest=<digest of the whole blob>' },
      })
    const digest = parseDigest(text)
    const body = requestBody(ctx)
    const options = placeOf(ctx, params, body)
    await explained(store, params, () => store.uploads.commit(params.name, params.upload, digest, body?.bytes, options))
    answerEmpty(ctx, 201, blobHeaders(params.name, digest))
  }

export const getUpload =
  (store: Store) =>
  async (ctx: Context, { name, upload }: SessionParams): Promise<void> => {
    answerEmpty(ctx, 204, sessionHeaders(name, await store.uploads.status(name, upload)))
  }

export const cancelUpload =
  (store: Store) =>
  async (ctx: Context, { name, upload }: SessionParams): Promise<void> => {
    await store.uploads.cancel(name, upload)
    answerEmpty(ctx, 204, { 'Docker-Upload-UUID': upload })
  }

/** Where the body says it belongs: `Content-Range` first, then the Location it was sent to. */
function placeOf(ctx: Context, { offset }: SessionParams, body: RequestBody | undefined): AppendOptions {
  const range = parseContentRange(ctx.get('Content-Range'))
  if (range === undefined) return { ...(body && offset !== undefined ? { offset } : {}), ...lengthOf(body) }
  const rangeBytes = range.end - range.start + 1
  if (body?.lengthBytes !== undefined && body.lengthBytes !== rangeBytes) {
    throw new RegistryError('sizeInvalid', {
      detail: {
        contentLength: body.lengthBytes,
        contentRange: ctx.get('Content-Range'),
        expected: `Content-Length: ${rangeBytes}`,
      },
    })
  }
  return { ...lengthOf(body), offset: range.start, ...(body ? { lengthBytes: rangeBytes } : {}) }
}

const lengthOf = (body: RequestBody | undefined): AppendOptions => ({
  mayEmptyPieces: true,
  socket: body?.socket,
  ...(body?.lengthBytes === undefined ? {} : { lengthBytes: body.lengthBytes }),
})

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** A refused chunk comes with what the client needs to go on: the session's Location and Range (B7 answers 416). */
async function explained<T>(store: Store, { name, upload }: SessionParams, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof OffsetMismatch || error instanceof SessionTaken)) throw error
    const session = await store.uploads.status(name, upload)
    const kind = error instanceof OffsetMismatch ? 'uploadOutOfOrder' : 'sessionTaken'
    throw new RegistryError(kind, {
      detail: { offset: session.offset, expected: `a chunk that begins at ${session.offset}` },
      headers: sessionHeaders(name, session),
      cause: error,
    })
  }
}

function sessionHeaders(name: RepositoryName, { id, offset }: UploadStatus): Record<string, string> {
  return {
    Location: `/v2/${name}/blobs/uploads/${id}/${offset}`,
    Range: printUploadRange(offset),
    'Docker-Upload-UUID': id,
  }
}

const blobHeaders = (name: RepositoryName, digest: string): Headers => ({
  Location: `/v2/${name}/blobs/${digest}`,
  'Docker-Content-Digest': digest,
})
