/**
 * Docker's token protocol (K9, K10): who you are and what you want, by GET with Basic or by an OAuth2 form, for a token with as much of
 * it as the policy allows. Less than was asked for is no error: the registry refuses what the token lacks, and says why.
 */
import { parseRepositoryName } from '../../storage/model/reference.ts'
import { answerBytes } from '../answers.ts'
import { RegistryError } from '../errors.ts'
import { clientOf } from '../rate-limit.ts'
import { readSmallBody } from '../request-body.ts'
import type { Context } from '../routing.ts'
import { parseAuthorization } from './credentials.ts'
import type { Directory, Known } from './directory.ts'
import { currentOf, type ForeignTokens, identified, UNPROVED } from './guard.ts'
import { ANONYMOUS, printSubject } from './identity.ts'
import type { Origins } from './origin.ts'
import { type Action, decide, type Policy, servesAnonymous } from './policy.ts'
import type { TokenKeys } from './token-keys.ts'
import { ANYWHERE, parseScopes, printScope, type Scope } from './token-scope.ts'
import { TokenRefused, type Tokens, unverifiedIssuer } from './tokens.ts'

export interface TokenServiceParts {
  readonly policy: Policy
  readonly directory: Directory
  readonly tokens: Tokens
  readonly keys: TokenKeys
  readonly foreignTokens: ForeignTokens
  readonly origins: Origins
  readonly service: string
}

const LARGEST_FORM_BYTES = 64 * 1024
/** What a scope may ask for. `*` asks for all of them. */
const SCOPE_ACTIONS: readonly Action[] = ['pull', 'push', 'delete']
const NOBODY: Known = { identity: ANONYMOUS, generation: '' }

export class TokenService {
  readonly #parts: TokenServiceParts

  constructor(parts: TokenServiceParts) {
    this.#parts = parts
  }

  /** K9. */
  readonly get = async (ctx: Context): Promise<void> => {
    this.#noteOrigin(ctx)
    const query = new URLSearchParams(ctx.querystring)
    this.#demandService(query)
    const credentials = parseAuthorization(ctx.get('Authorization'))
    if (credentials.scheme === 'unusable') throw this.#unauthorized(credentials.reason)
    if (credentials.scheme === 'bearer') throw this.#unauthorized('a token is not given for a token')
    const known =
      credentials.scheme === 'none' ? this.#anonymous() : await this.#known(ctx, credentials.login, credentials.secret)
    this.#answer(ctx, known, query, query.get('offline_token') === 'true')
  }

  /** K10: the grants `password` and `refresh_token`. */
  readonly post = async (ctx: Context): Promise<void> => {
    this.#noteOrigin(ctx)
    const body = await readSmallBody(ctx, LARGEST_FORM_BYTES, 'tokenRequestTooLarge')
    const form = new URLSearchParams(Buffer.from(body).toString('utf8'))
    this.#demandService(form)
    const grant = form.get('grant_type')
    if (grant === 'password') {
      const known = await this.#known(ctx, form.get('username') ?? '', form.get('password') ?? '')
      return this.#answer(ctx, known, form, form.get('access_type') === 'offline')
    }
    if (grant === 'refresh_token') return await this.#refresh(ctx, form)
    throw new RegistryError('tokenRequestInvalid', {
      detail: { grant_type: grant?.slice(0, 100) ?? null, expected: 'password or refresh_token' },
    })
  }

  /** RFC 7517: what tokens of this registry can be verified with, by anybody. */
  readonly jwks = async (ctx: Context): Promise<void> => {
    answerBytes(ctx, 'application/jwk-set+json', JSON.stringify({ keys: this.#parts.keys.jwks() }), {
      'Cache-Control': 'public, max-age=30',
    })
  }

  /** For the logs and for the limit on guesses; nobody is anybody yet. */
  #noteOrigin(ctx: Context): void {
    const { address } = this.#parts.origins.of(ctx.req)
    if (address !== undefined) ctx.state.client = address
    ctx.state.subject = UNPROVED
  }

