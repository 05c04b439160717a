/** The running hashes of an upload: what a session's record keeps of them, and how blocks pass through them. */
import { ResumableHash } from '../native/hash.ts'
import { blocksOf } from './blocks.ts'
import type { Block, Sealed } from './driver.ts'
import { type Digest, type DigestAlgorithm, formatDigest, type HashStates } from './model/digest.ts'

/** Hashes blocks while they are written. Its states are kept for each boundary between blocks that may still become a checkpoint. */
export class Hashing {
  readonly #hashes: readonly ResumableHash[]
  readonly #mayEmpty: boolean
  readonly #kept = new Map<number, HashStates>()
  /** Behind the last block that was handed on. */
  #offset: number
  #updates: Promise<unknown> = Promise.resolve()

  constructor(hashes: readonly ResumableHash[], offset: number, mayEmpty: boolean) {
    this.#hashes = hashes
    this.#offset = offset
    this.#mayEmpty = mayEmpty
  }

  /** Whoever asks for a block has written the one before. */
  async *through(blocks: AsyncIterable<Block>): AsyncGenerator<Block> {
    let before: Block = []
    for await (const block of blocks) {
      await this.#keep() // at most one block is being hashed: memory stays bounded
      if (this.#mayEmpty) empty(before)
      before = block
      this.#updates = Promise.all(this.#hashes.map((hash) => hash.update(block)))
      this.#offset += block.reduce((total, piece) => total + piece.length, 0)
      yield block
    }
  }

  /** Those before it are not asked for again. */
  async statesAt(offset: number): Promise<HashStates> {
    await this.#keep()
    const states = this.#kept.get(offset)
    if (!states) throw new Error(`a driver made a checkpoint at ${offset}, which is within a block`)
    for (const passed of this.#kept.keys()) if (passed < offset) this.#kept.delete(passed)
    return states
  }

  async #keep(): Promise<void> {
    await this.#updates
    this.#kept.set(this.#offset, exported(this.#hashes))
  }
}

/** Memory outside of V8's heap is given back only by a collection of all of it, and so much of it comes in that those would be the larger part of the work. */
export function empty(block: Block): void {
  for (const { buffer, byteLength } of block) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
  }
}

/** What a session's record keeps of them. */
export const exported = (hashes: readonly ResumableHash[]): HashStates =>
  Object.fromEntries(hashes.map((hash) => [hash.algorithm, Buffer.from(hash.export()).toString('base64')]))

export const imported = (states: HashStates): readonly ResumableHash[] =>
  Object.values(states).map((state) => ResumableHash.import(Buffer.from(state, 'base64')))

/** From the running hash; `undefined` for an algorithm that the client had not announced. */
export function digestOfStates(hashes: HashStates, algorithm: DigestAlgorithm): Digest | undefined {
  const state = hashes[algorithm]
  if (state === undefined) return undefined
  return formatDigest(algorithm, ResumableHash.import(Buffer.from(state, 'base64')).digestHex())
}

/** From the running hash; for an algorithm that the client had not announced, the content is read once more. */
export async function digestOfStaged(sealed: Sealed, hashes: HashStates, algorithm: DigestAlgorithm): Promise<Digest> {
  const known = digestOfStates(hashes, algorithm)
  if (known !== undefined) return known
  const hash = new ResumableHash(algorithm)
  const never = new AbortController().signal
  for await (const block of blocksOf(await sealed.read(), 0, sealed.sizeBytes, never)) await hash.update(block)
  return formatDigest(algorithm, hash.digestHex())
}
