/**
 * Routes as data: verb, path, the right that the caller needs, handler. A path such as `/v2/:name/blobs/:digest` is
 * matched from the right, because a repository's name has slashes and may itself contain words like `blobs` or
 * `tags/list`; no two paths match the same request. Paths without a name are the router's. Parameters reach the handler
 * decoded once, parsed and branded. The only file that imports Koa and its router.
 */
import Router from '@koa/router'
import Koa from 'koa'
import { type Digest, type ForeignDigest, parseAnyDigest, parseDigest } from '../storage/model/digest.ts'
import { parseRepositoryName, parseTag, type RepositoryName, type Tag } from '../storage/model/reference.ts'
import { parseUploadId, type UploadId } from '../storage/store.ts'
import { RegistryError } from './errors.ts'

/** What the middlewares tell each other about one request. */
interface RequestState {
  requestId: string
  /** Bytes of the request's body that were read. */
  bodyBytes: number
  /** Bytes of the answer's body that did not pass through Node. */
  fileBytes: number
  /** The path of the route that answers, as the table has it. */
  route?: string
  repository?: RepositoryName
  /** Who asks, as logs call them; absent where that does not matter. */
  subject?: string
  /** What an issuer or an authority said of them, as far as it decides about rights. */
  claims?: Readonly<Record<string, string>>
  /** Whether the request itself proves who sent it, instead of by a token that was given for such a proof. */
  proves?: boolean
  /** The address that the request comes from, behind proxies that are believed; absent where nobody looked. */
  client?: string
}

export type Context = Koa.ParameterizedContext<RequestState>
export type Middleware = Koa.Middleware<RequestState>
export type Verb = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'

/**
 * `public` is for everybody, whoever they are, and `open` for whoever may talk to this registry. `catalog` is the right to list
 * repositories, and `list` to be told of what is in one: who could pull there, whatever their token was given for. `mount` is to take
 * a blob from a repository into that of the request, or, without repository, from wherever it may be. The others are rights in a
 * repository, those to tags for one tag.
 */
export type Right =
  | 'public'
  | 'open'
  | 'catalog'
  | 'list'
  | 'mount'
  | 'pull'
  | 'push'
  | 'delete'
  | 'create-tag'
  | 'move-tag'
  | 'delete-tag'

/** Resolves if the caller has the right; else throws `DENIED` or `UNAUTHORIZED`. */
export type Authorize = (ctx: Context, right: Right, repository?: RepositoryName, tag?: Tag) => Promise<void>

const parseOffset = (text: string): number => Number(text)
const parseReference = (text: string): Tag | Digest => (text.includes(':') ? parseDigest(text) : parseTag(text))

/** Each pattern is as narrow as it must be to keep the paths apart, and no narrower: the parser's refusal says more. */
const PARAMETERS = {
  name: { pattern: '.+', parse: parseRepositoryName },
  digest: { pattern: '(?!uploads$)[^/]+', parse: parseDigest },
  reference: { pattern: '[^/]+', parse: parseReference },
  subject: { pattern: '[^/]+', parse: parseAnyDigest },
  upload: { pattern: '(?!(?:blobs|manifests|referrers|tags)/)[^/]+', parse: parseUploadId },
  offset: { pattern: '[0-9]{1,15}', parse: parseOffset },
} as const satisfies Record<string, { pattern: string; parse: (text: string) => unknown }>

interface ParameterTypes {
  name: RepositoryName
  digest: Digest
  reference: Tag | Digest
  subject: Digest | ForeignDigest
  upload: UploadId
  offset: number
}
type NamesIn<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | NamesIn<Rest>
  : Path extends `${string}:${infer Name}`
    ? Name
    : never
export type Params<Names extends string> = Pick<ParameterTypes, Names & keyof ParameterTypes>

export interface Route {
  readonly right: Right
  readonly verb: Verb
  readonly path: string
  readonly pattern: RegExp
  /** Parses the captures of `pattern`, asks for the right, answers. */
  readonly handle: (ctx: Context, captures: readonly string[], authorize: Authorize) => Promise<void>
}

export function route<Path extends string>(
  right: Right,
  verb: Verb,
  path: Path,
  handler: (ctx: Context, params: NoInfer<Params<NamesIn<Path>>>) => Promise<void>,
): Route {
  const names = [...path.matchAll(/:([a-z]+)/g)].map(([, name]) => name as keyof typeof PARAMETERS)
  const pattern = path.replaceAll(/:([a-z]+)/g, (_, name: keyof typeof PARAMETERS) => `(${PARAMETERS[name].pattern})`)
  return {
    right,
    verb,
    path,
    pattern: new RegExp(`^${pattern}$`),
    async handle(ctx, captures, authorize) {
      ctx.state.route = path
      const values: Record<string, unknown> = {}
      for (const [index, name] of names.entries()) values[name] = PARAMETERS[name].parse(decode(captures[index] ?? ''))
      const params = values as Params<NamesIn<Path>> & { readonly name?: RepositoryName }
      if (params.name !== undefined) ctx.state.repository = params.name
      if (right !== 'public') await authorize(ctx, right, params.name)
      await handler(ctx, params)
    },
  }
}

