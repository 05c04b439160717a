/** What a pull is doing, for people (bars on a terminal, lines elsewhere) and for programs (one JSON object a line). Written to stderr by the CLI. */
import { type Digest, hexOf } from '../../storage/model/digest.ts'

export interface ProgressEvent {
  readonly layer: Digest
  readonly phase: 'downloading' | 'unpacking' | 'copying' | 'present' | 'mounted' | 'done'
  /** Of the blob as the registry has it. */
  readonly bytes: number
  readonly totalBytes: number
}

export type ProgressStyle = 'tty' | 'plain' | 'json' | 'quiet'

export interface Progress {
  event(event: ProgressEvent): void
  /** Leaves the terminal as text can follow. */
  end(): void
}

export interface ProgressOutput {
  write(text: string): unknown
  readonly columns?: number
  readonly rows?: number
}

const REDRAW_MS = 80
const PLAIN_REPEAT_MS = 5_000
const BAR_LIMIT_COLUMNS = 30
const SMALLEST_BAR_COLUMNS = 5
/** How far back a speed looks: long enough to be read, short enough to be true. */
const SPEED_WINDOW_MS = 5_000
const MOVING: readonly string[] = ['downloading', 'unpacking', 'copying']

/** `now` in milliseconds, of any beginning. */
export function createProgress(
  style: ProgressStyle,
  output: ProgressOutput,
  now: () => number = () => performance.now(),
): Progress {
  if (style === 'quiet') return { event: () => {}, end: () => {} }
  const speeds = new Speeds(now)
  if (style === 'tty') return new Bars(output, speeds, now)
  const print =
    style === 'json'
      ? everyWhile(REDRAW_MS, now, (event) => output.write(`${JSON.stringify({ ...event, ...speeds.of(event) })}\n`))
      : everyWhile(PLAIN_REPEAT_MS, now, (event, isNew) =>
          output.write(`${plainLine(event, isNew ? {} : speeds.of(event))}\n`),
        )
  return {
    event: (event) => {
      speeds.note(event)
      print(event)
    },
    end: () => {},
  }
}

interface Speed {
  readonly bytesPerSecond?: number
  readonly remainingSeconds?: number
}

/** Of each layer in the phase that it is in. */
class Speeds {
  readonly #now: () => number
  readonly #samples = new Map<
    Digest,
    { phase: string; readonly points: { readonly at: number; readonly bytes: number }[] }
  >()

  constructor(now: () => number) {
    this.#now = now
  }

  note({ layer, phase, bytes }: ProgressEvent): void {
    const at = this.#now()
    const known = this.#samples.get(layer)
    if (known?.phase !== phase) return void this.#samples.set(layer, { phase, points: [{ at, bytes }] })
    const last = known.points.at(-1)
    if (last && known.points.length > 1 && at - last.at < REDRAW_MS) known.points.pop()
    known.points.push({ at, bytes })
    while (known.points.length > 2 && at - (known.points[1]?.at ?? at) > SPEED_WINDOW_MS) known.points.shift()
  }

  /** Nothing as long as nothing can be said. */
  of({ layer, phase, bytes, totalBytes }: ProgressEvent): Speed {
    const { points = [] } = this.#samples.get(layer) ?? {}
    const [first, last] = [points[0], points.at(-1)]
    if (!MOVING.includes(phase) || !first || !last || last.at - first.at < REDRAW_MS || last.bytes <= first.bytes)
      return {}
    const bytesPerSecond = Math.round(((last.bytes - first.bytes) / (last.at - first.at)) * 1000)
    return {
      bytesPerSecond,
      remainingSeconds: Math.ceil(Math.max(0, totalBytes - bytes) / Math.max(1, bytesPerSecond)),
    }
  }
}

const short = (layer: Digest): string => hexOf(layer).slice(0, 12)

function plainLine({ layer, phase, bytes, totalBytes }: ProgressEvent, speed: Speed): string {
  const isMoving = phase === 'downloading' || phase === 'copying'
  const amount = !isMoving
    ? ''
    : speed.bytesPerSecond === undefined
      ? ` ${printBytes(totalBytes)}`
      : ` ${printBytes(bytes)}/${printBytes(totalBytes)}`
  return `${short(layer)}: ${phase}${amount}${printSpeed(speed)}`
}

