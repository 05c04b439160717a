/**
 * The measuring loop, a process of its own so that it can be put into a view of the machine. Takes a JSON request as its argument,
 * prints the times as JSON: in every round each contestant does each work once, in an order that turns.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Runtime, RuntimeError } from '../native/runtime.ts'
import { CommandFailed, type Taken, Timer } from './runtime-timer.ts'

/** Of config.json: without `linux.seccomp`, and with the default one. */
export type Profile = 'none' | 'default'
export const PROFILES: readonly Profile[] = ['none', 'default']

export interface Contestant {
  readonly name: string
  /** How to call it, up to the verb; the first that works is measured. */
  readonly commands: readonly (readonly string[])[]
}

/** For each a bundle that ends at once, and one that waits to be killed. */
export interface Bundles {
  readonly short: string
  readonly long: string
}

export interface RoundsRequest {
  readonly runs: number
  /** How often that many are started at once. */
  readonly crowds: number
  readonly crowdSize: number
  readonly folder: string
  readonly timer: string
  /** A command that makes the cheapest container. */
  readonly floor: readonly string[]
  /** The program alone. */
  readonly bare: readonly string[]
  readonly bundles: Readonly<Record<Profile, Bundles>>
  readonly contestants: readonly Contestant[]
}

export interface Series {
  readonly work: string
  readonly profile: Profile
  readonly who: string
  readonly ms: number[]
  /** Of the largest process of each. */
  readonly peakKb: number[]
}

export interface RoundsResult {
  readonly series: readonly Series[]
  /** Contestants that do not run here, and what they said. */
  readonly absent: readonly { readonly name: string; readonly said: string }[]
  /** Of measures that failed, what was said: each is missing in its series. */
  readonly failures: readonly string[]
}

export const HELPER = 'our helper'
export const BARE = 'the bare program'
export const FLOOR = 'clone3, mounts, pivot_root, execve'

const WARM_UP_ROUNDS = 3

let lastId = 0
const nextId = (): string => `gantry-bench-${process.pid}-${++lastId}`

interface Runner {
  readonly name: string
  readonly command: readonly string[]
}

class Rounds {
  readonly #request: RoundsRequest
  readonly #timer: Timer
  readonly #series = new Map<string, Series>()
  readonly #failures: string[] = []
  #recording = false

  constructor(request: RoundsRequest, timer: Timer) {
    this.#request = request
    this.#timer = timer
  }

  async all(): Promise<RoundsResult> {
    const { runs, crowds, folder, contestants } = this.#request
    await using stack = new AsyncDisposableStack()
    const absent: { name: string; said: string }[] = []
    const runners: Runner[] = []
    for (const contestant of contestants) {
      const found = await this.#choose(contestant)
      if ('said' in found) absent.push({ name: contestant.name, said: found.said })
      else runners.push(found)
    }
    const jobs: (() => Promise<void>)[] = [
      async () => this.#note('program', 'none', BARE, await this.#timer.run(this.#request.bare)),
      async () => this.#note('program', 'none', FLOOR, await this.#timer.run(this.#request.floor)),
    ]
    for (const profile of PROFILES) {
      for (const runner of runners) {
        jobs.push(
          () => this.#run(runner, profile),
          () => this.#createStartDelete(runner, profile),
        )
        const exec = await this.#execIn(runner, profile)
        stack.defer(exec.end)
        jobs.push(exec.once)
      }
    }
    const runtime = stack.use(await Runtime.start({ stateRoot: join(folder, 'library') }))
    const nothing = stack.use(await open('/dev/null', 'r+'))
    jobs.push(() => this.#spawnFromNode())
    for (const profile of PROFILES) jobs.push(() => this.#library(runtime, nothing.fd, profile))

    for (let round = -WARM_UP_ROUNDS; round < runs; round++) {
      this.#recording = round >= 0
      const first = (round + WARM_UP_ROUNDS) % jobs.length
      for (const job of [...jobs.slice(first), ...jobs.slice(0, first)]) await this.#attempt(job)
    }
    for (let crowd = 0; crowd < crowds; crowd++) {
      for (const profile of PROFILES) {
        for (const runner of runners) await this.#attempt(() => this.#crowd(runner, profile))
        await this.#attempt(() => this.#libraryCrowd(runtime, nothing.fd, profile))
      }
    }
    return { series: [...this.#series.values()], absent, failures: this.#failures }
  }

  /** One failure of somebody's is told, and not the end of everybody's figures. */
  async #attempt(job: () => Promise<void>): Promise<void> {
    try {
      await job()
    } catch (error) {
      if (!(error instanceof CommandFailed || error instanceof RuntimeError)) throw error
      this.#failures.push(error.message)
    }
  }

  /** With the first of its commands that works, or what the last one said. */
  async #choose({ name, commands }: Contestant): Promise<Runner | { readonly said: string }> {
    let said = ''
    for (const command of commands) {
      try {
        await this.#timer.run([...command, 'run', '--bundle', this.#request.bundles.none.short, nextId()])
        return { name: [name, ...command.slice(commands[0]?.length)].join(' '), command }
      } catch (error) {
        if (!(error instanceof CommandFailed)) throw error
        said = error.message
      }
    }
    return { said }
  }

  async #run({ name, command }: Runner, profile: Profile): Promise<void> {
    const { short } = this.#request.bundles[profile]
    this.#note('run', profile, name, await this.#timer.run([...command, 'run', '--bundle', short, nextId()]))
  }

  async #createStartDelete({ name, command }: Runner, profile: Profile): Promise<void> {
    const { short } = this.#request.bundles[profile]
    const id = nextId()
    const steps = [
      await this.#timer.run([...command, 'create', '--bundle', short, id]),
      await this.#timer.run([...command, 'start', id]),
    ]
    await this.#timer.reap() // the program's end is no part of it
    const deleted = await this.#timer.run([...command, 'delete', id])
    steps.push(deleted)
    const ms = steps.reduce((sum, step) => sum + step.ms, 0)
    this.#note('create + start + delete', profile, name, { ms, peakKb: Math.max(...steps.map(({ peakKb }) => peakKb)) })
    this.#note('of it: delete', profile, name, deleted)
  }

