/**
 * An archive's bytes as a tar, whatever it is compressed with. Decided by the first bytes, not by the media type: mislabelled layers exist.
 * Members of gzip and frames of zstd may follow each other.
 */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { zstdFrames } from './zstd-frames.ts'

const OUTPUT_CHUNK_BYTES = 256 * 1024

/** Ends with an error if `source` is truncated or damaged. Stops reading `source` when the consumer stops. */
export async function* decompress(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { head, whole } = await peek(source, 4)
  if (isGzip(head)) {
    yield* through(whole, createGunzip({ chunkSize: OUTPUT_CHUNK_BYTES }))
  } else if (isZstd(head)) {
    yield* zstdDecoded(whole)
  } else {
    yield* whole
  }
}

/** Node's decoder stops after the first frame, so each gets a decoder of its own. */
export async function* zstdDecoded(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const frame of zstdFrames(source))
    yield* through(frame, createZstdDecompress({ chunkSize: OUTPUT_CHUNK_BYTES }))
}

/** `head`: its first four bytes, or all there are. */
export const isGzip = (head: Buffer): boolean => head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b

/** As `isGzip`. */
export function isZstd(head: Buffer): boolean {
  if (head.length < 4) return false
  const magic = head.readUInt32LE(0)
  return magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50 // the second: a skippable frame
}

async function* through(
  source: AsyncIterable<Uint8Array>,
  decoder: ReturnType<typeof createGunzip>,
): AsyncGenerator<Uint8Array> {
  const fed = pipeline(Readable.from(source, { objectMode: false }), decoder)
  fed.catch(() => {}) // thrown below, once what was decoded has been handed on
  try {
    yield* decoder as AsyncIterable<Uint8Array>
    await fed
  } finally {
    decoder.destroy()
    await fed.catch(() => {}) // so that the source is closed when we are
  }
}

async function peek(
  source: AsyncIterable<Uint8Array>,
  bytes: number,
): Promise<{ readonly head: Buffer; readonly whole: AsyncIterable<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]()
  const taken: Uint8Array[] = []
  let length = 0
  while (length < bytes) {
    const next = await iterator.next()
    if (next.done) break
    taken.push(next.value)
    length += next.value.length
  }
  const head = Buffer.concat(taken)
  async function* whole(): AsyncGenerator<Uint8Array> {
    try {
      if (head.length > 0) yield head
      for (;;) {
        const next = await iterator.next()
        if (next.done) return
        yield next.value
      }
    } finally {
      await iterator.return?.()
    }
  }
  return { head: head.subarray(0, bytes), whole: whole() }
}