function printSpeed({ bytesPerSecond, remainingSeconds }: Speed): string {
  if (bytesPerSecond === undefined) return ''
  return ` ${printBytes(bytesPerSecond)}/s${remainingSeconds ? ` ${printSeconds(remainingSeconds)}` : ''}`
}

/** `59s`, `2m05s`, `3h07m`. */
export function printSeconds(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0')
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`
  return seconds < 360_000 ? `${Math.floor(seconds / 3600)}h${two(Math.floor((seconds % 3600) / 60))}m` : '>99h'
}

/** The first and the last of each phase of a layer, and of those between one in a while. */
function everyWhile(
  intervalMs: number,
  now: () => number,
  print: (event: ProgressEvent, isNew: boolean) => void,
): (event: ProgressEvent) => void {
  const printed = new Map<Digest, { readonly phase: string; readonly at: number }>()
  return (event) => {
    const last = printed.get(event.layer)
    const isNew = last?.phase !== event.phase
    const isLast = intervalMs === REDRAW_MS && event.bytes >= event.totalBytes
    if (!isNew && !isLast && now() - (last?.at ?? 0) < intervalMs) return
    printed.set(event.layer, { phase: event.phase, at: now() })
    print(event, isNew)
  }
}

/** A line a layer, redrawn in place; never wider than the terminal, nor more than it has, or it could not be. */
class Bars implements Progress {
  readonly #output: ProgressOutput
  readonly #speeds: Speeds
  readonly #now: () => number
  readonly #layers = new Map<Digest, ProgressEvent>()
  #drawnLines = 0
  #drawnAt = Number.NEGATIVE_INFINITY

  constructor(output: ProgressOutput, speeds: Speeds, now: () => number) {
    this.#output = output
    this.#speeds = speeds
    this.#now = now
  }

  event(event: ProgressEvent): void {
    this.#speeds.note(event)
    this.#layers.set(event.layer, event)
    if (this.#now() - this.#drawnAt >= REDRAW_MS) this.#draw()
  }

  end(): void {
    if (this.#layers.size > 0) this.#draw()
  }

  #draw(): void {
    const { columns = 80, rows = 24 } = this.#output
    const lines = this.#lines(Math.max(1, rows - 1)).map(
      (line) => `\r\x1b[2K${line.slice(0, Math.max(1, columns - 1))}\n`,
    )
    const up = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : ''
    this.#output.write(`${up}${lines.join('')}${lines.length < this.#drawnLines ? '\x1b[J' : ''}`)
    this.#drawnLines = lines.length
    this.#drawnAt = this.#now()
  }

  /** Where not all fit, those that move, and a line about the others. */
  #lines(limit: number): readonly string[] {
    const { columns = 80 } = this.#output
    const all = [...this.#layers.values()]
    const line = (event: ProgressEvent): string => barLine(event, this.#speeds.of(event), columns)
    if (all.length <= limit) return all.map(line)
    const moving = all.filter(({ phase }) => MOVING.includes(phase))
    return [...moving.slice(0, limit - 1).map(line), `${all.length - moving.length} of ${all.length} layers done`]
  }
}

const PHASES: Readonly<Record<string, string>> = { present: 'already there', mounted: 'mounted', done: 'done' }

/** What does not fit is left out: first the time that remains, then the speed, then the bar. */
function barLine({ layer, phase, bytes, totalBytes }: ProgressEvent, speed: Speed, columns: number): string {
  if (!MOVING.includes(phase)) return `${short(layer)} ${PHASES[phase] ?? phase}`
  const name = `${short(layer)} ${phase.padEnd(11)}`
  const amount = ` ${printBytes(bytes)}/${printBytes(totalBytes)}`
  const { bytesPerSecond } = speed
  const ends = [printSpeed(speed), bytesPerSecond === undefined ? '' : printSpeed({ bytesPerSecond }), '']
  for (const end of ends) {
    const room = columns - 1 - name.length - amount.length - end.length - 3
    if (room < SMALLEST_BAR_COLUMNS) continue
    const width = Math.min(BAR_LIMIT_COLUMNS, room)
    const filled = totalBytes === 0 ? width : Math.round((Math.min(bytes, totalBytes) / totalBytes) * width)
    return `${name} [${'='.repeat(filled)}${' '.repeat(width - filled)}]${amount}${end}`
  }
  return `${name}${amount}`
}

/** Decimal units with three digits, as docker prints sizes. */
export function printBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000
  return `${unit === 0 ? value : Number(value.toPrecision(3))}${units[unit]}`
}
