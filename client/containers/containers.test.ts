/** Containers on hand-made layers: what their root shows, and how what killed commands left is taken down. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { digestOf } from '../../storage/model/digest.ts'
import { StoreFolders } from '../store.ts'
import { Containers, type NewContainer } from './containers.ts'

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

  const on = (layers: readonly string[], autoRemove = true): NewContainer => ({
    image: 'localhost:5000/x:1',
    imageId: digestOf(Buffer.from('x')),
    command: [],
    autoRemove,
    layers,
  })

  it('stands on an image that has the same layer several times', async () => {
    const [one, two] = [await layer('one', { a: 'one', b: 'one' }), await layer('two', { b: 'two', c: 'two' })]
    const container = await containers.create(on([one, one, two, one]))
    const shown = await Promise.all(['a', 'b', 'c'].map((name) => readFile(join(container.rootfs, name), 'utf8')))
    await container.remove()
    assert.deepEqual(shown, ['one', 'one', 'two'])
  })

  it('stands on as many layers as an image may have', async () => {
    const layers: string[] = []
    for (let i = 0; i < 500; i++) layers.push(await layer(`${i}`, { [`file${i}`]: '', last: `${i}` }))
    const container = await containers.create(on(layers))
    const [names, last] = [await readdir(container.rootfs), await readFile(join(container.rootfs, 'last'), 'utf8')]
    await container.remove()
    assert.deepEqual([names.length, last], [501, '499'])
  })

  it('that cannot be taken down is told about, and stops nobody', async () => {
    const stuck = await containers.create(on([], false))
    const other = await containers.create(on([]))
    await stuck.close(0)
    await other.close(0)
    await rm(join(stuck.folder, 'container.json'))
    await mkdir(join(stuck.folder, 'container.json')) // as unreadable as a disk's fault
    const problems = await containers.cleanUp()
    assert.match(
      problems.join('\n'),
      new RegExp(`^cannot clean up what is left of the container ${stuck.id.slice(0, 12)}: EISDIR`),
    )
    assert.deepEqual(await readdir(store.containers), [stuck.id])
  })
})
