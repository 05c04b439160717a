/**
 * Tokens of other issuers: a CI job or a workload proves who it is with what its platform signed, and no secret is stored anywhere. The
 * issuer's keys are fetched from where the operator said, or from where the issuer itself says on its own origin: it cannot send us elsewhere.
 */
import { createHash, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import type { Log } from '../log.ts'
import { reason } from '../reasons.ts'
import { BoundedMap } from './bounded-map.ts'
import type { Known } from './directory.ts'
import type { ForeignTokens } from './guard.ts'
import { ANONYMOUS } from './identity.ts'
import { headerOf, type SignatureAlgorithm, TokenRefused, verified } from './tokens.ts'

export interface Issuer {
  /** As the policy calls it: `oidc:NAME`. */
  readonly name: string
  /** Exactly what its tokens say. */
  readonly issuer: string
  readonly audience: string
  /** Where its keys are; `auto`: where its discovery document says. */
  readonly keys: string
}

const FETCH_MS = 5_000
const LARGEST_DOCUMENT_BYTES = 256 * 1024
const MOST_KEYS = 100
/** Keys are believed this long without a look, and fetched for an unknown one no more often than that. */
const KEPT_MS = 60 * 60_000
const FETCH_AGAIN_MS = 30_000
const REMEMBERED = 5_000
const SMALLEST_RSA_BITS = 2_048
/** A longer one is refused: cut, it could match a pattern that it does not match. */
const LONGEST_CLAIM = 1_024

const Discovery = z.object({ issuer: z.string(), jwks_uri: z.url() })
const KeySet = z.object({ keys: z.array(z.looseObject({ kid: z.string().optional(), kty: z.string() })) })
const Claims = z.looseObject({ exp: z.number() })

/** `claims`: the names of those that the policy asks for. */
export function trustedIssuers(issuers: readonly Issuer[], claims: ReadonlySet<string>, log: Log): ForeignTokens {
  const known = issuers.map((issuer) => new TrustedIssuer(issuer, new Set([...claims, 'sub']), log))
  return async (token, claimed) => {
    const candidates = known.filter(({ issuer }) => issuer.issuer === claimed)
    let refused: unknown
    for (const candidate of candidates) {
      try {
        return await candidate.verify(token)
      } catch (error) {
        if (!(error instanceof TokenRefused)) throw error
        refused = error // the same issuer may be listed for another audience
      }
    }
    if (refused !== undefined) throw refused
    return undefined
  }
}

interface IssuerKey {
  readonly key: KeyObject
  readonly algorithms: SignatureAlgorithm[]
}

class TrustedIssuer {
  readonly issuer: Issuer
  readonly #claims: ReadonlySet<string>
  readonly #log: Log
  /** With the id of the key that proved them: it may be withdrawn meanwhile. */
  readonly #verified = new BoundedMap<{ readonly known: Known; readonly kid: string }>(REMEMBERED)
  #keys: ReadonlyMap<string, IssuerKey> = new Map()
  #fetchedAtMs = Number.NEGATIVE_INFINITY
  #triedAtMs = Number.NEGATIVE_INFINITY
  #fetching: Promise<void> | undefined

  constructor(issuer: Issuer, claims: ReadonlySet<string>, log: Log) {
    this.issuer = issuer
    this.#claims = claims
    this.#log = log
  }

  /** Throws `TokenRefused`. */
  async verify(token: string): Promise<Known> {
    const hash = createHash('sha256').update(token).digest('base64')
    const seen = this.#verified.get(hash, Date.now())
    if (seen && this.#keys.has(seen.kid)) return seen.known
    const { kid, key, algorithms } = await this.#find(token)
    const { issuer, audience, name } = this.issuer
    const claims = Claims.safeParse(verified(token, key, { algorithms, issuer, audience }))
    if (!claims.success) throw new TokenRefused('it does not say when it expires')
    const known = {
      identity: { ...ANONYMOUS, kind: 'oidc', name, claims: this.#texts(claims.data) },
      generation: '',
    } as const
    this.#verified.set(hash, { known, kid }, claims.data.exp * 1_000)
    return known
  }

  /** Only those that decide something, so that our own tokens stay small. */
  #texts(claims: Readonly<Record<string, unknown>>): Record<string, string> {
    const texts: Record<string, string> = {}
    for (const name of this.#claims) {
      const value = Object.hasOwn(claims, name) ? claims[name] : undefined
      if (!['string', 'number', 'boolean'].includes(typeof value)) continue
      texts[name] = String(value)
      if (String(value).length > LONGEST_CLAIM) {
        throw new TokenRefused(`its claim ${name} is longer than ${LONGEST_CLAIM} characters`)
      }
    }
    return texts
  }

  async #find(token: string): Promise<IssuerKey & { readonly kid: string }> {
    const { kid } = headerOf(token)
    if (typeof kid !== 'string') throw new TokenRefused('it names no key')
    const now = performance.now()
    const stale = now - this.#fetchedAtMs >= KEPT_MS || !this.#keys.has(kid)
    if (stale && now - this.#triedAtMs >= FETCH_AGAIN_MS) {
      this.#fetching ??= this.#fetch().finally(() => {
        this.#fetching = undefined
      })
    }
    if (stale) await this.#fetching // a slow issuer is waited for by nobody whose key is known
    const key = this.#keys.get(kid)
    if (!key) throw new TokenRefused(`it is signed with a key that ${this.issuer.issuer} does not publish`)
    return { kid, ...key }
  }

  /** What cannot be fetched leaves the keys as they were: an issuer that is away for a while locks nobody out. */
  async #fetch(): Promise<void> {
    try {
      const { keys } = KeySet.parse(await fetchJson(await this.#keysUrl()))
      this.#keys = new Map(keys.slice(0, MOST_KEYS).flatMap(usable))
      this.#fetchedAtMs = performance.now()
    } catch (error) {
      this.#log.warn({ issuer: this.issuer.issuer, reason: reason(error) }, 'the keys of an issuer cannot be fetched')
    }
    this.#triedAtMs = performance.now()
  }

  async #keysUrl(): Promise<string> {
    const { issuer, keys } = this.issuer
    if (keys !== 'auto') return keys
    const found = Discovery.parse(await fetchJson(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`))
    if (found.issuer !== issuer) throw new Error(`its discovery document is of ${found.issuer}`)
    if (new URL(found.jwks_uri).origin !== new URL(issuer).origin) {
      throw new Error(`its discovery document sends to ${found.jwks_uri}, on another origin: name that as its keys`)
    }
    return found.jwks_uri
  }
}

/** A key that we can verify with, and the algorithms that fit it: an RSA key is never taken for an HMAC secret. */
function usable(jwk: JsonWebKey & { readonly kid?: string | undefined }): readonly [string, IssuerKey][] {
  const { kid, kty, crv } = jwk
  if (kid === undefined) return []
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    if (kty === 'RSA' && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= SMALLEST_RSA_BITS) {
      return [[kid, { key, algorithms: ['RS256', 'RS384', 'RS512'] }]]
    }
    if (kty === 'EC' && crv === 'P-256') return [[kid, { key, algorithms: ['ES256'] }]]
    if (kty === 'EC' && crv === 'P-384') return [[kid, { key, algorithms: ['ES384'] }]]
  } catch {
    // a key that is none verifies nothing
  }
  return []
}

/** Bounded in time and size; a redirection is a failure. */
async function fetchJson(url: string): Promise<unknown> {
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(FETCH_MS) })
  if (!answer.ok || !answer.body) {
    await answer.body?.cancel()
    throw new Error(`${url} answers ${answer.status}`)
  }
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of answer.body) {
    size += piece.length
    if (size > LARGEST_DOCUMENT_BYTES) throw new Error(`${url} answers more than ${LARGEST_DOCUMENT_BYTES} bytes`)
    pieces.push(piece)
  }
  return JSON.parse(Buffer.concat(pieces).toString('utf8')) as unknown
}
