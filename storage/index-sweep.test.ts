import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { StorageDriver } from './driver.ts'
import { openFsDriver } from './fs/driver.ts'
import { sweepIndexes } from './index-sweep.ts'
import { newNonce, referrerKey, tagListKey, tagListPrefix, tagsOfKey, tagsOfPrefix } from './layout.ts'
import { Manifests } from './manifests.ts'
import { type Digest, digestOf } from './model/digest.ts'
import { parseRepositoryName, parseTag } from './model/reference.ts'
import { Tags } from './tags.ts'

const name = parseRepositoryName('swept/indexes')
const [tag, other] = [parseTag('kept'), parseTag('never')]
const digest = digestOf(Buffer.from('a manifest'))
const subject = digestOf(Buffer.from('a subject'))

describe('the sweep of lists', () => {
  let folder: string
  let driver: StorageDriver
  let tags: Tags
  const sweep = (): Promise<number> => sweepIndexes(driver, tags, new Manifests(driver))
  const enter = (key: ReturnType<typeof tagListKey>): Promise<unknown> =>
    driver.write(key, new Uint8Array(), { unique: true })
  const entries = (prefix: string): Promise<string[]> => Array.fromAsync(driver.list(prefix))

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-index-sweep-'))
    driver = await openFsDriver(folder)
    tags = new Tags(driver)
  })
  beforeEach(async () => {
    await tags.point(name, tag, { digest, incarnation: 'i' }, async () => true)
  })
  after(async () => {
    await driver.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('takes what no record names, of tags that are there and of tags that never were, and leaves the rest', async () => {
    const kept = [await entries(tagListPrefix(name)), await entries(tagsOfPrefix(name, digest))]
    for (const one of [tag, other]) {
      await enter(tagListKey(name, one, newNonce()))
      await enter(tagsOfKey(name, digest, one, newNonce()))
    }
    await enter(referrerKey(name, subject, 'type', digest, newNonce()))
    assert.equal(await sweep(), 5)
    assert.deepEqual([await entries(tagListPrefix(name)), await entries(tagsOfPrefix(name, digest))], kept)
    assert.equal(await sweep(), 0)
    assert.equal((await tags.find(name, tag))?.digest, digest)
  })

  it('lets a push that it meets between entry and record start over, and the tag is listed', async () => {
    const moved = digestOf(Buffer.from('another manifest')) as Digest
    let swept: number | undefined
    // `may` is asked with the record in hand: what is entered after it is a stray to whoever looks now.
    const slow = new Tags({
      ...driver,
      write: async (key, bytes, condition) => {
        if (swept === undefined && key.includes('/tags/')) swept = await sweep()
        return await driver.write(key, bytes, condition)
      },
      readSmall: (key) => driver.readSmall(key),
      remove: (key) => driver.remove(key),
      list: (prefix, options) => driver.list(prefix, options),
    } as StorageDriver)
    await slow.point(name, other, { digest: moved, incarnation: 'j' }, async () => true)
    assert.ok(swept !== undefined && swept > 0)
    assert.deepEqual((await Array.fromAsync(tags.list(name, {}))).flat(), [tag, other])
    assert.deepEqual(await Array.fromAsync(tags.listOf(name, moved)), [other])
    assert.equal(await sweep(), 0)
  })
})
