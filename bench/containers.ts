/**
 * The commands about containers, beside podman and docker on the same image, turn by turn: the time from the start of the command's process
 * until its end, as somebody who types it waits; many detached containers at once; and the memory of whoever holds one that does nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Workspace } from '../conformance/support/workspace.ts'
import { ask, type Engine, holderMemory, startEngines } from './engines.ts'
import { ratio, summarize, table } from './figures.ts'

const MOST_ROUNDS = 60
const WARM_UP_ROUNDS = 2
/** For each measure, so that the whole run stays below four minutes on any machine. */
const BUDGET_MS = 25_000
const BURST_ROUNDS = 2
const AT_ONCE = 50
const TIMEOUT_MS = 120_000
const IDLE = 'idle'

interface Racer {
  readonly name: string
  readonly command: readonly string[]
  readonly env: NodeJS.ProcessEnv
}

/** Resolves to the text to print. `only`: part of the name of a measure. */
export async function benchContainers(say: (progress: string) => void, only = ''): Promise<string> {
  if (process.getuid?.() !== 0) return 'containers: not measured, the daemon among the peers needs root'
  await using stack = new AsyncDisposableStack()
  const workspace = stack.use(await Workspace.open())
  say('containers: starting the engines')
  const engines = await startEngines(stack, workspace, say)
  const node: Racer = { name: 'node -e 0', command: [process.execPath, '-e', '0'], env: workspace.env }
  const verbs: Readonly<Record<string, (engine: Engine) => readonly string[]>> = {
    'run --rm IMAGE true': (engine) => ['run', '--rm', ...flagsOf(engine), engine.image, 'true'],
    'exec C true': () => ['exec', IDLE, 'true'],
    ps: () => ['ps'],
    logs: () => ['logs', IDLE],
  }
  for (const engine of engines) {
    await ask(engine, [
      'run',
      '-d',
      '--name',
      IDLE,
      ...flagsOf(engine),
      engine.image,
      'sh',
      '-c',
      'seq 100; exec sleep 1d',
    ])
  }
  const texts: string[] = []
  for (const [what, words] of Object.entries(verbs)) {
    if (!what.includes(only)) continue
    say(`containers: ${what}`)
    const racers = engines.map((engine) => ({ ...engine, command: [...engine.command, ...words(engine)] }))
    texts.push(report(what, await race([...racers, node])))
  }
  if ('memory'.includes(only)) texts.push(await memory(engines))
  if ('at once'.includes(only)) texts.push(await bursts(engines, say))
  return texts.join('\n\n')
}

const flagsOf = ({ runFlags }: Engine): readonly string[] => ['--network=none', ...runFlags]

/** Everybody once a round, in an order that turns. */
async function race(racers: readonly Racer[]): Promise<ReadonlyMap<string, readonly number[]>> {
  const times = new Map<string, number[]>(racers.map(({ name }) => [name, []]))
  const started = performance.now()
  for (let round = -WARM_UP_ROUNDS; round < MOST_ROUNDS && performance.now() - started < BUDGET_MS; round++) {
    const first = (round + WARM_UP_ROUNDS) % racers.length
    for (const racer of [...racers.slice(first), ...racers.slice(0, first)]) {
      const taken = await timeOne(racer)
      if (round >= 0) times.get(racer.name)?.push(taken)
    }
  }
  return times
}

/** Milliseconds from the start of the process until its end was noticed. */
async function timeOne({ command: [program = '', ...args], env }: Racer): Promise<number> {
  const begin = performance.now()
  const child: ChildProcess = spawn(program, args, { env, stdio: 'ignore', timeout: TIMEOUT_MS, killSignal: 'SIGKILL' })
  const [code] = (await once(child, 'exit')) as [number | null]
  const taken = performance.now() - begin
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} exited with ${code}`)
  return taken
}

function report(what: string, times: ReadonlyMap<string, readonly number[]>): string {
  const [ours = []] = times.values()
  const rows = [...times].map(([name, milliseconds], i) => {
    const { n, p50, p99, min } = summarize(milliseconds)
    const compared = i === 0 ? '' : ratio(summarize(ours).p50, p50)
    return [name, min.toFixed(1), p50.toFixed(1), p99.toFixed(1), `${n}`, compared]
  })
  return `${what}\n${table([['', 'min ms', 'p50 ms', 'p99 ms', 'n', 'ours to it, p50'], ...rows])}`
}

async function memory(engines: readonly Engine[]): Promise<string> {
  const rows: string[][] = []
  for (const engine of engines) {
    const { alone, share } = await holderMemory(engine, IDLE)
    rows.push([engine.name, `${alone}`, `${share}`])
  }
  return `memory of the process that holds an idle container\n${table([['', 'its alone, KiB', 'with its share of what others map too (Pss), KiB'], ...rows])}`
}

/** All commands are started at once; then one stops all, and one removes all. */
async function bursts(engines: readonly Engine[], say: (progress: string) => void): Promise<string> {
  const phases = ['started', 'stopped', 'removed', 'all'] as const
  const times = engines.map(() => ({ started: [], stopped: [], removed: [], all: [] }) as Record<string, number[]>)
  for (let round = -1; round < BURST_ROUNDS; round++) {
    for (const [i, engine] of engines.entries()) {
      say(`containers: ${AT_ONCE} at once, ${engine.name}`)
      const names = Array.from({ length: AT_ONCE }, (_, n) => `burst-${n}`)
      const taken: number[] = []
      for (const phase of [
        () => Promise.all(names.map((name) => ask(engine, detached(engine, name)))),
        () => ask(engine, ['stop', ...names]),
        () => ask(engine, ['rm', ...names]),
      ]) {
        const begin = performance.now()
        await phase()
        taken.push(performance.now() - begin)
      }
      taken.push(taken.reduce((sum, one) => sum + one, 0))
      for (const [at, phase] of phases.entries()) if (round >= 0) times[i]?.[phase]?.push(taken[at] ?? Number.NaN)
    }
  }
  const best = (of: Record<string, number[]> | undefined, phase: string): number => Math.min(...(of?.[phase] ?? []))
  const rows = engines.map(({ name }, i) => [
    name,
    ...phases.map((phase) => best(times[i], phase).toFixed(0)),
    i === 0 ? '' : ratio(best(times[0], 'all'), best(times[i], 'all')),
  ])
  const header = ['', ...phases.map((phase) => `${phase} ms`), 'ours to it, all']
  return `${AT_ONCE} × run -d at once, then stop and rm of all; after a round to warm up, the better of ${BURST_ROUNDS}\n${table([header, ...rows])}`
}

/** Killed by the signal that stops it: what is measured is not how a shell takes a SIGTERM. */
const detached = (engine: Engine, name: string): readonly string[] => [
  'run',
  '-d',
  '--name',
  name,
  '--stop-signal=KILL',
  ...flagsOf(engine),
  engine.image,
  'sleep',
  '1d',
]
