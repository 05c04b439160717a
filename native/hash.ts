/**
 * SHA-2 whose running state can be exported, kept beside the offset that it belongs to, and imported again in another
 * process: what `node:crypto` cannot do, and what lets an upload go on without reading it again. Works off the main thread.
 */
import { loadAddon } from './addon.ts'

export type HashAlgorithm = 'sha256' | 'sha512'

interface NativeHash {
  update(blocks: readonly Uint8Array[]): Promise<void>
  updateNow(blocks: readonly Uint8Array[]): void
  export(): Uint8Array
  digestHex(): string
  algorithm(): HashAlgorithm
  bytesHashed(): number
}

const native = loadAddon<{ Hash: new (stateOrWide: Uint8Array | boolean, portable?: boolean) => NativeHash }>()

/** Without `node:crypto`, which takes longer to load than a short command takes to hash: here and now, on this thread. */
export class ImmediateHash {
  readonly #native: NativeHash

  constructor(algorithm: HashAlgorithm | { readonly state: Uint8Array }) {
    this.#native = new native.Hash(typeof algorithm === 'string' ? algorithm === 'sha512' : algorithm.state)
  }

  update(bytes: Uint8Array): this {
    this.#native.updateNow([bytes])
    return this
  }

  /** What another one goes on from. */
  export(): Uint8Array {
    return this.#native.export()
  }

  /** Of everything so far, lower-case hex; the hash can go on. */
  digestHex(): string {
    return this.#native.digestHex()
  }
}

/** Below this, a trip to another thread costs more than the hashing. */
const SYNCHRONOUS_BYTES = 16 * 1024

export class ResumableHash {
  readonly algorithm: HashAlgorithm
  readonly #native: NativeHash
  #last: Promise<void> | undefined

  /** `portable` forgoes the CPU's own instructions. */
  constructor(algorithm: HashAlgorithm | { readonly state: Uint8Array }, { portable = false } = {}) {
    const from = typeof algorithm === 'string' ? algorithm === 'sha512' : algorithm.state
    this.#native = new native.Hash(from, portable)
    this.algorithm = this.#native.algorithm()
  }

  /** Goes on from what `export` gave. Throws a `TypeError` which says why it is no such state. */
  static import(state: Uint8Array): ResumableHash {
    return new ResumableHash({ state })
  }

  /** Of finished updates. */
  get bytesHashed(): number {
    return this.#native.bytesHashed()
  }

  /** Takes the blocks in order, and updates in the order of their calls. The blocks must not change until it resolves. */
  update(blocks: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const list = blocks instanceof Uint8Array ? [blocks] : blocks
    const size = list.reduce((total, block) => total + block.length, 0)
    if (!this.#last && size <= SYNCHRONOUS_BYTES) {
      this.#native.updateNow(list)
      return Promise.resolve()
    }
    const update = (this.#last ?? Promise.resolve()).then(() => this.#native.update(list))
    const settled = update.finally(() => {
      if (this.#last === settled) this.#last = undefined
    })
    this.#last = settled
    return settled
  }

  /** The state after all finished updates; throws while one is under way. */
  export(): Uint8Array {
    this.#demandIdle()
    return this.#native.export()
  }

  /** The digest of everything so far, lower-case hex; the hash can go on. Throws while an update is under way. */
  digestHex(): string {
    this.#demandIdle()
    return this.#native.digestHex()
  }

  #demandIdle(): void {
    if (this.#last) throw new Error('an update of this hash is under way: await it first')
  }
}
