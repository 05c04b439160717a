/** The running hashes of an upload: what a session's record keeps of them, and how blocks pass through them. */
import { ResumableHash } from '../native/hash.ts'
import { blocksOf } from './blocks.ts'
import type { Block, Sealed } from './driver.ts'
import { type Digest, type DigestAlgorithm, formatDigest } from './model/digest.ts'

/** Base64, by algorithm. */
export type HashStates = Readonly<Partial<Record<DigestAlgorithm, string>>>

/** Hashes blocks while they are written; its states belong to all blocks that were handed on. */
export class Hashing {
  readonly #hashes: readonly ResumableHash[]
  #updates: Promise<unknown> = Promise.resolve()

  readonly #mayEmpty: boolean

  constructor(hashes: readonly ResumableHash[], mayEmpty: boolean) {
    this.#hashes = hashes
    this.#mayEmpty = mayEmpty
  }

  /** Whoever asks for a block has written the one before. */
  async *through(blocks: AsyncIterable<Block>): AsyncGenerator<Block> {
    let before: Block = []
    for await (const block of blocks) {
      await this.#updates // at most one block is being hashed: memory stays bounded
      if (this.#mayEmpty) empty(before)
      before = block
      this.#updates = Promise.all(this.#hashes.map((hash) => hash.update(block)))
      yield block
    }
  }

  async states(): Promise<HashStates> {
    await this.#updates
    return exported(this.#hashes)
  }
}

/** Memory outside of V8's heap is given back only by a collection of all of it, and so much of it comes in that those would be the larger part of the work. */
function empty(block: Block): void {
  for (const { buffer, byteLength } of block) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
  }
}

/** What a session's record keeps of them. */
export const exported = (hashes: readonly ResumableHash[]): HashStates =>
  Object.fromEntries(hashes.map((hash) => [hash.algorithm, Buffer.from(hash.export()).toString('base64')]))

/** From the running hash; for an algorithm that the client had not announced, the content is read once more. */
export async function digestOfStaged(sealed: Sealed, hashes: HashStates, algorithm: DigestAlgorithm): Promise<Digest> {
  const state = hashes[algorithm]
  if (state !== undefined) {
    return formatDigest(algorithm, ResumableHash.import(Buffer.from(state, 'base64')).digestHex())
  }
  const hash = new ResumableHash(algorithm)
  const never = new AbortController().signal
  for await (const block of blocksOf(await sealed.read(), sealed.sizeBytes, never)) await hash.update(block)
  return formatDigest(algorithm, hash.digestHex())
}
