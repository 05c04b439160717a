import assert from 'node:assert/strict'
import { appendFile, mkdtemp, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Accounts } from './accounts.ts'
import { type BackupCounts, type BackupProblem, backUp } from './backup.ts'
import { deleteRepository } from './deletion.ts'
import type { StorageDriver } from './driver.ts'
import { ManifestUnknown, ReferencesMissing, RepositoryUnknown, StoreFormatUnsupported } from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { accountKey, blobKey, catalogKey, linkKey, tagKey } from './layout.ts'
import { digestOf } from './model/digest.ts'
import { parseRepositoryName, parseTag, type RepositoryName } from './model/reference.ts'
import { openStore } from './open.ts'
import type { Store } from './store.ts'
import { demandBlob, pushBlob, pushImage, pushIndex, randomFrom, wholeTags } from './testing/images.ts'
import { bytesOf } from './testing/sources.ts'
import { watchedDriver } from './testing/watched-driver.ts'

const name = parseRepositoryName

describe('a backup', () => {
  let folder: string
  let count = 0
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-backup-'))
  })
  after(() => rm(folder, { recursive: true, force: true }))
  const newFolder = (): string => join(folder, String(count++))

  async function stores(): Promise<
    { at: string; store: Store; driver: StorageDriver; copyAt: string } & AsyncDisposable
  > {
    const [at, copyAt] = [newFolder(), newFolder()]
    const [store, driver] = [await openStore(await openFsDriver(at), { references: 'strict' }), await openFsDriver(at)]
    return {
      at,
      store,
      driver,
      copyAt,
      async [Symbol.asyncDispose]() {
        await store.close()
        await driver.close()
      },
    }
  }

  async function copy(driver: StorageDriver, copyAt: string, problems: BackupProblem[] = []): Promise<BackupCounts> {
    const to = await openFsDriver(copyAt)
    try {
      return await backUp(driver, to, { onProblem: (problem) => problems.push(problem), onProgress: () => {} })
    } finally {
      await to.close()
    }
  }

  async function inCopy<T>(copyAt: string, look: (store: Store, driver: StorageDriver) => Promise<T>): Promise<T> {
    const driver = await openFsDriver(copyAt)
    const store = await openStore(driver)
    try {
      return await look(store, driver)
    } finally {
      await store.close()
    }
  }

  /** Whatever a listing shows can be pulled. Resolves to it. */
  async function everything(store: Store): Promise<readonly string[]> {
    const found: string[] = []
    for await (const repository of store.listRepositories({})) {
      const tags = await Array.fromAsync(store.repository(repository).listTags({}))
      assert.deepEqual(await wholeTags(store, repository, tags), tags, `listed in ${repository}`)
      found.push(...tags.map((tag) => `${repository}:${tag}`))
    }
    return found
  }

  it('is a store with everything: content, tags with their history, referrers, accounts', async () => {
    await using here = await stores()
    const image = await pushImage(here.store, name('a/b'), 'v1')
    await pushImage(here.store, name('a/b'), 'signature', image.digest)
    await pushIndex(here.store, name('a/b'), 'v1')
    await pushBlob(here.store, name('a/b'), bytesOf('no manifest names it'))
    await new Accounts(here.driver).create(
      { kind: 'user', name: 'alice' },
      { secrets: [], groups: ['team'], grants: [] },
    )
    await copy(here.driver, here.copyAt)
    await inCopy(here.copyAt, async (store, driver) => {
      assert.deepEqual(await everything(store), ['a/b:signature', 'a/b:v1', 'a/b:v1-index'])
      await demandBlob(store, name('a/b'), digestOf(bytesOf('no manifest names it')))
      const [referrer] = await Array.fromAsync(store.repository(name('a/b')).listReferrers(image.digest, {}))
      const [original] = await Array.fromAsync(here.store.repository(name('a/b')).listReferrers(image.digest, {}))
      assert.deepEqual(referrer, original)
      assert.ok(referrer)
      assert.deepEqual((await new Accounts(driver).find({ kind: 'user', name: 'alice' }))?.groups, ['team'])
    })
  })

  it('made again takes what is new, and what is gone away', async () => {
    await using here = await stores()
    const [kept, cleared, gone] = [name('kept'), name('cleared'), name('gone')]
    for (const repository of [kept, cleared, gone]) await pushImage(here.store, repository, 'one')
    const { digest } = await pushImage(here.store, kept, 'two')
    const dead = await pushBlob(here.store, kept, bytesOf('dead'))
    const first = await copy(here.driver, here.copyAt)
    assert.deepEqual([first.manifests, first.tags], [4, 4])
    assert.deepEqual(await copy(here.driver, here.copyAt), { blobs: 0, bytes: 0, manifests: 0, tags: 0 })

    await here.store.repository(kept).deleteManifest(digest)
    await here.store.repository(kept).unlinkBlob(dead)
    await here.store.repository(cleared).deleteManifest(parseTag('one'))
    await pushImage(here.store, kept, 'three')
    await deleteRepository(here.driver, gone)
    const second = await copy(here.driver, here.copyAt)
    assert.deepEqual([second.blobs, second.manifests, second.tags], [1, 1, 1])
    await inCopy(here.copyAt, async (store) => {
      assert.deepEqual(await everything(store), ['kept:one', 'kept:three'])
      assert.deepEqual(await Array.fromAsync(store.listRepositories({})), ['cleared', 'kept'])
      await assert.rejects(demandBlob(store, kept, dead))
      await assert.rejects(store.repository(gone).getManifest(parseTag('one')), RepositoryUnknown)
    })
  })

  it('made while everything moves is whole, and has what was acknowledged before it began', async (t) => {
    const seed = Number(process.env['GANTRY_BACKUP_SEED'] ?? Date.now() % 1_000_000)
    const random = randomFrom(seed)
    await using here = await stores()
    const names = ['busy/a', 'busy/b', 'busy/c'].map(name)
    const any = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T
    let [steps, over] = [0, false]
    const work = async (): Promise<void> => {
      while (!over) {
        await step(here.store, here.driver, any(names), any(['u', 'v', 'w', 'x']), random()).catch((error: unknown) => {
          const isAnswer = [ManifestUnknown, RepositoryUnknown, ReferencesMissing].some((kind) => error instanceof kind)
          if (!isAnswer) throw error
        })
        steps += 1
      }
    }
    const workers = Promise.all([work(), work()])
    t.after(() => {
      over = true
      return workers
    })
    for (let round = 0; round < 8; round += 1) {
      const replay = `in round ${round} of GANTRY_BACKUP_SEED=${seed}`
      const before = await pushImage(here.store, name('quiet'), `before-${round}`)
      const blob = await pushBlob(here.store, any(names), bytesOf(`before ${round}`)).then(() =>
        digestOf(bytesOf(`before ${round}`)),
      )
      await pushBlob(here.store, name('quiet'), bytesOf(`before ${round}`))
      const hesitant = watchedDriver(here.driver, async () => {
        for (let turns = Math.floor(random() * 3); turns > 0; turns -= 1) await new Promise(setImmediate)
      })
      await copy(hesitant, here.copyAt)
      await inCopy(here.copyAt, async (store) => {
        const found = await everything(store)
        assert.ok(found.includes(`quiet:before-${round}`), replay)
        await demandBlob(store, name('quiet'), before.layer)
        await demandBlob(store, name('quiet'), blob)
      })
    }
    over = true
    await workers
    t.diagnostic(`${steps} pushes, moves and deletions meanwhile`)
    assert.ok(steps > 20, `${steps}`)
    await copy(here.driver, here.copyAt)
    const [original, copied] = [await everything(here.store), await inCopy(here.copyAt, everything)]
    assert.deepEqual(copied, original)
  })

  it('that was killed is finished by the next, wherever it was killed', async () => {
    await using here = await stores()
    const image = await pushImage(here.store, name('a'), 'one')
    await pushImage(here.store, name('a'), 'signature', image.digest)
    const copyAt = newFolder()
    let kills = 0
    for (let left = 0; ; left = kills) {
      const dying = watchedDriver(await openFsDriver(copyAt), async (operation, key) => {
        if (operation !== 'write' || key.endsWith('gantry.json')) return
        if (left === 0) throw new Error('killed')
        left -= 1
      })
      const end = await backUp(here.driver, dying, { onProblem: () => {}, onProgress: () => {} }).then(
        () => 'finished',
        (error: Error) => error.message,
      )
      await dying.close()
      if (end === 'finished') break
      assert.equal(end, 'killed')
      kills += 1
    }
    assert.ok(kills > 2, `${kills}`)
    assert.deepEqual(await inCopy(copyAt, everything), ['a:one', 'a:signature'])
  })

  it('names what is damaged and goes on, and never overwrites another store', async () => {
    await using here = await stores()
    const { layer } = await pushImage(here.store, name('a'), 'one')
    await pushImage(here.store, name('a'), 'two')
    await appendFile(join(here.at, blobKey(layer)), 'more')
    const problems: BackupProblem[] = []
    await copy(here.driver, here.copyAt, problems)
    assert.ok(
      problems.some(({ what, repository }) => what === layer && repository === 'a'),
      JSON.stringify(problems),
    )
    await inCopy(here.copyAt, async (store) => {
      assert.deepEqual(await wholeTags(store, name('a'), ['two']), ['two'])
    })
    await using other = await stores()
    await assert.rejects(copy(other.driver, here.copyAt), StoreFormatUnsupported)
  })

  it('names the records that are damaged, and leaves alone what an earlier copy has of them', async () => {
    await using here = await stores()
    const { layer } = await pushImage(here.store, name('a'), 'one')
    await pushImage(here.store, name('b'), 'two')
    const alice = { kind: 'user', name: 'alice' } as const
    await new Accounts(here.driver).create(alice, { secrets: [], groups: [], grants: [] })
    await copy(here.driver, here.copyAt)
    const keys = [
      catalogKey(name('a')),
      linkKey(layer, name('a')),
      tagKey(name('a'), parseTag('one')),
      accountKey(alice),
    ]
    for (const key of keys) await truncate(join(here.at, key), 20)
    await pushImage(here.store, name('b'), 'three')
    const problems: BackupProblem[] = []
    await copy(here.driver, here.copyAt, problems)
    assert.deepEqual(problems.map(({ what }) => what).sort(), [...keys].sort())
    await inCopy(here.copyAt, async (store) => {
      assert.deepEqual(await wholeTags(store, name('a'), ['one']), ['one'])
      assert.deepEqual(await wholeTags(store, name('b'), ['two', 'three']), ['two', 'three'])
      assert.deepEqual(await Array.fromAsync(store.listRepositories({})), ['a', 'b'])
    })
  })
})

async function step(
  store: Store,
  driver: StorageDriver,
  at: RepositoryName,
  label: string,
  dice: number,
): Promise<void> {
  const repository = store.repository(at)
  if (dice < 0.5) {
    await pushImage(store, at, label)
    if (label < 'w') await pushIndex(store, at, label) // whose parts are not deleted by themselves
  } else if (dice < 0.65) {
    const { bytes, mediaType } = await repository.getManifest(parseTag(label))
    await repository.putManifest({ bytes, mediaType, tags: [parseTag('moving')] })
  } else if (dice < 0.8) await repository.deleteManifest(parseTag(label))
  else if (dice < 0.97 && label >= 'w')
    await repository.deleteManifest((await repository.getManifest(parseTag(label))).digest)
  else if (dice >= 0.97) await deleteRepository(driver, at)
}