  #demandService(parameters: URLSearchParams): void {
    const { service } = this.#parts
    const asked = parameters.get('service')
    if (asked === null || asked === '' || asked === service) return
    throw new RegistryError('tokenRequestInvalid', { detail: { service: asked.slice(0, 100), expected: service } })
  }

  #anonymous(): Known {
    if (servesAnonymous(this.#parts.policy)) return NOBODY
    throw this.#unauthorized('this registry has nothing for those without account')
  }

  async #known(ctx: Context, login: string, secret: string): Promise<Known> {
    const { directory } = this.#parts
    const known =
      (await this.#foreign(secret)) ?? (await directory.authenticate(login, secret, clientOf(ctx.state.client)))
    if (known) return known
    throw this.#unauthorized('the name or the password is wrong')
  }

  /** A CI job has no password but the token of its issuer, which docker can send as one. */
  async #foreign(secret: string): Promise<Known | undefined> {
    if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(secret)) return undefined
    try {
      const issuer = unverifiedIssuer(secret)
      return issuer === undefined ? undefined : await this.#parts.foreignTokens(secret, issuer)
    } catch (error) {
      if (error instanceof TokenRefused) throw this.#unauthorized(error.message, error)
      throw error
    }
  }

  async #refresh(ctx: Context, form: URLSearchParams): Promise<void> {
    const { tokens, directory } = this.#parts
    const refresh = form.get('refresh_token') ?? ''
    try {
      const content = await tokens.verifyRefresh(refresh)
      const identity = await currentOf(content, directory)
      if (!identity) throw new TokenRefused('it is of somebody who may not use it any more')
      this.#answer(ctx, { identity, generation: content.generation }, form, false, refresh)
    } catch (error) {
      if (error instanceof TokenRefused)
        throw this.#unauthorized(`the refresh token is refused: ${error.message}`, error)
      throw error
    }
  }

  #unauthorized(reason: string, cause?: unknown): RegistryError {
    return new RegistryError('unauthorized', {
      message: reason,
      detail: { reason },
      headers: { 'WWW-Authenticate': `Basic realm="${this.#parts.service}",charset="UTF-8"` },
      cause,
    })
  }

  #answer(ctx: Context, known: Known, parameters: URLSearchParams, offline: boolean, refresh?: string): void {
    const { tokens } = this.#parts
    identified(ctx, known.identity)
    const access = this.#granted(known, parseScopes(parameters.getAll('scope')))
    const { identity, generation } = known
    const about = { subject: printSubject(identity), generation, claims: identity.claims }
    const { token, expiresIn, issuedAt } = tokens.issueAccess({ ...about, access })
    // Whoever has a token of another issuer gets a new one there; it must not be made to last here.
    const lasting = offline && (identity.kind === 'user' || identity.kind === 'robot')
    const refreshToken = lasting ? tokens.issueRefresh(about).token : refresh
    answerBytes(
      ctx,
      'application/json',
      JSON.stringify({
        token,
        access_token: token,
        scope: access.map(printScope).join(' '),
        expires_in: expiresIn,
        issued_at: issuedAt.toISOString(),
        ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
      }),
      { 'Cache-Control': 'no-store' },
    )
  }

  #granted({ identity }: Known, scopes: readonly Scope[]): readonly Scope[] {
    return scopes.flatMap((scope): readonly Scope[] => {
      if (scope.type === 'registry') return scope.name === 'catalog' ? [{ ...scope, actions: ['*'] }] : []
      if (scope.type === 'repository' && scope.name === ANYWHERE) {
        return scope.actions.includes('pull') ? [{ ...scope, actions: ['pull'] }] : []
      }
      const repository = scope.type === 'repository' ? repositoryOf(scope.name) : undefined
      if (repository === undefined) return []
      const asked = SCOPE_ACTIONS.filter((action) => scope.actions.includes(action) || scope.actions.includes('*'))
      const actions = asked.filter((action) => decide(this.#parts.policy, identity, action, repository).allowed)
      return actions.length === 0 ? [] : [{ type: 'repository', name: repository, actions }]
    })
  }
}

function repositoryOf(name: string): ReturnType<typeof parseRepositoryName> | undefined {
  try {
    return parseRepositoryName(name)
  } catch {
    return undefined // nothing of that name can be here: nothing is granted
  }
}
