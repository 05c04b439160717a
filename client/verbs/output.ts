/**
 * Where the command writes. Always with plain writes: Node's own streams would make the descriptors non-blocking, and a container that is
 * given the same ones would find them so.
 */
import { writeSync } from 'node:fs'

export interface Output {
  /** The answer, for a pipe. */
  line(text: string): void
  /** Everything else, for a person. */
  note(text: string): void
  /** Nobody reads the answer any more: what would go on answering for ever ends. */
  readonly unread?: AbortSignal
}

const unread = new AbortController()

export const processOutput: Output = {
  unread: unread.signal,
  line: (text) => writeAll(1, `${text}\n`),
  note: (text) => writeAll(2, `${text}\n`),
}

/** What will not be as it was asked for, to the person. */
export const warningsTo = (output: Output) => ({
  onWarning: (warning: string): void => output.note(`gantry: ${warning}`),
})

/** Whatever the descriptor is, and whoever has made it what it is. */
export function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EPIPE') {
        if (fd === 1) unread.abort()
        return
      }
      if (code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5) // somebody else made it non-blocking, and it is full
    }
  }
}

/** Columns as wide as their widest cell, three spaces between. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('   ')
        .trimEnd(),
    )
    .join('\n')
}

/** As docker says it: "3 hours ago". */
export function printAge(then: Date, now: Date): string {
  const seconds = Math.max(0, Math.round((now.getTime() - then.getTime()) / 1000))
  const steps: readonly (readonly [number, string])[] = [
    [365 * 86_400, 'year'],
    [30 * 86_400, 'month'],
    [7 * 86_400, 'week'],
    [86_400, 'day'],
    [3_600, 'hour'],
    [60, 'minute'],
    [1, 'second'],
  ]
  const [length, unit] = steps.find(([each]) => seconds >= 2 * each) ?? [1, 'second']
  const count = Math.floor(seconds / length)
  return count < 2 && unit === 'second' ? 'just now' : `${count} ${unit}s ago`
}
