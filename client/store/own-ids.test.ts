/** What a user namespace has, by what the kernel says of it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseOwnIds } from './own-ids.ts'

const line = (inside: number, outside: number, count: number): string =>
  `${[inside, outside, count].map((number) => String(number).padStart(10)).join(' ')}\n`

describe('the ids that there are', () => {
  it('are all of them where no namespace is, or this kernel has none', () => {
    for (const map of [line(0, 0, 4_294_967_295), '']) {
      const { isHost, hasUser, hasGroup, mayChangeGroups } = parseOwnIds(map, map, 'allow\n')
      assert.deepEqual([isHost, hasUser(4_000_000), hasGroup(5), mayChangeGroups], [true, true, true, true])
    }
  })

  it('are those of the ranges that are mapped', () => {
    const map = line(0, 1000, 1) + line(1, 100_000, 65_536)
    const { isHost, hasUser, hasGroup, mayChangeGroups } = parseOwnIds(map, line(0, 1000, 1), 'allow\n')
    assert.deepEqual([isHost, mayChangeGroups], [false, true])
    assert.deepEqual([0, 1, 65_536, 65_537].map(hasUser), [true, true, true, false])
    assert.deepEqual([0, 1].map(hasGroup), [true, false])
  })

  it('may leave no choice of groups', () => {
    assert.equal(parseOwnIds(line(0, 1000, 1), line(0, 1000, 1), 'deny\n').mayChangeGroups, false)
  })
})
