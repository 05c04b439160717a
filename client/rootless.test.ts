/** Whom /etc/subuid gives which ids. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { subordinates } from './rootless.ts'

it('subordinate ids are those of the name and of the number, and what is no line of subuid(5) gives none', () => {
  const text = 'ada:100000:65536\nbob:200000:65536\n1000:300000:10\n# ada:1:1\nada:x:5\nada:400000\nada:500000:0\n'
  assert.deepEqual(subordinates(text, 'ada', 1000), [
    { first: 100_000, count: 65_536 },
    { first: 300_000, count: 10 },
  ])
  assert.deepEqual(subordinates(text, 'eve', 7), [])
})
