/** Credentials in the files and helpers of docker and podman, and logging in to our own registry. */
import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { accessOf, addUser } from '../../server/testing/access.ts'
import { serveApp } from '../../server/testing/served-app.ts'
import { credentialFor } from './credentials.ts'
import { forgetCredential, keepCredential, proveCredential } from './login.ts'
import { Transport } from './transport.ts'

const auth = (text: string): string => Buffer.from(text).toString('base64')

/** A helper as docker's are: it keeps one credential in a file beside it. */
const HELPER = `#!/bin/sh
kept="$(dirname "$0")/kept.json"
case "$1" in
get) read -r wanted; [ -f "$kept" ] && grep -q "\\"ServerURL\\":\\"$wanted\\"" "$kept" && exec cat "$kept"; echo credentials not found in native keychain; exit 1;;
store) exec cat > "$kept";;
erase) rm -f "$kept";;
esac`

describe('credentials', () => {
  let folder: string
  let environment: Record<string, string>
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-credentials-'))
    environment = { HOME: folder, PATH: `${folder}:${process.env['PATH']}` }
  })
  afterEach(async () => await rm(folder, { recursive: true, force: true }))
  const write = async (path: string, content: object): Promise<void> => {
    await mkdir(join(folder, path, '..'), { recursive: true })
    await writeFile(join(folder, path), JSON.stringify(content))
  }
  async function withHelper(): Promise<void> {
    await writeFile(join(folder, 'docker-credential-own'), HELPER)
    await chmod(join(folder, 'docker-credential-own'), 0o755)
  }

  it('of docker come before those of podman', async () => {
    await write('.docker/config.json', { auths: { 'a.example': { auth: auth('docker:1') } } })
    await write('.config/containers/auth.json', {
      auths: { 'a.example': { auth: auth('podman:2') }, 'b.example': { auth: auth('podman:3') } },
    })
    assert.equal((await credentialFor('a.example', environment))?.username, 'docker')
    assert.equal((await credentialFor('b.example', environment))?.password, '3')
  })
  it('of podman are for parts of a registry, too: the nearest counts', async () => {
    await write('auth.json', {
      auths: {
        'a.example': { auth: auth('all:1') },
        'a.example/team': { auth: auth('team:2') },
        'a.example/team/app': { auth: auth('app:3') },
      },
    })
    environment['REGISTRY_AUTH_FILE'] = join(folder, 'auth.json')
    const user = async (repository: string) => (await credentialFor('a.example', environment, repository))?.username
    assert.deepEqual([await user('team/app'), await user('team/other'), await user('teamwork')], ['app', 'team', 'all'])
  })
  it('of Docker Hub are found under its old name', async () => {
    await write('.docker/config.json', { auths: { 'https://index.docker.io/v1/': { auth: auth('me:1') } } })
    assert.equal((await credentialFor('docker.io', environment))?.username, 'me')
  })
  it('come from the helper of a registry, and from the store for all others', async () => {
    await withHelper()
    await write('kept.json', { ServerURL: 'a.example', Username: 'helped', Secret: 'x' })
    await write('.docker/config.json', {
      credHelpers: { 'a.example': 'own' },
      auths: { 'b.example': { auth: auth('me:1') } },
    })
    assert.deepEqual(await credentialFor('a.example', environment), { username: 'helped', password: 'x' })
    assert.equal((await credentialFor('b.example', environment))?.username, 'me')
    await write('.docker/config.json', { credsStore: 'own' })
    assert.equal((await credentialFor('a.example', environment))?.username, 'helped')
    assert.equal(await credentialFor('c.example', environment), undefined)
  })
  it('of a helper that is not there, or fails, are an error that names it', async () => {
    await write('.docker/config.json', { credsStore: 'absent' })
    await assert.rejects(credentialFor('a.example', environment), /docker-credential-absent.*not on the PATH/)
    await writeFile(join(folder, 'docker-credential-own'), '#!/bin/sh\necho locked; exit 3')
    await chmod(join(folder, 'docker-credential-own'), 0o755)
    await write('.docker/config.json', { credsStore: 'own' })
    await assert.rejects(credentialFor('a.example', environment), /docker-credential-own failed for a\.example: locked/)
  })
  it('in a file that is damaged are an error that names it', async () => {
    await mkdir(join(folder, '.docker'))
    await writeFile(join(folder, '.docker/config.json'), '{')
    await assert.rejects(credentialFor('a.example', environment), /config\.json is not JSON/)
  })

  it('that are kept leave the rest of the file as it was, and are nobody else’s to read', async () => {
    await write('.docker/config.json', { auths: { 'b.example': { auth: auth('you:1') } }, HttpHeaders: { X: 'y' } })
    const kept = await keepCredential('a.example', { username: 'me', password: 'p:w' }, environment)
    assert.equal(kept.inClear, true)
    assert.deepEqual(await credentialFor('a.example', environment), { username: 'me', password: 'p:w' })
    assert.equal((await credentialFor('b.example', environment))?.username, 'you')
    const file = JSON.parse(await readFile(kept.where, 'utf8')) as object
    assert.deepEqual(Object.keys(file), ['auths', 'HttpHeaders'])
    assert.equal((await stat(kept.where)).mode & 0o077, 0)
    assert.equal(await forgetCredential('a.example', environment), true)
    assert.equal(await credentialFor('a.example', environment), undefined)
    assert.equal(await forgetCredential('a.example', environment), false)
  })
  it('are kept by a helper where there is one, an identity token as docker does it', async () => {
    await withHelper()
    await write('.docker/config.json', { credsStore: 'own' })
    await keepCredential('a.example', { username: 'me', password: '', identityToken: 'long' }, environment)
    assert.equal((await credentialFor('a.example', environment))?.identityToken, 'long')
    await forgetCredential('a.example', environment)
    assert.equal(await credentialFor('a.example', environment), undefined)
  })

  it('are tried out: our registry gives an identity token for the right ones, and no for others', async () => {
    await using app = await serveApp({ access: accessOf() })
    await addUser(app.accounts, 'ada', 'correct horse battery')
    const prove = async (password: string) => {
      const credential = { username: 'ada', password }
      await using transport = new Transport(new URL(app.url).host, { credential: async () => credential })
      return await proveCredential(transport, credential)
    }
    await assert.rejects(prove('wrong'), /does not accept this user and password/)
    const proved = await prove('correct horse battery')
    assert.ok(proved.identityToken)
    await using transport = new Transport(new URL(app.url).host, { credential: async () => proved })
    await transport.askSmall({ method: 'GET', path: '/v2/_catalog', scopes: ['registry:catalog:*'] }, 1000)
  })
})
