/**
 * The one place where a request is allowed or refused. A request needs both: what its token was given for, and what the policy says
 * now about who holds it. It is asked before anything is looked up, so that a refusal says nothing about what there is.
 */
import { parseRepositoryName, type RepositoryName, type Tag } from '../../storage/model/reference.ts'
import { type ErrorExtra, RegistryError } from '../errors.ts'
import { clientOf } from '../rate-limit.ts'
import type { Authorize, Context, Right } from '../routing.ts'
import { certificateIdentity } from './client-certificate.ts'
import { type Credentials, parseAuthorization } from './credentials.ts'
import type { Directory, Known } from './directory.ts'
import { ANONYMOUS, type Identity, printSubject } from './identity.ts'
import type { Origins } from './origin.ts'
import { type Action, decide, isImmutable, type Policy } from './policy.ts'
import { ANYWHERE, printScope, type Scope } from './token-scope.ts'
import { type TokenContent, TokenRefused, type Tokens, unverifiedIssuer } from './tokens.ts'

/** Where tokens are given; its own route in `app.ts`. */
export const TOKEN_PATH = '/token'
/** What clients ask to find out whether they may come in; its own route in `app.ts`. */
export const DOOR_PATH = '/v2/?'

/** `off`: Basic credentials are for the token service alone. `also`: a request may carry them. `only`: there are no tokens. */
export type BasicMode = 'off' | 'also' | 'only'

/** Tokens of others: `undefined` if none of them is the issuer. Throws `TokenRefused`. */
export type ForeignTokens = (token: string, issuer: string) => Promise<Known | undefined>

export interface GuardParts {
  readonly policy: Policy
  readonly directory: Directory
  readonly tokens: Tokens
  readonly foreignTokens: ForeignTokens
  readonly origins: Origins
  readonly service: string
  readonly basic: BasicMode
}

/** `scopes`: what the token was given for; absent if nothing but the policy limits the caller. */
interface Caller {
  readonly identity: Identity
  readonly scopes?: readonly Scope[]
}

const SCOPED: Readonly<Partial<Record<Right, string>>> = {
  pull: 'pull',
  mount: 'pull',
  push: 'push',
  delete: 'delete',
  'create-tag': 'push',
  'move-tag': 'push',
  'delete-tag': 'delete',
}
const ACTION_OF: Readonly<Partial<Record<Right, Action>>> = {
  list: 'pull',
  mount: 'pull',
  pull: 'pull',
  push: 'push',
  delete: 'delete',
  'create-tag': 'create-tag',
  'move-tag': 'move-tag',
  'delete-tag': 'delete',
}

/** How logs call whoever did not prove who they are. Not by the name that was tried: people type passwords where names belong. */
export const UNPROVED = 'unproved'

/** For the logs. */
export function identified(ctx: Context, identity: Identity): void {
  ctx.state.subject = printSubject(identity)
  ctx.state.claims = identity.claims
}

/** What docker sends first, to be told where to log in. */
class CredentialsMissing extends TokenRefused {}

export class Guard {
  readonly #parts: GuardParts
  readonly #callers = new WeakMap<Context, Promise<Caller>>()

  constructor(parts: GuardParts) {
    this.#parts = parts
  }

