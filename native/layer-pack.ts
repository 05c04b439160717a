/** What a container has written becomes a layer: an overlay's upper directory as a tar, with whiteouts as image layers have them. */
import { closeSync, createReadStream } from 'node:fs'
import { loadAddon } from './addon.ts'
import { openPipe } from './layer-unpack.ts'

const native = loadAddon<{
  packLayer(folder: string, leftOut: readonly string[], pipe: number): Promise<void>
}>()

const CHUNK_BYTES = 256 * 1024

/**
 * The bytes of the tar, as they are read; whoever stops reading stops the work. `leftOut`: paths from the folder of files that are left out as long as they
 * are empty. Throws with `errno` and `step` for what cannot be read, and an `Error` without them for what no layer can hold.
 */
export async function* packedLayer(folder: string, leftOut: readonly string[] = []): AsyncGenerator<Uint8Array> {
  const [readable, writable] = openPipe()
  const stream = createReadStream('', { fd: readable, highWaterMark: CHUNK_BYTES })
  let packing: Promise<void> | undefined
  try {
    try {
      packing = native.packLayer(folder, leftOut, writable)
      packing.catch(() => {}) // it is thrown below, once what was packed is read
    } finally {
      closeSync(writable)
    }
    for await (const chunk of stream) yield chunk as Uint8Array
    await packing
  } finally {
    stream.destroy()
    await packing?.catch(() => {})
  }
}
