import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { RegistryError } from './errors.ts'
import { parseContentRange, parseRange, printUploadRange } from './ranges.ts'

const refusedAs = (kind: string) => (error: unknown) => error instanceof RegistryError && error.kind === kind

describe('parseRange', () => {
  it('selects what a slice of the content would', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.nat(320), fc.nat(320), (content, first, last) => {
        const selected = (header: string): Uint8Array | undefined => {
          const range = parseRange(header, content.length)
          return range && content.subarray(range.start, range.end + 1)
        }
        if (first < content.length && first <= last) {
          assert.deepEqual(selected(`bytes=${first}-${last}`), content.subarray(first, last + 1))
          assert.deepEqual(selected(`bytes=${first}-`), content.subarray(first))
        } else {
          assert.throws(() => selected(`bytes=${first}-${last}`), refusedAs('rangeNotSatisfiable'))
        }
        if (last > 0) assert.deepEqual(selected(`bytes=-${last}`), content.subarray(Math.max(0, content.length - last)))
      }),
    )
  })

  it('never fails but with 416, and never selects what is not there', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom(...'bytes=-,0123456789 ') }).map((s) => `bytes=${s}`),
    )
    fc.assert(
      fc.property(text, fc.nat(), (header, size) => {
        try {
          const range = parseRange(header, size)
          if (range) assert.ok(range.start >= 0 && range.start <= range.end && range.end < size)
        } catch (error) {
          assert.ok(refusedAs('rangeNotSatisfiable')(error))
        }
      }),
    )
  })

  const size = 2500
  for (const [header, expected] of [
    ['bytes=500-1499', { start: 500, end: 1499 }],
    ['bytes=500-', { start: 500, end: 2499 }],
    ['bytes=-500', { start: 2000, end: 2499 }],
    ['bytes=-5000', { start: 0, end: 2499 }],
    ['bytes=2000-5000', { start: 2000, end: 2499 }],
    ['Bytes=0-0', { start: 0, end: 0 }],
    ['', undefined],
    ['lines=1-2', undefined],
    ['bytes=0-1,5-6', undefined],
    ['bytes=a-b', undefined],
    ['bytes=-', undefined],
    ['bytes=0-99999999999999999999', undefined],
  ] as const) {
    it(`reads "${header}" of ${size} bytes as ${expected ? `${expected.start} to ${expected.end}` : 'the whole'}`, () => {
      assert.deepEqual(parseRange(header, size), expected)
    })
  }
  for (const header of ['bytes=500-0', 'bytes=5000-10000', 'bytes=2500-', 'bytes=-0']) {
    it(`refuses "${header}" of ${size} bytes and says how long the content is`, () => {
      assert.throws(
        () => parseRange(header, size),
        (error: unknown) =>
          refusedAs('rangeNotSatisfiable')(error) &&
          (error as RegistryError).headers['Content-Range'] === 'bytes */2500',
      )
    })
  }
  it('ignores any range of empty content', () => assert.equal(parseRange('bytes=0-', 0), undefined))
})

describe('parseContentRange', () => {
  it('reads back every range that can be written', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), (a, b) => {
        const range = { start: Math.min(a, b), end: Math.max(a, b) }
        assert.deepEqual(parseContentRange(`${range.start}-${range.end}`), range)
        assert.deepEqual(parseContentRange(`bytes ${range.start}-${range.end}/*`), range)
      }),
    )
  })
  it('refuses everything else as malformed', () => {
    for (const header of ['5-4', '-5', '5-', 'a-b', '0-1-2', '0-99999999999999999999', '1e3-2e3']) {
      assert.throws(() => parseContentRange(header), refusedAs('contentRangeInvalid'), header)
    }
  })
  it('takes an absent header for no range', () => assert.equal(parseContentRange(''), undefined))
})

describe('printUploadRange', () => {
  it('is inclusive, and 0-0 for an empty session, as docker needs it', () => {
    assert.deepEqual([0, 1, 2, 1000].map(printUploadRange), ['0-0', '0-0', '0-1', '0-999'])
  })
})
