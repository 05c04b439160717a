/**
 * A request on condition of what a tag (or a digest) stands for now: `If-Match` and `If-None-Match` of RFC 9110, section
 * 13.1. With them a pusher moves a tag only if it still points where the pusher thinks, or only creates it.
 */
import { PreconditionFailed } from './errors.ts'
import type { Digest } from './model/digest.ts'

/** `*` is anything at all; both must hold where both are given. */
export interface Condition {
  readonly ifMatch?: '*' | readonly string[]
  readonly ifNoneMatch?: '*' | readonly string[]
}

/** Throws `PreconditionFailed`. `current` is `undefined` for what does not exist; `what` names it, as in `the tag v1`. */
export function demandCondition({ ifMatch, ifNoneMatch }: Condition, what: string, current: Digest | undefined): void {
  const isAmong = (wanted: '*' | readonly string[]): boolean =>
    current !== undefined && (wanted === '*' || wanted.includes(current))
  const stands = current === undefined ? 'does not exist' : `is ${current}`
  if (ifMatch !== undefined && !isAmong(ifMatch)) {
    const wanted = ifMatch === '*' ? 'to exist' : `to be ${ifMatch.join(' or ')}`
    throw new PreconditionFailed(`${what} ${stands}, but the request wants it ${wanted}`)
  }
  if (ifNoneMatch !== undefined && isAmong(ifNoneMatch)) {
    const unwanted = ifNoneMatch === '*' ? 'not to exist' : `not to be ${ifNoneMatch.join(' or ')}`
    throw new PreconditionFailed(`${what} ${stands}, but the request wants it ${unwanted}`)
  }
}
