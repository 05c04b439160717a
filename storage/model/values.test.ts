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

describe('a repository name', () => {
  it('is what the grammar makes, as it is', () => {
    fc.assert(fc.property(anyName, (text) => text.length > 255 || parseRepositoryName(text) === text))
  })
  it('is nothing else', () => {
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
  })
})

describe('a manifest', () => {
  it('nested deeper than any stack is refused as every other', () => {
    const bytes = Buffer.from(`{"schemaVersion":2,"config":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`)
    assert.throws(() => parseManifest(bytes, OCI_MANIFEST), ManifestInvalid)
  })
})
