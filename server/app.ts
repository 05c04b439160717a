/**
 * The registry's HTTP face: the order of the middlewares and the table of routes. Read this file first; each handler
 * parses, asks `storage/` once, and answers.
 */
import type { RequestListener } from 'node:http'
import type { Store } from '../storage/store.ts'
import { DOOR_PATH, TOKEN_PATH } from './access/guard.ts'
import type { TokenService } from './access/token-service.ts'
import { type RequestObserver, reportRequests } from './access-log.ts'
import { answerBytes } from './answers.ts'
import { onlyReading } from './authorize.ts'
import { deleteBlob, getBlob } from './blobs.ts'
import { errorAnswers } from './error-answers.ts'
import { discoverExtensions, discoverRepositoryExtensions } from './extensions.ts'
import { listCatalog, listReferrers, listTags } from './listings.ts'
import type { Log } from './log.ts'
import { deleteManifest, getManifest, putManifest } from './manifests.ts'
import type { Redirects } from './redirects.ts'
import {
  type Authorize,
  allowedVerbs,
  type Context,
  createRequestListener,
  type Middleware,
  type Route,
  route,
} from './routing.ts'
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
  /** Where clients may be sent on to. */
  readonly redirects?: Redirects | undefined
  /** Where there are accounts. */
  readonly tokenService?: TokenService | undefined
}

export function createApp(deps: Deps): RequestListener {
  const { log, rules } = deps
  const authorize = rules.readonly
    ? onlyReading(deps.authorize, (path) => allowedVerbs(path, table, isRead))
    : deps.authorize
  const table = routesOf({ ...deps, authorize })
  const middlewares = [
    reportRequests(deps.observers),
    errorAnswers(log),
    commonHeaders(rules),
    ...(deps.admit ? [deps.admit] : []),
  ]
  return createRequestListener(middlewares, table, authorize, (err, ctx) => {
    if (!CLIENT_LEFT.has(err.code ?? '')) log.error({ err, id: ctx?.state.requestId }, 'answer broken off')
  })
}

/** No failure of ours: the access log says that the answer was not finished. */
const CLIENT_LEFT: ReadonlySet<string> = new Set(['ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET', 'EPIPE'])

/** What a read-only registry still answers. */
const isRead = ({ right }: Route): boolean => right !== 'push' && right !== 'delete'

/** All there is to ask for: what the matrix of rights in `access/matrix.test.ts` goes through. */
export const routesOf = (deps: Deps): readonly Route[] => [...routes(deps), ...tokenRoutes(deps)]

const tokenRoutes = ({ tokenService }: Deps): readonly Route[] =>
  tokenService
    ? [
        route('public', 'GET', TOKEN_PATH, tokenService.get),
        route('public', 'POST', TOKEN_PATH, tokenService.post),
        route('public', 'GET', '/.well-known/jwks.json', tokenService.jwks),
      ]
    : []

/** GET stands for HEAD too. No two paths match the same request, so the order of lines means nothing. */
const routes = ({ store, authorize, rules, redirects }: Deps): readonly Route[] => [
  route('open', 'GET', DOOR_PATH, getVersion),
  route('catalog', 'GET', '/v2/_catalog', listCatalog(store, authorize)),
  route('open', 'GET', '/v2/_oci/ext/discover', discoverExtensions),
  route('pull', 'GET', '/v2/:name/_oci/ext/discover', discoverRepositoryExtensions(store)),

  route('pull', 'GET', '/v2/:name/blobs/:digest', getBlob(store, authorize, redirects)),
  route('delete', 'DELETE', '/v2/:name/blobs/:digest', deleteBlob(store)),

  route('push', 'POST', '/v2/:name/blobs/uploads/?', startUpload(store, authorize)),
  ...(['/v2/:name/blobs/uploads/:upload', '/v2/:name/blobs/uploads/:upload/:offset'] as const).flatMap((path) => [
    route('push', 'PATCH', path, appendUpload(store)),
    route('push', 'PUT', path, commitUpload(store)),
    route('push', 'GET', path, getUpload(store)),
    route('push', 'DELETE', path, cancelUpload(store)),
  ]),

  route('pull', 'GET', '/v2/:name/manifests/:reference', getManifest(store)),
  route('push', 'PUT', '/v2/:name/manifests/:reference', putManifest(store, authorize, rules)),
  route('delete', 'DELETE', '/v2/:name/manifests/:reference', deleteManifest(store, authorize)),

  route('pull', 'GET', '/v2/:name/tags/list', listTags(store)),
  route('pull', 'GET', '/v2/:name/referrers/:subject', listReferrers(store)),
]

/** On every answer, failures included: docker looks for the version, and people should see the operator's warnings. */
function commonHeaders({ warnings }: RegistryRules): Middleware {
  const printed = warnings.map((text) => `299 - "${text.replaceAll(/["\\]/g, '\\$&')}"`) // code 299, agent `-`, no date (G6)
  return async (ctx, next) => {
    ctx.res.setHeader('Docker-Distribution-API-Version', 'registry/2.0')
    if (printed.length > 0) ctx.res.setHeader('Warning', printed)
    await next()
  }
}

/** end-1: this registry speaks the protocol, and the caller may speak to it. */
async function getVersion(ctx: Context): Promise<void> {
  answerBytes(ctx, 'application/json', '{}')
}
