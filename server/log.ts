/** Structured logs: one JSON object a line on standard error, so that standard output is the ready line alone. */
import { type DestinationStream, pino } from 'pino'

export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Writes to `destination`, standard error if absent. `err` fields keep stack and cause. */
export function createLog(destination: DestinationStream = pino.destination(2)): Log {
  return pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination)
}
