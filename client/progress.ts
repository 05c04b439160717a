/** What a pull is doing, for people (bars on a terminal, lines elsewhere) and for programs (one JSON object a line). Written to stderr by the CLI. */
import { type Digest, hexOf } from '../storage/model/digest.ts'

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
}

const REDRAW_MS = 80
const BAR_LIMIT_COLUMNS = 30

export function createProgress(style: ProgressStyle, output: ProgressOutput): Progress {
  if (style === 'tty') return new Bars(output)
  if (style === 'json')
    return { event: throttled((event) => output.write(`${JSON.stringify(event)}\n`)), end: () => {} }
  if (style === 'plain') return { event: onEachPhase((event) => output.write(`${plainLine(event)}\n`)), end: () => {} }
  return { event: () => {}, end: () => {} }
}

const short = (layer: Digest): string => hexOf(layer).slice(0, 12)

function plainLine({ layer, phase, totalBytes }: ProgressEvent): string {
  return `${short(layer)}: ${phase}${phase === 'downloading' ? ` ${printBytes(totalBytes)}` : ''}`
}

/** Once for each phase a layer enters. */
function onEachPhase(print: (event: ProgressEvent) => void): (event: ProgressEvent) => void {
  const phases = new Map<Digest, string>()
  return (event) => {
    if (phases.get(event.layer) === event.phase) return
    phases.set(event.layer, event.phase)
    print(event)
  }
}

/** The first and the last of a phase, and some between. */
function throttled(print: (event: ProgressEvent) => void): (event: ProgressEvent) => void {
  const printed = new Map<Digest, { readonly phase: string; readonly at: number }>()
  return (event) => {
    const last = printed.get(event.layer)
    const now = performance.now()
    if (last?.phase === event.phase && now - last.at < REDRAW_MS && event.bytes < event.totalBytes) return
    printed.set(event.layer, { phase: event.phase, at: now })
    print(event)
  }
}

/** A line a layer, redrawn in place; never wider than the terminal, or it could not be. */
class Bars implements Progress {
  readonly #output: ProgressOutput
  readonly #layers = new Map<Digest, ProgressEvent>()
  #drawnLines = 0
  #drawnAt = Number.NEGATIVE_INFINITY

  constructor(output: ProgressOutput) {
    this.#output = output
  }

  event(event: ProgressEvent): void {
    this.#layers.set(event.layer, event)
    if (performance.now() - this.#drawnAt >= REDRAW_MS) this.#draw()
  }

  end(): void {
    if (this.#layers.size > 0) this.#draw()
  }

  #draw(): void {
    const columns = this.#output.columns ?? 80
    const lines = [...this.#layers.values()].map((event) => `\r\x1b[2K${barLine(event, columns)}\n`)
    this.#output.write((this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : '') + lines.join(''))
    this.#drawnLines = lines.length
    this.#drawnAt = performance.now()
  }
}

function barLine({ layer, phase, bytes, totalBytes }: ProgressEvent, columns: number): string {
  const name = `${short(layer)} ${phase.padEnd(11)}`
  if (phase === 'done') return `${short(layer)} done`.slice(0, columns - 1)
  const amount = ` ${printBytes(bytes)}/${printBytes(totalBytes)}`
  const width = Math.min(BAR_LIMIT_COLUMNS, columns - 1 - name.length - amount.length - 3)
  if (width < 5) return `${name}${amount}`.slice(0, columns - 1)
  const filled = totalBytes === 0 ? width : Math.round((Math.min(bytes, totalBytes) / totalBytes) * width)
  return `${name} [${'='.repeat(filled)}${' '.repeat(width - filled)}]${amount}`
}

/** Decimal units with three digits, as docker prints sizes. */
export function printBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000
  return `${unit === 0 ? value : Number(value.toPrecision(3))}${units[unit]}`
}
