/** Layers of tests, unpacked. */

import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LayerLimits, UnpackedFolder, type UnpackOptions } from '../layer-unpack.ts'
import { unmount } from '../overlay.ts'
import { Archive } from './archive.ts'

export const skip = process.getuid?.() === 0 ? false : 'needs root'

const GENEROUS: LayerLimits = {
  tarBytes: 2 ** 40,
  entries: 1e6,
  devices: 1000,
  xattrBytes: 65536,
  pathBytes: 2 ** 28,
}

/** The folder may have something mounted at `merged`. */
export async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-layer-'))
  try {
    await run(folder)
  } finally {
    await unmount(join(folder, 'merged'))
    await rm(folder, { recursive: true, force: true })
  }
}

export interface LayerOptions extends UnpackOptions {
  readonly limits?: Partial<LayerLimits>
  readonly digestHex?: string
  readonly compression?: 'gzip' | 'none'
  /** What is hashed, if it is not the blob. */
  readonly tar?: Uint8Array
}

/** Unpacks into `folder`, which it makes, and completes it against `lower`. True if that was needed. */
export async function unpackTo(
  folder: string,
  blob: Uint8Array,
  lower: readonly string[] = [],
  options: LayerOptions = {},
): Promise<boolean> {
  await mkdir(folder, { recursive: true })
  await writeFile(`${folder}.blob`, blob)
  await using file = await open(`${folder}.blob`)
  const digestHex =
    options.digestHex ??
    createHash('sha256')
      .update(options.tar ?? blob)
      .digest('hex')
  const limits = { ...GENEROUS, ...options.limits }
  const compression = options.compression ?? 'none'
  const described = { descriptor: file.fd, compression, algorithm: 'sha256', digestHex, limits } as const
  const unpacked = await UnpackedFolder.fill(folder, described, options)
  try {
    if (unpacked.needsLower) await unpacked.completeAgainst(lower)
    return unpacked.needsLower
  } finally {
    await unpacked.close()
  }
}

/** A layer of what `fill` puts into an archive. */
export async function layer(folder: string, fill: (archive: Archive) => unknown, lower: readonly string[] = []) {
  const archive = new Archive()
  fill(archive)
  return await unpackTo(folder, archive.bytes(), lower)
}
