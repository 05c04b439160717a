import assert from 'node:assert/strict'
import { text } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { RegistryError } from './errors.ts'
import { LARGEST_PAGE, nextLink, parsePage, streamListing, takePage } from './pagination.ts'

/** In parts of one, none, two, one, … */
async function* list<T>(items: readonly T[]): AsyncGenerator<readonly T[]> {
  for (let start = 0; start < items.length; start += 3) {
    yield items.slice(start, start + 1)
    yield []
    yield items.slice(start + 1, start + 3)
  }
}

describe('parsePage', () => {
  it('takes n and last, and bounds n', () => {
    assert.deepEqual(parsePage(new URLSearchParams('')), {})
    assert.deepEqual(parsePage(new URLSearchParams('n=0')), { limit: 0 })
    assert.deepEqual(parsePage(new URLSearchParams('n=3&last=a%2Fb')), { limit: 3, last: 'a/b' })
    assert.deepEqual(parsePage(new URLSearchParams('n=999999999')), { limit: LARGEST_PAGE })
  })
  it('refuses an n that is no number', () => {
    for (const n of ['-1', 'x', '', '1.5', '1e3', '99999999999999999999']) {
      assert.throws(
        () => parsePage(new URLSearchParams({ n })),
        (error: unknown) => error instanceof RegistryError && error.kind === 'pageSizeInvalid',
        n,
      )
    }
  })
})

describe('nextLink', () => {
  it('can be parsed back to its parameters, whatever they contain', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(), (last, n) => {
        const [, target = '', relation] =
          /^<([^>]*)>; rel="(\w+)"$/.exec(nextLink('/v2/a/tags/list', { n, last })) ?? []
        const url = new URL(target, 'http://registry')
        assert.equal(relation, 'next')
        assert.equal(url.pathname, '/v2/a/tags/list')
        assert.equal(url.searchParams.get('last'), last.toWellFormed())
        assert.equal(url.searchParams.get('n'), String(n))
      }),
    )
  })
})

describe('takePage', () => {
  it('knows whether there is more, without reading further than it must', async () => {
    assert.deepEqual(await takePage(list([1, 2, 3]), 2), { page: [1, 2], more: true })
    assert.deepEqual(await takePage(list([1, 2]), 2), { page: [1, 2], more: false })
    assert.deepEqual(await takePage(list([1]), 0), { page: [], more: true })
  })
})

describe('streamListing', () => {
  const whole = async (answer: ReturnType<typeof streamListing>): Promise<string> => {
    const body = await answer
    return typeof body === 'string' ? body : await text(body)
  }
  it('is a text when it is short, so that its length can be told, and a stream when it is long', async () => {
    const tags = Array.from({ length: 10_000 }, (_, index) => `tag-${index}`)
    assert.equal(typeof (await streamListing({}, 'tags', list(tags.slice(0, 10)))), 'string')
    assert.equal(typeof (await streamListing({}, 'tags', list(tags))), 'object')
    assert.deepEqual(JSON.parse(await whole(streamListing({}, 'tags', list(tags)))), { tags })
  })
  it('writes the JSON that stringifying the whole would', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string()), async (tags) => {
        const head = { name: 'a' }
        assert.deepEqual(JSON.parse(await whole(streamListing(head, 'tags', list(tags)))), {
          name: 'a',
          tags: JSON.parse(JSON.stringify(tags)),
        })
        assert.deepEqual(JSON.parse(await whole(streamListing({}, 'tags', list([])))), { tags: [] })
      }),
      { numRuns: 30 },
    )
  })
  it('fails before the first byte when the listing cannot begin, and breaks a long one when it fails later', async () => {
    const failAfter = async function* (items: readonly string[]): AsyncGenerator<readonly string[]> {
      yield* list(items)
      throw new Error('disk gone')
    }
    await assert.rejects(streamListing({}, 'tags', failAfter([])), /disk gone/)
    const stream = streamListing({}, 'tags', failAfter(Array.from({ length: 10_000 }, () => 'a long list')))
    await stream
    await assert.rejects(whole(stream), /disk gone/)
  })
})
