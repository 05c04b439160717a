/** `If-Match` and `If-None-Match` of a write (RFC 9110 section 13.1): what must hold for a tag to move or to go. */
import type { Condition } from '../storage/condition.ts'
import { RegistryError } from './errors.ts'

/** One entity tag and what ends it. Weak or strong is the same here: our tags are digests. */
const ENTITY_TAG = /\s*(?:W\/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(,|$)/y

/** From the two headers; `undefined` without them. Throws 400 for what cannot be read: a condition that is not understood must not be ignored. */
export function parseCondition(match: string, noneMatch: string): Condition | undefined {
  if (match === '' && noneMatch === '') return undefined
  return {
    ...(match === '' ? {} : { ifMatch: parseEntityTags('If-Match', match) }),
    ...(noneMatch === '' ? {} : { ifNoneMatch: parseEntityTags('If-None-Match', noneMatch) }),
  }
}

/** The opaque parts of the tags. Throws a `RegistryError` and nothing else, whatever the text. */
function parseEntityTags(header: string, text: string): '*' | readonly string[] {
  if (text.trim() === '*') return '*'
  const tags: string[] = []
  ENTITY_TAG.lastIndex = 0
  for (;;) {
    const [, tag, separator] = ENTITY_TAG.exec(text) ?? []
    if (tag === undefined) {
      throw new RegistryError('conditionInvalid', {
        detail: {
          [header]: text,
          expected: '* or a list of entity tags as the registry gave them: "<digest>", "<digest>"',
        },
      })
    }
    tags.push(tag)
    if (separator === '') return tags
  }
}
