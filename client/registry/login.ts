/** Logging in and out: what was typed is tried out at the registry, then kept where docker keeps it. */
import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { parseRegistry } from '../model/image-name.ts'
import { replaceFile } from '../store/store.ts'
import type { Credential } from './auth.ts'
import { eraseWithHelper, storeWithHelper } from './credential-helper.ts'
import { type AuthFile, authKeyOf, dockerConfigPath, type Environment, helperOf, readAuthFile } from './credentials.ts'
import { RegistryRefusal } from './refusals.ts'
import { openTransport } from './registry-access.ts'
import { discard, type Transport } from './transport.ts'

export interface LoginOptions {
  readonly plainHttp?: boolean | undefined
  /** Where docker's configuration is found by; else this process's. */
  readonly environment?: Environment
  readonly signal?: AbortSignal
}

/** Tries the password out, then keeps it where docker does, for every command and program of this user. Throws `RegistryRefusal` if it is not taken; then nothing is kept. */
export async function login(
  registryText: string,
  credential: { readonly username: string; readonly password: string },
  { plainHttp, environment = process.env, signal }: LoginOptions = {},
): Promise<Kept> {
  const registry = parseRegistry(registryText)
  await using transport = await openTransport(registry, {
    plainHttp,
    environment,
    transport: { credential: async () => credential },
  })
  return await keepCredential(registry, await proveCredential(transport, credential, signal), environment)
}

/** Forgets what `login` kept. Resolves to false if nobody was logged in. */
export async function logout(
  registryText: string,
  { environment = process.env }: Pick<LoginOptions, 'environment'> = {},
): Promise<boolean> {
  return await forgetCredential(parseRegistry(registryText), environment)
}

/**
 * Throws `RegistryRefusal` if the registry does not take them. Where its token service gives an identity token, that is what comes back, and the
 * password need not be kept.
 */
export async function proveCredential(
  transport: Transport,
  credential: Credential,
  signal?: AbortSignal,
): Promise<Credential> {
  const first = await transport.ask({ method: 'GET', path: '/v2/', scopes: [], expected: [401, 404], signal })
  await discard(first)
  if (first.status === 404)
    throw new RegistryRefusal(`${transport.registry} is no registry: it answers 404 to GET /v2/`, 404, undefined)
  if (first.status === 401)
    throw new RegistryRefusal(`${transport.registry} does not accept this user and password`, 401, 'UNAUTHORIZED')
  const bearer = transport.authorization.bearer()
  if (bearer === undefined) return credential // Basic, or it lets everybody in
  const { refreshToken } = await transport.authorization.token(bearer, [], credential, signal, true)
  return refreshToken === undefined ? credential : { ...credential, password: '', identityToken: refreshToken }
}

export interface Kept {
  /** The file, or the helper. */
  readonly where: string
  /** In a file that anybody who can read it can use. */
  readonly inClear: boolean
}

export async function keepCredential(
  registry: string,
  credential: Credential,
  environment: Environment,
): Promise<Kept> {
  const path = dockerConfigPath(environment)
  const file = (await readAuthFile(path)) ?? {}
  const helper = helperOf(file, registry)
  const { username, password, identityToken } = credential
  if (helper !== undefined) {
    const kept =
      identityToken === undefined ? { username, secret: password } : { username: '<token>', secret: identityToken }
    await storeWithHelper(helper, authKeyOf(registry), kept, environment)
    return { where: `docker-credential-${helper}`, inClear: false }
  }
  const auth = Buffer.from(`${username}:${identityToken === undefined ? password : ''}`).toString('base64')
  const entry = { auth, ...(identityToken === undefined ? {} : { identitytoken: identityToken }) }
  await write(path, { ...file, auths: { ...file.auths, [authKeyOf(registry)]: entry } })
  return { where: path, inClear: identityToken === undefined }
}

/** False if nobody was logged in. */
export async function forgetCredential(registry: string, environment: Environment): Promise<boolean> {
  const path = dockerConfigPath(environment)
  const file = await readAuthFile(path)
  if (file === undefined) return false
  const helper = helperOf(file, registry)
  if (helper !== undefined) await eraseWithHelper(helper, authKeyOf(registry), environment)
  const { [authKeyOf(registry)]: gone, ...auths } = file.auths ?? {}
  if (gone !== undefined) await write(path, { ...file, auths })
  return gone !== undefined || helper !== undefined
}

/** What else is in the file stays; nobody but its owner may read it. */
async function write(path: string, file: AuthFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const mode = await stat(path).then(
    (found) => found.mode & 0o600,
    () => 0o600,
  )
  await replaceFile(path, `${JSON.stringify(file, null, '\t')}\n`, { mode })
}
