/** What is worth remembering for a while: each entry until its time, and no more of them than fit; the least recently used go first. */

export class BoundedMap<V> {
  readonly #most: number
  readonly #entries = new Map<string, { readonly value: V; readonly untilMs: number }>()

  constructor(most: number) {
    this.#most = most
  }

  /** `nowMs` and `untilMs` are of one clock. */
  get(key: string, nowMs: number): V | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    this.#entries.delete(key)
    if (entry.untilMs <= nowMs) return undefined
    this.#entries.set(key, entry)
    return entry.value
  }

  set(key: string, value: V, untilMs: number): void {
    this.#entries.delete(key)
    this.#entries.set(key, { value, untilMs })
    if (this.#entries.size <= this.#most) return
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest)
      break
    }
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }

  get size(): number {
    return this.#entries.size
  }
}
