/** Containers from a program. */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, afterEach, before, describe, it } from 'node:test'
import { missing } from '../conformance/support/needs.ts'
import { containers, exec, RequestError, run, StartError } from './library.ts'
import { pullBusybox } from './testing/busybox-image.ts'

const skip = await missing('busybox')

describe('from a program, containers', { skip }, () => {
  let root: string
  let image: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-library-'))
    image = await pullBusybox(root)
  })
  after(async () => await rm(root, { recursive: true, force: true }))
  afterEach(async () => {
    const all = containers({ root })
    for (const { record } of await all.list()) await all.remove(record.id, { force: true })
    assert.deepEqual(await readdir(join(root, 'containers')), [])
  })

  it('are told and heard through streams, and are gone afterwards', async () => {
    await using upper = await run(image, { root, command: ['tr', 'a-z', 'A-Z'], interactive: true, autoRemove: true })
    upper.stdin.end('hello')
    upper.stderr.resume()
    assert.equal(await text(upper.stdout), 'HELLO')
    assert.equal(await upper.exited, 0)
    assert.deepEqual(await containers({ root }).list(), [])
  })

  it('end with the block that uses them', async () => {
    let id: string
    {
      await using sleeper = await run(image, { root, command: ['sleep', '600'] })
      id = sleeper.id
    }
    const [only] = await containers({ root }).list()
    assert.deepEqual([only?.record.id, only?.state.status, only?.state.exitCode], [id, 'exited', 137])
  })

  it('are killed by an abort', async () => {
    const stop = new AbortController()
    await using sleeper = await run(image, { root, command: ['sleep', '600'], autoRemove: true, signal: stop.signal })
    stop.abort()
    assert.equal(await sleeper.exited, 137)
    await assert.rejects(run(image, { root, signal: stop.signal }), { name: 'AbortError' })
  })

  it('say by type what went wrong', async () => {
    await assert.rejects(
      run(image, { root, command: ['nosuch'], autoRemove: true }),
      (error) => error instanceof StartError && error.exitCode === 127,
    )
    await assert.rejects(run(image, { root, memoryBytes: 1 }), RequestError)
    await assert.rejects(containers({ root }).wait('nosuch'), { name: 'NoSuchContainer' })
  })

  it('have further processes', async () => {
    await using host = await run(image, { root, command: ['sleep', '600'], name: 'host' })
    const ran = await exec('host', ['sh', '-c', 'cat; echo err >&2; exit 3'], { root })
    ran.stdin.end('in')
    assert.deepEqual(await Promise.all([text(ran.stdout), text(ran.stderr), ran.exited]), ['in', 'err\n', 3])
    assert.equal((await containers({ root }).list()).length, 1)
    await host.kill()
  })

  it('are made, started, waited for and read, many at once', async () => {
    const all = containers({ root })
    const ids = await Promise.all(
      Array.from({ length: 20 }, (_, i) => all.create(image, { command: ['sh', '-c', `echo said ${i}; exit ${i}`] })),
    )
    await Promise.all(ids.map((id) => all.start(id)))
    assert.deepEqual(await Promise.all(ids.map((id) => all.wait(id))), Array.from(ids.keys()))
    const said: string[] = []
    for await (const entry of all.logs(ids[7] ?? '', { follow: true })) said.push(entry.text)
    assert.deepEqual(said, ['said 7\n'])
  })
})
