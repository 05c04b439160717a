/**
 * One layer's blob becomes one folder. What may be in it is decided here (limits, compression); that nothing it says reaches beyond the
 * folder is the native side's promise. Every complaint names the layer and the entry.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { constants } from 'node:os'
import {
  decodesZstd,
  type LayerBlob,
  type UnpackCost,
  UnpackedFolder,
  verifyLayerBlob,
} from '../../native/layer-unpack.ts'
import { algorithmOf, type Digest, hexOf } from '../../storage/model/digest.ts'
import type { GrowingFile } from './growing-file.ts'
import { CHUNK_BYTES, compressionOf, MAGIC_BYTES, throughPipe } from './layer-input.ts'

/** A tar may be so much larger than its blob: 1 GiB for whatever it is, and then what ordinary content reaches. */
const FREE_BYTES = 2 ** 30
const RATIO_LIMIT = 250
const LIMITS = {
  entries: 2_000_000,
  /** An image has a few dozen; the runtime makes its own, and lets none of these work. */
  devices: 1_000,
  xattrBytes: 64 * 1024,
  pathBytes: 256 * 1024 * 1024,
}

/** What is wrong with a layer. */
export class UnpackError extends Error {
  override readonly name = 'UnpackError'
}

export interface LayerSource {
  /** Of the blob; what messages call the layer. */
  readonly digest: Digest
  readonly diffId: Digest
  readonly compressedBytes: number
  /** It was downloaded just now, so that nobody has compared its content with the diffID yet. */
  readonly isNew: boolean
  /** Of the blob as pulled. Read only if the layer is not here yet, or the blob is new. */
  readonly path: string
  /** The same while it is being downloaded: it is read as it grows. */
  readonly growing?: GrowingFile | undefined
  /** How much of the blob was read so far. */
  readonly onProgress?: (bytes: number) => void
  /** What unpacking it cost, once it is done. */
  readonly onCost?: (cost: UnpackCost) => void
}

export interface UnpackedLayer {
  /** Something in it needs the layers below: `completeAgainst` must be called before it is used. */
  readonly needsLower: boolean
  /** `lower`: the folders of the layers below, the lowest first. */
  completeAgainst(lower: readonly string[]): Promise<void>
  /** For who does not complete it; fine more than once. */
  close(): Promise<void>
}

/** Throws `UnpackError` if the content has another diffID. For a layer whose content is here, and need not be unpacked again. */
export async function verifyLayer(source: LayerSource, signal?: AbortSignal): Promise<void> {
  await withBlob(source, signal, async (blob, failed) => {
    await verifyLayerBlob(blob, { signal: failed, onProgress: source.onProgress })
  })
}

/** Fills `folder`, which is empty and ours. Throws `UnpackError`; what was written so far is the caller's to remove. */
export async function unpackLayer(folder: string, source: LayerSource, signal?: AbortSignal): Promise<UnpackedLayer> {
  const unpacked = await withBlob(source, signal, async (blob, failed) => {
    return await UnpackedFolder.fill(folder, blob, { signal: failed, onProgress: source.onProgress })
  })
  const { needsLower, cost } = unpacked
  source.onCost?.(cost)
  if (!needsLower) await unpacked.close()
  return {
    needsLower,
    completeAgainst: async (lower) => {
      try {
        await unpacked.completeAgainst(lower)
      } catch (cause) {
        throw complaint(source, cause)
      } finally {
        await unpacked.close()
      }
    },
    close: () => unpacked.close(),
  }
}

/** `use` is told when the blob cannot be read any further; its errors become complaints. */
async function withBlob<Result>(
  source: LayerSource,
  signal: AbortSignal | undefined,
  use: (blob: LayerBlob, signal: AbortSignal | undefined) => Promise<Result>,
): Promise<Result> {
  const { growing } = source
  const stops = [signal, growing?.signal].filter((each) => each !== undefined)
  const stop = stops.length > 0 ? AbortSignal.any(stops) : undefined
  try {
    await using file = await openBlob(source)
    await growing?.reaches(MAGIC_BYTES)
    const compression = await compressionOf(file)
    const described = (handle: number, compression: LayerBlob['compression']): LayerBlob => ({
      descriptor: handle,
      growth: handle === file.fd ? growing : undefined,
      compression,
      algorithm: algorithmOf(source.diffId),
      digestHex: hexOf(source.diffId),
      limits: { ...LIMITS, tarBytes: FREE_BYTES + RATIO_LIMIT * source.compressedBytes },
    })
    if (compression !== 'zstd' || decodesZstd) return await use(described(file.fd, compression), stop)
    const whole = () => file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK_BYTES })
    return await throughPipe(
      growing?.read(file) ?? whole(),
      stop,
      async (readable, failed) => await use(described(readable, 'none'), failed),
    )
  } catch (cause) {
    stop?.throwIfAborted()
    throw complaint(source, cause)
  }
}

/** What grew is renamed when it is whole. */
async function openBlob({ path, growing }: LayerSource): Promise<FileHandle> {
  if (growing === undefined) return await open(path)
  return await open(growing.path).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return await open(path)
  })
}

const DISK_FAULTS = new Set<unknown>([constants.errno.ENOSPC, constants.errno.EDQUOT, constants.errno.EIO])

/** An `UnpackError`, unless it is the disk's fault and not the layer's. */
function complaint({ digest }: LayerSource, cause: unknown): Error {
  const { errno, message: what } = cause as Error & { readonly errno?: unknown }
  const advice = errno === constants.errno.EPERM && process.getuid?.() !== 0 ? '; unpacking images needs root' : ''
  const message = `layer ${digest}: ${what}${advice}`
  return DISK_FAULTS.has(errno) ? new Error(message, { cause }) : new UnpackError(message, { cause })
}
