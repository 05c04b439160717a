/** Figures that are printed have to be what they are called. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { summarize, table } from './figures.ts'

test('percentiles are samples that were really taken, by nearest rank', () => {
  const samples = Array.from({ length: 200 }, (_, index) => 200 - index)
  assert.deepEqual(summarize(samples), { n: 200, p50: 100, p99: 198, min: 1 })
  assert.deepEqual(summarize([7]), { n: 1, p50: 7, p99: 7, min: 7 })
  assert.throws(() => summarize([]), RangeError)
})

test('a table lines its columns up', () => {
  assert.equal(
    table([
      ['a', '1'],
      ['long', '22'],
    ]),
    'a      1\nlong  22',
  )
})
