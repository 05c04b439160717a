/** Points in time as docker's users write them: `2026-01-02T15:04:05Z`, seconds since 1970, or how long ago: `10m`, `1h30m`. */
import { parseDuration } from '../containers/quantities.ts'
import { RequestError } from '../containers/request-error.ts'

const NANOSECOND_DIGITS = 9

/** RFC 3339 in UTC with nine decimals, so that moments compare as texts. Throws `RequestError`. */
export function moment(text: string, now: Date): string {
  const [, seconds, fraction = ''] = /^(\d+)(?:\.(\d{1,9}))?$/.exec(text) ?? []
  if (seconds !== undefined) return withNanoseconds(new Date(Number(seconds) * 1000), fraction)
  const [, decimals = ''] = /^\d{4}-.*:\d\d\.(\d{1,9})/.exec(text) ?? []
  const date = new Date(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00` : text.replace(/(\.\d{1,3})\d*/, '$1'))
  if (/^\d{4}-/.test(text) && !Number.isNaN(date.getTime())) return withNanoseconds(date, decimals)
  try {
    return withNanoseconds(new Date(now.getTime() - parseDuration(text, 'a time')), '')
  } catch (cause) {
    throw new RequestError(
      `invalid time ${JSON.stringify(text)}: write 2026-01-02T15:04:05Z, seconds since 1970, or how long ago, such as 10m`,
      1,
      { cause },
    )
  }
}

function withNanoseconds(date: Date, decimals: string): string {
  const iso = date.toISOString()
  return decimals === ''
    ? `${iso.slice(0, -1)}000000Z`
    : `${iso.slice(0, 20)}${decimals.padEnd(NANOSECOND_DIGITS, '0')}Z`
}