  /** A container that waits, and one more program in it. */
  async #execIn({ name, command }: Runner, profile: Profile): Promise<{ once(): Promise<void>; end(): Promise<void> }> {
    const id = nextId()
    const call = async (...args: string[]): Promise<void> => {
      const child = spawn(command[0] ?? '', [...command.slice(1), ...args], { stdio: 'ignore' })
      const [code] = (await once(child, 'exit')) as [number | null]
      if (code !== 0) throw new Error(`${command.join(' ')} ${args.join(' ')} exited with ${code}`)
    }
    await call('create', '--bundle', this.#request.bundles[profile].long, id)
    await call('start', id)
    return {
      once: async () => this.#note('exec', profile, name, await this.#timer.run([...command, 'exec', id, '/bin/true'])),
      end: () => call('delete', '--force', id),
    }
  }

  async #spawnFromNode(): Promise<void> {
    const begin = performance.now()
    await once(spawn(this.#request.bare[0] ?? '', { stdio: 'ignore' }), 'exit')
    this.#note('from Node', 'none', BARE, { ms: performance.now() - begin, peakKb: 0 })
  }

  async #library(runtime: Runtime, nothing: number, profile: Profile): Promise<void> {
    const begin = performance.now()
    await this.#viaHelper(runtime, nothing, profile)
    this.#note('from Node', profile, HELPER, { ms: performance.now() - begin, peakKb: 0 })
  }

  async #viaHelper(runtime: Runtime, nothing: number, profile: Profile): Promise<void> {
    const bundle = this.#request.bundles[profile].short
    const { exited } = await runtime.run({ id: nextId(), bundle, stdio: [nothing, nothing, nothing] })
    await exited
  }

  async #crowd({ name, command }: Runner, profile: Profile): Promise<void> {
    const { short } = this.#request.bundles[profile]
    const commands = this.#manyIds().map((id) => [...command, 'run', '--bundle', short, id])
    this.#note(this.#crowdWork(), profile, name, await this.#timer.together(commands))
  }

  async #libraryCrowd(runtime: Runtime, nothing: number, profile: Profile): Promise<void> {
    const begin = performance.now()
    await Promise.all(this.#manyIds().map(() => this.#viaHelper(runtime, nothing, profile)))
    this.#note(this.#crowdWork(), profile, HELPER, { ms: performance.now() - begin, peakKb: 0 })
  }

  #crowdWork(): string {
    return `${this.#request.crowdSize} runs at once`
  }

  #manyIds(): readonly string[] {
    return Array.from({ length: this.#request.crowdSize }, nextId)
  }

  #note(work: string, profile: Profile, who: string, { ms, peakKb }: Taken): void {
    if (!this.#recording) return
    const key = [work, profile, who].join('\0')
    const series = this.#series.get(key) ?? { work, profile, who, ms: [], peakKb: [] }
    this.#series.set(key, series)
    series.ms.push(ms)
    series.peakKb.push(peakKb)
  }
}

if (process.argv[1] === import.meta.filename) {
  const request = JSON.parse(process.argv[2] ?? '') as RoundsRequest
  using timer = new Timer(request.timer, join(request.folder, 'said'))
  const result = await new Rounds(request, timer).all()
  await writeFile(join(request.folder, 'rounds.json'), JSON.stringify(result))
}
