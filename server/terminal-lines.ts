/** What a verb says to the person at the terminal besides its result: a line that is written over, and a question. Both on standard error. */
import { createInterface } from 'node:readline/promises'
import { CannotServe } from './reasons.ts'

const EVERY_MS = 100

/** One line that shows how far a long work has come. Nothing at all where standard error is no terminal. */
export class StatusLine implements Disposable {
  #shownAt = 0

  show(text: string): void {
    if (!process.stderr.isTTY || Date.now() - this.#shownAt < EVERY_MS) return
    this.#shownAt = Date.now()
    process.stderr.write(`\r\u001b[K${text.slice(0, (process.stderr.columns || 80) - 1)}`)
  }

  /** So that other lines can be written. */
  clear(): void {
    if (this.#shownAt === 0) return
    this.#shownAt = 0
    process.stderr.write('\r\u001b[K')
  }

  [Symbol.dispose](): void {
    this.clear()
  }
}

/** Resolves if `wanted` is typed. Throws `CannotServe` for anything else, and where there is nobody to ask. */
export async function confirmTyped(question: string, wanted: string): Promise<void> {
  if (!process.stdin.isTTY) throw new CannotServe('this is no terminal where one could be asked: --yes does it without')
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    if ((await lines.question(question)).trim() !== wanted) throw new CannotServe('nothing was changed')
  } finally {
    lines.close()
  }
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const

export function printBytes(bytes: number): string {
  const power = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)))
  return power === 0 ? `${bytes} B` : `${(bytes / 1000 ** power).toFixed(1)} ${UNITS[power]}`
}
