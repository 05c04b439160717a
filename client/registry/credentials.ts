/**
 * Where users keep who they are, for each registry: docker's `config.json` (credential helpers, a credential store, or in it), then podman's
 * `auth.json`. They are read afresh for each command, and given to nobody but that registry and its token service.
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Credential } from './auth.ts'

export type Environment = Readonly<Record<string, string | undefined>>

interface AuthEntry {
  readonly auth?: unknown
  readonly identitytoken?: unknown
}

/** What of a file of docker's or podman's is about credentials; the rest of it is kept as it is. */
export interface AuthFile {
  readonly auths?: Readonly<Record<string, AuthEntry>>
  readonly credHelpers?: Readonly<Record<string, string>>
  readonly credsStore?: string
}

/** Docker Hub's entry has a name from another age. */
const HUB_KEY = 'https://index.docker.io/v1/'
const HUB_NAMES = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io'])
/** What a helper calls an identity token's user. */
const TOKEN_USER = '<token>'

/** `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`. */
export const dockerConfigPath = (environment: Environment): string =>
  join(environment['DOCKER_CONFIG'] || join(environment['HOME'] || homedir(), '.docker'), 'config.json')

/** In podman's order. */
function podmanAuthPaths(environment: Environment): readonly string[] {
  const { REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, HOME } = environment
  if (REGISTRY_AUTH_FILE) return [REGISTRY_AUTH_FILE]
  const config = XDG_CONFIG_HOME || join(HOME || homedir(), '.config')
  return [
    ...(XDG_RUNTIME_DIR ? [join(XDG_RUNTIME_DIR, 'containers', 'auth.json')] : []),
    join(config, 'containers', 'auth.json'),
  ]
}

/**
 * `undefined` where nobody is logged in. podman keeps credentials for parts of a registry also: of those that fit `repository`, the nearest.
 * Throws for a file that cannot be read, and for a helper that fails.
 */
export async function credentialFor(
  registry: string,
  environment: Environment,
  repository = '',
): Promise<Credential | undefined> {
  for (const path of [dockerConfigPath(environment), ...podmanAuthPaths(environment)]) {
    const file = await readAuthFile(path)
    const found = file && (await credentialIn(file, registry, repository, environment))
    if (found) return found
  }
  return undefined
}

/** `undefined` if it is not there. */
export async function readAuthFile(path: string): Promise<AuthFile | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`cannot read the credentials in ${path}: ${(cause as Error).message}`, { cause })
  }
  if (text.trim() === '') return {}
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  } catch (cause) {
    throw new Error(`${path} is not JSON: ${(cause as Error).message}`, { cause })
  }
  throw new Error(`${path} is not a JSON object`)
}

/** Under which a registry is kept by docker and its helpers. */
export const authKeyOf = (registry: string): string => (HUB_NAMES.has(registry) ? HUB_KEY : registry)

/** The helper that is asked for this registry, if any: its own, else the store for all. */
export const helperOf = ({ credHelpers, credsStore }: AuthFile, registry: string): string | undefined =>
  credHelpers?.[authKeyOf(registry)] ?? credHelpers?.[registry] ?? credsStore

async function credentialIn(
  file: AuthFile,
  registry: string,
  repository: string,
  environment: Environment,
): Promise<Credential | undefined> {
  const helper = helperOf(file, registry)
  const kept =
    helper === undefined ? undefined : await (await helpers()).askHelper(helper, authKeyOf(registry), environment)
  if (kept) {
    const { username, secret } = kept
    return username === TOKEN_USER
      ? { username: '', password: '', identityToken: secret }
      : { username, password: secret }
  }
  const candidates = Object.entries(file.auths ?? {})
    .map(([key, entry]) => ({ place: placeOf(key), entry }))
    .filter(({ place }) => fits(place, registry, repository))
    .sort((a, b) => b.place.length - a.place.length)
  return candidates.map(({ entry }) => decoded(entry)).find((each) => each !== undefined)
}

/** `https://host/v1/` and `host` are the same key; podman's `host/team` is one below. */
const placeOf = (key: string): string =>
  key === HUB_KEY ? 'docker.io' : key.replace(/^https?:\/\//, '').replace(/\/(v[12]\/?)?$/, '')

function fits(place: string, registry: string, repository: string): boolean {
  if (place === registry || (place === 'docker.io' && HUB_NAMES.has(registry))) return true
  return `${registry}/${repository}/`.startsWith(`${place}/`) && place.includes('/')
}

function decoded({ auth, identitytoken }: AuthEntry): Credential | undefined {
  const identity = typeof identitytoken === 'string' && identitytoken !== '' ? { identityToken: identitytoken } : {}
  const text = typeof auth === 'string' ? Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '') : ''
  const [username = '', ...password] = text.split(':')
  if (username === '' && identity.identityToken === undefined) return undefined
  return { username, password: password.join(':'), ...identity }
}

/** Loaded by who has one: to be able to start programs takes a short command as long as to ask a registry. */
const helpers = () => import('./credential-helper.ts')
