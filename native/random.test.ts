import assert from 'node:assert/strict'
import { it } from 'node:test'
import { randomHex, uniqueName } from './random.ts'

it('random names are hex of the size that was asked for, and never the same', () => {
  assert.match(randomHex(32), /^[0-9a-f]{64}$/)
  assert.equal(new Set(Array.from({ length: 1000 }, uniqueName)).size, 1000)
})