  readonly authorize: Authorize = async (ctx, right, repository, tag) => {
    const caller = await this.#caller(ctx, right, repository)
    if (right === 'catalog' && !isScoped(caller, 'registry', 'catalog', '*')) {
      throw this.#challenge(ctx, right, repository, 'insufficient_scope')
    }
    if (right === 'mount' && repository === undefined && !isScoped(caller, 'repository', ANYWHERE, 'pull')) {
      throw this.#challenge(ctx, right, repository, 'insufficient_scope')
    }
    const action = ACTION_OF[right]
    if (action === undefined || repository === undefined) return
    if (!decide(this.#parts.policy, caller.identity, action, repository).allowed) {
      if (caller.identity.kind === 'anonymous' && right !== 'mount') {
        throw this.#challenge(ctx, right, repository, 'insufficient_scope')
      }
      const message = `${printSubject(caller.identity)} may not ${action} in ${repository}`
      throw new RegistryError('denied', {
        message,
        headers: this.#saidInHeader(ctx, message),
        detail: { action, repository, ...(tag === undefined ? {} : { tag }) },
      })
    }
    const scope = SCOPED[right]
    if (scope !== undefined && !isScoped(caller, 'repository', repository, scope)) {
      throw this.#challenge(ctx, right, repository, 'insufficient_scope')
    }
    if (tag !== undefined && right !== 'create-tag') this.#demandMutable(repository, tag)
  }

  #demandMutable(repository: RepositoryName, tag: Tag): void {
    if (!isImmutable(this.#parts.policy, repository, tag)) return
    throw new RegistryError('denied', {
      message: `the tag ${tag} is immutable in ${repository}`,
      detail: { repository, tag, reason: 'the tag is immutable', expected: 'a push to another tag' },
    })
  }

  #caller(ctx: Context, right: Right, repository: RepositoryName | undefined): Promise<Caller> {
    const known = this.#callers.get(ctx)
    if (known) return known
    const finding = this.#identify(ctx, right, repository)
    this.#callers.set(ctx, finding)
    return finding
  }

  async #identify(ctx: Context, right: Right, repository: RepositoryName | undefined): Promise<Caller> {
    const credentials = parseAuthorization(ctx.get('Authorization'))
    const { address } = this.#parts.origins.of(ctx.req)
    if (address !== undefined) ctx.state.client = address
    if (credentials.scheme !== 'none') ctx.state.subject = UNPROVED // also if it is not even looked at: too many attempts
    try {
      const caller = await this.#callerOf(ctx, credentials)
      identified(ctx, caller.identity)
      ctx.state.proves = caller.scopes === undefined
      return caller
    } catch (error) {
      if (!(error instanceof TokenRefused)) throw error
      if (!(error instanceof CredentialsMissing)) ctx.state.subject = UNPROVED
      const reason = error instanceof CredentialsMissing ? undefined : error.message
      const why = credentials.scheme === 'bearer' ? 'invalid_token' : undefined
      throw this.#challenge(ctx, right, repository, why, {
        cause: error,
        ...(reason === undefined ? {} : { detail: { reason } }),
      })
    }
  }

  async #callerOf(ctx: Context, credentials: Credentials): Promise<Caller> {
    if (credentials.scheme === 'none') {
      const identity = certificateIdentity(ctx.req)
      if (identity) return { identity }
      throw new CredentialsMissing('no credentials')
    }
    if (credentials.scheme === 'unusable') throw new TokenRefused(credentials.reason)
    if (credentials.scheme === 'bearer') {
      if (this.#parts.basic === 'only') throw new TokenRefused('this registry takes a name and a password, no tokens')
      return await this.#callerOfToken(credentials.token)
    }
    if (this.#parts.basic === 'off') {
      throw new TokenRefused(`a name and a password are for ${TOKEN_PATH}: send the token that it gives`)
    }
    const address = clientOf(ctx.state.client)
    const known = await this.#parts.directory.authenticate(credentials.login, credentials.secret, address)
    if (!known) throw new TokenRefused('the name or the password is wrong')
    return known
  }

  async #callerOfToken(token: string): Promise<Caller> {
    const { tokens, service, foreignTokens } = this.#parts
    const recalled = await tokens.recall(token)
    const issuer = recalled ? service : unverifiedIssuer(token)
    const known = issuer === undefined || issuer === service ? undefined : await foreignTokens(token, issuer)
    if (known) return { identity: known.identity }
    const content = recalled ?? (await tokens.verifyAccess(token))
    const identity = await currentOf(content, this.#parts.directory)
    if (!identity) throw new TokenRefused('it is of somebody who may not use it any more')
    return { identity, scopes: content.access }
  }

  /** RFC 6750 section 3.1. An answer to HEAD has no body: docker would not know that it is refused, and try again for a minute. */
  #saidInHeader(ctx: Context, message: string): Record<string, string> {
    const { basic, service, origins } = this.#parts
    if (basic === 'only') return {}
    const realm = `Bearer realm="${origins.of(ctx.req).url}${TOKEN_PATH}",service="${service}"`
    const description = message.replaceAll(/[^ -~]|["\\]/g, '?')
    return { 'WWW-Authenticate': `${realm},error="insufficient_scope",error_description="${description}"` }
  }

  #challenge(
    ctx: Context,
    right: Right,
    repository: RepositoryName | undefined,
    error?: 'invalid_token' | 'insufficient_scope',
    extra: ErrorExtra = {},
  ): RegistryError {
    const { basic, service, origins } = this.#parts
    const { url } = origins.of(ctx.req)
    const scope = wantedScopes(ctx, right, repository).map(printScope).join(' ')
    const bearer = [
      `Bearer realm="${url}${TOKEN_PATH}"`,
      `service="${service}"`,
      ...(scope === '' ? [] : [`scope="${scope}"`]),
      ...(error === undefined ? [] : [`error="${error}"`]),
    ].join(',')
    // K7: Bearer first; clients that know both take it.
    const challenges = [
      ...(basic === 'only' ? [] : [bearer]),
      ...(basic === 'off' ? [] : [`Basic realm="${service}",charset="UTF-8"`]),
    ]
    return new RegistryError('unauthorized', { ...extra, headers: { 'WWW-Authenticate': challenges } })
  }
}

