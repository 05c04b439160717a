/** Runs, by the library and by the command: how they end, and that nothing is left of them, whoever is killed. */
import assert from 'node:assert/strict'
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { readMonitorStatus } from '../../native/monitor-status.ts'
import { buildPayload } from '../../native/testing/bundle.ts'
import { pullMade } from '../testing/busybox-image.ts'
import { layerOf } from '../testing/image-pages.ts'

const skip = process.getuid?.() === 0 ? false : 'starting the runtime needs root'
const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))

describe('gantry run', { skip }, () => {
  let root: string
  let image: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-run-'))
    const program = await layerOf({ init: await readFile(await buildPayload()) }, 0o755)
    const accounts = await layerOf({ 'etc/passwd': 'me:x:1000:100::/home/me:/init\n' })
    image = await pullMade(root, [program, accounts], { Entrypoint: ['/init'], Cmd: ['true'] })
  })
  after(async () => await rm(root, { recursive: true, force: true }))
  afterEach(async () => assert.deepEqual(await readdir(join(root, 'containers')), []))

  const gantry = (words: readonly string[], options: SpawnOptions = {}): ChildProcess =>
    spawn(process.execPath, [COMMAND, '--root', root, ...words], { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const ended = async (child: ChildProcess) => {
    const [[code], stderr] = await Promise.all([once(child, 'close'), child.stderr ? text(child.stderr) : ''])
    return { code: code as number, stderr }
  }
  const codeOf = async (...words: readonly string[]): Promise<number> => {
    const child = gantry(['run', '--rm', ...words])
    child.stdout?.resume()
    return (await ended(child)).code
  }

  /** The host's processes of a container are those in its control groups. */
  const isGone = async (id: string): Promise<boolean> => {
    const hierarchies = ['.', ...(await readdir('/sys/fs/cgroup'))]
    const places = hierarchies.map((each) => join('/sys/fs/cgroup', each, 'gantry', id))
    return [...places, join('/run/gantry-runtime', id)].every((place) => !existsSync(place))
  }

  it('ends as docker does', async () => {
    const program = (path: string): readonly string[] => ['--entrypoint', path, image]
    assert.deepEqual(
      await Promise.all([
        codeOf(image),
        codeOf(image, 'exit', '77'),
        codeOf(image, 'exit', '255'),
        codeOf(...program('nosuch')),
        codeOf(...program('/no/such')),
        codeOf(...program('/etc')),
        codeOf(...program('/etc/passwd')),
        codeOf('--entrypoint', '', image, ''),
        codeOf('--entrypoint', '', image),
        codeOf('-u', 'nobody', image),
        codeOf('-w', 'relative', image),
        codeOf('-w', '/init', image),
        codeOf('--nosuch', image),
        codeOf('--platform', 'linux/s390x', image), // the one that is here is for another, and there is no registry any more
      ]),
      [0, 77, 255, 127, 127, 126, 126, 127, 125, 125, 125, 125, 125, 125],
    )
  })

  const tracer = spawnSync('strace', ['-V']).error ? 'strace is not installed' : false
  it('waits for the disk to know what became of a container, but not of one that is removed', {
    skip: tracer,
  }, async () => {
    const trace = join(root, 'trace')
    const syncs = async (...words: readonly string[]) => {
      const command = [process.execPath, COMMAND, '--root', root, 'run', '--cidfile', join(root, 'id'), ...words, image]
      const calls = ['-f', '-qq', '-o', trace, '-e', 'trace=fsync,fdatasync,sync,syncfs,sync_file_range']
      assert.equal((await ended(spawn('strace', [...calls, ...command], { stdio: 'ignore' }))).code, 0)
      const id = await readFile(join(root, 'id'), 'utf8')
      await rm(join(root, 'id'))
      return { id, count: (await readFile(trace, 'utf8')).split('\n').filter((line) => line.includes('sync(')).length }
    }
    assert.equal((await syncs('--rm')).count, 0)
    const kept = await syncs()
    assert.equal((await ended(gantry(['rm', kept.id]))).code, 0)
    assert.ok(kept.count >= 3, `${kept.count}`) // its record; how it ended, and the name of that
  })

  it('hangs its terminal up when nobody reads it any more', async () => {
    const child = gantry(['run', '--rm', '-t', image, 'echo', 'ready', '--', 'sleep', '1', '--', 'echo', 'unheard'])
    assert.match(String((await once(child.stdout as NodeJS.EventEmitter, 'data'))[0]), /ready/)
    child.stdout?.destroy()
    assert.equal((await ended(child)).stderr, '')
  })

  it('does not lose the exit code to standard output that is full', async () => {
    const full = await open('/dev/full', 'w')
    const child = gantry(['run', '--rm', '-t', image, 'echo', 'lost', '--', 'exit', '5'], {
      stdio: ['ignore', full.fd, 'pipe'],
    })
    const result = await ended(child)
    await full.close()
    assert.deepEqual(result, { code: 5, stderr: '' })
  })

  /** A container that says it is there, and would outlive whoever started it; its id. */
  async function stubborn(): Promise<{ readonly child: ChildProcess; readonly id: string }> {
    const child = gantry(['run', '--rm', image, 'outlive-parent', '--', 'echo', 'ready', '--', 'sleep', '600'])
    const [ready] = await once(child.stdout as NodeJS.EventEmitter, 'data')
    assert.equal(String(ready), 'ready\n')
    const [id = ''] = await readdir(join(root, 'containers'))
    return { child, id }
  }

  it('whose monitor is killed says so, and nothing runs on', async () => {
    const { child, id } = await stubborn()
    process.kill(await monitorOf(id), 'SIGKILL')
    const { code, stderr } = await ended(child)
    assert.equal(code, 125)
    assert.match(stderr, /the monitor of the container was killed, and the container with it/)
    await until(() => isGone(id), `something of ${id} is left`)
  })

  it('that is killed itself leaves the container running, as docker does; when that has ended the next command removes it', async () => {
    const { child, id } = await stubborn()
    child.kill('SIGKILL')
    await ended(child)
    const ps = gantry(['ps', '--no-trunc', '-q'])
    const [listed] = await Promise.all([text(ps.stdout as NodeJS.ReadableStream), once(ps, 'close')])
    assert.equal(listed, `${id}\n`)
    assert.equal((await ended(gantry(['kill', id]))).code, 0)
    await until(() => isGone(id), `something of ${id} is left`)
    assert.equal((await ended(gantry(['system', 'clean-up']))).code, 0)
  })

  it('that is killed together with its monitor is taken down by the next command', async () => {
    const { child, id } = await stubborn()
    const monitor = await monitorOf(id)
    child.kill('SIGKILL')
    process.kill(monitor, 'SIGKILL')
    await once(child, 'exit')
    await ended(gantry(['system', 'clean-up']))
    await until(() => isGone(id), `something of ${id} is left`)
  })

  const monitorOf = async (id: string): Promise<number> => {
    const known = await readMonitorStatus(join(root, 'containers', id))
    return known?.status.monitor.pid ?? 0
  }
})

async function until(probe: () => Promise<boolean>, complaint: string): Promise<void> {
  for (let tries = 0; !(await probe()); tries++) {
    assert.ok(tries < 1000, complaint)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
