/** The parsers of headers and queries: whatever comes in, a value or a refusal in the protocol's words comes out. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { digestOf } from '../storage/model/digest.ts'
import { fuzzRuns, hostileText } from '../storage/testing/fuzz.ts'
import { etagOf, matchesEtag } from './answers.ts'
import { parseCondition } from './conditions.ts'
import { ERRORS, errorEnvelope, RegistryError } from './errors.ts'
import { LARGEST_PAGE, nextLink, parsePage } from './pagination.ts'
import { parseContentRange, parseRange } from './ranges.ts'

const RUNS = 2_000
const digest = digestOf(Buffer.from('x'))

/** What `parse` gives, or `undefined` for a refusal as one of `kinds`. */
function orRefused<T>(parse: () => T, ...kinds: readonly (keyof typeof ERRORS)[]): T | undefined {
  try {
    return parse()
  } catch (error) {
    assert.ok(error instanceof RegistryError && kinds.includes(error.kind), String(error))
    JSON.parse(errorEnvelope(ERRORS[error.kind].code, error.message, ...error.details))
    return undefined
  }
}

describe('any text', () => {
  it('as Range selects what is there, or nothing, or is 416', () => {
    const text = hostileText('bytes=', '0-', '-5', '1-2', ',', ' ', 'BYTES=0-0')
    const property = fc.property(text, fc.oneof(fc.nat(), fc.constantFrom(0, 1, 2 ** 50)), (header, size) => {
      const range = orRefused(() => parseRange(header, size), 'rangeNotSatisfiable')
      if (range) assert.ok(range.start >= 0 && range.start <= range.end && range.end < size)
    })
    fc.assert(property, fuzzRuns(RUNS))
  })

  it('as Content-Range is a range, or none, or is refused', () => {
    const text = hostileText('bytes ', '0-', '-', '0-99', '/', '/*', '/100', '15-3')
    const property = fc.property(text, (header) => {
      const range = orRefused(() => parseContentRange(header), 'contentRangeInvalid')
      if (range) assert.ok(Number.isSafeInteger(range.end) && range.start >= 0 && range.start <= range.end)
    })
    fc.assert(property, fuzzRuns(RUNS))
  })

  it('as condition is one, or none, or is refused: never ignored', () => {
    const text = hostileText('*', 'W/', '""', `"${digest}"`, ', ', '"a"')
    const property = fc.property(text, text, (match, noneMatch) => {
      const condition = orRefused(() => parseCondition(match, noneMatch), 'conditionInvalid')
      if (condition)
        assert.deepEqual(
          [condition.ifMatch !== undefined, condition.ifNoneMatch !== undefined],
          [match !== '', noneMatch !== ''],
        )
      assert.equal(typeof matchesEtag(match, etagOf(digest)), 'boolean')
    })
    fc.assert(property, fuzzRuns(RUNS))
  })

  it('as query of a page is a page within bounds, whose Link leads to the next one', () => {
    const text = hostileText('n', 'last', '&', '10', 'v1', '?', '#', '>', ';')
    const property = fc.property(text, text, text, (query, n, last) => {
      for (const parameters of [new URLSearchParams(query), new URLSearchParams({ n, last })]) {
        const page = orRefused(() => parsePage(parameters), 'pageSizeInvalid')
        if (page?.limit !== undefined) assert.ok(page.limit >= 0 && page.limit <= LARGEST_PAGE)
      }
      const [, target = ''] = /^<([^>]*)>; rel="next"$/.exec(nextLink('/v2/a/tags/list', { n: 5, last })) ?? []
      assert.ok(/^[\x21-\x7e]+$/.test(target))
      const again = parsePage(new URL(target, 'http://registry').searchParams)
      assert.deepEqual(again, { limit: 5, ...(last === '' ? {} : { last: last.toWellFormed() }) })
    })
    fc.assert(property, fuzzRuns(RUNS))
  })
})
