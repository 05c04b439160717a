import assert from 'node:assert/strict'
import { it } from 'node:test'
import { PartPool } from './part-pool.ts'

const PART = 64 * 1024
const bytes = Buffer.alloc(PART, 1)

it('a pool makes no more memory than it may, however often it is taken and given back', async () => {
  const pool = new PartPool(PART, 3 * PART)
  const made = new Set<ArrayBufferLike>()
  for (let round = 0; round < 20; round += 1) {
    const taken = await Promise.all([pool.take(PART), pool.take(PART), pool.take(PART)])
    for (const buffer of taken) {
      assert.equal(buffer.fill(bytes, PART), PART)
      made.add(buffer.bytes.buffer)
    }
    const waiting = pool.take(PART)
    assert.equal(pool.contended, true)
    for (const buffer of taken) buffer[Symbol.dispose]()
    const next = await waiting
    next[Symbol.dispose]()
    next[Symbol.dispose]() // once is what counts
  }
  assert.equal(made.size, 3)
})

it('a part that is larger than the pool’s counts as one of them, and leaves no other in its place', async () => {
  const pool = new PartPool(PART, PART)
  const own = await pool.take(PART)
  own.fill(bytes, PART)
  const memory = own.bytes.buffer
  own[Symbol.dispose]()
  const large = await pool.take(2 * PART)
  assert.deepEqual([large.fill(bytes, 2 * PART), large.fill(bytes, 2 * PART), pool.contended], [PART, PART, false])
  const waiting = pool.take(PART)
  assert.equal(pool.contended, true)
  large[Symbol.dispose]()
  const again = await waiting
  again.fill(bytes, PART)
  assert.equal(again.bytes.buffer, memory)
})

it('who does not wait any longer takes nothing from those behind', async () => {
  const pool = new PartPool(PART, PART)
  const held = await pool.take(PART)
  const leaving = new AbortController()
  const left = pool.take(PART, leaving.signal)
  const staying = pool.take(PART)
  leaving.abort(new Error('the client left'))
  await assert.rejects(left, /the client left/)
  held[Symbol.dispose]()
  ;(await staying)[Symbol.dispose]()
})
