/** Exact reads from a stream of chunks of any size; what archive and frame formats are parsed with. */

export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>
  readonly #truncated: () => Error
  #buffered: Uint8Array = new Uint8Array()

  /** `truncated` makes the error that is thrown when the source ends too early. */
  constructor(source: AsyncIterable<Uint8Array>, truncated: () => Error) {
    this.#chunks = source[Symbol.asyncIterator]()
    this.#truncated = truncated
  }

  /** Exactly `bytes`, or `undefined` if the source is at its end. */
  async takeOrEnd(bytes: number): Promise<Buffer | undefined> {
    const first = await this.#some(bytes)
    if (first === undefined) return undefined
    if (first.length === bytes) return Buffer.from(first.buffer, first.byteOffset, first.length)
    return Buffer.concat([first, await this.take(bytes - first.length)])
  }

  async take(bytes: number): Promise<Buffer> {
    const chunks: Uint8Array[] = []
    for await (const chunk of this.stream({ bytes })) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** `remaining` is counted down as chunks are handed out, so that a consumer may stop half-way and the rest be skipped. */
  async *stream(remaining: { bytes: number }): AsyncGenerator<Uint8Array> {
    while (remaining.bytes > 0) {
      const chunk = await this.#some(remaining.bytes)
      if (chunk === undefined) throw this.#truncated()
      remaining.bytes -= chunk.length
      yield chunk
    }
  }

  async skip(bytes: number): Promise<void> {
    for await (const _ of this.stream({ bytes }));
  }

  async drain(): Promise<void> {
    while ((await this.#some(Number.MAX_SAFE_INTEGER)) !== undefined);
  }

  async close(): Promise<void> {
    await this.#chunks.return?.()
  }

  async #some(limit: number): Promise<Uint8Array | undefined> {
    while (this.#buffered.length === 0) {
      const next = await this.#chunks.next()
      if (next.done) return undefined
      this.#buffered = next.value
    }
    const chunk = this.#buffered.subarray(0, limit)
    this.#buffered = this.#buffered.subarray(chunk.length)
    return chunk
  }
}
