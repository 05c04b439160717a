/** Daemons with credentials: they ask for several scopes at once, keep tokens, and mount blobs across repositories. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import {
  fails,
  PASSWORD,
  type RegistryWithAccounts,
  startWithAccounts,
  works,
  writeLayout,
} from '../support/accounts.ts'
import { startBuildkitd } from '../support/buildkitd.ts'
import { type Finished, run } from '../support/commands.ts'
import { startContainerd } from '../support/containerd.ts'
import { startDockerd } from '../support/dockerd.ts'
import { goTool, notBuilt } from '../support/go-tools.ts'
import { missing } from '../support/needs.ts'
import { Workspace } from '../support/workspace.ts'

const noDockerd = await missing('docker', 'dockerd', 'tar')
const noBuildkit = (await notBuilt('buildx', 'buildkitd', 'crane')) || (await missing('runc'))
const noContainerd = (await notBuilt('ctr', 'containerd', 'crane')) || (await missing('runc'))

describe('a daemon with credentials', () => {
  let workspace: Workspace
  let accounts: RegistryWithAccounts
  let host: string
  before(async () => {
    workspace = await Workspace.open()
    await writeLayout(workspace.path('image'))
    await mkdir(workspace.path('accounts'))
    accounts = await startWithAccounts(workspace.path('accounts'), workspace.env)
    host = accounts.registry.host
  })
  after(async () => {
    await accounts?.[Symbol.asyncDispose]()
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })

  /** As alice, who keeps nothing. */
  async function pushed(name: string): Promise<string> {
    const { env } = await accounts.client()
    const crane = (...args: readonly string[]): Promise<Finished> =>
      run(goTool('crane'), args, { env, cwd: workspace.directory, input: PASSWORD })
    works(await crane('auth', 'login', '--insecure', '-u', 'alice', '--password-stdin', host))
    works(await crane('push', '--insecure', 'image', `${host}/${name}`))
    return `${host}/${name}`
  }

  /** The answers to the question for an upload: 201 is a mount. */
  async function uploads(name: string): Promise<readonly number[]> {
    const lines = (await readFile(accounts.accessLog, 'utf8')).split('\n').filter((line) => line.startsWith('{'))
    return lines
      .map((line) => JSON.parse(line) as { method: string; path: string; status: number })
      .filter(({ method, path }) => method === 'POST' && path === `/v2/${name}/blobs/uploads/`)
      .map(({ status }) => status)
  }

  it('docker logs in, pushes, mounts what it pushed elsewhere, pulls, and says what it may not', {
    skip: noDockerd,
  }, async () => {
    await using dockerd = await startDockerd(workspace)
    const docker = async (args: readonly string[], input = ''): Promise<Finished> =>
      await run(dockerd.clients[0] ?? 'docker', args, { env: dockerd.env, input })
    await writeFile(workspace.path('note'), 'a note')
    works(await run('tar', ['-C', workspace.directory, '-cf', workspace.path('note.tar'), 'note']))
    works(await docker(['import', workspace.path('note.tar'), `${host}/team-a/docker:v1`]))
    const login = (password: string): Promise<Finished> =>
      docker(['login', '-u', 'alice', '--password-stdin', host], password)

    fails(await docker(['push', `${host}/team-a/docker:v1`]), /denied|unauthorized/)
    fails(await login('wrong'), /unauthorized: the name or the password is wrong|401 Unauthorized/)
    works(await login(PASSWORD))
    works(await docker(['push', `${host}/team-a/docker:v1`]))
    works(await docker(['tag', `${host}/team-a/docker:v1`, `${host}/public/docker:v1`]))
    const mounted = await docker(['push', `${host}/public/docker:v1`])
    works(mounted)
    assert.match(mounted.stdout, /Mounted from team-a\/docker/)
    works(await docker(['tag', `${host}/team-a/docker:v1`, `${host}/team-b/docker:v1`]))
    fails(
      await docker(['push', `${host}/team-b/docker:v1`]),
      /denied: user:alice may not (?:push|pull) in team-b\/docker/,
    )
    fails(await docker(['pull', `${host}/team-b/docker:v1`]), /denied: user:alice may not pull in team-b\/docker/)
    works(await docker(['logout', host]))
    works(await docker(['pull', `${host}/public/docker:v1`]))
    fails(await docker(['pull', `${host}/team-a/docker:v1`]), /unauthorized|denied|authentication required/)
  })

  it('buildkit builds on a private image of another repository, pushes, and mounts its layers', {
    skip: noBuildkit,
  }, async () => {
    await using buildkit = await startBuildkitd(workspace, [host])
    const config = workspace.path('buildkit', 'config')
    const keep = (password: string): Promise<void> =>
      writeFile(
        `${config}/config.json`,
        JSON.stringify({ auths: { [host]: { auth: Buffer.from(`alice:${password}`).toString('base64') } } }),
      )
    const context = workspace.path('context')
    await mkdir(config, { recursive: true })
    await mkdir(context)
    await writeFile(`${context}/note`, 'a note')
    const build = async (dockerfile: string, to: string): Promise<Finished> => {
      await writeFile(`${context}/Dockerfile`, dockerfile)
      return await buildkit.buildx(
        'build',
        '--provenance=false',
        '--progress=plain',
        `--tag=${host}/${to}`,
        '--push',
        context,
      )
    }
    await keep(PASSWORD)
    works(await build('FROM scratch\nCOPY note /base\n', 'team-a/base:v1'))
    works(await build(`FROM ${host}/team-a/base:v1\nCOPY note /note\n`, 'public/built:v1'))
    assert.ok((await uploads('public/built')).includes(201), String(await uploads('public/built')))
    fails(
      await build(`FROM ${host}/team-b/base:v1\nCOPY note /note\n`, 'public/built:v2'),
      /user:alice may not pull in team-b\/base/,
    )
    fails(
      await build('FROM scratch\nCOPY note /b\n', 'team-b/built:v1'),
      /denied: user:alice may not pull in team-b\/built/,
    )
  })

  it("containerd's ctr pulls and pushes with --user, and says what it may not", { skip: noContainerd }, async () => {
    const image = await pushed('team-a/ctr:v1')
    await using containerd = await startContainerd(workspace)
    const [program, ...address] = containerd.ctr
    const ctr = (...args: readonly string[]): Promise<Finished> =>
      run(program, [...address, ...args], { env: workspace.env })
    const images = (verb: string, user: string, ...args: readonly string[]): Promise<Finished> =>
      ctr('images', verb, '--plain-http', '--local', ...(user === '' ? [] : ['--user', user]), ...args)
    const alice = `alice:${PASSWORD}`
    const robot = `robot+ci:${accounts.robotSecret}`
    fails(await images('pull', '', image), /authorization failed|401 Unauthorized|failed to fetch anonymous token/)
    fails(await images('pull', 'alice:wrong', image), /401 Unauthorized|the name or the password is wrong/)
    works(await images('pull', alice, image))
    works(await images('push', robot, `${host}/team-a/app:ctr`, image))
    works(await images('push', alice, `${host}/public/ctr:v1`, image))
    fails(await images('push', alice, `${host}/team-b/ctr:v1`, image), /403 Forbidden|may not push in team-b\/ctr/)
    fails(await images('pull', alice, `${host}/team-b/ctr:v1`), /403 Forbidden|may not pull in team-b\/ctr/)
    works(await images('pull', '', `${host}/public/ctr:v1`))
  })
})
