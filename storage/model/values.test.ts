import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { DigestInvalid, ManifestInvalid, NameInvalid, TagInvalid } from '../errors.ts'
import { algorithmOf, digestOf, hexOf, parseDigest } from './digest.ts'
import { parseManifest } from './manifest.ts'
import { OCI_MANIFEST, parseMediaType } from './media-type.ts'
import { parseRepositoryName, parseTag } from './reference.ts'

const alphanumeric = fc.stringMatching(/^[a-z0-9]{1,8}$/)
const separator = fc.constantFrom('.', '_', '__', '-', '--', '-----')
const component = fc
  .tuple(alphanumeric, fc.array(fc.tuple(separator, alphanumeric), { maxLength: 3 }))
  .map(([first, rest]) => first + rest.flat().join(''))
const anyName = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'))

/** Whatever comes in, a value or the parser's own error comes out, and quickly. */
function parsesOrRefuses(parse: (text: string) => string, refusal: abstract new (...args: never[]) => Error): void {
  const hostile = fc.oneof(
    fc.string({ maxLength: 400 }),
    fc.string({ unit: 'binary', maxLength: 400 }),
    fc.constantFrom('', '/', '..', 'a//b', 'a/../b', 'a\0b', 'a\n', 'A', `${'a-'.repeat(5000)}!`, 'a__'.repeat(9000)),
  )
  fc.assert(
    fc.property(hostile, (text) => {
      try {
        assert.equal(typeof parse(text), 'string')
      } catch (error) {
        assert.ok(error instanceof refusal, String(error))
      }
    }),
    { numRuns: 1000 },
  )
}

describe('a repository name', () => {
  it('is what the grammar makes, as it is', () => {
    fc.assert(fc.property(anyName, (text) => text.length > 255 || parseRepositoryName(text) === text))
  })
  it('is nothing else', () => {
    parsesOrRefuses(parseRepositoryName, NameInvalid)
    for (const text of [
      '',
      '/a',
      'a/',
      'a//b',
      '..',
      'a/../b',
      '.a',
      'a.',
      'a..b',
      'a___b',
      'A',
      'a b',
      'a!b',
      'a\n',
      'é',
      'a'.repeat(256),
    ]) {
      assert.throws(() => parseRepositoryName(text), NameInvalid, JSON.stringify(text))
    }
  })
})

describe('a tag', () => {
  it('is what the grammar makes, and nothing else', () => {
    fc.assert(fc.property(fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/), (text) => parseTag(text) === text))
    parsesOrRefuses(parseTag, TagInvalid)
    for (const text of ['', '.a', '-a', 'a/b', 'a!b', 'a:b', 'a\n', 'a'.repeat(129)]) {
      assert.throws(() => parseTag(text), TagInvalid, JSON.stringify(text))
    }
  })
})

describe('a digest', () => {
  it('is what hashing makes, taken apart and put together', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.constantFrom('sha256' as const, 'sha512' as const), (bytes, algorithm) => {
        const digest = digestOf(bytes, algorithm)
        assert.equal(parseDigest(digest), digest)
        assert.equal(`${algorithmOf(digest)}:${hexOf(digest)}`, digest)
      }),
    )
  })
  it('is nothing else', () => {
    parsesOrRefuses(parseDigest, DigestInvalid)
    const hex = 'a'.repeat(64)
    for (const text of [
      hex,
      `sha256:${hex}a`,
      `sha256:${hex.toUpperCase()}`,
      `sha512:${hex}`,
      `sha256: ${hex}`,
      `md5:${hex}`,
      `__proto__:${hex}`,
      `toString:${hex}`,
    ]) {
      assert.throws(() => parseDigest(text), DigestInvalid, text)
    }
  })
})

describe('a media type', () => {
  it('loses its parameters', () => {
    assert.equal(parseMediaType(`${OCI_MANIFEST}; charset=utf-8`), OCI_MANIFEST)
    parsesOrRefuses(parseMediaType, ManifestInvalid)
  })
})

describe('a manifest', () => {
  it('nested deeper than any stack is refused as every other', () => {
    const bytes = Buffer.from(`{"schemaVersion":2,"config":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`)
    assert.throws(() => parseManifest(bytes, OCI_MANIFEST), ManifestInvalid)
  })
  it('of any JSON at all is parsed or refused, never a crash', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (config, layers, subject) => {
        const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers, subject }))
        try {
          parseManifest(bytes, OCI_MANIFEST)
        } catch (error) {
          assert.ok(error instanceof ManifestInvalid, String(error))
        }
      }),
      { numRuns: 500 },
    )
  })
})
