/** Sizes, durations and lists as docker's users write them. Texts go in, numbers with a unit come out; what cannot be read is a `RequestError`. */
import { constants } from 'node:os'
import { RequestError } from './request-error.ts'

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  p: 2 ** 50,
}

/** `64m`, `1.5g`, `1GiB`; -1 where that means "no limit". Resolves to bytes. */
export function parseBytes(text: string, flag: string): number {
  if (text === '-1') return -1
  const [, digits, unit = ''] = /^([0-9]+(?:\.[0-9]+)?) ?([bkmgtp]?)(?:i?b)?$/i.exec(text) ?? []
  const bytes = Math.floor(Number(digits) * (UNITS[unit.toLowerCase()] ?? Number.NaN))
  if (digits === undefined || !Number.isSafeInteger(bytes))
    throw new RequestError(
      `invalid size ${JSON.stringify(text)} for ${flag}: write a number with b, k, m or g, for example 512m`,
    )
  return bytes
}

const TIME_UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1e3,
  m: 60e3,
  h: 3600e3,
}

/** Go's way to write it: `1m30s`, `500ms`. In milliseconds. */
export function parseDuration(text: string, flag: string): number {
  if (text === '0') return 0
  const parts = [...text.matchAll(/([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text)
    throw new RequestError(
      `invalid duration ${JSON.stringify(text)} for ${flag}: write for example 30s, 1m30s or 500ms`,
    )
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (TIME_UNITS_MS[unit ?? ''] ?? 0), 0)
}

/** A whole number between two. */
export function parseInteger(
  text: string,
  flag: string,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): number {
  const number = /^[+-]?[0-9]+$/.test(text) ? Number(text) : Number.NaN
  if (!(number >= least && number <= most))
    throw new RequestError(
      `invalid value ${JSON.stringify(text)} for ${flag}: it must be a whole number ${most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `between ${least} and ${most}`}`,
    )
  return number
}

/** `0.5`; more than this machine has is refused, as docker does. */
export function parseCpus(text: string, available: number): number {
  const cpus = /^[0-9]*\.?[0-9]+$/.test(text) ? Number(text) : Number.NaN
  if (Number.isNaN(cpus))
    throw new RequestError(`invalid value ${JSON.stringify(text)} for --cpus: write for example 1.5`)
  if (cpus !== 0 && (cpus < 0.01 || cpus > available))
    throw new RequestError(`--cpus is between 0.01 and ${available}, as there are only ${available} CPUs available`)
  return cpus
}

/** `0-2,4`, or nothing. */
export function parseCpuList(text: string, flag: string): string {
  if (!/^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$/.test(text))
    throw new RequestError(`invalid value ${JSON.stringify(text)} for ${flag}: write for example 0-2,4`)
  return text
}

/** `TERM`, `SIGTERM`, `15`, `RTMIN+3`. Resolves to its number. */
export function parseSignal(text: string): number {
  if (/^[0-9]+$/.test(text)) {
    const number = Number(text)
    if (number >= 1 && number <= SIGRTMAX) return number
  }
  const name = text.toUpperCase().replace(/^SIG/, '')
  const known = constants.signals[`SIG${name}` as NodeJS.Signals]
  if (known !== undefined) return known
  const [, end, sign = '+', offset = '0'] = /^RT(MIN|MAX)(?:([+-])([0-9]+))?$/.exec(name) ?? []
  const realTime = (end === 'MAX' ? SIGRTMAX : SIGRTMIN) + Number(`${sign}${offset}`)
  if (end !== undefined && realTime >= SIGRTMIN && realTime <= SIGRTMAX) return realTime
  throw new RequestError(
    `invalid signal ${JSON.stringify(text)}: write a name such as TERM, or a number from 1 to ${SIGRTMAX}`,
  )
}

const SIGRTMIN = 34
const SIGRTMAX = 64
