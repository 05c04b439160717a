/**
 * How a registry wants to be spoken to: its challenge is parsed, and answered with a Basic credential or with a token fetched for the scopes
 * asked (docker's token protocol, and its OAuth2 form).
 */

export interface Credential {
  readonly username: string
  readonly password: string
  /** What `docker login` keeps instead of the password where the token service gives one: good at that service alone. */
  readonly identityToken?: string
}

/** What a registry said it wants in `WWW-Authenticate`. */
export interface Challenge {
  readonly scheme: 'basic' | 'bearer'
  readonly parameters: Readonly<Record<string, string>>
}

const CHALLENGE_LIMIT_CHARACTERS = 16 * 1024

/** All challenges of a header that we can answer, in its order (RFC 9110 §11.6.1). Never throws: what makes no sense is left out. */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = []
  const text = header.slice(0, CHALLENGE_LIMIT_CHARACTERS)
  // A scheme is a word followed by a space or the end; a parameter is a word followed by "=".
  const tokens = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))|(?=\s|,|$))|[\s,]+|./gy
  for (const [, word, quoted, plain] of text.matchAll(tokens)) {
    if (word === undefined) continue
    const value = quoted?.replace(/\\(.)/g, '$1') ?? plain
    if (value === undefined) challenges.push({ scheme: word.toLowerCase(), parameters: Object.create(null) })
    else {
      const current = challenges.at(-1)
      if (current) current.parameters[word.toLowerCase()] ??= value
    }
  }
  return challenges.filter((challenge): challenge is Challenge => ['basic', 'bearer'].includes(challenge.scheme))
}

export const basicAuthorization = ({ username, password }: Credential): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`

/** The token service's address for a challenge and scopes; without credentials. Throws for an address that is none. */
export function tokenUrl(challenge: Challenge, scopes: readonly string[]): URL {
  const { realm, service, scope: asked } = challenge.parameters
  const url = new URL(realm ?? '')
  if (service !== undefined) url.searchParams.set('service', service)
  for (const each of new Set([...(asked?.split(' ') ?? []), ...scopes]))
    if (each !== '') url.searchParams.append('scope', each)
  return url
}

/** The same question as an OAuth2 form, for who has an identity token (RFC 6749 section 6). */
export function refreshForm(url: URL, identityToken: string): { readonly url: URL; readonly body: string } {
  const bare = new URL(url)
  bare.search = ''
  const fields = { grant_type: 'refresh_token', client_id: 'gantry', refresh_token: identityToken }
  const form = new URLSearchParams(fields)
  form.set('service', url.searchParams.get('service') ?? '')
  form.set('scope', url.searchParams.getAll('scope').join(' '))
  return { url: bare, body: form.toString() }
}

export interface GivenToken {
  readonly token: string
  /** 60 where the service does not say (K9). */
  readonly lifetimeSeconds: number
  /** To get more tokens with, instead of a password; only if it was asked for. */
  readonly refreshToken?: string
}

/** From a token service's answer; both spellings of the token exist. */
export function tokenFrom(answer: unknown): GivenToken | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined
  const { token, access_token, expires_in, refresh_token } = answer as Readonly<Record<string, unknown>>
  const found = token ?? access_token
  if (!isHeaderWord(found)) return undefined
  return {
    token: found,
    lifetimeSeconds: typeof expires_in === 'number' && expires_in > 0 ? expires_in : DEFAULT_LIFETIME_SECONDS,
    ...(isHeaderWord(refresh_token) ? { refreshToken: refresh_token } : {}),
  }
}

const DEFAULT_LIFETIME_SECONDS = 60

const isHeaderWord = (text: unknown): text is string => typeof text === 'string' && /^[\x21-\x7e]+$/.test(text)
