import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type HashAlgorithm, ResumableHash } from './hash.ts'

const ALGORITHMS: readonly HashAlgorithm[] = ['sha256', 'sha512']
const expected = (algorithm: HashAlgorithm, bytes: Uint8Array) => createHash(algorithm).update(bytes).digest('hex')

/** FIPS 180-4 examples, as NIST publishes them. */
const VECTORS: readonly (readonly [HashAlgorithm, string, string])[] = [
  ['sha256', '', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  ['sha256', 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  [
    'sha256',
    'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
    '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
  ],
  ['sha256', 'a'.repeat(1_000_000), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'],
  [
    'sha512',
    'abc',
    'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
  ],
  [
    'sha512',
    'abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu',
    '8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909',
  ],
  [
    'sha512',
    'a'.repeat(1_000_000),
    'e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973ebde0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b',
  ],
]

describe('a resumable hash', () => {
  for (const portable of [false, true]) {
    it(`agrees with NIST's vectors${portable ? ', without the instructions of the CPU too' : ''}`, async () => {
      for (const [algorithm, text, digest] of VECTORS) {
        const hash = new ResumableHash(algorithm, { portable })
        await hash.update(Buffer.from(text))
        assert.equal(hash.digestHex(), digest)
      }
    })
  }

  for (const portable of [false, true]) {
    it(`agrees with node:crypto at any length${portable ? ', without the instructions of the CPU too' : ''}`, async () => {
      const bytes = randomBytes(600)
      for (const algorithm of ALGORITHMS) {
        for (let size = 0; size <= bytes.length; size++) {
          const hash = new ResumableHash(algorithm, { portable })
          await hash.update(bytes.subarray(0, size))
          assert.equal(hash.digestHex(), expected(algorithm, bytes.subarray(0, size)), `${size} bytes`)
        }
      }
    })
  }

  it('agrees with node:crypto wherever it is cut, exported and imported', async () => {
    const anyCuts = fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...ALGORITHMS), anyCuts, fc.boolean(), async (algorithm, pieces, portable) => {
        let hash = new ResumableHash(algorithm, { portable })
        for (const piece of pieces) {
          await hash.update(piece)
          hash = ResumableHash.import(hash.export())
        }
        const whole = Buffer.concat(pieces)
        assert.equal(hash.bytesHashed, whole.length)
        assert.equal(hash.digestHex(), expected(algorithm, whole))
        assert.equal(hash.algorithm, algorithm)
      }),
      { numRuns: 300 },
    )
  })

  it('takes large blocks off the main thread, in the order of the calls', async () => {
    const blocks = Array.from({ length: 8 }, (_, place) => Buffer.alloc(300_001, place))
    for (const algorithm of ALGORITHMS) {
      const hash = new ResumableHash(algorithm)
      await Promise.all([
        hash.update(blocks.slice(0, 3)),
        hash.update(blocks.slice(3, 4)),
        hash.update(blocks.slice(4)),
      ])
      assert.equal(hash.digestHex(), expected(algorithm, Buffer.concat(blocks)))
    }
  })

  it('goes on after its digest was asked for', async () => {
    const hash = new ResumableHash('sha256')
    await hash.update(Buffer.from('ab'))
    assert.equal(hash.digestHex(), expected('sha256', Buffer.from('ab')))
    await hash.update(Buffer.from('c'))
    assert.equal(hash.digestHex(), expected('sha256', Buffer.from('abc')))
  })

  it('gives no state while an update is under way', async () => {
    const hash = new ResumableHash('sha256')
    const update = hash.update(Buffer.alloc(1_000_000))
    assert.throws(() => hash.export(), /under way/)
    assert.throws(() => hash.digestHex(), /under way/)
    await update
    assert.equal(hash.bytesHashed, 1_000_000)
  })

  it('counts beyond what 32 bits hold', async () => {
    const blockBytes = 64
    const hash = new ResumableHash('sha256')
    await hash.update(Buffer.alloc(blockBytes))
    const state = Buffer.from(hash.export())
    state.writeBigUInt64BE(2n ** 40n, 2)
    assert.equal(ResumableHash.import(state).bytesHashed, 2 ** 40)
  })

  it('refuses what is not a state, whatever it is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          assert.equal(ResumableHash.import(bytes).export().length, bytes.length)
        } catch (error) {
          assert.ok(error instanceof TypeError, String(error))
        }
      }),
      { numRuns: 2_000 },
    )
    const state = new ResumableHash('sha256').export()
    for (const broken of [state.subarray(1), Buffer.concat([state, Buffer.alloc(1)]), Buffer.alloc(0)]) {
      assert.throws(() => ResumableHash.import(broken), TypeError)
    }
  })
})
