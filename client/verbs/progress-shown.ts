/** Long work of a verb: shown on standard error as the flags say, and ended cleanly by an interrupt. */
import { isatty } from 'node:tty'
import { createProgress, type ProgressEvent, type ProgressStyle } from '../images/progress.ts'
import type { ProgressFlags } from './flags.ts'
import { writeAll } from './output.ts'

/** Standard error as a place for progress. */
const progressOutput = {
  write: (text: string): void => writeAll(2, text),
  get columns(): number {
    return (isatty(2) && process.stderr.columns) || 80
  },
  get rows(): number {
    return (isatty(2) && process.stderr.rows) || 24
  },
}

export interface ShownWork {
  readonly signal: AbortSignal
  readonly onProgress: (event: ProgressEvent) => void
}

/** `interrupted`: what becomes of the work that is stopped. */
export async function showingProgress<Result>(
  flags: ProgressFlags,
  interrupted: string,
  work: (shown: ShownWork) => Promise<Result>,
): Promise<Result> {
  const stop = new AbortController()
  const interrupt = (): void => stop.abort(new Error(`interrupted; ${interrupted}`))
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  const progress = createProgress(styleOf(flags), progressOutput)
  try {
    return await work({ signal: stop.signal, onProgress: (event) => progress.event(event) })
  } finally {
    progress.end()
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

function styleOf({ quiet, progress }: ProgressFlags): ProgressStyle {
  if (quiet) return 'quiet'
  if (progress !== 'auto') return progress
  return isatty(2) && process.env['TERM'] !== 'dumb' ? 'tty' : 'plain'
}
