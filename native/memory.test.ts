import assert from 'node:assert/strict'
import { test } from 'node:test'
import { forgetPages } from './memory.ts'

const MIB = 2 ** 20

test('memory that is forgotten is the system’s again, wherever it begins, and good to use as before', () => {
  const whole = Buffer.allocUnsafeSlow(96 * MIB)
  const bytes = whole.subarray(1, whole.length - 1)
  whole.fill(7)
  const before = process.memoryUsage.rss()
  forgetPages(bytes)
  assert.ok(before - process.memoryUsage.rss() > 64 * MIB, 'its pages are still there')
  assert.deepEqual([whole[0], whole.at(-1)], [7, 7]) // what is beside it is not touched
  assert.equal(bytes[bytes.length >> 1], 0)
  bytes.fill(9)
  assert.ok(bytes.every((byte) => byte === 9))
  forgetPages(bytes.subarray(10, 20)) // not a page
  assert.equal(bytes[15], 9)
})
