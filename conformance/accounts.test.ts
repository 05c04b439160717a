/** What people type: each client logs in, pushes and pulls within its rights, and hears why not outside of them. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type Finished, run } from './support/commands.ts'
import { gantry, type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { type GoToolName, goIsMissing, installGoTool } from './support/go-tools.ts'
import { findAll } from './support/needs.ts'

const PASSWORD = 'correct horse battery'
const CONFIG = `
policy:
  rules:
    - { who: everyone, repositories: 'public/*', actions: pull }
    - { who: 'group:team-a', repositories: ['team-a/*', 'public/*'], actions: [pull, push] }
`

let directory: string
let registry: ServedRegistry
let robotSecret: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-logins-'))
  const dataDirectory = join(directory, 'data')
  const config = join(directory, 'gantry.yaml')
  await writeFile(config, CONFIG)
  const at = ['--data', dataDirectory]
  await gantry(['user', 'add', 'alice', '--group', 'team-a', '--password-stdin', ...at], { input: PASSWORD })
  const robot = ['robot', 'create', 'ci', '--repo', 'team-a/app', '--actions', 'pull,push', '--expires', '90d', ...at]
  robotSecret = (await gantry(robot)).trim()
  const env = { ...process.env, GANTRY_CONFIG: config, GANTRY_AUDIT_LOG: join(directory, 'audit.log') }
  registry = await startGantry({ dataDirectory, env })
  await writeLayout(join(directory, 'image'))
})
after(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

/** A tiny image in an OCI layout. */
async function writeLayout(folder: string): Promise<void> {
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

const goMissing = (await goIsMissing()) ?? false
const absent = async (tool: string): Promise<string | false> =>
  (await findAll(tool)).length === 0 && `not installed: ${tool}`

const noSkopeo = await absent('skopeo')
const noDocker = await absent('docker')
const noPodman = await absent('podman')

/** Its credentials go into a folder of its own. */
async function client(): Promise<{ home: string; env: NodeJS.ProcessEnv }> {
  const home = await mkdtemp(join(directory, 'home-'))
  return {
    home,
    env: {
      ...process.env,
      HOME: home,
      DOCKER_CONFIG: join(home, '.docker'),
      REGISTRY_AUTH_FILE: join(home, 'auth.json'),
      XDG_RUNTIME_DIR: home,
    },
  }
}

function fails({ code, stdout, stderr }: Finished, pattern: RegExp): void {
  assert.notEqual(code, 0, stdout)
  assert.match(stdout + stderr, pattern)
}
const works = ({ code, stdout, stderr }: Finished): void => assert.equal(code, 0, stdout + stderr)

describe('a registry with accounts', () => {
  it('lets skopeo log in, push and pull within its rights, and refuses clearly outside', {
    skip: noSkopeo,
  }, async () => {
    const { env } = await client()
    const skopeo = (...args: readonly string[]): Promise<Finished> => run('skopeo', args, { env })
    const image = `oci:${join(directory, 'image')}:v1`
    const to = (name: string): string => `docker://${registry.host}/${name}`
    const insecure = '--dest-tls-verify=false'
    const login = (password: string) => ['login', '--tls-verify=false', '-u', 'alice', '-p', password, registry.host]

    fails(await skopeo('copy', insecure, image, to('team-a/app:v1')), /unauthorized|authentication required/i)
    fails(await skopeo(...login('wrong')), /invalid username\/password|unauthorized/i)
    works(await skopeo(...login(PASSWORD)))
    works(await skopeo('copy', insecure, image, to('team-a/app:v1')))
    works(await skopeo('copy', insecure, image, to('public/app:v1')))
    fails(await skopeo('copy', insecure, image, to('team-b/app:v1')), /denied|forbidden/i)
    works(await skopeo('inspect', '--tls-verify=false', to('team-a/app:v1')))
    fails(
      await skopeo('delete', '--tls-verify=false', to('team-a/app:v1')),
      /denied|unauthorized|authentication required/i,
    )
  })

  it('shows the world what is public, and nothing else', { skip: noSkopeo }, async () => {
    const { env } = await client()
    const inspect = (name: string): Promise<Finished> =>
      run('skopeo', ['inspect', '--tls-verify=false', `docker://${registry.host}/${name}`], { env })
    works(await inspect('public/app:v1'))
    const there = await inspect('team-a/app:v1')
    const absentOne = await inspect('team-a/absent:v1')
    fails(there, /unauthorized|authentication required/i)
    const said = ({ stderr }: Finished): string => stderr.replaceAll(/time="[^"]*"|absent|app/g, '')
    assert.equal(said(there), said(absentOne))
  })

  it('lets docker log in, and keeps out who has the wrong password', { skip: noDocker }, async () => {
    const { env, home } = await client()
    const login = (user: string, input: string): Promise<Finished> =>
      run('docker', ['login', '-u', user, '--password-stdin', registry.host], { env, input })
    // A recent CLI logs in by itself; an older one asks its daemon, which another test has.
    const first = await login('alice', PASSWORD)
    if (/Cannot connect to the Docker daemon/.test(first.stderr)) return
    works(first)
    assert.match(await readFile(join(home, '.docker', 'config.json'), 'utf8'), /"auths"/)
    fails(await login('alice', 'wrong'), /unauthorized|incorrect|denied/i)
  })

  it('lets podman log in as a robot', { skip: noPodman }, async () => {
    const { env } = await client()
    const login = (input: string): Promise<Finished> =>
      run('podman', ['login', '--tls-verify=false', '-u', 'robot+ci', '--password-stdin', registry.host], {
        env,
        input,
      })
    fails(await login('gantry_wrong'), /invalid username\/password|unauthorized/i)
    works(await login(robotSecret))
  })

  const logins: readonly (readonly [
    GoToolName,
    (host: string) => readonly string[],
    (name: string) => readonly string[],
  ])[] = [
    ['crane', (host) => ['auth', 'login', '--insecure', host], (name) => ['ls', '--insecure', name]],
    ['regctl', (host) => ['registry', 'login', '--skip-check', host], (name) => ['tag', 'ls', name]],
    ['oras', (host) => ['login', '--plain-http', host], (name) => ['repo', 'tags', '--plain-http', name]],
  ]
  for (const [tool, login, list] of logins) {
    it(`lets ${tool} log in and list tags within its rights`, { skip: goMissing }, async () => {
      const program = await installGoTool(tool)
      const { env } = await client()
      if (tool === 'regctl') works(await run(program, ['registry', 'set', '--tls', 'disabled', registry.host], { env }))
      const passwordFlags =
        tool === 'regctl' ? ['-u', 'robot+ci', '--pass-stdin'] : ['-u', 'robot+ci', '--password-stdin']
      works(await run(program, [...login(registry.host), ...passwordFlags], { env, input: robotSecret }))
      const listed = await run(program, list(`${registry.host}/team-a/app`), { env })
      works(listed)
      assert.match(listed.stdout, /v1/)
      fails(await run(program, list(`${registry.host}/team-b/app`), { env }), /denied|unauthorized|forbidden|403/i)
    })
  }

  it('says who did what in its audit log, and tells no secret in any log', async () => {
    const text = await readFile(join(directory, 'audit.log'), 'utf8')
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const some = (expected: Record<string, unknown>): boolean =>
      lines.some((line) => Object.entries(expected).every(([field, value]) => line[field] === value))
    assert.ok(some({ event: 'login', result: 'done', subject: 'user:alice', client: '127.0.0.1' }))
    assert.ok(some({ event: 'login', result: 'refused', subject: 'unproved' }))
    assert.ok(some({ event: 'write', result: 'done', subject: 'user:alice', repository: 'team-a/app' }))
    assert.ok(some({ event: 'refusal', result: 'refused', subject: 'user:alice', repository: 'team-b/app' }))
    for (const secret of [PASSWORD, robotSecret, btoa(`alice:${PASSWORD}`), btoa(`robot+ci:${robotSecret}`), 'eyJ']) {
      assert.ok(!text.includes(secret) && !registry.log().includes(secret), 'a secret is in a log')
    }
  })
})
