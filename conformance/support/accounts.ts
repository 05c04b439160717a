/** A registry with accounts as the README makes one: alice of team-a, a robot of its application, and the world, which reads `public/*`. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Finished } from './commands.ts'
import { gantry, type ServedRegistry, startGantry } from './gantry-serve.ts'

export const PASSWORD = 'correct horse battery'
const CONFIG = `
policy:
  rules:
    - { who: everyone, repositories: 'public/*', actions: pull }
    - { who: 'group:team-a', repositories: ['team-a/*', 'public/*'], actions: [pull, push] }
`

export interface RegistryWithAccounts extends AsyncDisposable {
  readonly registry: ServedRegistry
  /** Of `robot+ci`, which may push to and pull from `team-a/app`. */
  readonly robotSecret: string
  readonly auditLog: string
  readonly accessLog: string
  /** An environment whose credentials are in a folder of its own. */
  client(): Promise<{ readonly home: string; readonly env: NodeJS.ProcessEnv }>
}

/** Everything is below `directory`, which the caller removes. */
export async function startWithAccounts(
  directory: string,
  base: NodeJS.ProcessEnv = process.env,
): Promise<RegistryWithAccounts> {
  const dataDirectory = join(directory, 'data')
  const config = join(directory, 'gantry.yaml')
  await writeFile(config, CONFIG)
  const at = ['--data', dataDirectory]
  await gantry(['user', 'add', 'alice', '--group', 'team-a', '--password-stdin', ...at], { input: PASSWORD })
  const robot = ['robot', 'create', 'ci', '--repo', 'team-a/app', '--actions', 'pull,push', '--expires', '90d', ...at]
  const robotSecret = (await gantry(robot)).trim()
  const [auditLog, accessLog] = [join(directory, 'audit.log'), join(directory, 'access.log')]
  const env = { ...base, GANTRY_CONFIG: config, GANTRY_AUDIT_LOG: auditLog, GANTRY_ACCESS_LOG: accessLog }
  const registry = await startGantry({ dataDirectory, env })
  return {
    registry,
    robotSecret,
    auditLog,
    accessLog,
    async client() {
      const home = await mkdtemp(join(directory, 'home-'))
      const own = {
        HOME: home,
        DOCKER_CONFIG: join(home, '.docker'),
        REGISTRY_AUTH_FILE: join(home, 'auth.json'),
        XDG_RUNTIME_DIR: home,
      }
      return { home, env: { ...base, ...own } }
    },
    [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
  }
}

/** A tiny image in an OCI layout, tagged `v1`. */
export async function writeLayout(folder: string): Promise<void> {
  await mkdir(join(folder, 'blobs', 'sha256'), { recursive: true })
  const put = async (text: string, mediaType: string) => {
    const hex = createHash('sha256').update(text).digest('hex')
    await writeFile(join(folder, 'blobs', 'sha256', hex), text)
    return { mediaType, digest: `sha256:${hex}`, size: Buffer.byteLength(text) }
  }
  const image = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] }, config: {} }
  const config = await put(JSON.stringify(image), 'application/vnd.oci.image.config.v1+json')
  const manifest = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers: [] }
  const described = await put(JSON.stringify(manifest), manifest.mediaType)
  const index = {
    schemaVersion: 2,
    manifests: [{ ...described, annotations: { 'org.opencontainers.image.ref.name': 'v1' } }],
  }
  await writeFile(join(folder, 'index.json'), JSON.stringify(index))
  await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
}

/** Ended with a failure, and said why in these words. */
export function fails({ code, stdout, stderr }: Finished, words: RegExp): void {
  assert.notEqual(code, 0, stdout)
  assert.match(stdout + stderr, words)
}

export const works = ({ code, stdout, stderr }: Finished): void => assert.equal(code, 0, stdout + stderr)
