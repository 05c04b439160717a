/**
 * `npm run faults`: 1 000 seeded `kill -9` during real pushes and 10 000 spoiled S3 calls, over every kind of fleet, in episodes.
 * `npm run faults -- --seed N` runs the one episode of that seed again. Exit code 1 at the first that fails, which prints its seed.
 */
import { parseArgs } from 'node:util'
import { type Outcome, runEpisode } from './episode.ts'
import { FLEETS, type FleetName } from './fleets.ts'
import { Random } from './random.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    fleet: { type: 'string' },
    kills: { type: 'string', default: '20' },
    calls: { type: 'string', default: '0' },
    from: { type: 'string', default: '1' },
    'total-kills': { type: 'string', default: '1000' },
    'total-calls': { type: 'string', default: '10000' },
    minutes: { type: 'string', default: '600' },
  },
})

const names = Object.keys(FLEETS) as FleetName[]
const fleetOf = (seed: number): FleetName =>
  names.find((name) => name === values.fleet) ?? new Random(`fleet of ${seed}`).pick(names)

const total = { kills: 0, faultedCalls: 0, acknowledged: 0, looked: 0, resumed: 0, mostResentBytes: 0 }
const deadline = Date.now() + Number(values.minutes) * 60_000
const single = values.seed !== undefined

for (let seed = Number(values.seed ?? values.from); ; seed += 1) {
  const fleet = fleetOf(seed)
  const began = performance.now()
  const outcome = await runEpisode({
    seed,
    fleet,
    kills: Number(values.kills),
    faultedCalls: Number(values.calls),
    seconds: (deadline - Date.now()) / 1000,
  })
  const seconds = ((performance.now() - began) / 1000).toFixed(0)
  say(`seed ${seed}: ${fleet}: ${printed(outcome)}, ${seconds} s`)
  total.kills += outcome.kills
  total.faultedCalls += outcome.faultedCalls
  total.acknowledged += outcome.acknowledged
  total.resumed += outcome.resumed
  total.looked += outcome.looked
  total.mostResentBytes = Math.max(total.mostResentBytes, outcome.mostResentBytes)
  const enough = total.kills >= Number(values['total-kills']) && total.faultedCalls >= Number(values['total-calls'])
  if (single || enough || Date.now() > deadline) break
}
say(`in all: ${printed(total)}: 0 acknowledged bytes lost, 0 wrong bytes, 0 left after the sweep`)

function printed(figures: Omit<Outcome, 'operations' | 'misled'>): string {
  const { kills, faultedCalls, acknowledged, resumed, looked, mostResentBytes } = figures
  return `${kills} kills, ${faultedCalls} spoiled S3 calls, ${acknowledged} acknowledged, ${resumed} resumed, ${looked} looked at, at most ${(mostResentBytes / 2 ** 20).toFixed(1)} MiB sent again`
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
