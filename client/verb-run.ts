/** `gantry run`: the process's own descriptors, signals and terminal, lent to a container for as long as it lives. */
import { constants } from 'node:os'
import { isatty } from 'node:tty'
import { Containers } from './containers/containers.ts'
import { type ImageRun, type RunRequest, StartError, startImage } from './containers/run.ts'
import type { RunFlags } from './flags.ts'
import { parseImageName } from './image-name.ts'
import { Images } from './images.ts'
import type { Output } from './output.ts'
import { choosePlatform } from './platform.ts'
import { StoreFolders } from './store.ts'

/** Those that ask a program something; the others are this process's own affair (job control, its children, its terminal's size). */
const FORWARDED: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGPIPE',
  'SIGALRM',
  'SIGTERM',
  'SIGCONT',
]

/** Resolves to the exit code. */
export async function runVerb(
  image: string,
  command: readonly string[],
  flags: RunFlags & { readonly root: string },
  output: Output,
): Promise<number> {
  const name = parseImageName(image)
  if (flags.tty && flags.interactive && !isatty(0))
    throw new StartError('the input device is not a TTY; leave -t out, or give it a terminal', 1)
  const store = await StoreFolders.open(flags.root)
  for (const problem of await new Containers(store).cleanUp()) output.note(`gantry: ${problem}`)
  const images = new Images(store)
  let present = await images.find(name)
  const fits = present && (!flags.platform || choosePlatform([present.config], flags.platform))
  if (!present || !fits || (await images.layers.find(present.config.diffIds)) === undefined) {
    if (!flags.quiet) output.note(`Unable to find image '${image}' locally`)
    const { pullShowing } = await import('./verb-pull.ts')
    present = await pullShowing(store, images, name, flags)
  }
  const pending = new PendingSignals()
  try {
    const run = await startImage(store, images, present, requestOf(command, flags))
    pending.passTo(run)
    return await finish(run, flags)
  } finally {
    pending.stop()
  }
}

async function finish(run: ImageRun, flags: RunFlags): Promise<number> {
  if (run.terminal === undefined) return await run.exited
  const { lendTerminal } = await import('./terminal.ts')
  const lent = lendTerminal(run.terminal, flags.interactive ?? false)
  try {
    const exitCode = await run.exited
    await lent.drained
    return exitCode
  } finally {
    lent.restore()
  }
}

function requestOf(command: readonly string[], flags: RunFlags): RunRequest {
  return {
    command,
    // docker's way: a name alone is taken from here, or left out if it is not set here
    environment: flags.env.flatMap((each) => {
      if (each.includes('=') || each === '') return [each]
      const value = process.env[each]
      return value === undefined ? [] : [`${each}=${value}`]
    }),
    autoRemove: flags.rm ?? false,
    interactive: flags.interactive ?? false,
    ...(flags.entrypoint === undefined ? {} : { entrypoint: flags.entrypoint }),
    ...(flags.workdir === undefined ? {} : { workingDirectory: flags.workdir }),
    ...(flags.user === undefined ? {} : { user: flags.user }),
    ...flags.securityOpt.at(-1),
    ...(flags.tty ? { terminal: terminalSize() } : {}),
  }
}

function terminalSize(): NonNullable<RunRequest['terminal']> {
  const { isTTY, columns, rows } = process.stdout
  return isTTY && columns > 0 && rows > 0 ? { columns, rows } : 'unsized'
}

/** What arrives before the container runs is kept for it. */
class PendingSignals {
  readonly #early: number[] = []
  readonly #listeners = new Map<NodeJS.Signals, () => void>()
  #run: ImageRun | undefined

  constructor() {
    for (const signal of FORWARDED) {
      const number = constants.signals[signal]
      const listener = (): void => {
        if (this.#run) this.#run.kill(number)
        else this.#early.push(number)
      }
      this.#listeners.set(signal, listener)
      process.on(signal, listener)
    }
  }

  passTo(run: ImageRun): void {
    this.#run = run
    for (const number of this.#early) run.kill(number)
  }

  stop(): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener)
  }
}
