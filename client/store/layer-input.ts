/**
 * What a layer is compressed with: decided by its first bytes, not by its media type, since mislabelled layers exist. gzip is inflated by
 * the native side itself, which is several times faster than Node's zlib; zstd by Node's decoder, called by the native side, or,
 * in a Node that keeps it to itself, through its streams and a pipe.
 */
import { close, createWriteStream } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { openPipe } from '../../native/layer-unpack.ts'
import { isGzip, isZstd, zstdDecoded } from './decompress.ts'

export const CHUNK_BYTES = 256 * 1024
/** By which it can be told. */
export const MAGIC_BYTES = 4

/** Of a blob's file, which stays at its beginning. */
export async function compressionOf(file: FileHandle): Promise<'gzip' | 'zstd' | 'none'> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(MAGIC_BYTES), 0, MAGIC_BYTES, 0)
  const head = buffer.subarray(0, bytesRead)
  return isGzip(head) ? 'gzip' : isZstd(head) ? 'zstd' : 'none'
}

/**
 * Decodes zstd, `blob`, into a pipe, from which `use` reads, until its signal says that nothing good can come any more. Rejects with what is wrong
 * with the data if something is, else with what `use` rejects with.
 */
export async function throughPipe<Result>(
  blob: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  use: (readable: number, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const [readable, writable] = openPipe()
  const over = new AbortController()
  const both = signal ? AbortSignal.any([signal, over.signal]) : over.signal
  let damage: unknown
  const sink = createWriteStream('', { fd: writable, highWaterMark: CHUNK_BYTES })
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      yield* zstdDecoded(blob)
    } catch (error) {
      damage = error // before the pipe ends, which looks like a truncated tar
      over.abort()
      throw error
    }
  }
  const pump = pipeline(Readable.from(watched()), sink, { signal: both }).catch((error: unknown) => {
    if (!both.aborted) damage = error
  })
  const outcome = await use(readable, both).then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  close(readable, () => {}) // who still writes is told, and lets go
  over.abort()
  await pump
  if (damage !== undefined) throw damage
  if ('error' in outcome) throw outcome.error
  return outcome.value
}
