/** `gantry stats`: what containers use, once a second, or once. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type House, openHouse } from '../containers/house.ts'
import { type Known, look } from '../containers/lifecycle.ts'
import { containerState, isAlive } from '../containers/state.ts'
import { type Usage, usageOf } from '../containers/usage.ts'
import type { Output } from './output.ts'
import { type Listing, printListing } from './templates/listing.ts'

export interface StatsFlags {
  readonly root: string
  readonly all?: boolean
  /** False: --no-stream. */
  readonly stream: boolean
  /** False: --no-trunc. */
  readonly trunc: boolean
  readonly format?: string
  readonly json?: boolean
}

const SECOND_MS = 1000
const SHORT_ID = 12
const NOTHING: Usage = {
  cpuNanoseconds: 0,
  memoryBytes: 0,
  memoryLimitBytes: 0,
  receivedBytes: 0,
  sentBytes: 0,
  readBytes: 0,
  writtenBytes: 0,
  processes: 0,
}

interface Sample {
  readonly known: Known
  /** `undefined`: it does not run. */
  readonly usage: Usage | undefined
  readonly takenMs: number
}

interface Row {
  readonly now: Sample
  readonly before: Sample | undefined
}

/** Of those that are named, else of all that run; until it is interrupted or nobody reads it, unless with --no-stream. */
export async function statsVerb(references: readonly string[], flags: StatsFlags, output: Output): Promise<void> {
  const house = await openHouse(flags.root)
  const again = flags.stream && process.stdout.isTTY ? '\u001b[H\u001b[J' : ''
  let before = await samples(house, references, flags)
  do {
    await sleep(SECOND_MS)
    const now = await samples(house, references, flags)
    const rows = now.map((sample) => ({
      now: sample,
      before: before.find(({ known }) => known.record.id === sample.known.record.id),
    }))
    const lines: string[] = []
    printListing(rows, listing(flags.trunc), flags, { ...output, line: (text) => void lines.push(text) })
    if (lines.length > 0 || again !== '') output.line(`${again}${lines.join('\n')}`)
    before = now
  } while (flags.stream && !output.unread?.aborted)
}

async function samples(house: House, references: readonly string[], flags: StatsFlags): Promise<readonly Sample[]> {
  const all = await (references.length > 0
    ? Promise.all(references.map((each) => look(house, each)))
    : everything(house))
  const shown = all.filter(({ state }) => references.length > 0 || flags.all || isAlive(state))
  return await Promise.all(
    shown.map(async (known) => ({
      known,
      usage: known.state.pid > 0 ? await usageOf(known.state.pid) : undefined,
      takenMs: performance.now(),
    })),
  )
}

async function everything({ containers }: House): Promise<readonly Known[]> {
  const records = (await containers.list()).toReversed()
  return await Promise.all(
    records.map(async (record) => {
      const folder = containers.folder(record.id)
      return { record, folder, state: await containerState(folder) }
    }),
  )
}

const listing = (trunc: boolean): Listing<Row> => ({
  columns: ['ID', 'Name', 'CPUPerc', 'MemUsage', 'MemPerc', 'NetIO', 'BlockIO', 'PIDs'],
  headings: {
    ID: 'CONTAINER ID',
    CPUPerc: 'CPU %',
    MemUsage: 'MEM USAGE / LIMIT',
    MemPerc: 'MEM %',
    NetIO: 'NET I/O',
    BlockIO: 'BLOCK I/O',
    PIDs: 'PIDS',
  },
  fields: (row) => fieldsOf(row, trunc),
  quiet: ({ now }) => now.known.record.id,
})

function fieldsOf({ now, before }: Row, trunc: boolean): Readonly<Record<string, string>> {
  const { record } = now.known
  const usage = now.usage ?? NOTHING
  const id = trunc ? record.id.slice(0, SHORT_ID) : record.id
  const share = usage.memoryLimitBytes > 0 ? usage.memoryBytes / usage.memoryLimitBytes : 0
  return {
    Container: id,
    ID: id,
    Name: record.name,
    CPUPerc: percent(cpuShare(now, before)),
    MemUsage: `${binarySize(usage.memoryBytes)} / ${binarySize(usage.memoryLimitBytes)}`,
    MemPerc: percent(share),
    NetIO: `${decimalSize(usage.receivedBytes)} / ${decimalSize(usage.sentBytes)}`,
    BlockIO: `${decimalSize(usage.readBytes)} / ${decimalSize(usage.writtenBytes)}`,
    PIDs: `${usage.processes}`,
  }
}

/** Of one processor, so that it may be more than one. */
function cpuShare(now: Sample, before: Sample | undefined): number {
  if (now.usage === undefined || before?.usage === undefined) return 0
  const used = now.usage.cpuNanoseconds - before.usage.cpuNanoseconds
  return Math.max(0, used / 1e6 / (now.takenMs - before.takenMs)) // it may have been started anew in between
}

const percent = (share: number): string => `${(share * 100).toFixed(2)}%`

/** As docker prints memory: four digits that count. */
const binarySize = (bytes: number): string => sized(bytes, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB'], 4)
/** As docker prints what was sent: three. */
const decimalSize = (bytes: number): string => sized(bytes, 1000, ['B', 'kB', 'MB', 'GB', 'TB'], 3)

function sized(bytes: number, step: number, units: readonly string[], digits: number): string {
  let value = bytes
  let unit = 0
  for (; value >= step && unit < units.length - 1; unit++) value /= step
  return `${Number(value.toPrecision(digits))}${units[unit]}`
}
