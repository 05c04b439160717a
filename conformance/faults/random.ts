/** Chance that repeats itself: the same seed makes the same script, on every machine. */
import { createCipheriv, createHash } from 'node:crypto'

export class Random {
  readonly #seed: string
  #state: number

  constructor(seed: string | number) {
    this.#seed = `${seed}`
    this.#state = createHash('sha256').update(this.#seed).digest().readUInt32LE()
  }

  /** Mulberry32: from 0 to below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number below `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** By weights; names that are given none are never taken. */
  weighted<T extends string>(weights: Readonly<Partial<Record<T, number>>>): T {
    const all = Object.entries(weights) as [T, number][]
    let left = this.next() * all.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [name, weight] of all) {
      left -= weight
      if (left < 0) return name
    }
    return (all.at(-1) as [T, number])[0]
  }

  /** A chance of its own: what it gives does not depend on how much anybody else has asked. */
  fork(name: string | number): Random {
    return new Random(`${this.#seed}/${name}`)
  }
}

/** Bytes that do not compress, the same for the same name in every process. */
export function contentOf(name: string, sizeBytes: number): Buffer {
  const key = createHash('sha256').update(name).digest()
  return createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16)).update(Buffer.alloc(sizeBytes))
}
