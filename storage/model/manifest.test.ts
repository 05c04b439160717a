import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManifestInvalid } from '../errors.ts'
import { digestOf } from './digest.ts'
import { type Manifest, parseManifest } from './manifest.ts'
import { DOCKER_LIST, DOCKER_MANIFEST, type MediaType, OCI_INDEX, OCI_MANIFEST, parseMediaType } from './media-type.ts'

const bytes = Buffer.from('some content')
const described = { mediaType: 'a/b', digest: digestOf(bytes), size: bytes.length }
const blake3 = `blake3:${'a'.repeat(64)}`

const parse = (document: unknown, mediaType: MediaType = OCI_MANIFEST): Manifest =>
  parseManifest(Buffer.from(typeof document === 'string' ? document : JSON.stringify(document)), mediaType)
const image = (more: object = {}): object => ({ schemaVersion: 2, config: described, layers: [], ...more })
const index = (more: object = {}): object => ({ schemaVersion: 2, manifests: [], ...more })

describe('a manifest', () => {
  it('names where each of its references stands', () => {
    const { blobs } = parse(image({ layers: [described, described] }))
    assert.deepEqual(
      blobs.map(({ path }) => path),
      ['config', 'layers[0]', 'layers[1]'],
    )
    assert.deepEqual(
      parse(index({ manifests: [described] }), DOCKER_LIST).manifests.map(({ path }) => path),
      ['manifests[0]'],
    )
  })

  it('may have no layers and an index no manifests, said by an empty list, by null or by nothing', () => {
    for (const layers of [[], null, undefined]) assert.equal(parse(image({ layers })).blobs.length, 1)
    for (const manifests of [[], null, undefined])
      assert.deepEqual(parse(index({ manifests }), OCI_INDEX).manifests, [])
    assert.equal(parse(image({ manifests: null, annotations: null, subject: null, artifactType: null })).kind, 'image')
  })

  it('takes what lives elsewhere for no reference: foreign layers, and everything with urls', () => {
    const layers = [
      { ...described, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' },
      { ...described, mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd' },
      { ...described, urls: ['https://example.com/layer'] },
      { ...described, urls: [] },
    ]
    assert.deepEqual(
      parse(image({ layers })).blobs.map(({ path }) => path),
      ['config', 'layers[3]'],
    )
  })

  it('may name content by an algorithm that the registry does not compute, as layer, child and subject', () => {
    const foreign = { ...described, digest: blake3 }
    assert.equal(parse(image({ layers: [foreign] })).blobs[1]?.digest, blake3)
    assert.equal(parse(index({ manifests: [foreign] }), OCI_INDEX).manifests[0]?.digest, blake3)
    assert.equal(parse(image({ subject: { ...foreign, data: bytes.toString('base64') } })).subject?.digest, blake3)
  })

  it('has an artifact type of its own, or else that of its configuration; an index without one has none', () => {
    assert.equal(parse(image({ artifactType: 'x/y' })).artifactType, 'x/y')
    assert.equal(parse(image({ artifactType: '' })).artifactType, 'a/b')
    assert.equal(parse(image()).artifactType, 'a/b')
    assert.equal(parse(index({ artifactType: 'x/y' }), OCI_INDEX).artifactType, 'x/y')
    assert.equal(parse(index(), OCI_INDEX).artifactType, undefined)
  })

  it('may have ten thousand annotations', () => {
    const annotations = Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`key.${n}`, `value ${n}`]))
    assert.deepEqual(parse(image({ annotations })).annotations, annotations)
  })

  const hex = 'a'.repeat(64)
  const cases: readonly (readonly [string, unknown, MediaType, RegExp])[] = [
    ['text that is no JSON', '{"schemaVersion":', OCI_MANIFEST, /^\$: found no JSON/],
    ['a byte order mark', '\ufeff{"schemaVersion":2}', OCI_MANIFEST, /^\$: found no JSON/],
    ['a list', [], OCI_MANIFEST, /^\$: found a list, expected an object/],
    ['no version', { config: described }, OCI_MANIFEST, /^schemaVersion: found nothing, expected 2/],
    [
      'schema 1',
      { schemaVersion: 1 },
      OCI_MANIFEST,
      /^schemaVersion: found 1 \(docker schema 1\), expected .*schema 2/,
    ],
    [
      'a schema 1 type',
      { schemaVersion: 2 },
      parseMediaType('application/vnd.docker.distribution.manifest.v1+prettyjws'),
      /schema 1/,
    ],
    ['a plain JSON type', image(), parseMediaType('application/json'), /^Content-Type: found "application\/json".*oci/],
    [
      'another type inside',
      image({ mediaType: DOCKER_MANIFEST }),
      OCI_MANIFEST,
      /^mediaType: found .*v2.*as the Content/,
    ],
    ['a type that is no text', image({ mediaType: 5 }), OCI_MANIFEST, /^mediaType: found 5, expected a string/],
    ['both kinds at once', image({ manifests: [] }), OCI_MANIFEST, /^\$: found both "manifests" and "layers"/],
    ['an index sent as image', index(), OCI_MANIFEST, /^manifests: found a list, expected none: .*an image/],
    ['an image sent as index', image(), OCI_INDEX, /^layers: found a list, expected none: .*an index/],
    ['an index with a configuration', index({ config: described }), OCI_INDEX, /^config: found an object/],
    ['no configuration', { schemaVersion: 2, layers: [] }, OCI_MANIFEST, /^config: found nothing, expected an object/],
    ['layers that are no list', image({ layers: {} }), OCI_MANIFEST, /^layers: found an object, expected a list/],
    ['a layer that is none', image({ layers: [described, 7] }), OCI_MANIFEST, /^layers\[1\]: found 7/],
    [
      'a layer without type',
      image({ layers: [{ ...described, mediaType: '' }] }),
      OCI_MANIFEST,
      /^layers\[0\]\.mediaType/,
    ],
    ['half a byte', image({ layers: [{ ...described, size: 1.5 }] }), OCI_MANIFEST, /^layers\[0\]\.size: found 1\.5/],
    ['too many bytes', image({ config: { ...described, size: 2 ** 53 } }), OCI_MANIFEST, /^config\.size/],
    [
      'upper-case hex',
      image({ config: { ...described, digest: `sha256:${hex.toUpperCase()}` } }),
      OCI_MANIFEST,
      /^config\.digest: found "sha256:A.*expected sha256/,
    ],
    ['no digest', image({ config: { ...described, digest: 'latest' } }), OCI_MANIFEST, /^config\.digest/],
    [
      'an endless digest',
      image({ config: { ...described, digest: `blake9:${'a'.repeat(300)}` } }),
      OCI_MANIFEST,
      /^config\.digest/,
    ],
    [
      'data that is other content',
      image({ config: { ...described, data: Buffer.from('some conten?').toString('base64') } }),
      OCI_MANIFEST,
      /^config\.data: found 12 bytes of sha256.*expected 12 bytes of sha256/,
    ],
    ['data that is no base64', image({ config: { ...described, data: '*' } }), OCI_MANIFEST, /^config\.data: .*base64/],
    ['urls that are no list', image({ layers: [{ ...described, urls: 'x' }] }), OCI_MANIFEST, /^layers\[0\]\.urls/],
    ['an annotation of a number', image({ annotations: { a: 1 } }), OCI_MANIFEST, /^annotations\["a"\]: found 1/],
    [
      'a layer annotation of a number',
      image({ layers: [{ ...described, annotations: { a: [] } }] }),
      OCI_MANIFEST,
      /^layers\[0\]\.annotations\["a"\]: found a list/,
    ],
    ['an artifact type of a number', image({ artifactType: 1 }), OCI_MANIFEST, /^artifactType: found 1/],
    ['a subject that is text', image({ subject: 'x' }), OCI_MANIFEST, /^subject: found "x"/],
  ]
  for (const [what, document, mediaType, message] of cases) {
    it(`is refused with ${what}, saying where, what, and what would be right`, () => {
      assert.throws(
        () => parse(document, mediaType),
        (error: unknown) => {
          assert.ok(error instanceof ManifestInvalid, String(error))
          assert.match(error.message, message)
          assert.equal(error.message, `${error.path}: found ${error.found}, expected ${error.expected}`)
          return true
        },
      )
    })
  }
})
