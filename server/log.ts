/** Structured logs: one JSON object a line on standard error, so that standard output is the ready line alone. */
import { type DestinationStream, pino } from 'pino'
import { CannotServe, reason } from './reasons.ts'

export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Of which each request has a line: taking fields apart would cost more than writing them. */
export interface RequestLog extends Log {
  /** As `info`, of fields that are JSON already: `"status":200,"method":"GET"`. */
  infoJson(fields: string, message: string): void
}

/** Writes to `destination`, standard error if absent, with `fields` in each line. `err` fields keep stack and cause. */
export function createLog(
  destination: DestinationStream = gathered(pino.destination(unbuffered(2))),
  fields: object = {},
): RequestLog {
  const base = JSON.stringify(fields).slice(1, -1)
  const begin = `{"level":${pino.levels.values['info']}`
  return Object.assign(pino({ base: fields, timestamp }, destination), {
    infoJson(text: string, message: string): void {
      destination.write(`${begin}${timestamp()}${base && `,${base}`},${text},"msg":${JSON.stringify(message)}}\n`)
    },
  })
}

/** One system call for all lines of a turn of the event loop. A process that is killed loses those of its last turn. */
function gathered(file: ReturnType<typeof pino.destination>): DestinationStream {
  let lines = ''
  const flush = (): void => {
    file.write(lines) // at once; its `flushSync` would sync the disk too, and nobody serves meanwhile
    lines = ''
  }
  process.on('exit', flush)
  return {
    write(line) {
      if (lines === '') setImmediate(flush)
      lines += line
    },
  }
}

/** What cannot be written, because a disk is full, is tried again with the next lines, up to so much. */
const KEPT_CHARACTERS = 4 * 1024 * 1024
const unbuffered = (dest: string | number) => {
  return { dest, sync: true, minLength: 0, maxLength: KEPT_CHARACTERS, append: true, mkdir: false }
}

let stamped = { milliseconds: 0, text: '' }

/** Many lines are of the same millisecond, and printing a date costs as much as the rest of a line. */
function timestamp(): string {
  const milliseconds = Date.now()
  if (milliseconds !== stamped.milliseconds) {
    stamped = { milliseconds, text: `,"time":"${new Date(milliseconds).toISOString()}"` }
  }
  return stamped.text
}

export interface Logs {
  readonly log: Log
  /** One line for each request; `undefined`: none. */
  readonly access: RequestLog | undefined
  readonly audit: Log | undefined
}

/** The log of this process, and those that have a destination of their own. */
export function openLogs(
  { accessLog, auditLog }: { readonly accessLog: string; readonly auditLog: string },
  fields: object = {},
): Logs {
  const log = createLog(undefined, fields)
  return {
    log,
    access: openAt('access log', accessLog, log, fields),
    audit: openAt('audit log', auditLog, log, fields),
  }
}

/** `off`, `stderr`, `stdout`, or a file, which `SIGHUP` opens anew after it was moved away. */
function openAt(what: string, destination: string, log: RequestLog, fields: object): RequestLog | undefined {
  if (destination === 'off') return undefined
  if (destination === 'stderr') return log
  if (destination === 'stdout') return createLog(gathered(pino.destination(unbuffered(1))), fields)
  const file = openFile(what, destination)
  file.on('error', (err) => log.error({ err }, `the ${what} cannot be written`))
  process.on('SIGHUP', () => file.reopen())
  return createLog(gathered(file), fields)
}

function openFile(what: string, path: string): ReturnType<typeof pino.destination> {
  try {
    return pino.destination(unbuffered(path))
  } catch (cause) {
    throw new CannotServe(`cannot write the ${what} ${path}: ${reason(cause)}`, { cause })
  }
}
