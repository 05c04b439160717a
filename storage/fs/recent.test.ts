import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { Key } from '../driver.ts'
import { readRecord, writeRecord } from '../records.ts'
import { openFsDriver } from './driver.ts'
import { FileObject, RecentObjects } from './recent.ts'

const key = (text: string): Key => text as Key
const object = (bytes: number): FileObject => new FileObject(Buffer.alloc(bytes))

describe('small objects that were read last', () => {
  it('are read anew whenever another process wrote them, and are the same object until then', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-recent-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const [one, another] = [await openFsDriver(folder), await openFsDriver(folder)]
    t.after(() => Promise.all([one.close(), another.close()]))

    const at = key('r/some/tags/latest')
    let standing = await writeRecord(another, at, { count: 0 }, undefined)
    for (let count = 1; count <= 20; count += 1) {
      const first = await readRecord<{ count: number }>(one, at)
      assert.deepEqual(first?.value, standing.value)
      assert.equal(first?.version, standing.version)
      assert.equal((await readRecord(one, at))?.value, first?.value, 'not parsed twice')
      standing = await writeRecord(another, at, { count }, standing)
    }
  })

  it('are forgotten when others were asked for since, and kept while they are asked for', () => {
    const recent = new RecentObjects()
    recent.set('asked', object(1))
    recent.set('forgotten', object(1))
    for (let index = 0; index < 1_000; index += 1) {
      recent.set(`${index}`, object(64 * 1024))
      assert.ok(recent.get('asked'))
    }
    assert.equal(recent.get('forgotten'), undefined)
    assert.equal(recent.get('0'), undefined)
    assert.ok(recent.get('999'))
  })
})
