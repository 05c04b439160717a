import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { decompress } from './decompress.ts'

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 777) yield bytes.subarray(at, at + 777)
}

async function decompressed(bytes: Uint8Array): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of decompress(pieces(bytes))) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const half = Buffer.concat([randomBytes(200_000), Buffer.alloc(100_000)])
const whole = Buffer.concat([half, half])
const skippable = Buffer.from('502a4d1803000000010203', 'hex')

describe('decompressing a layer', () => {
  const forms = {
    'not compressed': whole,
    gzip: gzipSync(whole),
    'gzip of several members': Buffer.concat([gzipSync(half), gzipSync(half)]),
    zstd: zstdCompressSync(whole),
    'zstd of several frames, some to be skipped': Buffer.concat([
      skippable,
      zstdCompressSync(half),
      skippable,
      zstdCompressSync(half),
      skippable,
    ]),
  }
  for (const [form, bytes] of Object.entries(forms))
    it(`reads ${form}`, async () => assert.ok((await decompressed(bytes)).equals(whole)))

  const damaged = {
    'a truncated gzip': gzipSync(whole).subarray(0, -100),
    'a truncated zstd': zstdCompressSync(whole).subarray(0, -100),
    'a zstd cut between blocks and checksum': zstdCompressSync(whole).subarray(0, -3),
    'bytes after zstd that begin no frame': Buffer.concat([zstdCompressSync(half), Buffer.from('junk')]),
    'a damaged gzip': Buffer.from(gzipSync(whole)).fill(0xff, 1000, 1100),
  }
  for (const [damage, bytes] of Object.entries(damaged))
    it(`refuses ${damage}`, async () => await assert.rejects(decompressed(bytes)))

  it('stops reading its source when its consumer stops', async () => {
    let closed = false
    async function* endless() {
      try {
        yield* pieces(gzipSync(whole))
      } finally {
        closed = true
      }
    }
    for await (const _ of decompress(endless())) break
    assert.ok(closed)
  })
})
