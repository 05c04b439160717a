/** Programs that do the same, turn by turn, each time from a disk that has nothing to do. */
import { join } from 'node:path'
import { run, succeed } from '../conformance/support/commands.ts'
import { uniqueName } from '../native/random.ts'
import { median, ratio } from './figures.ts'

const ROUNDS = 3
/** No round begins later: a machine that is slow, or busy, gets fewer. */
const LAST_BEGIN_MS = 25_000
const REMOVING_TIMEOUT_MS = 10 * 60_000

export interface Runner {
  readonly name: string
  /** Not measured: makes what each turn begins with. Resolves to what undoes it. */
  prepare?(round: number): Promise<() => Promise<unknown>>
  /** `target`: a path where nothing is yet, removed afterwards. Resolves to what it printed. */
  run(target: string): Promise<string>
}

export interface Turns {
  /** Ours first, then the best other one by how much it took longer. */
  readonly row: readonly string[]
  /** What the first one printed in its first turn. */
  readonly printed: string
}

/** `names`: the columns; who is not among the runners did not take part. */
export async function takeTurns(
  what: string,
  names: readonly string[],
  runners: readonly Runner[],
  folder: string,
  say: (progress: string) => void,
): Promise<Turns> {
  const samples = new Map(runners.map(({ name }) => [name, [] as number[]]))
  let printed = ''
  await spread(folder)
  const begun = performance.now()
  for (let round = 0; round < ROUNDS && (round === 0 || performance.now() - begun < LAST_BEGIN_MS); round++) {
    for (const runner of runners) {
      say(`images: ${what}, ${runner.name}, ${round + 1} of ${ROUNDS}`)
      const target = join(folder, uniqueName())
      const undo = await runner.prepare?.(round)
      await succeed('sync', [])
      let said = ''
      const run = async (): Promise<void> => {
        said = await runner.run(target)
      }
      samples.get(runner.name)?.push(await timed(run))
      if (round === 0 && runner === runners[0]) printed = said
      await succeed('rm', ['-rf', target], { timeoutMs: REMOVING_TIMEOUT_MS })
      await undo?.()
    }
  }
  const times = names.map((name) => {
    const taken = samples.get(name) ?? []
    return taken.length > 0 ? median(taken) : undefined
  })
  const [ours = 0, ...peers] = times
  const best = Math.min(...peers.filter((time) => time !== undefined))
  const shown = times.map((time) => (time === undefined ? '-' : seconds(time)))
  return { row: [what, ...shown, Number.isFinite(best) ? ratio(best, ours) : '-'], printed }
}

/**
 * Each turn's files go elsewhere on the disk, which ext4 decides by the name of a folder in such a one. Without a journal it gives no inode away that was
 * freed within a minute or five, and looks at all of them for each file that is made: who comes next would pay for what was removed after the turn before, seconds of it.
 */
async function spread(folder: string): Promise<void> {
  await run('chattr', ['+T', folder]) // in vain on other filesystems, which need it not
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return (performance.now() - begun) / 1000
}

export const seconds = (value: number): string => `${value.toFixed(2)} s`
