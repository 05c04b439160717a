/** What people type: each client logs in, pushes and pulls within its rights, and hears why not outside of them. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import {
  fails,
  PASSWORD,
  type RegistryWithAccounts,
  startWithAccounts,
  works,
  writeLayout,
} from './support/accounts.ts'
import { type Finished, run } from './support/commands.ts'
import type { ServedRegistry } from './support/gantry-serve.ts'
import { goTool, notBuilt } from './support/go-tools.ts'
import { findAll } from './support/needs.ts'

let directory: string
let accounts: RegistryWithAccounts
let registry: ServedRegistry
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-logins-'))
  await writeLayout(join(directory, 'image'))
  accounts = await startWithAccounts(directory)
  registry = accounts.registry
})
after(async () => {
  await accounts[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

const absent = async (tool: string): Promise<string | false> =>
  (await findAll(tool)).length === 0 && `not installed: ${tool}`

const noSkopeo = await absent('skopeo')
const noPodman = await absent('podman')

/** What a client prints of a refusal; those that show only the status of a HEAD say just that. */
const REFUSED = {
  push: /user:alice may not push in team-b|403:? \(?Forbidden/,
  pull: /user:alice may not pull in team-b/,
}

describe('a registry with accounts', async () => {
  it('lets skopeo log in, push and pull within its rights, and refuses clearly outside', {
    skip: noSkopeo,
  }, async () => {
    const { env } = await accounts.client()
    const skopeo = (...args: readonly string[]): Promise<Finished> => run('skopeo', args, { env })
    const image = `oci:${join(directory, 'image')}:v1`
    const to = (name: string): string => `docker://${registry.host}/${name}`
    const insecure = '--dest-tls-verify=false'
    const login = (password: string) => ['login', '--tls-verify=false', '-u', 'alice', '-p', password, registry.host]

    fails(await skopeo('copy', insecure, image, to('team-a/app:v1')), /unauthorized|authentication required|denied/i)
    fails(await skopeo(...login('wrong')), /invalid username\/password|unauthorized/i)
    works(await skopeo(...login(PASSWORD)))
    works(await skopeo('copy', insecure, image, to('team-a/app:v1')))
    works(await skopeo('copy', insecure, image, to('public/app:v1')))
    fails(await skopeo('copy', insecure, image, to('team-b/app:v1')), REFUSED.push)
    works(await skopeo('inspect', '--tls-verify=false', to('team-a/app:v1')))
    fails(await skopeo('delete', '--tls-verify=false', to('team-a/app:v1')), /user:alice may not delete in team-a\/app/)
  })

  it('shows the world what is public, and nothing else', { skip: noSkopeo }, async () => {
    const { env } = await accounts.client()
    const inspect = (name: string): Promise<Finished> =>
      run('skopeo', ['inspect', '--tls-verify=false', `docker://${registry.host}/${name}`], { env })
    works(await inspect('public/app:v1'))
    const there = await inspect('team-a/app:v1')
    const absentOne = await inspect('team-a/absent:v1')
    fails(there, /unauthorized|authentication required|denied/i)
    const said = ({ stderr }: Finished): string => stderr.replaceAll(/time="[^"]*"|absent|app/g, '')
    assert.equal(said(there), said(absentOne))
  })

  it('lets podman log in, push and pull within its rights, and refuses clearly outside', {
    skip: noPodman,
  }, async () => {
    const { env, home } = await accounts.client()
    const storage = ['--root', join(home, 'store'), '--runroot', join(home, 'run'), '--storage-driver', 'vfs']
    const podman = (verb: string, ...args: readonly string[]): Promise<Finished> =>
      run('podman', [...storage, verb, '--tls-verify=false', ...args], { env })
    const login = (user: string, input: string): Promise<Finished> =>
      run('podman', ['login', '--tls-verify=false', '-u', user, '--password-stdin', registry.host], { env, input })
    fails(await login('robot+ci', 'gantry_wrong'), /invalid username\/password/)
    works(await login('robot+ci', accounts.robotSecret))
    works(await login('alice', PASSWORD))
    const image = `${registry.host}/team-a/app:v1`
    works(await podman('pull', image))
    works(await podman('push', image, `${registry.host}/team-a/podman:v1`))
    fails(await podman('push', image, `${registry.host}/team-b/podman:v1`), REFUSED.push)
    fails(await podman('pull', `${registry.host}/team-b/podman:v1`), REFUSED.pull)
  })

  interface Client {
    readonly tool: 'crane' | 'oras' | 'regctl' | 'helm'
    readonly prepare?: readonly (readonly string[])[]
    readonly login: readonly string[]
    /** What it says of a wrong password when it logs in, if it asks the registry then. */
    readonly wrong?: RegExp
    push(to: string): readonly string[]
    pull(from: string): readonly string[]
    /** From one repository of the registry to another, by mounts. */
    copy?(from: string, to: string): readonly string[]
  }
  const host = (): string => registry.host
  const clients: readonly Client[] = [
    {
      tool: 'crane',
      login: ['auth', 'login', '--insecure', '-u', 'alice', '--password-stdin'],
      push: (to) => ['push', '--insecure', 'image', to],
      pull: (from) => ['pull', '--insecure', from, 'pulled.tar'],
      copy: (from, to) => ['copy', '--insecure', from, to],
    },
    {
      tool: 'oras',
      login: ['login', '--plain-http', '-u', 'alice', '--password-stdin'],
      wrong: /the name or the password is wrong/,
      push: (to) => ['push', '--plain-http', to, 'note.txt'],
      pull: (from) => ['pull', '--plain-http', '-o', 'pulled', from],
      copy: (from, to) => ['cp', '--from-plain-http', '--to-plain-http', from, to],
    },
    {
      tool: 'regctl',
      prepare: [['registry', 'set', '--tls', 'disabled']],
      login: ['registry', 'login', '-u', 'alice', '--pass-stdin'],
      wrong: /unauthorized/,
      push: (to) => ['image', 'copy', 'ocidir://image:v1', to],
      pull: (from) => ['manifest', 'get', from],
      copy: (from, to) => ['image', 'copy', from, to],
    },
    {
      tool: 'helm',
      login: ['registry', 'login', '--plain-http', '-u', 'alice', '--password-stdin'],
      wrong: /the name or the password is wrong/,
      push: (to) => ['push', '--plain-http', 'helm-0.1.0.tgz', `oci://${to.replace(/\/helm:.*/, '')}`],
      pull: (from) => [
        'pull',
        '--plain-http',
        `oci://${from.replace(/:v1$/, '')}`,
        '--version',
        '0.1.0',
        '-d',
        'pulled',
      ],
    },
  ]
  for (const { tool, prepare = [], login, wrong, push, pull, copy } of clients) {
    it(`lets ${tool} log in, push, copy and pull within its rights, and refuses clearly outside`, {
      skip: await notBuilt(tool),
    }, async () => {
      const { env } = await accounts.client()
      const ask = (args: readonly string[], input = ''): Promise<Finished> =>
        run(goTool(tool), args, { env, cwd: directory, input })
      await mkdir(join(directory, 'pulled'), { recursive: true })
      await writeFile(join(directory, 'note.txt'), 'a note')
      if (tool === 'helm')
        for (const args of [
          ['create', 'helm'],
          ['package', 'helm'],
        ])
          works(await ask(args))
      for (const args of prepare) works(await ask([...args, host()]))
      const name = (team: string): string => `${host()}/${team}/${tool}:v1`

      fails(await ask(push(name('team-a'))), /unauthorized|authentication required|denied|401/i)
      if (wrong) fails(await ask([...login, host()], 'wrong'), wrong)
      works(await ask([...login, host()], PASSWORD))
      works(await ask(push(name('team-a'))))
      works(await ask(pull(name('team-a'))))
      fails(await ask(push(name('team-b'))), REFUSED.push)
      fails(await ask(pull(name('team-b'))), REFUSED.pull)
      if (!copy) return
      works(await ask(copy(name('team-a'), name('public'))))
      assert.ok((await mounted(`public/${tool}`)) > 0, 'blobs were mounted')
    })
  }

  it('lets cosign sign who may push, and the world verify what is public', {
    skip: await notBuilt('cosign', 'crane'),
  }, async () => {
    const { env } = await accounts.client()
    const cosign = (args: readonly string[], own = env): Promise<Finished> =>
      run(goTool('cosign'), args, { env: { ...own, COSIGN_PASSWORD: 'secret' }, cwd: directory })
    const sign = (name: string): Promise<Finished> =>
      cosign(['sign', '--key', 'cosign.key', '--tlog-upload=false', '--yes', '--allow-http-registry', name])
    const image = `${host()}/public/app:v1`
    works(await cosign(['generate-key-pair']))
    fails(await sign(image), /UNAUTHORIZED|DENIED/)
    works(await cosign(['login', '-u', 'alice', '-p', PASSWORD, host()]))
    works(await sign(image))
    works(await cosign(['attach', 'sbom', '--sbom', 'note.txt', '--allow-http-registry', image]))
    fails(await sign(`${host()}/team-b/app:v1`), REFUSED.pull)
    const world = (await accounts.client()).env
    const verify = ['verify', '--key', 'cosign.pub', '--insecure-ignore-tlog', '--allow-http-registry', image]
    works(await cosign(verify, world))
  })

  /** Answers 201 to the question for an upload: what is there need not be sent. */
  async function mounted(name: string): Promise<number> {
    const lines = (await readFile(accounts.accessLog, 'utf8')).split('\n').filter((line) => line.startsWith('{'))
    return lines
      .map((line) => JSON.parse(line) as { method: string; path: string; status: number })
      .filter((line) => line.method === 'POST' && line.path === `/v2/${name}/blobs/uploads/` && line.status === 201)
      .length
  }

  it('says who did what in its audit log, and tells no secret in any log', async () => {
    const text = await readFile(accounts.auditLog, 'utf8')
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
    for (const secret of [
      PASSWORD,
      accounts.robotSecret,
      btoa(`alice:${PASSWORD}`),
      btoa(`robot+ci:${accounts.robotSecret}`),
      'eyJ',
    ]) {
      assert.ok(!text.includes(secret) && !registry.log().includes(secret), 'a secret is in a log')
    }
  })
})
