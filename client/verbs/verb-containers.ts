/** The verbs that do something to containers that are there, to several at a time: what can be done is, and what could not is said at the end. */
import { isatty } from 'node:tty'
import { type House, openHouse } from '../containers/house.ts'
import {
  killContainer,
  look,
  pauseContainer,
  removeContainer,
  renameContainer,
  resumeContainer,
  stopContainer,
  updateContainer,
  waitForContainer,
} from '../containers/lifecycle.ts'
import { parseInteger, parseSignal } from '../containers/quantities.ts'
import { RequestError } from '../containers/request-error.ts'
import { StartError, startContainer } from '../containers/start.ts'
import { containerState, isAlive } from '../containers/state.ts'
import { Slots } from '../registry/slots.ts'
import { parseDetachKeys } from './detach-keys.ts'
import type { CommonFlags } from './flags.ts'
import { type Output, warningsTo } from './output.ts'
import { type ResourceFlags, resources } from './run-request.ts'

export type Rooted = CommonFlags & { readonly root: string }
type References = readonly string[]

/** As docker does: stopping many takes as long as the slowest of them. */
const AT_ONCE = 50

/** What `act` resolves to if there is nothing to print. */
const NOTHING_DONE = Symbol('nothing done')

/** Prints each that it worked for, as it was called and in that order; throws what went wrong with the others. */
async function forEach(
  references: References,
  output: Output,
  act: (reference: string) => Promise<unknown>,
): Promise<void> {
  const failures: unknown[] = []
  const slots = new Slots(AT_ONCE)
  const acts = references.map((reference) => slots.run(() => act(reference)))
  for (const done of acts) done.catch(() => {}) // each is awaited in its turn
  for (const [i, done] of acts.entries()) {
    try {
      if ((await done) !== NOTHING_DONE) output.line(references[i] ?? '')
    } catch (error) {
      failures.push(error)
    }
  }
  if (failures.length > 1) throw new AggregateError(failures)
  if (failures.length === 1) throw failures[0]
}

async function tidyHouse(flags: Rooted, output: Output): Promise<House> {
  const house = await openHouse(flags.root)
  for (const problem of await house.containers.cleanUp()) output.note(`gantry: ${problem}`)
  return house
}

export interface StartFlags extends Rooted {
  readonly attach?: boolean
  readonly interactive?: boolean
  readonly detachKeys?: string
  readonly sigProxy: boolean
}

/** Resolves to the exit code: with -a the container's. */
export async function startVerb(references: References, flags: StartFlags, output: Output): Promise<number> {
  const house = await tidyHouse(flags, output)
  if (flags.attach || flags.interactive) return await startAttached(house, references, flags, output)
  await forEach(references, output, async (reference) => {
    await using container = await house.containers.open(reference)
    const connection = await startContainer(house, container, { detached: true, ...warningsTo(output) })
    await connection?.[Symbol.asyncDispose]()
  }).catch((error: Error) => {
    if (error instanceof StartError) throw Object.assign(error, { exitCode: 1 }) // docker's, whatever the reason
    throw error
  })
  return 0
}

async function startAttached(house: House, references: References, flags: StartFlags, output: Output): Promise<number> {
  const [reference = '', ...more] = references
  if (more.length > 0) throw new RequestError('you cannot attach to several containers at once: name one', 1)
  const detachKeys = parseDetachKeys(flags.detachKeys)
  await using container = await house.containers.open(reference)
  if (isAlive(await containerState(container.folder))) {
    await container.close()
    const { attachVerb } = await import('./verb-attach.ts')
    return await attachVerb(reference, { ...flags, stdin: flags.interactive ?? false })
  }
  const { request } = container.record
  const terminal = request.terminal ?? false
  const input = (flags.interactive ?? false) && (request.interactive ?? false)
  if (terminal && input && !isatty(0)) throw new StartError('the input device is not a TTY; leave -i out', 1)
  const { stay } = await import('./verb-attach.ts')
  const { columns, rows, isTTY } = process.stdout
  const left = await stay(
    { folder: container.folder, terminal, input, outputs: { stdout: true, stderr: true } },
    { detachKeys, sigProxy: flags.sigProxy },
    async (beforeStart) => {
      const consoleSize = terminal && isTTY && columns > 0 && rows > 0 ? { consoleSize: { columns, rows } } : {}
      const connection = await startContainer(house, container, {
        detached: !input,
        beforeStart,
        ...consoleSize,
        ...warningsTo(output),
      })
      await container.close()
      return connection
    },
  )
  return left.exitCode
}

