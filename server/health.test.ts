import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { StorageUnavailable } from '../storage/errors.ts'
import { Health } from './health.ts'

describe('Health', () => {
  it('asks storage once for all who ask within a second', async () => {
    let asked = 0
    const health = new Health(async () => {
      asked++
      await delay(10)
    })
    const answers = await Promise.all(Array.from({ length: 20 }, () => health.problem()))
    assert.deepEqual([...new Set(answers), await health.problem()], [undefined, undefined])
    assert.equal(asked, 1)
  })

  it('says in words what is wrong with the disk', async () => {
    for (const [code, words] of [
      ['ENOSPC', 'no space is left'],
      ['EROFS', 'the filesystem is read-only'],
    ] as const) {
      const health = new Health(async () => {
        throw new StorageUnavailable('cannot write', { cause: Object.assign(new Error(code), { code }) })
      })
      assert.equal(await health.problem(), `storage does not work: ${words}`)
    }
  })

  it('does not wait for a disk that hangs, nor asks it again and again', async () => {
    let asked = 0
    const hangs = async (): Promise<void> => {
      asked++
      await new Promise(() => {})
    }
    const health = new Health(hangs, 5)
    for (let i = 0; i < 3; i++) assert.match((await health.problem()) ?? '', /storage has not answered for 0.005 s/)
    assert.equal(asked, 1)
  })

  it('is no longer ready once a stop is wanted, whatever storage says', async () => {
    const health = new Health(async () => {})
    assert.equal(await health.problem(), undefined)
    health.stopping()
    assert.equal(await health.problem(), 'the registry is stopping')
  })
})
