/**
 * Content digests (image-spec, descriptor.md "Digests"):
 *
 *     digest    ::= algorithm ":" encoded
 *     algorithm ::= component ( [+._-] component )*      component ::= [a-z0-9]+
 *     encoded   ::= [a-zA-Z0-9=_-]+
 *
 * of which the registered algorithms sha256 and sha512 are supported, whose encoding is lower-case hex. A manifest may name
 * content by any other algorithm (blake3): the registry cannot hold such content, but it keeps the manifest.
 */
import { ImmediateHash } from '../../native/hash.ts'
import { DigestInvalid } from '../errors.ts'

declare const brand: unique symbol
declare const foreignBrand: unique symbol

/** `sha256:<64 hex>` or `sha512:<128 hex>`; only this file makes one. */
export type Digest = string & { readonly [brand]: 'Digest' }

/** By an algorithm that this registry does not compute: never stored, only named. */
export type ForeignDigest = string & { readonly [foreignBrand]: 'ForeignDigest' }

export type DigestAlgorithm = 'sha256' | 'sha512'

/** Exported states of running hashes, in Base64. */
export type HashStates = Readonly<Partial<Record<DigestAlgorithm, string>>>

const HEX_LENGTH: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 }
const GRAMMAR = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/
/** Fits into a name on disk. */
const LONGEST_FOREIGN = 200
const EXPECTED = '<algorithm>:<encoded>, as in sha256:<64 hex digits>'

/** Throws `DigestInvalid`, which says whether the grammar, the algorithm or the encoding is wrong. */
export function parseDigest(text: string): Digest {
  const invalid = (expected: string) => new DigestInvalid('a digest', text, expected)
  if (text.length > LONGEST_FOREIGN || !GRAMMAR.test(text)) throw invalid(EXPECTED)
  const colon = text.indexOf(':')
  const algorithm = text.slice(0, colon)
  if (!isSupported(algorithm)) throw invalid('one of the algorithms sha256, sha512')
  const length = HEX_LENGTH[algorithm]
  if (text.length - colon - 1 !== length || !/^[0-9a-f]+$/.test(text.slice(colon + 1))) {
    throw invalid(`${length} lower-case hex digits after "${algorithm}:"`)
  }
  return text as Digest
}

/** What a manifest may name. Throws `DigestInvalid`: the grammar holds for every algorithm, the encoding for those that are supported. */
export function parseAnyDigest(text: string): Digest | ForeignDigest {
  const foreign = text.length <= LONGEST_FOREIGN && GRAMMAR.test(text) && !isSupported(text.slice(0, text.indexOf(':')))
  return foreign ? (text as ForeignDigest) : parseDigest(text)
}

export const isComputable = (digest: Digest | ForeignDigest): digest is Digest =>
  isSupported(digest.slice(0, digest.indexOf(':')))

/** Throws `DigestInvalid` if it is not supported. */
export function parseDigestAlgorithm(text: string): DigestAlgorithm {
  if (!isSupported(text)) throw new DigestInvalid('a digest algorithm', text, 'sha256 or sha512')
  return text
}

export const DIGEST_ALGORITHMS = Object.keys(HEX_LENGTH) as readonly DigestAlgorithm[]

const isSupported = (algorithm: string): algorithm is DigestAlgorithm => Object.hasOwn(HEX_LENGTH, algorithm)

/** Of content that is small: hashed here and now. */
export const digestOf = (bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest =>
  formatDigest(algorithm, new ImmediateHash(algorithm).update(bytes).digestHex())

/** `hex` comes from a hash function, complete. */
export const formatDigest = (algorithm: DigestAlgorithm, hex: string): Digest => `${algorithm}:${hex}` as Digest

export const algorithmOf = (digest: Digest): DigestAlgorithm => digest.slice(0, digest.indexOf(':')) as DigestAlgorithm

export const hexOf = (digest: Digest): string => digest.slice(digest.indexOf(':') + 1)
