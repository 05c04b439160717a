/**
 * The image that the Dockerfile makes, really built and run by docker, alone and by docker-compose.test.yml. No registry of
 * images is reachable from a test, so its bases are made here and given as build arguments: Debian, with the Node, npm and
 * npm settings of this machine. So are the images that stand beside it.
 */
import assert from 'node:assert/strict'
import { copyFile, cp, glob, mkdir, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Content, pullBlob, pushBlob } from './support/blobs.ts'
import { type Finished, run, succeed, until } from './support/commands.ts'
import { debianRoot } from './support/debian-root.ts'
import { type Dockerd, startDockerd } from './support/dockerd.ts'
import { freePort } from './support/free-port.ts'
import { installGoTool, notBuilt } from './support/go-tools.ts'
import { findAll, missing } from './support/needs.ts'
import { Workspace } from './support/workspace.ts'
import { LEAST_TESTS, objections, readReport } from './upstream.ts'

const CHECKOUT = dirname(import.meta.dirname)
const BUILD_TIMEOUT_MS = 14 * 60_000
const READY_TIMEOUT_MS = 60_000
const COMPOSE_TIMEOUT_MS = 5 * 60_000
/** More than one file takes. */
const COMPILE_MS = 2 * 60_000

const skip = await missing('docker', 'dockerd', 'containerd', 'runc', 'debootstrap', 'npm')
const skipTopology = (await missing('docker-compose')) || (await notBuilt('versitygw', 'conformance'))

