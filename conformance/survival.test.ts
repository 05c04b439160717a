/** What has to survive: a kill -9 of the registry in the middle of a push, and content larger than its memory. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { after, before, describe, it, type TestContext } from 'node:test'
import { Content, pullBlob, pushBlob } from './support/blobs.ts'
import { closed, killGroup, run, startGroup, succeed, until } from './support/commands.ts'
import { startDockerd } from './support/dockerd.ts'
import { type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { missing } from './support/needs.ts'
import { Workspace } from './support/workspace.ts'

const MIB = 1024 * 1024
const LARGE_BYTES = (process.env['GANTRY_TEST_FULL_SIZE'] ? 2048 : 256) * MIB
const MEMORY_LIMIT_BYTES = 200 * MIB
/** Long enough to gzip that docker is still sending it when half has arrived. */
const LAYER_BYTES = 160 * MIB
const PUSH_TIMEOUT_MS = 5 * 60_000

const skip = await missing('docker', 'dockerd', 'containerd', 'runc')

describe('what survives', () => {
  let workspace: Workspace

  before(async () => {
    workspace = await Workspace.open()
  })
  after(async () => {
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })

  it(`${LARGE_BYTES / MIB} MiB go through a push and a pull in less than 200 MiB of memory`, async (t) => {
    await using registry = await startGantry({ env: workspace.env })
    const content = new Content(LARGE_BYTES)
    const digest = content.digest()
    await pushBlob(registry.url, 'large', content, digest)
    const afterPush = await peakMemory(registry.process.pid)
    assert.equal(await pullBlob(registry.url, 'large', digest), digest)
    const afterPull = await peakMemory(registry.process.pid)
    t.diagnostic(`peak resident memory: ${toMib(afterPush)} MiB after the push, ${toMib(afterPull)} MiB after the pull`)
    assert.ok(afterPull < MEMORY_LIMIT_BYTES)
  })

  it('docker finishes its push by itself after a kill -9 of the registry, and nothing acknowledged is lost', {
    skip,
  }, async (t) => {
    const options = { dataDirectory: workspace.path('data'), env: workspace.env }
    const first = await startGantry(options)
    try {
      await pushSurvives(t, first, async () => {
        first.process.kill('SIGKILL')
        await once(first.process, 'exit')
        return await startGantry({ ...options, port: Number(new URL(first.url).port) })
      })
    } finally {
      await first[Symbol.asyncDispose]()
    }
  })

  it('docker finishes its push by itself after a kill -9 of every worker, one after the other', { skip }, async (t) => {
    const dataDirectory = workspace.path('data-of-workers')
    await using registry = await startGantry({ dataDirectory, env: { ...workspace.env, GANTRY_WORKERS: '2' } })
    await pushSurvives(t, registry, async () => {
      const { pid } = registry.process
      const workers = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').map(Number)
      assert.equal(workers.length, 2)
      for (const worker of workers) {
        process.kill(worker, 'SIGKILL')
        await until('another to take its place', PUSH_TIMEOUT_MS, async () => {
          const now = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').map(Number)
          return (now.length === 2 && !now.includes(worker)) || undefined
        })
      }
      return registry
    })
  })

  /** Docker pushes an image with a large layer to `first`; when a third has arrived, `cut` does its worst, and says who serves from then on. */
  async function pushSurvives(
    t: TestContext,
    first: ServedRegistry,
    cut: () => Promise<ServedRegistry>,
  ): Promise<void> {
    await using dockerd = await startDockerd(workspace)
    const acknowledged = new Content(3 * MIB)
    const digest = acknowledged.digest()
    const image = `${first.host}/survivor`
    await pushBlob(first.url, 'survivor', acknowledged, digest)
    await mkdir(workspace.path('tree'), { recursive: true })
    await writeFile(workspace.path('tree', 'random'), randomBytes(LAYER_BYTES))
    await succeed('tar', ['-C', workspace.path('tree'), '-cf', workspace.path('tree.tar'), '.'])
    await dockerd.docker(['import', workspace.path('tree.tar'), image])

    const [client = 'docker'] = dockerd.clients
    const push = startGroup(client, ['push', image], { env: dockerd.env, stdio: ['ignore', 'pipe', 'pipe'] })
    const pushed = closed(push)
    let said = ''
    for (const stream of [push.stdout, push.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    }
    const timer = setTimeout(() => killGroup(push, 'SIGKILL'), PUSH_TIMEOUT_MS)
    let then: ServedRegistry | undefined
    try {
      await until('a third of the layer to arrive', PUSH_TIMEOUT_MS, async () => {
        assert.equal(push.exitCode, null, `the push ended too early: ${said}`)
        return (await storedBytes(first.dataDirectory)) > LAYER_BYTES / 3 || undefined
      })
      then = await cut()
      t.diagnostic(`cut with ${toMib(await storedBytes(first.dataDirectory))} MiB stored`)
      assert.equal(await pushed, 0, `${said}\n--- registry ---\n${then.log()}`)
      assert.equal(await pullBlob(then.url, 'survivor', digest), digest, 'what was acknowledged is intact')
      const id = await dockerd.docker(['image', 'inspect', '--format', '{{.Id}}', image])
      await dockerd.docker(['rmi', '--force', id.trim()])
      await dockerd.docker(['pull', image])
      assert.equal(await dockerd.docker(['image', 'inspect', '--format', '{{.Id}}', image]), id)
    } finally {
      clearTimeout(timer)
      killGroup(push, 'SIGKILL')
      if (then !== first) await then?.[Symbol.asyncDispose]()
    }
  }

  async function storedBytes(directory: string): Promise<number> {
    const { stdout } = await run('du', ['--summarize', '--bytes', directory]) // files go away while it counts
    return Number.parseInt(stdout, 10)
  }
})

/** In bytes: the most that the process ever had resident. */
async function peakMemory(pid: number | undefined): Promise<number> {
  const [, kib = ''] = /^VmHWM:\s*(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) * 1024
}

const toMib = (bytes: number): string => (bytes / MIB).toFixed(0)
