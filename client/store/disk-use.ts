/** How much is in folders of the store. What goes meanwhile is left out. */
import type { Stats } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'

const BLOCK_BYTES = 512

/** What it takes of the disk. */
export async function bytesOnDisk(folder: string): Promise<number> {
  let sum = 0
  for await (const { blocks } of below(folder)) sum += blocks * BLOCK_BYTES
  return sum
}

/** What is in its files, each counted once, however many names it has. */
export async function bytesInFiles(folder: string): Promise<number> {
  const seen = new Set<number>()
  let sum = 0
  for await (const status of below(folder)) {
    if (!status.isFile() || seen.has(status.ino)) continue
    if (status.nlink > 1) seen.add(status.ino)
    sum += status.size
  }
  return sum
}

async function* below(folder: string): AsyncGenerator<Stats> {
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name)
    const status = await lstat(path).catch(() => undefined)
    if (status === undefined) continue
    yield status
    if (status.isDirectory()) yield* below(path)
  }
}