/** What is true now of whom a token names. */
export async function currentOf(content: TokenContent, directory: Directory): Promise<Identity | undefined> {
  const { subject, generation, claims } = content
  const colon = subject.indexOf(':')
  const [kind, name] = [subject.slice(0, Math.max(0, colon)), subject.slice(colon + 1)]
  if (subject === 'anonymous') return ANONYMOUS
  if (kind === 'user' || kind === 'robot') return await directory.current({ kind, name }, generation)
  if (kind === 'oidc') return { ...ANONYMOUS, kind, name, claims }
  return undefined
}

const isScoped = ({ scopes }: Pick<Caller, 'scopes'>, type: string, name: string, action: string): boolean =>
  scopes === undefined ||
  scopes.some((scope) => scope.type === type && scope.name === name && scope.actions.includes(action)) ||
  (action === 'pull' && name !== ANYWHERE && type === 'repository' && isScoped({ scopes }, type, ANYWHERE, action))

/** K12: what the client should ask for, so that one token does for what it is about to do. */
function wantedScopes(ctx: Context, right: Right, repository: RepositoryName | undefined): readonly Scope[] {
  if (right === 'catalog') return [{ type: 'registry', name: 'catalog', actions: ['*'] }]
  if (right === 'mount') return wantedScopes(ctx, 'push', ctx.state.repository)
  const action = SCOPED[right]
  if (repository === undefined || action === undefined) return []
  const actions = action === 'push' ? ['pull', 'push'] : [action]
  return [{ type: 'repository', name: repository, actions }, ...mountSource(ctx, repository)]
}

function mountSource(ctx: Context, target: RepositoryName): readonly Scope[] {
  const query = new URLSearchParams(ctx.method === 'POST' ? ctx.querystring : '')
  const from = query.get('from')
  if (query.has('mount') && !from) return [{ type: 'repository', name: ANYWHERE, actions: ['pull'] }]
  if (from === null || from === target) return []
  try {
    return [{ type: 'repository', name: parseRepositoryName(from), actions: ['pull'] }]
  } catch {
    return [] // the handler says what is wrong with it, to whom may push
  }
}
