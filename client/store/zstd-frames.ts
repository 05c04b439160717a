/**
 * Cuts a zstd stream into its frames (RFC 8878 §3.1), without decoding them, and leaves the skippable ones out. What Node's decoder does not
 * notice is an error here: a stream that ends inside a frame, and bytes after the last one that begin none.
 */
import { ByteReader } from './byte-reader.ts'

const MAGIC = 0xfd2fb528

/** Each inner iterable must be consumed before the next is asked for. Throws for a malformed or truncated stream. */
export async function* zstdFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<AsyncIterable<Uint8Array>> {
  const input = new ByteReader(source, () => new Error('the zstd stream is truncated'))
  try {
    for (;;) {
      const magic = await input.takeOrEnd(4)
      if (magic === undefined) return
      const value = magic.readUInt32LE(0)
      if ((value & 0xfffffff0) >>> 0 === 0x184d2a50) {
        await input.skip((await input.take(4)).readUInt32LE(0))
      } else if (value === MAGIC) {
        yield frame(magic, input)
      } else {
        throw new Error('not a zstd frame where one should begin')
      }
    }
  } finally {
    await input.close()
  }
}

async function* frame(magic: Buffer, input: ByteReader): AsyncGenerator<Uint8Array> {
  const descriptor = await input.take(1)
  const flags = descriptor[0] ?? 0
  const singleSegment = (flags & 0x20) !== 0
  const contentSizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][flags >> 6] ?? 0
  const dictionaryIdBytes = [0, 1, 2, 4][flags & 3] ?? 0
  const rest = await input.take((singleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes)
  yield Buffer.concat([magic, descriptor, rest])
  for (let last = false; !last; ) {
    const header = await input.take(3)
    const bits = header.readUIntLE(0, 3)
    last = (bits & 1) === 1
    const runLength = ((bits >> 1) & 3) === 1 // one byte, repeated
    yield header
    yield* input.stream({ bytes: runLength ? 1 : bits >> 3 })
  }
  const hasChecksum = (flags & 0x04) !== 0
  if (hasChecksum) yield await input.take(4)
}
