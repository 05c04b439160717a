/**
 * What an S3 server, or what stands in front of it, does wrong now and then. In scope is whatever a client can survive: a request or
 * an answer that is lost, late, repeated, cut or overtaken; a refusal, true or false, whether the thing was done or not; an answer
 * without a version, or with a false one, about a record, which the next compare-and-swap brings to light. Out of scope is a server
 * that says that it has stored what it has not, or that denies the version of data that it was given: nobody can tell either from the
 * truth without a second copy. (A part whose ETag is false fails its completion: an error, never wrong bytes. A record that comes short,
 * with a length to match, is no JSON: an error. Data that comes short is asked for again.)
 */
import type { Fault } from './fault-proxy.ts'
import type { Random } from './random.ts'

const RATE = 0.12

const REFUSALS = [
  { answer: 500, code: 'InternalError' },
  { answer: 503, code: 'SlowDown' },
  { answer: 503 },
  { answer: 502 },
  { answer: 429, code: 'TooManyRequests' },
  { answer: 400, code: 'RequestTimeout' },
] as const
const CONDITIONAL_REFUSALS = [
  { answer: 409, code: 'ConditionalRequestConflict' },
  { answer: 412, code: 'PreconditionFailed' },
] as const

/** For the `storm` of a proxy. */
export function stormOf(random: Random): (line: string) => Fault | undefined {
  return (line) => {
    if (!random.chance(RATE)) return undefined
    const isData = /\/data\//.test(line)
    const isRecord = /^PUT /.test(line) && !isData && !line.includes('target')
    const isRead = /^(GET|HEAD) /.test(line)
    switch (
      random.weighted({
        refuse: 4,
        request: 3,
        answer: 4,
        repeat: 2,
        late: isRead ? 0 : 3,
        delayed: 3,
        noEtag: 1,
        falseEtag: isRecord ? 1 : 0,
        falseRefusal: isRecord ? 3 : 0,
        half: isRead ? 3 : 0,
        short: isData && line.startsWith('GET ') ? 2 : 0,
        silent: 0.05,
      })
    ) {
      case 'refuse':
        return random.pick(REFUSALS)
      case 'request':
        return 'lose the request'
      case 'answer':
        return 'lose the answer'
      case 'repeat':
        return 'repeat the request'
      case 'late':
        return { doneLaterMs: random.below(800) }
      case 'delayed':
        return { delayedMs: random.below(300) }
      case 'noEtag':
        return 'drop the ETag'
      case 'falseEtag':
        return 'lie about the ETag'
      case 'falseRefusal':
        return random.pick(CONDITIONAL_REFUSALS)
      case 'half':
        return 'halve the body'
      case 'short':
        return 'cut the length short'
      default:
        return 'be silent'
    }
  }
}
