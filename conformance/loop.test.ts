/**
 * The whole loop with the real parts: a Debian image built by docker goes into a registry started as a user starts it, comes
 * back to docker and to skopeo unchanged, and runs through `gantry run` without a daemon. Then nothing is left.
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { closed, type Finished, run, startGroup, succeed, until } from './support/commands.ts'
import { debianRoot } from './support/debian-root.ts'
import { type Dockerd, startDockerd } from './support/dockerd.ts'
import { type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { missing } from './support/needs.ts'
import { Terminal } from './support/terminal.ts'
import { Workspace } from './support/workspace.ts'

const LAUNCHER = fileURLToPath(new URL('../client/gantry.mjs', import.meta.url))
const PREPARE_TIMEOUT_MS = 10 * 60_000

/** Everything that a layer can say about a file beyond its bytes, and what a later layer takes away. */
const DOCKERFILE = `FROM base
RUN cp /bin/cat /usr/local/bin/capable && setcap cap_net_bind_service+ep /usr/local/bin/capable \\
 && cp /usr/bin/id /usr/local/bin/setuid-id && chmod 4755 /usr/local/bin/setuid-id \\
 && echo linked > /opt/first && ln /opt/first /opt/second && echo x > /opt/third \\
 && chown 1234:2345 /opt/first && ln -s first /opt/symbolic && mkdir -p /opt/tree/deep && echo old > /opt/tree/deep/file \\
 && mkdir /opt/gone && echo x > /opt/gone/file && rm -rf /usr/share/doc
RUN rm -r /opt/gone /opt/third && rm -r /opt/tree && mkdir /opt/tree && echo new > /opt/tree/new
`

const skip = await missing('docker', 'dockerd', 'containerd', 'runc', 'skopeo', 'debootstrap', 'python3', 'ps')

