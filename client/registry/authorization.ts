/**
 * Who we are, to one registry: what its challenges were answered with, by the scopes that were asked for. Tokens are used until shortly before
 * they end. A credential goes to the registry and to the token service that the registry itself names, and to nobody else.
 */
import {
  basicAuthorization,
  type Challenge,
  type Credential,
  type GivenToken,
  refreshForm,
  tokenFrom,
  tokenUrl,
} from './auth.ts'
import { deniedMessage, isBusy, parsedJson, RegistryMisbehaves, RegistryRefusal } from './refusals.ts'

/** A token that ends within this time is fetched anew: what it is for takes a while to arrive. */
const EARLY_MS = 10_000

interface TokenQuestion {
  readonly method: 'GET' | 'POST'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

export interface AuthorizationParts {
  readonly registry: string
  /** Asked for once, and only if the registry wants to know who we are. */
  readonly credential: () => Promise<Credential | undefined>
  /** Plain http is allowed to this token service. */
  readonly mayBeInClear: (url: URL) => boolean
  /** Sends the question to the token service, again where that is busy; resolves to its status and its body. */
  readonly send: (
    question: TokenQuestion,
    signal?: AbortSignal,
  ) => Promise<{ readonly status: number; readonly bytes: Buffer }>
}

interface Known {
  readonly header: string | undefined
  /** By `performance.now()`. */
  readonly validUntil: number
}

export class Authorization {
  readonly #parts: AuthorizationParts
  readonly #known = new Map<string, Promise<Known>>()
  #credential: Promise<Credential | undefined> | undefined
  /** What the registry wanted last: a scope that is new, or a token that ends, is asked for without another refusal. */
  #challenges: readonly Challenge[] = []

  constructor(parts: AuthorizationParts) {
    this.#parts = parts
  }

  /** Somebody is logged in, as far as this registry has asked. */
  async isKnown(): Promise<boolean> {
    return (await this.#credential) !== undefined
  }

  /** How the registry asked for a token; `undefined` if it has not asked, or wants none. */
  bearer(): Challenge | undefined {
    return this.#challenges.find(({ scheme }) => scheme === 'bearer')
  }

  /** The header for these scopes; `undefined` as long as the registry has not asked who we are. */
  async header(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    const known = await this.#known.get(keyOf(scopes))
    if (known !== undefined && known.validUntil > performance.now()) return known.header
    return this.#challenges.length > 0 ? await this.answer(this.#challenges, scopes, signal) : undefined
  }

  /** The header that answers these challenges; `undefined` if there is nothing to say. Throws what the token service did wrong. */
  async answer(
    challenges: readonly Challenge[],
    scopes: readonly string[],
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    this.#challenges = challenges
    const key = keyOf(scopes)
    const fresh = this.#fresh(challenges, scopes, signal)
    this.#known.set(key, fresh)
    fresh.catch(() => this.#known.get(key) === fresh && this.#known.delete(key))
    return (await fresh).header
  }

  async #fresh(challenges: readonly Challenge[], scopes: readonly string[], signal?: AbortSignal): Promise<Known> {
    this.#credential ??= this.#parts.credential()
    const credential = await this.#credential
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
    if (bearer === undefined)
      return { header: credential && basicAuthorization(credential), validUntil: Number.POSITIVE_INFINITY }
    const { token, lifetimeSeconds } = await this.token(bearer, scopes, credential, signal)
    const lifetimeMs = lifetimeSeconds * 1000
    return {
      header: `Bearer ${token}`,
      validUntil: performance.now() + lifetimeMs - Math.min(EARLY_MS, lifetimeMs / 2),
    }
  }

  /** `offline`: with a refresh token, where the service gives one. */
  async token(
    challenge: Challenge,
    scopes: readonly string[],
    credential: Credential | undefined,
    signal?: AbortSignal,
    offline = false,
  ): Promise<GivenToken> {
    const url = this.#serviceUrl(challenge, scopes)
    if (offline) url.searchParams.set('offline_token', 'true')
    const { status, bytes } = await this.#parts.send(questionOf(url, credential), signal)
    if (isBusy(status)) throw this.#busy(status, url)
    if (status !== 200) throw this.#refused(status, scopes, credential !== undefined)
    const given = tokenFrom(parsedJson(bytes))
    if (given === undefined) throw new RegistryMisbehaves(`the token service ${url.host} answered without a token`)
    return given
  }

  #serviceUrl(challenge: Challenge, scopes: readonly string[]): URL {
    let url: URL
    try {
      url = tokenUrl(challenge, scopes)
    } catch (cause) {
      throw new RegistryMisbehaves('the registry names a token service that is no address', { cause })
    }
    // A token service may be on another host, and only the registry can say so; but no password goes in clear over a network.
    if (url.protocol !== 'https:' && !(url.protocol === 'http:' && this.#parts.mayBeInClear(url)))
      throw new RegistryMisbehaves(`the registry's token service ${url.origin} is not https`)
    return url
  }

  /** Whoever we are: it is no answer. */
  #busy(status: number, { host }: URL): RegistryRefusal {
    return new RegistryRefusal(
      `${this.#parts.registry} cannot say who may do what: its token service ${host} answered ${status}; try again later`,
      status,
      undefined,
    )
  }

  #refused(status: number, scopes: readonly string[], shown: boolean): RegistryRefusal {
    const { registry } = this.#parts
    const said =
      shown && status === 401
        ? 'its token service does not accept this user and password'
        : `its token service answered ${status}`
    return new RegistryRefusal(
      deniedMessage({ registry, scopes, known: shown && status !== 401 }, said),
      status,
      undefined,
    )
  }
}

const keyOf = (scopes: readonly string[]): string => scopes.toSorted().join(' ')

function questionOf(url: URL, credential: Credential | undefined): TokenQuestion {
  if (credential?.identityToken !== undefined) {
    const { url: bare, body } = refreshForm(url, credential.identityToken)
    return { method: 'POST', url: bare, headers: { 'content-type': 'application/x-www-form-urlencoded' }, body }
  }
  return { method: 'GET', url, headers: credential ? { authorization: basicAuthorization(credential) } : {} }
}
