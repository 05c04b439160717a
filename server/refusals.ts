/**
 * What happens to connections on which no request is answered: said in the log, because nobody else will. Whoever
 * attacks must not fill the log, so each reason is written at most once in a while, with how often it came since.
 */
import type { Log } from './log.ts'

const QUIET_MS = 10_000

export class RefusalLog {
  readonly #log: Log
  readonly #last = new Map<string, { at: number; unsaid: number }>()

  constructor(log: Log) {
    this.#log = log
  }

  /** `reason` comes from few; what the client chose goes into `fields`. `level`: `info` for what happens every day. */
  report(reason: string, fields: Readonly<Record<string, unknown>>, level: 'info' | 'warn' = 'warn'): void {
    const now = performance.now()
    const last = this.#last.get(reason)
    if (last && now - last.at < QUIET_MS) {
      last.unsaid++
      return
    }
    this.#last.set(reason, { at: now, unsaid: 0 })
    this.#log[level](
      { reason, ...fields, ...(last && last.unsaid > 0 ? { unsaidSince: last.unsaid } : {}) },
      'connection refused',
    )
  }
}
