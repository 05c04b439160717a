/**
 * Tokens: what was asked for and allowed, signed, for a few minutes (access) or for long (refresh). They say who, by what proof,
 * and what for; whether that still holds is asked at each request. The only file that imports jsonwebtoken.
 */
import { hash, randomUUID } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { z } from 'zod'
import { BoundedMap } from './bounded-map.ts'
import { ALGORITHMS, type TokenAlgorithm, type TokenKeys } from './token-keys.ts'
import type { Scope } from './token-scope.ts'

/** K11: clocks differ this much. */
export const SKEW_SECONDS = 60
/** Ours have less than a kilobyte for each ten scopes. */
const LONGEST_TOKEN = 16_384
const REMEMBERED = 10_000

export type SignatureAlgorithm = jwt.Algorithm

export class TokenRefused extends Error {
  override readonly name = 'TokenRefused'
}

/** `subject` is `printSubject`'s; `generation` the directory's; `claims` what an issuer said. */
export interface TokenContent {
  readonly subject: string
  readonly generation: string
  readonly claims: Readonly<Record<string, string>>
  readonly access: readonly Scope[]
}

export interface TokenSettings {
  /** Of the registry, as issuer and as audience. */
  readonly service: string
  readonly accessSeconds: number
  readonly refreshSeconds: number
}

export interface IssuedToken {
  readonly token: string
  readonly expiresIn: number
  readonly issuedAt: Date
}

const Payload = z.object({
  sub: z.string(),
  gen: z.string(),
  claims: z.record(z.string(), z.string()).default({}),
  access: z.array(z.object({ type: z.string(), name: z.string(), actions: z.array(z.string()) })).default([]),
  exp: z.number(),
})

export class Tokens {
  readonly #keys: TokenKeys
  readonly #settings: TokenSettings
  /** By a hash of the token, until it expires: verifying costs a hundred times what finding costs. */
  readonly #verified = new BoundedMap<{ readonly content: TokenContent; readonly kid: string }>(REMEMBERED)

  constructor(keys: TokenKeys, settings: TokenSettings) {
    this.#keys = keys
    this.#settings = settings
  }

  issueAccess(content: TokenContent): IssuedToken {
    return this.#issue(content, this.#settings.service, this.#settings.accessSeconds)
  }

  /** For whoever wants to stay logged in without keeping the password. */
  issueRefresh(content: Omit<TokenContent, 'access'>): IssuedToken {
    return this.#issue({ ...content, access: [] }, refreshing(this.#settings.service), this.#settings.refreshSeconds)
  }

  /** What a token says that was verified before, if it is still good. */
  async recall(token: string): Promise<TokenContent | undefined> {
    const known = this.#verified.get(hashOf(token), Date.now())
    return known && (await this.#keys.find(known.kid)) && known.content // a key may be revoked meanwhile
  }

  /** Throws `TokenRefused` with the reason. */
  async verifyAccess(token: string): Promise<TokenContent> {
    const { content, kid, expiresAtMs } = await this.#verify(token, this.#settings.service)
    this.#verified.set(hashOf(token), { content, kid }, expiresAtMs)
    return content
  }

  /** Throws `TokenRefused`. */
  async verifyRefresh(token: string): Promise<TokenContent> {
    return (await this.#verify(token, refreshing(this.#settings.service))).content
  }

  #issue({ subject, generation, claims, access }: TokenContent, audience: string, expiresIn: number): IssuedToken {
    const { kid, privateKey, algorithm } = this.#keys.signing
    const issuedAt = new Date()
    const seconds = Math.floor(issuedAt.getTime() / 1_000)
    const payload = { gen: generation, claims, access, iat: seconds, nbf: seconds }
    const token = jwt.sign(payload, privateKey, {
      algorithm,
      keyid: kid,
      issuer: this.#settings.service,
      audience,
      subject,
      jwtid: randomUUID(),
      expiresIn,
    })
    return { token, expiresIn, issuedAt }
  }

  async #verify(
    token: string,
    audience: string,
  ): Promise<{ readonly content: TokenContent; readonly kid: string; readonly expiresAtMs: number }> {
    const kid = kidOf(token)
    const key = await this.#keys.find(kid)
    if (!key) throw new TokenRefused('it is signed with a key that this registry does not know, or no longer believes')
    const payload = Payload.safeParse(
      verified(token, key.publicKey, { algorithms: [key.algorithm], issuer: this.#settings.service, audience }),
    )
    if (!payload.success) throw new TokenRefused('its claims are not those of a token of this registry')
    const { sub, gen, claims, access, exp } = payload.data
    return { content: { subject: sub, generation: gen, claims, access }, kid, expiresAtMs: exp * 1_000 }
  }
}

const hashOf = (token: string): string => hash('sha256', token, 'base64')

/** A refresh token is none for access, and the other way round. */
const refreshing = (service: string): string => `${service}#refresh`

/** Of what may be anything. Throws `TokenRefused`. */
function kidOf(token: string): string {
  const { kid, alg } = headerOf(token)
  if (!ALGORITHMS.includes(alg as TokenAlgorithm)) {
    throw new TokenRefused(`it is signed with ${shown(alg)}, expected ${ALGORITHMS.join(' or ')}`)
  }
  if (typeof kid !== 'string') throw new TokenRefused('it names no key')
  return kid
}

/** Throws `TokenRefused` for what is no token. */
export function headerOf(token: string): { readonly kid?: unknown; readonly alg?: unknown } {
  if (token.length > LONGEST_TOKEN) throw new TokenRefused(`it is longer than ${LONGEST_TOKEN} characters`)
  try {
    const decoded = jwt.decode(token, { complete: true })
    if (decoded) return decoded.header
  } catch {
    // a header that is no JSON: said below
  }
  throw new TokenRefused('it is no JSON web token')
}

/** What it claims before anybody verified it. Throws `TokenRefused`. */
export function unverifiedIssuer(token: string): string | undefined {
  headerOf(token)
  const payload = jwt.decode(token)
  return typeof payload === 'object' ? payload?.iss : undefined
}

/** Signature, times, issuer and audience. Throws `TokenRefused`. */
export function verified(token: string, key: Parameters<typeof jwt.verify>[1], options: jwt.VerifyOptions): object {
  try {
    const payload = jwt.verify(token, key as jwt.PublicKey, { ...options, clockTolerance: SKEW_SECONDS })
    if (typeof payload === 'object') return payload
  } catch (cause) {
    throw new TokenRefused(cause instanceof Error ? cause.message : String(cause), { cause })
  }
  throw new TokenRefused('it has no claims')
}

const shown = (value: unknown): string => JSON.stringify(value)?.slice(0, 40) ?? 'nothing'