describe('from docker build to Hello World', { skip }, () => {
  let workspace: Workspace
  let registry: ServedRegistry
  let dockerd: Dockerd
  let image: string
  let imageId: string
  const cleanup = new AsyncDisposableStack()

  const gantryArgs = (...args: string[]): string[] => [LAUNCHER, '--root', workspace.path('store'), ...args]
  const gantry = (...args: string[]): Promise<Finished> =>
    run(process.execPath, gantryArgs(...args), { env: workspace.env })
  const inside = (...command: string[]): Promise<Finished> => gantry('run', '--rm', image, ...command)
  const shell = async (script: string): Promise<string> => {
    const { code, stdout, stderr } = await inside('sh', '-c', script)
    assert.equal(code, 0, stderr)
    return stdout.trimEnd()
  }

  before(
    async () => {
      workspace = cleanup.use(await Workspace.open())
      registry = cleanup.use(await startGantry({ env: workspace.env }))
      image = `${registry.host}/debian`
      const root = await debianRoot()
      dockerd = cleanup.use(await startDockerd(workspace))
      await dockerd.docker(['import', root, 'base'])
      await mkdir(workspace.path('build'))
      await writeFile(workspace.path('build', 'Dockerfile'), DOCKERFILE)
      await dockerd.docker(['build', '--network=none', '--tag', image, workspace.path('build')])
      imageId = await idOf(image)
    },
    { timeout: PREPARE_TIMEOUT_MS },
  )

  after(async () => {
    const left = await stopAndLook()
    await cleanup.disposeAsync()
    assert.deepEqual(left, [])
  })

  async function stopAndLook(): Promise<readonly string[]> {
    await dockerd?.[Symbol.asyncDispose]()
    await registry?.[Symbol.asyncDispose]()
    return (await workspace?.leftovers()) ?? []
  }

  const idOf = async (name: string): Promise<string> =>
    (await dockerd.docker(['image', 'inspect', '--format', '{{.Id}}', name])).trim()

  const layersOf = (name: string): Promise<string> =>
    dockerd.docker(['image', 'inspect', '--format', '{{json .RootFS.Layers}}', name])

  it('every docker client here pushes, and pulls the same image back', async (t) => {
    for (const client of dockerd.clients) {
      t.diagnostic((await dockerd.docker(['--version'], client)).trim())
      await dockerd.docker(['tag', imageId, image], client)
      await dockerd.docker(['push', image], client)
      await dockerd.docker(['rmi', '--force', imageId], client)
      await assert.rejects(dockerd.docker(['image', 'inspect', image], client))
      await dockerd.docker(['pull', image], client)
      assert.equal(await idOf(image), imageId)
    }
  })

  it('docker runs what it pulled back', async () => {
    assert.equal(await dockerd.docker(['run', '--rm', '--network=none', image, 'cat', '/opt/tree/new']), 'new\n')
  })

  it('skopeo copies the image out and in again, byte for byte', async () => {
    const copy = (from: string, to: string): Promise<string> =>
      succeed('skopeo', ['copy', '--src-tls-verify=false', '--dest-tls-verify=false', from, to], {
        env: workspace.env,
      })
    const manifest = async (name: string): Promise<string> =>
      succeed('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${name}`], { env: workspace.env })
    await copy(`docker://${image}`, `dir:${workspace.path('dir')}`)
    await copy(`dir:${workspace.path('dir')}`, `docker://${registry.host}/from-dir:1`)
    assert.equal(await manifest(`${registry.host}/from-dir:1`), await manifest(image))

    await copy(`docker://${image}`, `oci:${workspace.path('oci')}:1`)
    await copy(`oci:${workspace.path('oci')}:1`, `docker://${registry.host}/from-oci:1`)
    assert.match(await manifest(`${registry.host}/from-oci:1`), /application\/vnd\.oci\.image\.manifest\.v1\+json/)
    await dockerd.docker(['pull', `${registry.host}/from-oci:1`])
    assert.equal(await layersOf(`${registry.host}/from-oci:1`), await layersOf(image))
  })

  it('gantry run prints Hello World, and exactly that', async () => {
    const pulled = await gantry('pull', '--quiet', image)
    assert.equal(pulled.code, 0, pulled.stderr)
    assert.deepEqual(await inside('echo', 'Hello World'), { code: 0, stdout: 'Hello World\n', stderr: '' })
  })

  it('gantry runs what skopeo pushed in the other format', async () => {
    const result = await gantry('run', '--rm', `${registry.host}/from-oci:1`, 'cat', '/opt/tree/new')
    assert.equal(result.stdout, 'new\n', result.stderr)
  })

  it('the command is process 1, and nothing of the host is seen', async () => {
    const lines = (await shell('exec ps -eo pid,args'))
      .split('\n')
      .slice(1)
      .map((line) => line.trim())
    assert.deepEqual(lines, ['1 ps -eo pid,args'])
    assert.match((await inside('ps', '-ef')).stdout, /^UID[^\n]*\nroot +1 +0 [^\n]*ps -ef\n$/)
  })

  it('what docker built is what is inside: deletions, links, owners, setuid and capability bits', async () => {
    assert.equal(await shell('getcap /usr/local/bin/capable'), '/usr/local/bin/capable cap_net_bind_service=ep')
    assert.equal(await shell('stat -c "%a %u:%g" /usr/local/bin/setuid-id'), '4755 0:0')
    assert.equal(await shell('stat -c "%h %u:%g" /opt/first'), '2 1234:2345')
    assert.equal(await shell('test /opt/first -ef /opt/second && readlink /opt/symbolic'), 'first')
    assert.equal(
      await shell('ls -A /opt | xargs; ls -A /opt/tree; test ! -e /usr/share/doc'),
      'first second symbolic tree\nnew',
    )
  })

  it('the exit status is the command’s, or docker’s for what could not run', async () => {
    for (const code of [0, 1, 2, 42, 125, 126, 127, 128, 200, 255]) {
      assert.equal((await inside('sh', '-c', `exit ${code}`)).code, code)
    }
    assert.equal((await inside('/no/such/program')).code, 127)
    assert.equal((await inside('/etc/passwd')).code, 126)
    assert.equal((await gantry('run', '--no-such-option', image, 'true')).code, 125)
    assert.equal((await gantry('run', '--rm', `${registry.host}/no/such/image`, 'true')).code, 125)
    assert.equal((await inside('sh', '-c', 'sh -c "kill -TERM \\$\\$"; exit $?')).code, 128 + constants.signals.SIGTERM)
    const { pid, ended } = await startSleeping()
    process.kill(pid, 'SIGKILL')
    assert.equal(await ended, 128 + constants.signals.SIGKILL)
  })

  it('a signal to gantry run ends the command and is told by the exit status', async () => {
    const child = startGroup(process.execPath, gantryArgs('run', '--rm', image, 'bash', '-c', TRAP), {
      env: workspace.env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = closed(child)
    await speaks(child, ended)
    child.kill('SIGTERM')
    assert.equal(await ended, 42)
  })

  it('gantry run -ti is a shell in a terminal that follows the size of the window', async () => {
    const command = [process.execPath, ...gantryArgs('run', '--rm', '-ti', image, 'bash', '--norc')]
    await using terminal = new Terminal(command, { columns: 91, rows: 31, env: { ...workspace.env, TERM: 'xterm' } })
    await terminal.expect(/# $/)
    terminal.type('stty size; test -t 0 && tty\n')
    await terminal.expect(/31 91\r\n\/dev\/(pts\/0|console)\r\n/)
    terminal.resize(132, 43)
    await until('the new size inside', SIZE_TIMEOUT_MS, async () => {
      terminal.type('stty size\n')
      const [, rows, columns] = await terminal.expect(/(\d+) (\d+)\r\n/)
      return (rows === '43' && columns === '132') || undefined
    })
    terminal.type('sleep 1000\n')
    await terminal.expect(/sleep 1000\r\n/)
    terminal.type('\x03')
    await terminal.expect(/# $/)
    terminal.type('exit 7\n')
    assert.equal(await terminal.exited, 7)
  })

  it('the disk of the host is out of reach, even for who makes a node of its numbers', async () => {
    const script = 'mknod /tmp/disk b "$1" "$2" && dd if=/tmp/disk of=/dev/null count=1'
    const [major = '', minor = ''] = (await hostDisk()).split(':')
    const { code, stderr } = await inside('sh', '-c', script, 'sh', major, minor)
    assert.notEqual(code, 0)
    assert.match(stderr, /Operation not permitted|Permission denied/)
  })

  it('a run whose gantry is killed goes on, as docker’s does, until it is ended; then nothing is left of it', async () => {
    const { child, pid, ended } = await startSleeping()
    child.kill('SIGKILL')
    await ended
    const [id = ''] = (await gantry('ps', '--quiet')).stdout.split('\n')
    assert.match(id, /^[0-9a-f]{12}$/)
    assert.ok((await pidsOf(SLEEPING)).includes(pid))
    assert.equal((await gantry('kill', id)).code, 0)
    await until('the container to end', KILL_TIMEOUT_MS, async () =>
      (await pidsOf(SLEEPING)).includes(pid) ? undefined : true,
    )
    assert.equal((await inside('true')).code, 0)
    assert.equal((await gantry('ps', '--all', '--quiet')).stdout, '')
    assert.doesNotMatch(
      await readFile('/proc/self/mountinfo', 'utf8'),
      new RegExp(`${workspace.path('store')}.*rootfs`),
    )
  })

  it('gantry lists the image, and removes it with everything it stored', async () => {
    assert.match((await gantry('images')).stdout, new RegExp(`${image}\\s`))
    for (const name of [image, `${registry.host}/from-oci:1`]) {
      const { code, stderr } = await gantry('rmi', name)
      assert.equal(code, 0, stderr)
    }
    const bytes = await succeed('du', ['--summarize', '--bytes', workspace.path('store')])
    assert.ok(Number.parseInt(bytes, 10) < SMALL_STORE_BYTES, bytes)
  })

  /** A container in the background, and its first process as the host sees it. */
  async function startSleeping(): Promise<{ child: ChildProcess; pid: number; ended: Promise<number> }> {
    const child = startGroup(process.execPath, gantryArgs('run', '--rm', image, ...SLEEPING), {
      env: workspace.env,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    const ended = closed(child)
    const pid = await until('the container to run', START_TIMEOUT_MS, async () => (await pidsOf(SLEEPING))[0])
    return { child, pid, ended }
  }

  /** The numbers of the device that holds the workspace. */
  async function hostDisk(): Promise<string> {
    return (await succeed('stat', ['--format', '%Hd:%Ld', workspace.directory])).trim()
  }

  /** The processes of this command line whose mounts are of this workspace's store. */
  async function pidsOf(command: readonly string[]): Promise<readonly number[]> {
    const { stdout } = await run('grep', ['-slF', `${workspace.path('store')}`, ...(await mountTables())])
    const found: number[] = []
    for (const [, pid = ''] of stdout.matchAll(/^\/proc\/(\d+)\//gm)) {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      if (line === command.map((word) => `${word}\0`).join('')) found.push(Number(pid))
    }
    return found
  }

  async function mountTables(): Promise<readonly string[]> {
    const { stdout } = await run('sh', ['-c', 'echo /proc/[0-9]*/mountinfo'])
    return stdout.trim().split(' ')
  }
})

/** Resolves when the child says something; throws if it ends without that. */
async function speaks(child: ChildProcess, ended: Promise<number>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<true>()
  child.stdout?.once('data', () => resolve(true))
  const first = await Promise.race([promise, ended])
  if (first !== true) throw new Error(`it ended with ${first} before it said anything`)
}

/** Says that it is up, and ends with 42 when asked to. */
const TRAP = 'trap "exit 42" TERM; echo up; while :; do sleep 0.1; done'
const SLEEPING = ['sleep', '1000']
const START_TIMEOUT_MS = 20_000
const SIZE_TIMEOUT_MS = 20_000
const KILL_TIMEOUT_MS = 20_000
const SMALL_STORE_BYTES = 1024 * 1024
