/** A tree of files that another registry wrote, in a folder or in a bucket: it is only read. Paths are separated by `/`. */
import type { Readable } from 'node:stream'

export interface ForeignTree {
  /** Names in a folder (a path that ends with `/`, or nothing), those of folders ending with `/`. Nothing if there is no such folder. */
  list(folder: string): AsyncIterable<string>
  /** `undefined` if there is no such file. Throws `ForeignFileUnusable` if it is larger. */
  readSmall(path: string, mostBytes: number): Promise<Uint8Array | undefined>
  /** Bytes; `undefined` if there is no such file. */
  sizeOf(path: string): Promise<number | undefined>
  /** `undefined` if there is no such file. It is read or destroyed. */
  open(path: string): Promise<Readable | undefined>
  close(): void
}

/** One file of the tree, not the whole of it. */
export class ForeignFileUnusable extends Error {
  override readonly name = 'ForeignFileUnusable'
}
