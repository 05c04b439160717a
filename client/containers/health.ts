/** Health checks: what the flags and an image's HEALTHCHECK say becomes what the monitor carries out. */
import type { ImageHealth } from '../model/image-process.ts'
import { RequestError } from './request-error.ts'

/** Nothing given: the image's. Times in milliseconds. */
export interface HealthRequest {
  readonly disabled?: boolean
  /** For the container's shell. */
  readonly command?: string
  readonly intervalMs?: number
  readonly timeoutMs?: number
  readonly startPeriodMs?: number
  readonly startIntervalMs?: number
  readonly retries?: number
}

export interface HealthPlan {
  readonly command: readonly string[]
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly startPeriodMs: number
  readonly startIntervalMs: number
  readonly retries: number
}

const SECOND_MS = 1000
const NANOSECONDS_PER_MS = 1e6
const DEFAULTS = { intervalMs: 30 * SECOND_MS, timeoutMs: 30 * SECOND_MS, startIntervalMs: 5 * SECOND_MS, retries: 3 }

/** What is to be executed, with docker's defaults; `undefined` if nothing is checked. Throws `RequestError`. */
export function healthPlan(request: HealthRequest = {}, image: ImageHealth = {}): HealthPlan | undefined {
  const { disabled, command, ...given } = request
  if (disabled && (command !== undefined || Object.keys(given).length > 0))
    throw new RequestError('--no-healthcheck contradicts the --health-* options: leave one of them out')
  if (disabled) return undefined
  const test = command === undefined ? (image.Test ?? []) : ['CMD-SHELL', command]
  const [kind, ...words] = test
  if (kind === undefined || kind === 'NONE') return undefined
  const argv = kind === 'CMD' ? words : kind === 'CMD-SHELL' ? ['/bin/sh', '-c', ...words] : undefined
  if (argv === undefined || words.length === 0)
    throw new RequestError(
      `the image's health check ${JSON.stringify(test)} is unknown: it must be NONE, CMD or CMD-SHELL`,
    )
  const chosen = (asked: number | undefined, nanoseconds: number | undefined, otherwise: number): number =>
    asked || Math.round((nanoseconds ?? 0) / NANOSECONDS_PER_MS) || otherwise
  return {
    command: argv,
    intervalMs: chosen(given.intervalMs, image.Interval, DEFAULTS.intervalMs),
    timeoutMs: chosen(given.timeoutMs, image.Timeout, DEFAULTS.timeoutMs),
    startPeriodMs: chosen(given.startPeriodMs, image.StartPeriod, 0),
    startIntervalMs: chosen(given.startIntervalMs, image.StartInterval, DEFAULTS.startIntervalMs),
    retries: given.retries || image.Retries || DEFAULTS.retries,
  }
}
