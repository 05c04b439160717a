/** Structured logs: one JSON object a line on standard error, so that standard output is the ready line alone. */
import { type DestinationStream, pino } from 'pino'
import { CannotServe, reason } from './reasons.ts'

export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Writes to `destination`, standard error if absent, with `fields` in each line. `err` fields keep stack and cause. */
export function createLog(destination: DestinationStream = pino.destination(2), fields: object = {}): Log {
  return pino({ base: fields, timestamp: pino.stdTimeFunctions.isoTime }, destination)
}

/** The log, and the one for requests: `off`, `stderr`, `stdout`, or a file, which `SIGHUP` opens anew after it was moved away. */
export function openLogs(access: string, fields: object = {}): { readonly log: Log; readonly access: Log | undefined } {
  const log = createLog(undefined, fields)
  if (access === 'off') return { log, access: undefined }
  if (access === 'stderr') return { log, access: log }
  if (access === 'stdout') return { log, access: createLog(pino.destination(1), fields) }
  const file = openFile(access)
  file.on('error', (err) => log.error({ err }, 'the access log cannot be written'))
  process.on('SIGHUP', () => file.reopen())
  return { log, access: createLog(file, fields) }
}

function openFile(path: string): ReturnType<typeof pino.destination> {
  try {
    return pino.destination({ dest: path, append: true, mkdir: false })
  } catch (cause) {
    throw new CannotServe(`cannot write the access log ${path}: ${reason(cause)}`, { cause })
  }
}
