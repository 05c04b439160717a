/** What the program of decompress.cc is made of, and what it has to say. */
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** Sources below `src`, or objects below a folder of the build, without what they end with. */
export const DECOMPRESS_PARTS: readonly string[] = [
  ...['core/hash', 'core/sha256', 'core/sha512'],
  ...['layer/inflate', 'layer/crc32', 'layer/gzip', 'layer/layer_stream', 'layer/zstd'],
]

/** Of `decompress checksums`, as Node has them. */
export function expectedChecksums(input: Buffer): string {
  const lines = Array.from({ length: input.length + 1 }, (_, size) => {
    const beginning = input.subarray(0, size)
    const [sum, digest] = [crc32(beginning), createHash('sha256').update(beginning).digest('hex')]
    return `${sum} ${sum} ${digest} ${digest} ${digest}\n`
  })
  return lines.join('')
}
