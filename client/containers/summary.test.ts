import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ContainerState } from './state.ts'
import { humanDuration, statusText } from './summary.ts'

describe('how long something took, as docker says it', () => {
  const SECOND = 1000
  const MINUTE = 60 * SECOND
  const HOUR = 60 * MINUTE
  const DAY = 24 * HOUR
  const cases: readonly (readonly [number, string])[] = [
    [0, 'Less than a second'],
    [SECOND, '1 second'],
    [59 * SECOND, '59 seconds'],
    [60 * SECOND, 'About a minute'],
    [119 * SECOND, 'About a minute'],
    [2 * MINUTE, '2 minutes'],
    [59 * MINUTE, '59 minutes'],
    [HOUR, 'About an hour'],
    [89 * MINUTE, 'About an hour'],
    [90 * MINUTE, '2 hours'],
    [47 * HOUR, '47 hours'],
    [48 * HOUR, '2 days'],
    [13 * DAY, '13 days'],
    [14 * DAY, '2 weeks'],
    [59 * DAY, '8 weeks'],
    [60 * DAY, '2 months'],
    [729 * DAY, '24 months'],
    [730 * DAY, '2 years'],
  ]
  for (const [ms, expected] of cases)
    it(`${ms / SECOND} s are "${expected}"`, () => assert.equal(humanDuration(ms), expected))
})

describe('the status of a container', () => {
  const now = new Date('2026-01-01T01:00:00Z')
  const state: ContainerState = {
    status: 'running',
    pid: 1,
    exitCode: 3,
    oomKilled: false,
    error: '',
    startedAt: '2026-01-01T00:57:00Z',
    finishedAt: '2026-01-01T00:58:00Z',
    restartCount: 0,
    stoppedByUser: false,
    networkNamespace: '',
    needsRecovery: false,
  }
  const health = (status: 'starting' | 'healthy') => ({ health: { status, failingStreak: 0, log: [] } })
  const cases: readonly (readonly [Partial<ContainerState>, string])[] = [
    [{}, 'Up 3 minutes'],
    [{ status: 'paused' }, 'Up 3 minutes (Paused)'],
    [health('starting'), 'Up 3 minutes (health: starting)'],
    [health('healthy'), 'Up 3 minutes (healthy)'],
    [{ status: 'exited' }, 'Exited (3) 2 minutes ago'],
    [{ status: 'restarting' }, 'Restarting (3) 2 minutes ago'],
    [{ status: 'created' }, 'Created'],
  ]
  for (const [change, expected] of cases)
    it(`is "${expected}"`, () => assert.equal(statusText({ ...state, ...change }, now), expected))
})
