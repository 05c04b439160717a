/** What the disk alone takes: the bound of whoever keeps what it acknowledges. */
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'

const BLOCK = Buffer.alloc(1024 * 1024, 1)

/** Files of `sizeBytes` that are written and synced a second (fdatasync(2)), `atOnce` at a time: nothing received, hashed, named or recorded. */
export async function syncedFilesPerSecond(
  folder: string,
  { sizeBytes, atOnce, seconds, most }: Readonly<Record<'sizeBytes' | 'atOnce' | 'seconds' | 'most', number>>,
): Promise<number> {
  const place = join(folder, 'disk')
  await mkdir(place)
  const started = performance.now()
  let begun = 0
  try {
    const writer = async (): Promise<void> => {
      while (begun < most && performance.now() - started < seconds * 1_000) {
        begun += 1
        await writeSynced(join(place, `${begun}`), sizeBytes)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, writer))
    return (begun * 1_000) / (performance.now() - started)
  } finally {
    await rm(place, { recursive: true })
  }
}

async function writeSynced(path: string, sizeBytes: number): Promise<void> {
  await using file = await open(path, 'wx')
  for (let at = 0; at < sizeBytes; at += BLOCK.length) {
    await file.write(BLOCK, 0, Math.min(BLOCK.length, sizeBytes - at), at)
  }
  await file.datasync()
}
