/**
 * What a layer is compressed with: decided by its first bytes, not by its media type, since mislabelled layers exist. gzip is inflated by
 * the native side itself, which is several times faster than Node's zlib. zstd is decoded by Node's own, which is fast, is mended with
 * each release of Node, and needs no second copy of the decoder's sources here; what it gives goes through a pipe.
 */
import { close, createWriteStream } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { openPipe } from '../native/layer-unpack.ts'
import { zstdFrames } from './zstd-frames.ts'

const CHUNK_BYTES = 256 * 1024

/** Of a blob's file, which stays at its beginning. */
export async function compressionOf(file: FileHandle): Promise<'gzip' | 'zstd' | 'none'> {
  const { buffer: head, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0)
  if (bytesRead >= 2 && head[0] === 0x1f && head[1] === 0x8b) return 'gzip'
  const magic = bytesRead === 4 ? head.readUInt32LE(0) : 0
  return magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50 ? 'zstd' : 'none' // the second: a skippable frame
}

/**
 * Decodes zstd into a pipe, from which `use` reads, until its signal says that nothing good can come any more. Rejects with what is wrong
 * with the data if something is, else with what `use` rejects with.
 */
export async function throughPipe<Result>(
  file: FileHandle,
  signal: AbortSignal | undefined,
  use: (readable: number, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const [readable, writable] = openPipe()
  const over = new AbortController()
  const both = signal ? AbortSignal.any([signal, over.signal]) : over.signal
  let damage: unknown
  const sink = createWriteStream('', { fd: writable, highWaterMark: CHUNK_BYTES })
  const blob = file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK_BYTES })
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      yield* decoded(blob)
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

/** Node's decoder stops after the first frame, so each gets a decoder of its own. */
async function* decoded(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const frame of zstdFrames(source)) {
    const decoder = createZstdDecompress({ chunkSize: CHUNK_BYTES })
    const fed = pipeline(Readable.from(frame, { objectMode: false }), decoder)
    fed.catch(() => {}) // thrown below, once what was decoded has been handed on
    try {
      yield* decoder as AsyncIterable<Uint8Array>
      await fed
    } finally {
      decoder.destroy()
      await fed.catch(() => {}) // so that the source is closed when we are
    }
  }
}
