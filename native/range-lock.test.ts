import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { lockRange, tryLockRange } from './range-lock.ts'

const folder = mkdtempSync(join(tmpdir(), 'gantry-locks-'))
const path = join(folder, 'lock')
const range = (startBytes: number, mode: 'shared' | 'exclusive' = 'exclusive') => ({ startBytes, lengthBytes: 1, mode })

describe('a range lock', () => {
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('excludes others of this process, on the same range only, until it is let go', () => {
    const held = tryLockRange(path, range(7))
    assert.ok(held)
    assert.equal(tryLockRange(path, range(7)), undefined)
    tryLockRange(path, range(8))?.[Symbol.dispose]()
    held[Symbol.dispose]()
    held[Symbol.dispose]()
    using again = tryLockRange(path, range(7))
    assert.ok(again)
  })

  it('is shared by those who only read', () => {
    using one = tryLockRange(path, range(9, 'shared'))
    using two = tryLockRange(path, range(9, 'shared'))
    assert.ok(one && two)
    assert.equal(tryLockRange(path, range(9)), undefined)
  })

  it('goes to who waits, one after the other', async () => {
    let inside = 0
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        using _held = await lockRange(path, 11, 1)
        inside += 1
        assert.equal(inside, 1)
        await new Promise(setImmediate)
        order.push(n)
        inside -= 1
      }),
    )
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    )
  })

  it('is waited for only until the signal', async () => {
    using _held = await lockRange(path, 13, 1)
    const stop = new AbortController()
    const reason = new Error('enough')
    const waiting = assert.rejects(lockRange(path, 13, 1, stop.signal), reason)
    stop.abort(reason)
    await waiting
  })

  it('is let go by the kernel when its holder in another process dies', async () => {
    const script = `import { tryLockRange } from ${JSON.stringify(join(import.meta.dirname, 'range-lock.ts'))}
      tryLockRange(${JSON.stringify(path)}, { startBytes: 17, lengthBytes: 1, mode: 'exclusive' })
      console.log('held'); setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    assert.equal(tryLockRange(path, range(17)), undefined)
    const waiting = lockRange(path, 17, 1)
    child.kill('SIGKILL')
    using _held = await waiting
  })
})
