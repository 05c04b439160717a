/** A file that is still being written, for who reads it meanwhile: a layer is unpacked while it is downloaded. */
import type { FileHandle } from 'node:fs/promises'

const CHUNK_BYTES = 256 * 1024

export class GrowingFile {
  readonly path: string
  readonly #over = new AbortController()
  readonly #listeners = new Set<() => void>()
  #bytes = 0
  #isWhole = false

  constructor(path: string) {
    this.path = path
  }

  /** From its beginning on, and never less. */
  get bytes(): number {
    return this.#bytes
  }

  /** Nothing will follow, and it has its digest. */
  get isWhole(): boolean {
    return this.#isWhole
  }

  /** Aborts when nothing will follow although it is not whole. */
  get signal(): AbortSignal {
    return this.#over.signal
  }

  grow(bytes: number): void {
    this.#bytes += bytes
    this.#tell()
  }

  finish(): void {
    this.#isWhole = true
    this.#tell()
  }

  /** After `finish` it changes nothing. */
  abandon(reason: unknown): void {
    if (this.#isWhole) return
    this.#over.abort(reason)
    this.#tell()
  }

  /** Resolves to what takes the listener away again. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Waits until there are so many, or it is whole. Throws what it was abandoned for. */
  async reaches(bytes: number): Promise<void> {
    while (this.#bytes < bytes && !this.#isWhole) {
      this.#over.signal.throwIfAborted()
      const { promise, resolve } = Promise.withResolvers<void>()
      const forget = this.onChange(resolve)
      await promise
      forget()
    }
  }

  /** All of it, as it comes. `handle` is of this file, and stays open. */
  async *read(handle: FileHandle): AsyncGenerator<Uint8Array> {
    for (let at = 0; ; ) {
      await this.reaches(at + 1)
      if (at === this.#bytes) return
      const length = Math.min(CHUNK_BYTES, this.#bytes - at)
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, at)
      if (bytesRead === 0) throw new Error(`${this.path} has become shorter than the ${this.#bytes} bytes it had`)
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener()
  }
}
