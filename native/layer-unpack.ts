/**
 * A layer's blob becomes a folder in overlayfs's form, on threads of the addon's own: read, inflated, hashed, parsed and written as a
 * pipeline with bounded memory. Whatever names, links and numbers the archive holds, nothing outside the folder is read or written.
 */
import { loadAddon } from './addon.ts'

export interface LayerLimits {
  /** Of the tar. */
  readonly tarBytes: number
  readonly entries: number
  readonly devices: number
  /** Of one entry's extended attributes, names included. */
  readonly xattrBytes: number
  /** Of the paths of all entries but files: they are remembered until the end. */
  readonly pathBytes: number
}

export interface LayerBlob {
  /** A file or a pipe, read from where it stands to its end. It stays the caller's. */
  readonly descriptor: number
  /** Of a file that is still being written. */
  readonly growth?: BlobGrowth | undefined
  /** Of zstd only where `decodesZstd`. */
  readonly compression: 'gzip' | 'zstd' | 'none'
  /** The digest that the tar has to have. */
  readonly algorithm: 'sha256' | 'sha512'
  readonly digestHex: string
  readonly limits: LayerLimits
}

/** How much of a file is there already. */
interface BlobGrowth {
  readonly bytes: number
  /** Nothing will follow. */
  readonly isWhole: boolean
  /** `listener` is called when one of them has changed, until what this returns is called. */
  onChange(listener: () => void): () => void
}

/** Milliseconds of CPU time; of `finishMs`, of time: attributes of directories, and the disk. */
export interface UnpackCost {
  readonly inflateMs: number
  readonly hashMs: number
  readonly parseMs: number
  readonly fillMs: number
  readonly finishMs: number
}

interface NativeUnpack {
  run(
    order: object,
    folder: string,
    progress: (bytesRead: number) => void,
  ): Promise<UnpackCost & { readonly needsLower: boolean }>
  cancel(): void
  /** The first `bytes` of the blob may be read; without a number, all. */
  reach(bytes?: number): void
  completeAgainst(lowerTopFirst: readonly string[]): Promise<void>
  close(): Promise<void>
}

const native = loadAddon<{
  readonly LayerUnpack: new () => NativeUnpack
  openPipe(): [readable: number, writable: number]
  hasZstd(): boolean
}>()

export interface UnpackOptions {
  readonly signal?: AbortSignal | undefined
  /** Of the blob, now and then. */
  readonly onProgress?: ((bytesRead: number) => void) | undefined
  /** That fill files, beside three that do the rest. */
  readonly threads?: number
}

const FILLING_THREADS = 2

/**
 * What is in a folder, and may have to be completed. Errors of the system carry `code`, `errno` and `step`, which names the entry; what is
 * wrong with the blob is an `Error` without them.
 */
export class UnpackedFolder {
  readonly #native: NativeUnpack
  /** A directory that was only implied, or the target of a hard link, is to be taken from the layers below. */
  readonly needsLower: boolean
  readonly cost: UnpackCost

  private constructor(unpack: NativeUnpack, { needsLower, ...cost }: UnpackCost & { readonly needsLower: boolean }) {
    this.#native = unpack
    this.needsLower = needsLower
    this.cost = cost
  }

  /** `folder` exists and is empty. Whatever went wrong, what was written stays. */
  static async fill(folder: string, blob: LayerBlob, options: UnpackOptions = {}): Promise<UnpackedFolder> {
    const unpack = new native.LayerUnpack()
    try {
      return new UnpackedFolder(unpack, await run(unpack, folder, blob, options))
    } catch (error) {
      await unpack.close()
      throw error
    }
  }

  /** `lower`: the folders of the layers below, complete themselves, the lowest first. */
  async completeAgainst(lower: readonly string[]): Promise<void> {
    await this.#native.completeAgainst(lower.toReversed())
  }

  /** What was written stays. */
  async close(): Promise<void> {
    await this.#native.close()
  }
}

/** Reads all of it, and throws if it is damaged or has another digest. */
export async function verifyLayerBlob(blob: LayerBlob, options: UnpackOptions = {}): Promise<void> {
  await run(new native.LayerUnpack(), '', blob, options)
}

/** Node's decoder of zstd can be called by the addon, as in every Node that is known. */
export const decodesZstd: boolean = native.hasZstd()

/** Two descriptors, the caller's to close. */
export const openPipe = (): readonly [readable: number, writable: number] => native.openPipe()

async function run(unpack: NativeUnpack, folder: string, blob: LayerBlob, options: UnpackOptions) {
  const { signal, onProgress = () => {}, threads = FILLING_THREADS } = options
  signal?.throwIfAborted()
  const { descriptor, growth, compression, algorithm, digestHex, limits } = blob
  const order = {
    blob: descriptor,
    readable: growth?.bytes,
    compression,
    isSha512: algorithm === 'sha512',
    digestHex,
    threads,
    ...limits,
  }
  const cancel = () => unpack.cancel()
  signal?.addEventListener('abort', cancel)
  const running = unpack.run(order, folder, onProgress)
  const reach = () => (growth?.isWhole ? unpack.reach() : unpack.reach(growth?.bytes))
  const forget = growth?.onChange(reach)
  reach()
  try {
    return await running
  } finally {
    forget?.()
    signal?.removeEventListener('abort', cancel)
  }
}
