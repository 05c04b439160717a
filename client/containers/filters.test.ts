import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { filterContainers, isLabelled, parseFilters } from './filters.ts'

describe('filters', () => {
  const labelled = (...texts: readonly string[]): boolean =>
    isLabelled({ tier: 'front', stable: '' }, parseFilters(texts, ['label', 'label!']))

  it('of labels want all that are named, and none of those with a "!"', () => {
    assert.ok(labelled())
    assert.ok(labelled('label=tier', 'label=stable='))
    assert.ok(!labelled('label=tier', 'label=other'))
    assert.ok(labelled('label!=tier=back'))
    assert.ok(!labelled('label!=tier=front'))
    assert.ok(!labelled('label!=other', 'label!=stable'))
  })

  it('that cannot be meant are refused with what there is', () => {
    assert.throws(() => parseFilters(['x'], ['label']), /write KEY=VALUE/)
    assert.throws(() => parseFilters(['colour=red'], ['label', 'until']), /"colour": there are label, until/)
    for (const [filter, reason] of [
      ['health=fine', /one of none, starting, healthy, unhealthy/],
      ['status=gone', /one of created, restarting/],
      ['exited=x', /it is an exit code/],
      ['before=nobody', /no such container: nobody/],
    ] as const)
      assert.throws(
        () => filterContainers([], parseFilters([filter], ['health', 'status', 'exited', 'before'])),
        reason,
      )
  })
})
