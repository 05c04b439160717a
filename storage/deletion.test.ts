import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { deleteRepository } from './deletion.ts'
import type { StorageDriver } from './driver.ts'
import { BlobUnknown, ManifestUnknown, ReferencesMissing, RepositoryUnknown } from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { digestOf } from './model/digest.ts'
import { parseRepositoryName, parseTag, type RepositoryName } from './model/reference.ts'
import { openStore } from './open.ts'
import type { Store } from './store.ts'
import { type Pushed, pushBlob, pushImage, pushIndex, randomFrom, unlessUnknown, wholeTags } from './testing/images.ts'
import { bytesOf } from './testing/sources.ts'
import { watchedDriver } from './testing/watched-driver.ts'

const anywhere = async (): Promise<boolean> => true

describe('deleting a repository', () => {
  let folder: string
  let driver: StorageDriver
  let store: Store
  let count = 0
  const newName = (): RepositoryName => parseRepositoryName(`gone/r${count++}`)

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-deletion-'))
    driver = await openFsDriver(folder)
    store = await openStore(await openFsDriver(folder))
  })
  after(async () => {
    await store.close()
    await driver.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function demandGone(name: RepositoryName, pushed: Pushed): Promise<void> {
    const repository = store.repository(name)
    await assert.rejects(Array.fromAsync(repository.listTags({})), RepositoryUnknown)
    await assert.rejects(repository.getManifest(pushed.digest), RepositoryUnknown)
    await assert.rejects(repository.getManifest(parseTag('one')), RepositoryUnknown)
    await assert.rejects(repository.statBlob(pushed.layer), BlobUnknown)
    assert.deepEqual(await Array.fromAsync(repository.listReferrers(pushed.digest, {})), [])
    const elsewhere = store.repository(newName())
    assert.equal(await elsewhere.mountBlob(pushed.layer, anywhere, name), false)
    const listed = await Array.fromAsync(store.listRepositories({}))
    assert.ok(!listed.includes(name))
  }

  it('leaves nothing of it to be seen, and nothing of others changed', async () => {
    const [name, other] = [newName(), newName()]
    const pushed = await pushImage(store, name, 'one')
    await pushImage(store, name, 'signature', pushed.digest)
    await pushBlob(store, name, bytesOf('no manifest names it'))
    await pushImage(store, other, 'one')
    const { resumed, ...counts } = await deleteRepository(driver, name)
    assert.deepEqual({ resumed, ...counts }, { resumed: false, manifests: 2, tags: 2, blobs: 4 })
    await demandGone(name, pushed)
    await assert.rejects(store.repository(name).statBlob(digestOf(bytesOf('no manifest names it'))), BlobUnknown)
    assert.deepEqual(await wholeTags(store, other, ['one']), ['one'])
    assert.ok((await Array.fromAsync(store.listRepositories({}))).includes(other))
  })

  it('is refused for what is not there, twice included', async () => {
    const name = newName()
    await assert.rejects(deleteRepository(driver, name), RepositoryUnknown)
    await pushImage(store, name, 'one')
    await deleteRepository(driver, name)
    await assert.rejects(deleteRepository(driver, name), RepositoryUnknown)
  })

  it('lets the same content be pushed again, and no old tag rises with it', async () => {
    const name = newName()
    await pushImage(store, name, 'one')
    const { digest } = await pushImage(store, name, 'two')
    const { bytes, mediaType } = await store.repository(name).getManifest(digest)
    await store.repository(name).putManifest({ bytes, mediaType, tags: [parseTag('old-alias')] })
    for (const round of ['first', 'second']) {
      await deleteRepository(driver, name)
      await pushImage(store, name, 'two')
      assert.deepEqual(await Array.fromAsync(store.repository(name).listTags({})), ['two'], round)
      assert.deepEqual(await wholeTags(store, name, ['one', 'two', 'old-alias']), ['two'], round)
    }
    assert.ok((await Array.fromAsync(store.listRepositories({}))).includes(name))
  })

  it('lists the others page by page', async () => {
    const names = [newName(), newName(), newName(), newName()] as const
    for (const name of names) await pushImage(store, name, 'one')
    await deleteRepository(driver, names[1])
    await deleteRepository(driver, names[2])
    const page = await Array.fromAsync(store.listRepositories({ last: names[0].slice(0, -1), limit: 100 }))
    assert.deepEqual(
      page.filter((name) => (names as readonly string[]).includes(name)),
      [names[0], names[3]],
    )
    const [next] = await Array.fromAsync(store.listRepositories({ last: names[0], limit: 1 }))
    assert.equal(next, names[3])
  })

  it('goes on where it was killed, wherever that was', async () => {
    for (let steps = 0; ; steps += 1) {
      const name = newName()
      const pushed = await pushImage(store, name, 'one')
      await pushImage(store, name, 'signature', pushed.digest)
      let left = steps
      const dying = watchedDriver(driver, async (operation) => {
        if (operation !== 'write' && operation !== 'remove') return
        if (left === 0) throw new Error('killed')
        left -= 1
      })
      const begun = await deleteRepository(dying, name).then(
        () => 'finished',
        (error: Error) => error.message,
      )
      if (begun === 'finished') {
        assert.ok(steps > 10, `only ${steps} steps`)
        return
      }
      assert.equal(begun, 'killed')
      await deleteRepository(driver, name).catch((error: unknown) => assert.ok(error instanceof RepositoryUnknown))
      await demandGone(name, pushed)
      await pushImage(store, name, 'new')
      assert.deepEqual(await Array.fromAsync(store.repository(name).listTags({})), ['new'], `after ${steps} steps`)
    }
  })

  it('finishes an interrupted one without touching what was pushed since', async () => {
    const name = newName()
    await pushImage(store, name, 'one')
    const dying = watchedDriver(driver, async (operation, key) => {
      if (operation === 'write' && key.includes('/manifests/')) throw new Error('killed')
    })
    await assert.rejects(deleteRepository(dying, name), /killed/)
    await pushImage(store, name, 'new')
    const { resumed } = await deleteRepository(driver, name)
    assert.equal(resumed, true)
    assert.deepEqual(await Array.fromAsync(store.repository(name).listTags({})), ['new'])
    assert.deepEqual(await wholeTags(store, name, ['one', 'new']), ['new'])
    await deleteRepository(driver, name)
    await assert.rejects(Array.fromAsync(store.repository(name).listTags({})), RepositoryUnknown)
  })

  it('races with pushes: each survives whole, goes whole, or is refused', async (t) => {
    const seed = Number(process.env['GANTRY_DELETION_SEED'] ?? Date.now() % 1_000_000)
    const random = randomFrom(seed)
    const hesitate = async (): Promise<void> => {
      for (let turns = Math.floor(random() * 6); turns > 0; turns -= 1) await new Promise(setImmediate)
    }
    const slowStore = await openStore(watchedDriver(await openFsDriver(folder), hesitate))
    t.after(() => slowStore.close())
    let [survived, refused] = [0, 0]
    for (let round = 0; round < 20; round += 1) {
      const name = newName()
      const tags = new Set<string>(['base'])
      const late = new Set<string>()
      let state: 'before' | 'begun' | 'deleted' = 'before'
      // As docker does: what is there is not sent again, and so a push may rely on what is about to go.
      const pushAll = async (label: string): Promise<void> => {
        const begun = state
        tags.add(label)
        try {
          await pushImage(slowStore, name, label, undefined, true)
          if (begun !== 'before') late.add(label)
          await pushIndex(slowStore, name, label)
          tags.add(`${label}-index`)
          if (begun !== 'before') late.add(`${label}-index`)
        } catch (error) {
          if (!isRefusal(error)) throw error
          refused += 1
        }
      }
      await pushImage(store, name, 'base')
      for (const label of ['a-0', 'a-1', 'b-0', 'b-1']) await pushAll(label)
      const marked = watchedDriver(driver, async (_, key) => {
        if (key.includes('/manifests/') && state === 'before') state = 'begun'
        await hesitate()
      })
      const pusher = async (who: string): Promise<void> => {
        for (let n = 0; n < 3 || state !== 'deleted'; n += 1) await pushAll(`${who}-${n % 3}`)
      }
      const deletion = hesitate()
        .then(() => deleteRepository(marked, name))
        .then(() => {
          state = 'deleted'
        })
      await Promise.all([pusher('a'), pusher('b'), deletion])
      const whole = await wholeTags(store, name, tags)
      const replay = `in round ${round} of GANTRY_DELETION_SEED=${seed}`
      for (const tag of late) assert.ok(whole.includes(tag), `${tag} was acknowledged and is gone, ${replay}`)
      assert.ok(!whole.includes('base'), `what was there before is there, ${replay}`)
      survived += whole.length
      const listed = await Array.fromAsync(store.repository(name).listTags({})).catch(unlessUnknown)
      assert.deepEqual(listed ?? [], whole.toSorted(), replay)
    }
    t.diagnostic(`GANTRY_DELETION_SEED=${seed}: ${survived} tags survived, ${refused} pushes were refused`)
  })
})

const isRefusal = (error: unknown): boolean =>
  error instanceof ReferencesMissing || error instanceof ManifestUnknown || error instanceof RepositoryUnknown
