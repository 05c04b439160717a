/** A range of an open file as a stream, which owns the descriptor. Fails if the file is shorter than was said: a short body never looks whole. */
import type { FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'
import type { ByteRange } from '../driver.ts'
import { ObjectNotFound } from '../errors.ts'

const CHUNK_BYTES = 256 * 1024

export class FileBody extends Readable {
  readonly #file: FileHandle
  readonly #end: number
  #position: number

  /** `range.end` is before `range.start` for no bytes at all. */
  constructor(file: FileHandle, range: ByteRange) {
    super({ highWaterMark: 2 * CHUNK_BYTES })
    this.#file = file
    this.#position = range.start
    this.#end = range.end + 1
  }

  override _read(): void {
    this.#next().then(
      (chunk) => this.push(chunk),
      (error: Error) => this.destroy(error),
    )
  }

  async #next(): Promise<Uint8Array | null> {
    const length = Math.min(CHUNK_BYTES, this.#end - this.#position)
    if (length <= 0) return null
    const { bytesRead, buffer } = await this.#file.read(Buffer.allocUnsafeSlow(length), 0, length, this.#position)
    if (bytesRead === 0) throw new ObjectNotFound(`the file ended ${this.#end - this.#position} bytes early`)
    this.#position += bytesRead
    return buffer.subarray(0, bytesRead)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#file.close().then(
      () => done(error),
      (failure: Error) => done(error ?? failure),
    )
  }
}
