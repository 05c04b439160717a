/** A few episodes of `npm run faults`: a registry that is killed again and again, under clients who remember what they were told. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { missing } from '../support/needs.ts'
import { s3Kinds } from '../support/s3-server.ts'
import { runEpisode } from './episode.ts'
import type { FleetName } from './fleets.ts'

const SEED = Number(process.env['GANTRY_FAULTS_SEED'] ?? Date.now() % 1_000_000)
const [bucket = { skip: 'no S3 server' }] = await s3Kinds()
const strace = await missing('strace')

/** Of kills, on a machine that is busy with other things: a few of them say something, too. */
const SECONDS = 12

const ROWS: readonly (readonly [fleet: FleetName, kills: number, faultedCalls: number, skip: string | false])[] = [
  ['one process on a disk', 5, 0, strace],
  ['workers on a disk', 5, 0, strace],
  ['replicas on one disk', 5, 0, strace],
  ['a disk that fills', 4, 0, strace],
  ['replicas on versitygw', 4, 100, strace || bucket.skip],
]

describe('nothing acknowledged is lost, wrong or left behind', () => {
  for (const [index, [fleet, kills, faultedCalls, skip]] of ROWS.entries()) {
    const seed = SEED + index
    it(`in up to ${kills} kills of ${fleet} (seed ${seed})`, { skip }, async (t) => {
      const outcome = await runEpisode({ seed, fleet, kills, faultedCalls, seconds: SECONDS })
      t.diagnostic(JSON.stringify(outcome))
      assert.ok(outcome.kills > 0 && outcome.acknowledged > 0)
    })
  }
})
