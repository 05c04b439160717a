import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as facts from '../storage/errors.ts'
import { ERRORS } from './errors.ts'
import { toRegistryError } from './facts.ts'

/** What storage tells itself, or whoever opens it. Reaching a client, each would be a bug of ours: 500. */
const NEVER_AN_ANSWER: ReadonlySet<string> = new Set([
  'AccountExists',
  'AccountUnknown',
  'ObjectNotFound',
  'StoreFormatUnsupported',
  'VersionConflict',
])

const EXAMPLES: Readonly<Record<string, () => facts.StorageFact>> = {
  NameInvalid: () => new facts.NameInvalid('a name', 'A', 'lower case'),
  TagInvalid: () => new facts.TagInvalid('a tag', '-', 'a letter'),
  DigestInvalid: () => new facts.DigestInvalid('a digest', 'x', 'sha256:…'),
  ManifestInvalid: () => new facts.ManifestInvalid('layers[0].size', '-1', 'a number of bytes'),
  ReferencesMissing: () => new facts.ReferencesMissing([{ path: 'config', digest: 'sha256:x' }]),
  OffsetMismatch: () => new facts.OffsetMismatch(1, 2),
}

describe('a fact of storage', () => {
  const classes = Object.entries(facts).filter(([name]) => name !== 'StorageFact')
  it('is one of those that this test enumerates', () => assert.ok(classes.length > 15))

  for (const [name, Fact] of classes) {
    const example = EXAMPLES[name] ?? (() => new (Fact as new (message: string) => facts.StorageFact)('some reason'))
    if (NEVER_AN_ANSWER.has(name)) {
      it(`${name} stays inside: it has no words in the protocol`, () =>
        assert.equal(toRegistryError(example()), undefined))
      continue
    }
    it(`${name} has its row: a code, a status below 500 or a time to come back, and a cause for the log`, () => {
      const error = toRegistryError(example())
      assert.ok(error, 'no row')
      const { code, status } = ERRORS[error.kind]
      assert.match(code, /^[A-Z_]+$/)
      const mends = name !== 'BlobDamaged' && name !== 'RecordDamaged' // which only a push or an operator does
      assert.ok(status < 500 || !mends || error.headers['Retry-After'] !== undefined)
      assert.ok(error.cause instanceof Error)
    })
  }
})