/** Exactly once: `%252e` stays `%2e` and is refused by the parser of whatever it is in. */
function decode(capture: string): string {
  if (!capture.includes('%')) return capture
  try {
    return decodeURIComponent(capture)
  } catch (cause) {
    throw new RegistryError('pathInvalid', { detail: { path: capture, expected: 'percent-encoded UTF-8' }, cause })
  }
}

/** The request listener for these middlewares (outermost first) and routes. A late failure is one after an answer began. */
export function createRequestListener(
  middlewares: readonly Middleware[],
  routes: readonly Route[],
  authorize: Authorize,
  onLateFailure: (error: NodeJS.ErrnoException, ctx: Context | undefined) => void,
): ReturnType<Koa['callback']> {
  const app = new Koa<RequestState>()
  for (const middleware of middlewares) app.use(middleware)

  app.use(repositoryRoutes(routes, authorize))
  const router = new Router<RequestState>()
  for (const { verb, pattern, handle } of routes.filter((entry) => !isOfRepository(entry))) {
    router.register(pattern, [verb], async (ctx) => await handle(ctx, [], authorize), { pathAsRegExp: true })
  }
  app.use(router.routes())
  app.use(async (ctx) => refuse(ctx, routes))
  app.on('error', onLateFailure)
  const answer = app.callback()
  return (req, res) => {
    req.url = originForm(req.url ?? '/')
    return answer(req, res)
  }
}

/**
 * Path and query of a request's target, whichever form of RFC 9112 section 3.2 it has; what is no path becomes one at which nothing is
 * served. What Koa does not find so simple it gives to `url.parse`, which throws on `http://%ff@host/`, where nobody catches it.
 */
function originForm(target: string): string {
  if (target.startsWith('/') && !target.includes('#')) return target
  const path = target.replace(/#.*$/, '').replace(/^https?:\/\/[^/?]*/i, '')
  return path.startsWith('/') ? path : `/${path}`
}

const isOfRepository = ({ path }: Route): boolean => path.includes(':name')

/**
 * What is asked of a repository. The router would try every pattern, each of them from every slash of the name; here the word before the
 * last slash says which to try first.
 */
function repositoryRoutes(routes: readonly Route[], authorize: Authorize): Middleware {
  const byPath = Map.groupBy(routes.filter(isOfRepository), ({ path }) => path)
  const shapes = [...byPath].map(
    ([path, same]): Shape => ({
      pattern: same[0]?.pattern as RegExp,
      verbs: new Map(same.map((entry) => [entry.verb, entry])),
      word: wordBeforeLast(path),
    }),
  )
  const likely = Map.groupBy(shapes, ({ word }) => word)
  return async (ctx, next) => {
    const { path, method } = ctx
    const guess = findIn(likely.get(wordBeforeLast(path)) ?? [], path) ?? findIn(shapes, path)
    const found = guess?.verbs.get(method === 'HEAD' ? 'GET' : method)
    if (guess && found) await found.handle(ctx, guess.captures, authorize)
    else await next()
  }
}

/** The routes that differ in nothing but their verbs. */
interface Shape {
  readonly pattern: RegExp
  readonly verbs: ReadonlyMap<string, Route>
  readonly word: string
}

function wordBeforeLast(path: string): string {
  const last = path.lastIndexOf('/')
  return path.slice(path.lastIndexOf('/', last - 1) + 1, last)
}

function findIn(
  shapes: readonly Shape[],
  path: string,
): { readonly verbs: Shape['verbs']; readonly captures: readonly string[] } | undefined {
  for (const { pattern, verbs } of shapes) {
    const match = pattern.exec(path)
    if (match) return { verbs, captures: match.slice(1) }
  }
  return undefined
}

/** For the header `Allow`: the verbs of this path's routes, or of those that `which` selects. */
export function allowedVerbs(
  path: string,
  routes: readonly Route[],
  which: (route: Route) => boolean = () => true,
): string {
  const verbs = routes.filter((route) => which(route) && route.pattern.test(path)).map(({ verb }) => verb)
  return verbs.flatMap((verb) => (verb === 'GET' ? ['GET', 'HEAD'] : [verb])).join(', ')
}

/** A component that begins with `_` is an extension's; no repository's name has one. */
const EXTENSION = /^\/v2\/(?:.+\/)?(_[^/]+)/

/** The path is known with other verbs, or not at all. */
function refuse(ctx: Context, routes: readonly Route[]): never {
  const allow = allowedVerbs(ctx.path, routes)
  if (allow === '') {
    const [, extension] = EXTENSION.exec(ctx.path) ?? []
    if (extension !== undefined) {
      throw new RegistryError('extensionUnknown', {
        detail: { extension, path: ctx.path, expected: 'one that GET /v2/_oci/ext/discover lists' },
      })
    }
    throw new RegistryError('notFound', {
      detail: { path: ctx.path, expected: 'a path of the distribution API, below /v2/' },
    })
  }
  throw new RegistryError('unsupported', { detail: { method: ctx.method, expected: allow }, headers: { Allow: allow } })
}
