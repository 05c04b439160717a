/** Containers on hand-made layers: what their root shows, and how what killed commands left is taken down. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { mountOverlay, unmount } from '../../native/overlay.ts'
import { digestOf } from '../../storage/model/digest.ts'
import { StoreFolders } from '../store/store.ts'
import type { Container } from './container.ts'
import { Containers } from './containers.ts'
import type { ContainerRecord } from './record.ts'

const skip = process.getuid?.() === 0 ? false : 'mounting needs root'

describe('a container', { skip }, () => {
  let root: string
  let store: StoreFolders
  let containers: Containers
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-containers-'))
    store = await StoreFolders.open(root)
    containers = new Containers(store)
  })
  afterEach(async () => await rm(root, { recursive: true, force: true }))

  async function layer(name: string, files: Readonly<Record<string, string>>): Promise<string> {
    const folder = join(store.layers, name)
    await mkdir(folder)
    for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text)
    return folder
  }

  /** One that is made and was never started. */
  async function made(layers: readonly string[], name?: string): Promise<Container> {
    const container = await containers.begin()
    const record = await recordOf(container, layers, name)
    await container.mount(layers, { lasting: true })
    await container.save(record)
    return container
  }

  const recordOf = async ({ id }: Container, layers: readonly string[], name?: string): Promise<ContainerRecord> => ({
    version: 1,
    id,
    name: await containers.names.claim(id, name, (other, taken) => containers.hasName(other, taken)),
    created: new Date().toISOString(),
    image: 'localhost:5000/x:1',
    imageId: digestOf(Buffer.from('x')),
    architecture: 'amd64',
    process: { Cmd: ['x'] },
    request: {},
    layers,
    mounts: [],
    endpoints: [],
  })

  it('stands on an image that has the same layer several times', async () => {
    const [one, two] = [await layer('one', { a: 'one', b: 'one' }), await layer('two', { b: 'two', c: 'two' })]
    await using container = await made([one, one, two, one])
    const shown = await Promise.all(['a', 'b', 'c'].map((name) => readFile(join(container.rootfs, name), 'utf8')))
    await container.remove({ volumes: false })
    assert.deepEqual(shown, ['one', 'one', 'two'])
  })

  it('says where its store could be, if that is on an overlay, which carries no other', async () => {
    const [lower, upper, work, target] = ['lower', 'upper', 'work', 'overlay'].map((name) => join(root, name)) as [
      string,
      string,
      string,
      string,
    ]
    for (const folder of [lower, upper, work, target]) await mkdir(folder)
    mountOverlay({ lower: [lower], upper, work, target, lasting: true })
    try {
      const inside = new Containers(await StoreFolders.open(join(target, 'store')))
      await using container = await inside.begin()
      await assert.rejects(
        container.mount([], { lasting: true }),
        /\/overlay\/store\) can carry no overlay.* --root DIR/,
      )
      await container.remove({ volumes: false })
    } finally {
      await unmount(target)
    }
  })

  it('stands on as many layers as an image may have', async () => {
    const layers: string[] = []
    for (let i = 0; i < 500; i++) layers.push(await layer(`${i}`, { [`file${i}`]: '', last: `${i}` }))
    await using container = await made(layers)
    const [names, last] = [await readdir(container.rootfs), await readFile(join(container.rootfs, 'last'), 'utf8')]
    await container.remove({ volumes: false })
    assert.deepEqual([names.length, last], [501, '499'])
  })

  describe('to be removed when it ends', () => {
    const volatile = { lasting: false }
    const optionsOf = async (target: string): Promise<string> =>
      (await readFile('/proc/self/mounts', 'utf8')).split('\n').find((line) => line.includes(` ${target} `)) ?? ''

    it('never waits for the disk, and is mounted again as often as it is asked for', async () => {
      await using container = await containers.begin()
      await container.mount([], volatile)
      assert.match(await optionsOf(container.rootfs), /volatile/)
      await writeFile(join(container.rootfs, 'kept'), 'text')
      await container.unmount()
      await container.mount([], volatile)
      const kept = await readFile(join(container.rootfs, 'kept'), 'utf8')
      await container.remove({ volumes: false })
      assert.equal(kept, 'text')
    })

    it('is not started again where the machine went down meanwhile, and can be removed', async () => {
      await using container = await containers.begin()
      await container.mount([], volatile)
      await container.unmount()
      const status = { bootId: 'of another boot', phase: 'running', monitor: { pid: 1, startTime: 0 } }
      await writeFile(join(container.folder, 'status.json'), JSON.stringify(status))
      await assert.rejects(container.mount([], volatile), /the machine went down while the container .* remove it/)
      await writeFile(join(container.folder, 'status.json'), JSON.stringify({ ...status, phase: 'exited' }))
      await container.remove({ volumes: false })
      assert.deepEqual(await readdir(store.containers), [])
    })

    it('lasts, if it stays', async () => {
      await using container = await made([])
      const options = await optionsOf(container.rootfs)
      await container.remove({ volumes: false })
      assert.match(options, /overlay/)
      assert.doesNotMatch(options, /volatile/)
    })
  })

  it('that cannot be taken down is told about, and stops nobody', async () => {
    const stuck = await made([])
    await stuck.close()
    await stuck.unmount()
    await (await containers.begin()).close() // half made
    await rm(join(stuck.folder, 'container.json'))
    await mkdir(join(stuck.folder, 'container.json')) // as unreadable as a disk's fault
    const problems = await containers.cleanUp()
    assert.match(
      problems.join('\n'),
      new RegExp(`^cannot clean up what is left of the container ${stuck.id.slice(0, 12)}: .*EISDIR`),
    )
    assert.deepEqual(await readdir(store.containers), [stuck.id])
  })

  it('that was to be removed, and whose record the loss of power has emptied, is cleared away', async () => {
    const lost = await made([], 'lost')
    await lost.unmount()
    await lost.close()
    await writeFile(join(lost.folder, 'container.json'), '')
    assert.deepEqual(await containers.list(), [])
    assert.deepEqual(await containers.cleanUp(), [])
    assert.deepEqual([await readdir(store.containers), await readdir(store.names)], [[], []])
  })

  it('is found by id, by name and by the beginning of its id, and one that was never finished is not', async () => {
    await using container = await made([], 'web')
    await using unfinished = await containers.begin()
    for (const reference of [container.id, 'web', '/web', container.id.slice(0, 5)])
      assert.equal((await containers.find(reference)).id, container.id)
    await assert.rejects(containers.find(unfinished.id), /no such container/)
    await assert.rejects(containers.find('nosuch'), /no such container: nosuch; `gantry ps -a` lists/)
    await container.unmount()
  })

  it('has a name that nobody else gets, until it goes, or until whoever was making it is killed', async () => {
    const first = await made([], 'web')
    const second = await containers.begin()
    await assert.rejects(recordOf(second, [], 'web'), /the name "web" is already in use by the container/)
    await first.remove({ volumes: false })
    assert.equal((await recordOf(second, [], 'web')).name, 'web')
    const third = await containers.begin()
    await assert.rejects(recordOf(third, [], 'web'), /already in use/)
    await second.close() // killed before its record was written
    assert.equal((await recordOf(third, [], 'web')).name, 'web')
    await first.close()
    await third.close()
    assert.deepEqual(await containers.cleanUp(), [])
    assert.deepEqual(await readdir(store.containers), [])
  })

  it('whose beginning of the id is another one’s, too, is not guessed', async () => {
    const all: Container[] = []
    for (let i = 0; i < 17; i++) all.push(await made([])) // of 17 ids two begin with the same digit
    const digits = all.map(({ id }) => id[0] ?? '')
    const twice = digits.find((digit, i) => digits.indexOf(digit) !== i) ?? ''
    await assert.rejects(containers.find(twice), /is the beginning of \d+ containers' ids: .*; give more of it/)
    for (const container of all) {
      await container.unmount()
      await container.close()
    }
  })
})
