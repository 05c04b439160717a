/** A foreign tree in a folder of this machine. Folders are read as they come, however many names they have. */
import { constants } from 'node:fs'
import { opendir, stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { FileBody } from '../fs/body.ts'
import { codeOf, openIfThere } from '../fs/files.ts'
import { ForeignFileUnusable, type ForeignTree } from './foreign-tree.ts'

const isAbsent = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '')

export class FolderTree implements ForeignTree {
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  async *list(folder: string): AsyncGenerator<string> {
    const entries = await opendir(`${this.#root}/${folder}`).catch((error: unknown) => {
      if (isAbsent(error)) return []
      throw error
    })
    for await (const entry of entries) yield entry.isDirectory() ? `${entry.name}/` : entry.name
  }

  async readSmall(path: string, mostBytes: number): Promise<Uint8Array | undefined> {
    const sizeBytes = await this.sizeOf(path)
    if (sizeBytes === undefined) return undefined
    if (sizeBytes > mostBytes) throw new ForeignFileUnusable(`it has ${sizeBytes} bytes, expected ${mostBytes} at most`)
    const body = await this.open(path)
    return body && Buffer.concat(await Array.fromAsync(body as AsyncIterable<Uint8Array>))
  }

  async sizeOf(path: string): Promise<number | undefined> {
    try {
      const found = await stat(`${this.#root}/${path}`)
      if (!found.isFile()) throw new ForeignFileUnusable('it is no file')
      return found.size
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  async open(path: string): Promise<Readable | undefined> {
    const file = await openIfThere(`${this.#root}/${path}`, constants.O_RDONLY | constants.O_NONBLOCK) // never waits for a pipe
    if (!file) return undefined
    const { size } = await file.stat()
    return new FileBody(file, { start: 0, end: size - 1 })
  }

  close(): void {}
}
