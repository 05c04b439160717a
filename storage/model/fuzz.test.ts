/** Whatever comes in, a value or the parser's own refusal comes out. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { DigestInvalid, ManifestInvalid, NameInvalid, TagInvalid, UploadUnknown } from '../errors.ts'
import { parseUploadId } from '../store.ts'
import { fuzzRuns, hostileText } from '../testing/fuzz.ts'
import { digestOf, parseAnyDigest, parseDigest, parseDigestAlgorithm } from './digest.ts'
import { parseManifest } from './manifest.ts'
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, parseMediaType } from './media-type.ts'
import { parseRepositoryName, parseTag, referrersTag } from './reference.ts'

const RUNS = 2_000
const hex = 'a'.repeat(64)

type Refusal = abstract new (...args: never[]) => Error
function parsesOrRefuses(parse: (text: string) => string, refusal: Refusal, ...seeds: readonly string[]): void {
  const property = fc.property(hostileText(...seeds), (text) => {
    try {
      assert.equal(typeof parse(text), 'string')
    } catch (error) {
      assert.ok(error instanceof refusal, String(error))
    }
  })
  fc.assert(property, fuzzRuns(RUNS))
}

describe('any text', () => {
  const cases: readonly (readonly [string, (text: string) => string, Refusal, ...string[]])[] = [
    ['a repository name', parseRepositoryName, NameInvalid, 'library/', 'a', '__', '-', '.', '!', 'a/b'],
    ['a tag', parseTag, TagInvalid, 'v1.0', 'latest', '-', '.', '_', `sha256-${hex}`],
    ['a digest', parseDigest, DigestInvalid, 'sha256:', hex, 'sha512:', 'blake3:', ':', 'A', 'a+b'],
    ['a digest of any algorithm', parseAnyDigest, DigestInvalid, 'sha256:', hex, 'blake3:', 'a+b.c:', ':', '=_-'],
    ['a digest algorithm', parseDigestAlgorithm, DigestInvalid, 'sha256', 'sha512', 'toString', 'constructor'],
    ['a media type', parseMediaType, ManifestInvalid, OCI_MANIFEST, ';charset=utf-8', 'a/b', '*', ' '],
    ['an upload id', parseUploadId, UploadUnknown, '01900000-0000-7000-8000-000000000000', '-', '7'],
  ]
  for (const [what, parse, refusal, ...seeds] of cases) {
    it(`is ${what} or is refused as one`, () => parsesOrRefuses(parse, refusal, ...seeds))
  }

  it('that is a digest makes a tag of the referrers tag schema', () => {
    const alphanumeric = fc.stringMatching(/^[a-z0-9]{1,12}$/)
    const algorithm = fc
      .tuple(alphanumeric, fc.array(fc.tuple(fc.constantFrom('+', '.', '_', '-'), alphanumeric), { maxLength: 4 }))
      .map(([first, rest]) => first + rest.flat().join(''))
    const encoded = fc.stringMatching(/^[a-zA-Z0-9=_-]{1,100}$/)
    const property = fc.property(algorithm, encoded, (name, text) => {
      if (name === 'sha256' || name === 'sha512') return
      const tag = referrersTag(parseAnyDigest(`${name}:${text}`))
      assert.equal(parseTag(tag), tag)
    })
    fc.assert(property, fuzzRuns(RUNS))
  })
})

const content = Buffer.from('content')
const whole = {
  mediaType: 'a/b',
  digest: digestOf(content),
  size: content.length,
  data: content.toString('base64'),
  urls: ['https://example.com'],
  annotations: { a: 'b' },
  artifactType: 'a/c',
}
const FIELDS = ['schemaVersion', 'mediaType', 'config', 'layers', 'manifests', 'subject', 'annotations', 'artifactType']

describe('any manifest', () => {
  const anything = fc.oneof(
    fc.jsonValue({ maxDepth: 4 }),
    fc.constantFrom(2, 1, [], {}, null, [whole], whole, OCI_MANIFEST, [{}], [[]]),
    fc
      .tuple(fc.constantFrom(...Object.keys(whole)), fc.jsonValue())
      .map(([field, value]) => ({ ...whole, [field]: value })),
    fc
      .tuple(fc.constantFrom(...Object.keys(whole)), fc.jsonValue())
      .map(([field, value]) => [whole, { ...whole, [field]: value }]),
  )
  const mediaType = fc.constantFrom(OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, parseMediaType('a/b'))
  const judged = (bytes: Uint8Array, type: typeof OCI_MANIFEST): void => {
    try {
      assert.ok(Array.isArray(parseManifest(bytes, type).blobs))
    } catch (error) {
      assert.ok(error instanceof ManifestInvalid, String(error))
      assert.ok(error.message.length < 2000, 'the refusal stays readable')
    }
  }

  it('whose fields are anything is parsed or refused', () => {
    const valid = { schemaVersion: 2, config: whole, layers: [whole] }
    const property = fc.property(
      mediaType,
      fc.boolean(),
      fc.array(fc.tuple(fc.oneof(fc.constantFrom(...FIELDS), fc.string()), anything), { maxLength: 4 }),
      (type, image, changes) => {
        const start = image ? valid : { schemaVersion: 2, manifests: [whole] }
        judged(Buffer.from(JSON.stringify({ ...start, ...Object.fromEntries(changes) })), type)
      },
    )
    fc.assert(property, fuzzRuns(RUNS))
  })

  it('of any bytes, or with some bytes of it changed, is parsed or refused', () => {
    const valid = Buffer.from(JSON.stringify({ schemaVersion: 2, config: whole, layers: [whole], subject: whole }))
    const changed = fc
      .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((changes) => {
        const bytes = Buffer.from(valid)
        for (const [place, byte] of changes) bytes[place] = byte
        return bytes
      })
    const cut = fc.nat(valid.length).map((end) => valid.subarray(0, end))
    const property = fc.property(mediaType, fc.oneof(fc.uint8Array({ maxLength: 200 }), changed, cut), (type, bytes) =>
      judged(bytes, type),
    )
    fc.assert(property, fuzzRuns(RUNS))
  })
})
