/**
 * The registry's HTTP face: the order of the middlewares and the table of routes. Read this file first; each handler
 * parses, asks `storage/` once, and answers.
 */
import type { RequestListener } from 'node:http'
import type { Store } from '../storage/store.ts'
import { type RequestObserver, reportRequests } from './access-log.ts'
import { answerBytes } from './answers.ts'
import { deleteBlob, getBlob } from './blobs.ts'
import { errorAnswers } from './error-answers.ts'
import { listCatalog, listReferrers, listTags } from './listings.ts'
import type { Log } from './log.ts'
import { deleteManifest, getManifest, putManifest } from './manifests.ts'
import { type Authorize, type Context, createRequestListener, type Middleware, type Route, route } from './routing.ts'
import type { RegistryRules } from './rules.ts'
import { appendUpload, cancelUpload, commitUpload, getUpload, startUpload } from './uploads.ts'

export interface Deps {
  readonly store: Store
  readonly log: Log
  readonly authorize: Authorize
  readonly rules: RegistryRules
  /** Told of each request when it begins and when it is over. */
  readonly observers: readonly RequestObserver[]
  /** Who is refused before anything is looked at. */
  readonly admit?: Middleware
}

export function createApp(deps: Deps): RequestListener {
  const middlewares = [
    reportRequests(deps.observers),
    errorAnswers(deps.log),
    apiVersion,
    ...(deps.admit ? [deps.admit] : []),
  ]
  return createRequestListener(middlewares, routes(deps), deps.authorize, (err, ctx) => {
    if (!CLIENT_LEFT.has(err.code ?? '')) deps.log.error({ err, id: ctx?.state.requestId }, 'answer broken off')
  })
}

/** No failure of ours: the access log says that the answer was not finished. */
const CLIENT_LEFT: ReadonlySet<string> = new Set(['ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET', 'EPIPE'])

/** GET stands for HEAD too. No two paths match the same request, so the order of lines means nothing. */
const routes = ({ store, authorize, rules }: Deps): readonly Route[] => [
  route('open', 'GET', '/v2/?', getVersion),
  route('catalog', 'GET', '/v2/_catalog', listCatalog(store)),

  route('pull', 'GET', '/v2/:name/blobs/:digest', getBlob(store, authorize)),
  route('delete', 'DELETE', '/v2/:name/blobs/:digest', deleteBlob(store)),

  route('push', 'POST', '/v2/:name/blobs/uploads/?', startUpload(store, authorize)),
  ...(['/v2/:name/blobs/uploads/:upload', '/v2/:name/blobs/uploads/:upload/:offset'] as const).flatMap((path) => [
    route('push', 'PATCH', path, appendUpload(store)),
    route('push', 'PUT', path, commitUpload(store)),
    route('push', 'GET', path, getUpload(store)),
    route('push', 'DELETE', path, cancelUpload(store)),
  ]),

  route('pull', 'GET', '/v2/:name/manifests/:reference', getManifest(store)),
  route('push', 'PUT', '/v2/:name/manifests/:reference', putManifest(store, rules)),
  route('delete', 'DELETE', '/v2/:name/manifests/:reference', deleteManifest(store)),

  route('pull', 'GET', '/v2/:name/tags/list', listTags(store)),
  route('pull', 'GET', '/v2/:name/referrers/:digest', listReferrers(store)),
]

/** Docker looks for it on every answer, failures included. */
const apiVersion: Middleware = async (ctx, next) => {
  ctx.set('Docker-Distribution-API-Version', 'registry/2.0')
  await next()
}

/** end-1: this registry speaks the protocol, and the caller may speak to it. */
async function getVersion(ctx: Context): Promise<void> {
  answerBytes(ctx, 'application/json', '{}')
}
