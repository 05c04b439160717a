/**
 * Clients and a registry whose certificate nobody knows: each refuses it, and after what the registry says to do each logs in, pushes and
 * pulls. All of it on a machine of its own, since clients are careless with what is on theirs.
 */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { testAuthority } from '../server/testing/tls.ts'
import { howToTrust } from '../server/tls/self-signed.ts'
import type { CommandOptions, Finished } from './support/commands.ts'
import { succeed } from './support/commands.ts'
import { type Dockerd, startDockerd } from './support/dockerd.ts'
import { gantry, type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { type GoToolName, goIsMissing, installGoTool } from './support/go-tools.ts'
import { ADDRESS, type Machine, startMachine } from './support/machine.ts'
import { missing } from './support/needs.ts'
import { Workspace } from './support/workspace.ts'

const LAUNCHER = fileURLToPath(new URL('../client/gantry.mjs', import.meta.url))
const PASSWORD = 'correct horse battery'
const PORT = 5443
const HOST = `${ADDRESS}:${PORT}`

const skip =
  (await missing('docker', 'dockerd', 'containerd', 'runc', 'podman', 'skopeo', 'curl', 'nsenter', 'ip')) ||
  ((await goIsMissing()) ?? false)

describe('a registry with a certificate of its own making', { skip }, () => {
  let workspace: Workspace
  let machine: Machine
  let registry: ServedRegistry
  let dockerd: Dockerd
  const cleanup = new AsyncDisposableStack()
  const authority = (): string => join(registry.dataDirectory, 'tls', 'ca.crt')

  before(
    async () => {
      workspace = cleanup.use(await Workspace.open())
      machine = cleanup.use(await startMachine(workspace))
      const dataDirectory = workspace.path('data')
      await gantry(['user', 'add', 'alice', '--password-stdin', '--data', dataDirectory], { input: PASSWORD })
      const env = { ...workspace.env, GANTRY_TLS_SELF_SIGNED: 'true' }
      registry = cleanup.use(await startGantry({ address: HOST, prefix: machine.prefix, dataDirectory, env }))
      dockerd = cleanup.use(await startDockerd(workspace, machine.prefix))
      await mkdir(workspace.path('root'))
      await writeFile(workspace.path('root', 'hello'), 'world\n')
      await succeed('tar', [
        '--create',
        '--file',
        workspace.path('root.tar'),
        '--directory',
        workspace.path('root'),
        '.',
      ])
      await dockerd.docker(['import', workspace.path('root.tar'), `${HOST}/team/app`])
    },
    { timeout: 5 * 60_000 },
  )
  after(async () => {
    await dockerd?.[Symbol.asyncDispose]()
    await registry?.[Symbol.asyncDispose]()
    await machine?.[Symbol.asyncDispose]()
    const left = (await workspace?.leftovers()) ?? []
    await cleanup.disposeAsync()
    assert.deepEqual(left, [])
  })

  type Client = (args: readonly string[], options?: CommandOptions) => Promise<Finished>

  const works = ({ code, stdout, stderr }: Finished): string => {
    assert.equal(code, 0, `${stdout}${stderr}\n${registry.log()}`)
    return stdout + stderr
  }
  const distrusts = ({ code, stdout, stderr }: Finished): void => {
    assert.notEqual(code, 0, stdout)
    assert.match(stdout + stderr, /certificate/i)
  }
  const client =
    (program: string, first: readonly string[] = [], more: NodeJS.ProcessEnv = {}): Client =>
    (args, options = {}) =>
      machine.run(program, [...first, ...args], { ...options, env: { ...workspace.env, ...more } })

  const auth = (): NodeJS.ProcessEnv => ({
    REGISTRY_AUTH_FILE: workspace.path('auth.json'),
    XDG_RUNTIME_DIR: workspace.directory,
    DOCKER_CONFIG: workspace.path('crane-config'), // podman does not know what to do with an identity token of docker's
  })
  const dockerAuth = (): NodeJS.ProcessEnv => ({ DOCKER_CONFIG: workspace.path('docker-config') })
  const docker = (): Client =>
    client(dockerd.clients[0] ?? '', [], { ...dockerAuth(), DOCKER_HOST: dockerd.env['DOCKER_HOST'] })
  const podman = (): Client => {
    const at = (name: string): string => workspace.path('podman', name)
    const store = ['--root', at('root'), '--runroot', at('run'), '--tmpdir', at('tmp'), '--storage-driver', 'vfs']
    return client('podman', [...store, '--cgroup-manager', 'cgroupfs'], auth())
  }
  const skopeo = (): Client => client('skopeo', [], auth())
  const curl = (): Client => client('curl', ['--silent', '--show-error', '--fail'])
  const pull = (): Client => client(process.execPath, [LAUNCHER, '--root', workspace.path('store')], dockerAuth())
  const goTool = async (tool: GoToolName, more: NodeJS.ProcessEnv = {}): Promise<Client> =>
    client(await installGoTool(tool), [], { ...auth(), ...more })

  const IMAGE = `${HOST}/team/app:latest`
  const LOGIN = ['login', '-u', 'alice', '--password-stdin', HOST]
  const CRANE_LOGIN = ['auth', 'login', HOST, '-u', 'alice', '--password-stdin']
  const input = { input: PASSWORD }

  it('is refused by everybody who was not told to trust it', async () => {
    distrusts(await docker()(LOGIN, input))
    distrusts(await docker()(['push', IMAGE]))
    distrusts(await podman()(LOGIN, input))
    distrusts(await skopeo()(['inspect', `docker://${IMAGE}`]))
    distrusts(await curl()([`https://${HOST}/v2/`]))
    distrusts(await pull()(['pull', IMAGE]))
    const crane = await goTool('crane')
    distrusts(await crane(['ls', `${HOST}/team/app`]))
    const oras = await goTool('oras')
    distrusts(await oras(LOGIN, input))
    assert.match(registry.log(), /TLS handshake failed: the client does not (?:trust|believe)/)
  })

  it('is trusted after what it says to do, and what one pushes the others pull', async () => {
    const words = howToTrust({ file: '', authorityFile: authority() }, { host: ADDRESS, port: PORT })
    for (const [, command] of words.matchAll(/^ .* (install -D .*)$/gm)) {
      works(await machine.run('sh', ['-ec', command ?? assert.fail()]))
    }
    works(await docker()(LOGIN, input))
    works(await docker()(['push', IMAGE]))
    works(await docker()(['rmi', IMAGE]))
    works(await docker()(['pull', IMAGE]))

    works(await podman()(LOGIN, input))
    works(await podman()(['pull', IMAGE]))
    works(await podman()(['push', IMAGE, `${HOST}/team/app:podman`]))
    works(await skopeo()(['copy', `docker://${IMAGE}`, `docker://${HOST}/team/copy:skopeo`]))
    assert.match(works(await pull()(['pull', `${HOST}/team/app:podman`])), /sha256:[0-9a-f]{64}/)
  })

  it('is trusted by what reads SSL_CERT_FILE, and by curl with the file', async () => {
    const trust = { SSL_CERT_FILE: authority() }
    const crane = await goTool('crane', trust)
    works(await crane(CRANE_LOGIN, input))
    assert.match(works(await crane(['ls', `${HOST}/team/app`])), /podman/)
    works(await crane(['copy', IMAGE, `${HOST}/team/copy:crane`]))
    const oras = await goTool('oras', trust)
    works(await oras(LOGIN, input))
    assert.match(works(await oras(['repo', 'tags', `${HOST}/team/copy`])), /crane\nskopeo/)
    const helm = await goTool('helm', trust)
    works(await helm(['registry', 'login', HOST, '-u', 'alice', '--password-stdin'], input))
    const answer = works(await curl()(['--cacert', authority(), '-u', `alice:${PASSWORD}`, `https://${HOST}/token`]))
    assert.ok('token' in (JSON.parse(answer) as object))
  })

  it('lets clients in that have a certificate in place of a password, where a rule names it', async () => {
    const host = `${ADDRESS}:${PORT + 1}`
    const issuer = testAuthority('issuer')
    const server = issuer.issue('server', { names: { addresses: [ADDRESS] } })
    const mine = issuer.issue('client', { subject: { commonName: 'ci-1', organization: 'team-a' } })
    const files = {
      'server.pem': server.certificate + server.key,
      'ca.crt': issuer.certificate,
      'client.cert': mine.certificate,
      'client.key': mine.key,
    }
    for (const [name, text] of Object.entries(files)) await writeFile(workspace.path(name), text)
    for (const tool of ['docker', 'containers']) {
      const folder = `/etc/${tool}/certs.d/${host}`
      const sources = ['ca.crt', 'client.cert', 'client.key'].map((name) => workspace.path(name))
      works(await machine.run('sh', ['-ec', `mkdir -p ${folder}; cp ${sources.join(' ')} ${folder}`]))
    }
    const rules =
      "[{ who: 'cert:ci-*', claims: { organization: team-a }, repositories: 'team-a/*', actions: [pull, push] }]"
    const env = {
      ...workspace.env,
      GANTRY_TLS_CERTIFICATE: workspace.path('server.pem'),
      GANTRY_TLS_CLIENT_AUTHORITIES: workspace.path('ca.crt'),
      GANTRY_POLICY_RULES: rules,
    }
    await using strict = await startGantry({ address: host, prefix: machine.prefix, env })
    const push = async (name: string): Promise<Finished> => {
      works(await docker()(['tag', IMAGE, `${host}/${name}`]))
      return await docker()(['push', `${host}/${name}`])
    }
    works(await push('team-a/app'))
    const refused = await push('team-b/app')
    assert.notEqual(refused.code, 0)
    assert.match(refused.stderr, /denied/)
    works(await skopeo()(['copy', `docker://${host}/team-a/app`, `docker://${host}/team-a/copy:v1`]))
    works(await pull()(['pull', `${host}/team-a/copy:v1`]))
    assert.match(strict.log(), /"subject":"cert:ci-1"/)
  })

  it('says to clients that came without TLS what is wrong, in words that they print', async () => {
    const said = await curl()(['--no-fail', `http://${HOST}/v2/`])
    assert.match(said.stdout, /client sent plain HTTP to a port that speaks HTTPS/)
    const crane = await goTool('crane')
    const listed = await crane(['ls', '--insecure', `${HOST}/team/app`]) // takes any certificate
    works(listed)
  })
})
