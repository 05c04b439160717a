/** Runs, by the library and by the command: how they end, and that nothing is left of them, whoever is killed. */
import assert from 'node:assert/strict'
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildPayload } from '../../native/testing/bundle.ts'
import { parseImageName } from '../image-name.ts'
import type { LocalImage } from '../images.ts'
import { Images } from '../images.ts'
import { pullImage } from '../pull.ts'
import { RegistryRepository } from '../registry.ts'
import { StoreFolders } from '../store.ts'
import { imagePages, layerOf, serve } from '../testing/image-pages.ts'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { Transport } from '../transport.ts'
import { startImage } from './run.ts'

const skip = process.getuid?.() === 0 ? false : 'starting the runtime needs root'
const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))

it('closes the runtime it started when the container cannot be prepared', { skip }, async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'gantry-run-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const store = await StoreFolders.open(root)
  const missing = { name: 'localhost:5000/x:1', config: { diffIds: [`sha256:${'0'.repeat(64)}`] } } as unknown
  await assert.rejects(startImage(store, new Images(store), missing as LocalImage, {}), /are not unpacked/)
  assert.deepEqual(await childrenCalled('gantry-runtime', 'self'), [])
})

describe('gantry run', { skip }, () => {
  let root: string
  let image: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-run-'))
    const program = await layerOf({ init: await readFile(await buildPayload()) }, 0o755)
    const accounts = await layerOf({ 'etc/passwd': 'me:x:1000:100::/home/me:/init\n' })
    const pages = imagePages([program, accounts], { Entrypoint: ['/init'], Cmd: ['true'] })
    await using registry = await scriptedRegistry(serve(pages))
    await using transport = new Transport(registry.host)
    const store = await StoreFolders.open(root)
    const name = parseImageName(`${registry.host}/team/app`)
    const source = new RegistryRepository(transport, name.repository)
    image = (await pullImage({ store, images: new Images(store), source, options: {} }, name)).name
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

  it('whose runtime is killed says so, and nothing runs on', async () => {
    const { child, id } = await stubborn()
    for (const pid of await childrenCalled('gantry-runtime', `${child.pid}`)) process.kill(pid, 'SIGKILL')
    const { code, stderr } = await ended(child)
    assert.equal(code, 125)
    assert.match(stderr, /the runtime ended, and the container with it/)
    assert.ok(await isGone(id))
  })

  it('that is killed itself leaves nothing running, and the next command removes what it was', async () => {
    const { child, id } = await stubborn()
    child.kill('SIGKILL')
    await ended(child)
    for (let tries = 0; !(await isGone(id)); tries++) {
      assert.ok(tries < 1000, `something of ${id} is left`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    assert.deepEqual(await readdir(join(root, 'containers')), [id])
    const { code, stderr } = await ended(gantry(['rmi', 'localhost:1/nosuch']))
    assert.deepEqual([code, stderr], [1, 'gantry: no image localhost:1/nosuch is here; `gantry images` lists them\n'])
  })

  it('that is killed together with its runtime is taken down by the next command', async () => {
    const { child, id } = await stubborn()
    const helpers = await childrenCalled('gantry-runtime', `${child.pid}`)
    child.kill('SIGKILL')
    for (const pid of helpers) process.kill(pid, 'SIGKILL')
    await once(child, 'exit') // its pipes are the container's too, which still runs
    await ended(gantry(['rmi', 'localhost:1/nosuch']))
    assert.ok(await isGone(id))
  })
})

/** The pids of a process's children whose names start with `name` as far as the kernel keeps it (15 bytes). */
async function childrenCalled(name: string, process: string): Promise<number[]> {
  const tasks = await readdir(`/proc/${process}/task`)
  const lists = await Promise.all(
    tasks.map((task) => readFile(`/proc/${process}/task/${task}/children`, 'utf8').catch(() => '')),
  )
  const pids = lists.flatMap((list) => list.split(' ').filter((pid) => pid !== ''))
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')))
  return pids.filter((_, i) => names[i]?.startsWith(name)).map(Number)
}
