/** One episode: clients at work, a fleet that is killed under them again and again, then the reckoning. All of it follows from the seed. */
import { setTimeout as delay } from 'node:timers/promises'
import { Workspace } from '../support/workspace.ts'
import { Actor, type Figures, Violation } from './actor.ts'
import { auditVisible, sweptLeftovers } from './audit.ts'
import { FLEETS, type FleetName } from './fleets.ts'
import { Random } from './random.ts'

const MIB = 1024 * 1024
const ACTORS = 4
/** Who came back is given so long to be of use to somebody before it is killed again. */
const WORK_MS = 2_000

interface Episode {
  readonly seed: number
  readonly fleet: FleetName
  readonly kills: number
  /** It does not end before so many S3 calls were spoiled, if its fleet makes any. */
  readonly faultedCalls?: number
  /** Kills and faults end then, however many there were. */
  readonly seconds?: number
}

export interface Outcome extends Figures {
  readonly kills: number
  readonly faultedCalls: number
  /** Blobs, manifests, tags and lists that were asked for at the end, twice. */
  readonly looked: number
}

/** Throws, with the seed and all that is needed to see why, if anything that was acknowledged is lost, wrong or left behind. */
export async function runEpisode({ seed, fleet: name, kills, faultedCalls = 0, seconds }: Episode): Promise<Outcome> {
  const random = new Random(seed)
  const workspace = await Workspace.open()
  const killed: string[] = []
  let actors: readonly Actor[] = []
  let log = (): string => ''
  try {
    await using fleet = await FLEETS[name](workspace, random.fork('fleet'))
    log = () => fleet.log()
    const enough = new AbortController()
    const ends = seconds === undefined ? undefined : setTimeout(() => enough.abort(), seconds * 1000)
    const figures: Figures = { operations: 0, acknowledged: 0, resumed: 0, misled: 0, mostResentBytes: 0 }
    const shared = {
      urls: fleet.urls,
      signal: enough.signal,
      settled: fleet.settled,
      lies: fleet.lies,
      resentBytes: fleet.resentBytes,
      fills: name === 'a disk that fills',
      largestBytes: (name === 'a disk that fills' ? 8 : 48) * MIB,
      figures,
    }
    actors = Array.from({ length: ACTORS }, (_, n) => new Actor(`c${n}`, shared, random.fork(`actor ${n}`)))
    const working = Promise.all(actors.map((actor) => actor.work().finally(() => enough.abort())))
    working.catch(() => {}) // thrown below
    // Each at its own times: at some of them nobody is there.
    let begun = 0
    const callsAreMissing = (): boolean => fleet.callsS3 && fleet.faulted() < faultedCalls
    const killAt = async (place: number): Promise<void> => {
      const chance = random.fork(`place ${place}`)
      for (let n = 0; !enough.signal.aborted && (begun < kills || callsAreMissing()); n += 1) {
        if (begun >= kills) await delay(100)
        else {
          begun += 1
          const before = figures.acknowledged
          const latest = Date.now() + WORK_MS
          while (!enough.signal.aborted && figures.acknowledged === before && Date.now() < latest) await delay(20)
          killed.push(await fleet.kill(place, chance.fork(`kill ${n}`)))
        }
      }
    }
    try {
      const killing = fleet.urls.map((_, place) => killAt(place).finally(() => enough.abort()))
      await Promise.allSettled(killing)
      await Promise.all(killing)
    } finally {
      clearTimeout(ends)
      enough.abort()
      await working
    }
    await fleet.calm()
    const repositories = actors.flatMap((actor) => actor.repositories)
    let looked = await auditVisible(fleet.urls, repositories)
    const left = await sweptLeftovers(fleet)
    if (left.length > 0)
      throw new Violation(`${left.length} things are left after the sweep:\n  ${left.slice(0, 20).join('\n  ')}`)
    looked += await auditVisible(fleet.urls, repositories) // the sweep took nothing that was acknowledged
    return { ...figures, kills: killed.length, faultedCalls: fleet.faulted(), looked }
  } catch (cause) {
    const histories = actors.map(({ name: who, history }) => `--- ${who}\n${history.join('\n')}`).join('\n')
    const log64 = log().slice(-16_000)
    throw new Error(
      `seed ${seed}, ${name}, kill ${killed.length} (${killed.at(-1)}): ${(cause as Error).message}\n` +
        `again: npm run faults -- --seed ${seed} --fleet '${name}' --kills ${kills} --calls ${faultedCalls}\n${histories}\n--- registry\n${log64}`,
      { cause },
    )
  } finally {
    await workspace[Symbol.asyncDispose]()
  }
}