describe('the image of the registry', { skip }, () => {
  let workspace: Workspace
  let dockerd: Dockerd
  const cleanup = new AsyncDisposableStack()
  const docker = (...args: string[]): Promise<string> => dockerd.docker(args)

  before(
    async () => {
      workspace = cleanup.use(await Workspace.open())
      dockerd = cleanup.use(await startDockerd(workspace))
      await docker('import', await debianRoot(), 'run-base')
      await makeBuildBase()
      const sources = workspace.path('sources')
      await mkdir(sources)
      const listed = 'git ls-files --cached --others --exclude-standard -z | tar --null --files-from=- -c'
      await succeed('sh', ['-c', `${listed} | tar -x -C "$1"`, 'sh', sources], { cwd: CHECKOUT })
      const bases = ['--build-arg', 'BUILD_BASE=build-base', '--build-arg', 'RUN_BASE=run-base']
      await docker('build', '--network', 'host', ...bases, '--tag', 'gantry', sources)
    },
    { timeout: BUILD_TIMEOUT_MS },
  )
  after(async () => {
    await dockerd?.docker(['rm', '--force', '--volumes', 'registry']).catch(() => {})
    await cleanup.disposeAsync()
  })

  /** Debian's compiler, with what it has compiled here already, and this machine's Node with whatever it needs to reach a registry of packages. */
  async function makeBuildBase(): Promise<void> {
    await docker('import', await debianRoot(['g++', 'ccache', 'make', 'ca-certificates']), 'compiler')
    const context = workspace.path('build-base')
    await mkdir(join(context, 'root'), { recursive: true })
    const [node = ''] = (await findAll('node')).filter((path) => !path.includes('node_modules'))
    await copyFile(node, join(context, 'node'))
    const modules = (await succeed('npm', ['root', '--global'])).trim()
    await cp(join(modules, 'npm'), join(context, 'npm'), { recursive: true })
    await writeFile(join(context, 'certificates.pem'), '')
    await mkdir(join(context, 'compiled'))
    const compiled = process.env['CCACHE_DIR']
    if (compiled) await copyTouchedSince(await oldestObjectMs(), compiled, join(context, 'compiled'))
    for (const [from, to] of [
      [join(homedir(), '.npmrc'), 'root/.npmrc'],
      [process.env['NODE_EXTRA_CA_CERTS'] ?? '', 'certificates.pem'],
    ] as const) {
      await copyFile(from, join(context, to)).catch(() => {}) // a machine without such settings needs none
    }
    const steps = [
      'FROM compiler',
      'COPY node /usr/local/bin/node',
      'COPY npm /usr/local/lib/node_modules/npm',
      'COPY certificates.pem /etc/machine-certificates.pem',
      'COPY root /root',
      'COPY compiled /compiled',
      'ENV PATH=/usr/lib/ccache:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
      'ENV CCACHE_DIR=/compiled CCACHE_BASEDIR=/src CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK=content',
      `ENV LANG=${process.env['LANG'] || 'C.UTF-8'}`, // the language of messages is a part of what a compiler was asked for
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm',
      'ENV NODE_EXTRA_CA_CERTS=/etc/machine-certificates.pem',
    ]
    await writeFile(join(context, 'Dockerfile'), steps.join('\n'))
    await docker('build', '--tag', 'build-base', context)
  }

  /** When the oldest object of this checkout was written: what the compiler's cache gave or took for it was touched about then. */
  async function oldestObjectMs(): Promise<number> {
    const objects = await Array.fromAsync(glob(join(CHECKOUT, 'native/build/*-objects/**/*.o')))
    return Math.min(...(await Promise.all(objects.map(async (path) => (await stat(path)).mtimeMs))))
  }

  /** A cache that has seen many versions, and other tests, is a hundred times as large as what one build takes from it. */
  async function copyTouchedSince(sinceMs: number, from: string, to: string): Promise<void> {
    const filter = async (path: string): Promise<boolean> => {
      const found = await stat(path)
      return found.isDirectory() || found.mtimeMs >= sinceMs - COMPILE_MS
    }
    await cp(from, to, { recursive: true, filter })
  }

  it('serves as nobody in particular, on a root that it cannot write, and says that it is healthy', async () => {
    const address = `127.0.0.1:${await freePort()}`
    await docker(
      ...['run', '--detach', '--name', 'registry', '--network', 'host', '--read-only', '--cap-drop', 'ALL'],
      ...['--security-opt', 'no-new-privileges', '--health-interval', '1s'], // of the image’s own check
      ...['--env', `GANTRY_LISTEN=${address}`, 'gantry'],
    )
    await until('docker to call it healthy', READY_TIMEOUT_MS, async () => {
      const state = await docker('inspect', '--format', '{{.State.Status}} {{.State.Health.Status}}', 'registry')
      assert.match(state, /^running /, dockerd.log())
      return state.includes(' healthy') || undefined
    })
    const url = `http://${address}`
    const content = new Content(5_000_000)
    await pushBlob(url, 'team/app', content, content.digest())
    assert.equal(await pullBlob(url, 'team/app', content.digest()), content.digest())
    const user = await docker('inspect', '--format', '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}', 'registry')
    assert.equal(user.trim(), '65532:65532 true')
    assert.equal((await docker('exec', 'registry', 'sh', '-c', 'touch /x 2>&1 || true')).includes('Read-only'), true)
  })

  it('stops cleanly when docker asks', async () => {
    await docker('stop', 'registry')
    assert.equal((await docker('inspect', '--format', '{{.State.ExitCode}}', 'registry')).trim(), '0')
  })

  it('listens to other machines only when told that everyone may push', async () => {
    const { code, stderr } = await run('docker', ['run', '--rm', '--network', 'host', 'gantry'], { env: dockerd.env })
    assert.equal(code, 1)
    assert.match(stderr, /gantry user add NAME.*--allow-anonymous/)
  })

  it('has neither sources nor what builds them', async () => {
    const files = await docker(
      'run',
      '--rm',
      '--network',
      'host',
      '--entrypoint',
      'find',
      'gantry',
      '/opt',
      '-name',
      '*.ts',
    )
    assert.equal(
      files
        .split('\n')
        .filter((file) => /\/gantry\/(server|storage|native)\//.test(file))
        .join('\n'),
      '',
    )
    const found = await run(
      'docker',
      ['run', '--rm', '--network', 'host', '--entrypoint', 'which', 'gantry', 'g++', 'make'],
      {
        env: dockerd.env,
      },
    )
    assert.equal(found.stdout, '')
  })

  it('is one registry to the upstream suite in three replicas on one bucket behind a load balancer', {
    skip: skipTopology,
  }, async (t) => {
    await makeProgram('versitygw')
    await makeProgram('conformance')
    await docker('import', await debianRoot(['haproxy']), 'balancer')
    const results = workspace.path('results')
    await mkdir(results)
    const ports = ['S3', 'REPLICA_1', 'REPLICA_2', 'REPLICA_3', 'BALANCER'].map(
      async (name) => [`${name}_PORT`, `${await freePort()}`] as const,
    )
    const env = {
      ...dockerd.env,
      ...Object.fromEntries(await Promise.all(ports)),
      GANTRY_IMAGE: 'gantry',
      S3_IMAGE: 'versitygw',
      BALANCER_IMAGE: 'balancer',
      CONFORMANCE_IMAGE: 'conformance',
      CONFORMANCE_RESULTS: results,
    }
    const file = join(CHECKOUT, 'docker-compose.test.yml')
    const compose = (...args: string[]): Promise<Finished> =>
      run('docker-compose', ['--file', file, '--project-name', 'topology', ...args], {
        env,
        timeoutMs: COMPOSE_TIMEOUT_MS,
      })
    try {
      const { code, stdout, stderr } = await compose(
        'up',
        '--no-build',
        '--no-color',
        '--exit-code-from',
        'conformance',
      )
      const said = `${stdout}${stderr}`
      assert.equal(code, 0, `${said}\n--- all logs ---\n${(await compose('logs', '--no-color')).stdout}`)
      const report = await readReport(said, results)
      assert.deepEqual(objections(report), [], said)
      assert.ok(report.tests.length >= LEAST_TESTS, `only ${report.tests.length} tests`)
      const served = [1, 2, 3].map((n) => said.match(new RegExp(`\\| replica-${n} [A-Z]+ /v2/`, 'g'))?.length ?? 0)
      t.diagnostic(`${report.tests.length} tests; ${served.join(', ')} requests`)
      assert.ok(Math.min(...served) > report.tests.length / 10, 'each replica had its share of the requests')
    } finally {
      await compose('down', '--volumes', '--timeout', '5')
    }
    assert.equal(await docker('ps', '--all', '--quiet', '--filter', 'label=com.docker.compose.project=topology'), '')
  })

  /** An image that is one of the programs written in Go, under its name. */
  async function makeProgram(name: 'versitygw' | 'conformance'): Promise<void> {
    const context = workspace.path(`${name}-image`)
    await mkdir(context)
    await copyFile(await installGoTool(name), join(context, name))
    const steps = ['FROM run-base', `COPY ${name} /usr/local/bin/${name}`, `ENTRYPOINT ["${name}"]`]
    await writeFile(join(context, 'Dockerfile'), steps.join('\n'))
    await docker('build', '--tag', name, context)
  }
})
