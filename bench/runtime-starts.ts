/**
 * The measuring loop, a process of its own so that it can be put into a view of the machine. Takes a JSON request as its argument,
 * prints the times as JSON: every contestant once per round, in an order that turns.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

export interface Contestant {
  readonly name: string
  readonly kind: 'process' | 'runtime'
  /** What to start, up to `run`; the first that works is measured. */
  readonly commands: readonly (readonly string[])[]
  readonly bundle?: string
}

export interface StartTimes {
  readonly name: string
  /** What had to be added to its plain command to make it run. */
  readonly options: readonly string[]
  /** Empty if it does not run here. */
  readonly milliseconds: number[]
  /** What it said then. */
  readonly problem?: string
}

interface Request {
  readonly runs: number
  readonly contestants: readonly Contestant[]
}

const WARM_UP_ROUNDS = 3
const TIMEOUT_MS = 20_000

let lastId = 0

function commandLine({ kind, bundle = '' }: Contestant, command: readonly string[]): readonly string[] {
  return kind === 'process'
    ? command
    : [...command, 'run', '--bundle', bundle, `gantry-bench-${process.pid}-${++lastId}`]
}

/** Milliseconds from the start of the process until its end was noticed. */
async function timeOne([command = '', ...args]: readonly string[]): Promise<number> {
  const begin = performance.now()
  const child: ChildProcess = spawn(command, args, { stdio: 'ignore', timeout: TIMEOUT_MS, killSignal: 'SIGKILL' })
  const [code] = (await once(child, 'exit')) as [number | null]
  const taken = performance.now() - begin
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${code}`)
  return taken
}

/** The first of its commands that works, or what the last one said. */
async function choose(contestant: Contestant): Promise<{ command?: readonly string[]; said: string }> {
  let said = ''
  for (const candidate of contestant.commands) {
    const [command = '', ...args] = commandLine(contestant, candidate)
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: TIMEOUT_MS })
    said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const [code] = (await once(child, 'close')) as [number | null]
    if (code === 0) return { command: candidate, said }
  }
  return { said }
}

async function measure({ runs, contestants }: Request): Promise<readonly StartTimes[]> {
  const measured: { contestant: Contestant; command?: readonly string[]; times: StartTimes }[] = []
  for (const contestant of contestants) {
    const { command, said } = await choose(contestant)
    const options = command?.slice(contestant.commands[0]?.length) ?? []
    const times: StartTimes = { name: contestant.name, options, milliseconds: [], problem: said.trim() }
    measured.push({ contestant, times, ...(command === undefined ? {} : { command }) })
  }
  for (let round = -WARM_UP_ROUNDS; round < runs; round++) {
    const first = (round + WARM_UP_ROUNDS) % measured.length
    for (const { contestant, command, times } of [...measured.slice(first), ...measured.slice(0, first)]) {
      if (command === undefined) continue
      const taken = await timeOne(commandLine(contestant, command))
      if (round >= 0) times.milliseconds.push(taken)
    }
  }
  return measured.map(({ times }) => times)
}

const result = await measure(JSON.parse(process.argv[2] ?? '') as Request)
process.stdout.write(`${JSON.stringify(result)}\n`)
