/**
 * How a registry wants to be spoken to: its challenge is parsed, and answered with a Basic credential or with a token fetched for the scope
 * asked. Credentials come from docker's `config.json`, per registry, and are given to nobody but that registry and its token service.
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

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

/** The token service's address for a challenge and a scope; without credentials. Throws for an address that is none. */
export function tokenUrl(challenge: Challenge, scope: string): URL {
  const { realm, service, scope: asked } = challenge.parameters
  const url = new URL(realm ?? '')
  if (service !== undefined) url.searchParams.set('service', service)
  for (const each of new Set([...(asked?.split(' ') ?? []), scope]))
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

/** From a token service's answer; both spellings exist. */
export function tokenFrom(answer: unknown): string | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined
  const { token, access_token } = answer as { token?: unknown; access_token?: unknown }
  const found = token ?? access_token
  return typeof found === 'string' && /^[\x21-\x7e]+$/.test(found) ? found : undefined
}

/** Docker's file: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`. `undefined` where it knows nothing of this registry. */
export async function dockerCredential(
  registry: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Credential | undefined> {
  const path = join(environment['DOCKER_CONFIG'] ?? join(environment['HOME'] ?? homedir(), '.docker'), 'config.json')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`cannot read the credentials in ${path}`, { cause })
  }
  let config: {
    readonly auths?: Readonly<Record<string, { readonly auth?: unknown; readonly identitytoken?: unknown }>>
  }
  try {
    config = JSON.parse(text) as typeof config
  } catch (cause) {
    throw new Error(`${path} is not JSON`, { cause })
  }
  const entries = Object.entries(config?.auths ?? {})
  const entry = entries.find(([key]) => registryOf(key) === registry)?.[1]
  if (typeof entry?.auth !== 'string') return undefined
  const [username = '', ...password] = Buffer.from(entry.auth, 'base64').toString('utf8').replace(/\0+$/, '').split(':')
  if (username === '') return undefined
  const { identitytoken } = entry
  return {
    username,
    password: password.join(':'),
    ...(typeof identitytoken === 'string' && identitytoken !== '' ? { identityToken: identitytoken } : {}),
  }
}

/** `https://host/v1/` and `host` are the same key. */
const registryOf = (key: string): string => key.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