export async function stopVerb(
  references: References,
  flags: Rooted & { readonly time?: string; readonly signal?: string },
  output: Output,
): Promise<void> {
  const house = await openHouse(flags.root)
  const options = stopOptions(flags)
  await forEach(references, output, (reference) => stopContainer(house, reference, options))
  await house.containers.cleanUp()
}

const stopOptions = (flags: { readonly time?: string; readonly signal?: string }) => ({
  ...(flags.time === undefined ? {} : { timeoutSeconds: parseInteger(flags.time, '--time', -1) }),
  ...(flags.signal === undefined ? {} : { signal: parseSignal(flags.signal) }),
})

export async function restartVerb(
  references: References,
  flags: Rooted & { readonly time?: string; readonly signal?: string },
  output: Output,
): Promise<void> {
  const house = await tidyHouse(flags, output)
  const options = stopOptions(flags)
  await forEach(references, output, async (reference) => {
    await stopContainer(house, reference, options)
    await using container = await house.containers.open(reference)
    const connection = await startContainer(house, container, { detached: true, ...warningsTo(output) })
    await connection?.[Symbol.asyncDispose]()
  })
}

export async function killVerb(
  references: References,
  flags: Rooted & { readonly signal: string },
  output: Output,
): Promise<void> {
  const signal = parseSignal(flags.signal)
  const house = await openHouse(flags.root)
  await forEach(references, output, (reference) => killContainer(house, reference, signal))
}

export async function pauseVerb(references: References, flags: Rooted, output: Output): Promise<void> {
  const house = await openHouse(flags.root)
  await forEach(references, output, (reference) => pauseContainer(house, reference))
}

export async function resumeVerb(references: References, flags: Rooted, output: Output): Promise<void> {
  const house = await openHouse(flags.root)
  await forEach(references, output, (reference) => resumeContainer(house, reference))
}

/** Prints the exit code of each. */
export async function waitVerb(references: References, flags: Rooted, output: Output): Promise<void> {
  const house = await openHouse(flags.root)
  const failures: unknown[] = []
  for (const reference of references)
    await waitForContainer(house, reference).then(
      (exitCode) => output.line(`${exitCode}`),
      (error: unknown) => failures.push(error),
    )
  if (failures.length > 1) throw new AggregateError(failures)
  if (failures.length === 1) throw failures[0]
}

export async function renameVerb(reference: string, name: string, flags: Rooted): Promise<void> {
  await renameContainer(await openHouse(flags.root), reference, name)
}

export async function removeVerb(
  references: References,
  flags: Rooted & { readonly force?: boolean; readonly volumes?: boolean },
  output: Output,
): Promise<void> {
  const house = await openHouse(flags.root)
  const options = { force: flags.force ?? false, volumes: flags.volumes ?? false }
  await forEach(references, output, (reference) =>
    removeContainer(house, reference, options).catch((error: Error) => {
      if (!options.force || error.name !== 'NoSuchContainer') throw error
      output.note(`gantry: ${error.message}`) // as docker: what is asked for is so
      return NOTHING_DONE
    }),
  )
}

export async function updateVerb(references: References, flags: Rooted & ResourceFlags, output: Output): Promise<void> {
  const update = resources(flags)
  if (Object.keys(update).length === 0)
    throw new RequestError('nothing to update: name a limit, such as --memory 512m, or --restart', 1)
  const house = await openHouse(flags.root)
  await forEach(references, output, (reference) =>
    updateContainer(house, reference, update, warningsTo(output).onWarning),
  )
}

/** Removes those that have ended, or were never started. Prints their ids. */
export async function pruneContainersVerb(
  flags: Rooted & { readonly force?: boolean; readonly filter: readonly string[] },
  output: Output,
): Promise<void> {
  const { isLabelled, parseFilters } = await import('../containers/filters.ts')
  const filters = parseFilters(flags.filter, ['label', 'label!', 'until'])
  const house = await tidyHouse(flags, output)
  if (!flags.force) {
    const { confirm } = await import('./confirm.ts')
    if (!(await confirm('This removes all stopped containers.', output))) return
  }
  const until = filters.get('until')?.at(-1)
  const { moment } = await import('./moments.ts')
  const latest = until === undefined ? undefined : moment(until, new Date())
  for (const record of await house.containers.list()) {
    const { state } = await look(house, record.id)
    if (state.status !== 'exited' && state.status !== 'created') continue
    if (!isLabelled({ ...record.process.Labels, ...record.request.labels }, filters)) continue
    if (latest !== undefined && record.created > latest) continue
    await removeContainer(house, record.id).catch((error: Error) => {
      if (error.name !== 'NoSuchContainer' && error.name !== 'WrongState') throw error // it has gone, or runs by now
    })
    output.line(record.id)
  }
}
