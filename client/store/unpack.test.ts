/** Layers as they are compressed and damaged in the wild. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { Archive } from '../../native/testing/archive.ts'
import { digestOf } from '../../storage/model/digest.ts'
import { throughPipe } from './layer-input.ts'
import { UnpackError, unpackLayer, verifyLayer } from './unpack.ts'

const skip = process.getuid?.() === 0 ? false : 'needs root'
const content = Buffer.concat([randomBytes(700_000), Buffer.alloc(300_000)])
const tar = new Archive().file('dir/file', content).file('other', 'other').bytes()
const cut = 500_123
const [front, back] = [tar.subarray(0, cut), tar.subarray(cut)]
/** Of so many bytes the tar comes, from whatever it is decoded. */
const CHUNK_BYTES = 256 * 1024
const chunks = Array.from({ length: Math.ceil(tar.length / CHUNK_BYTES) }, (_, i) =>
  tar.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES),
)
const skippable = Buffer.from('502a4d1803000000010203', 'hex')

describe('a layer’s blob', { skip }, () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-unpack-'))
  })
  afterEach(async () => await rm(root, { recursive: true, force: true }))

  async function source(blob: Buffer, compressedBytes = blob.length) {
    const path = join(root, 'blob')
    await writeFile(path, blob)
    return { digest: digestOf(blob), diffId: digestOf(tar), compressedBytes, isNew: true, path }
  }
  async function unpack(blob: Buffer, compressedBytes?: number): Promise<void> {
    const folder = join(root, 'layer')
    await mkdir(folder)
    const layer = await unpackLayer(folder, await source(blob, compressedBytes))
    assert.equal(layer.needsLower, true) // dir/ was only implied
    await layer.completeAgainst([])
  }

  const forms = {
    'that is not compressed': tar,
    'in gzip': gzipSync(tar),
    'in gzip of several members': Buffer.concat([gzipSync(front), gzipSync(Buffer.alloc(0)), gzipSync(back)]),
    'in zstd': zstdCompressSync(tar),
    'in zstd of several frames, some to be skipped': Buffer.concat([
      skippable,
      zstdCompressSync(front),
      skippable,
      zstdCompressSync(back),
      skippable,
    ]),
    'in zstd of frames that each fill a chunk': Buffer.concat(chunks.map((chunk) => zstdCompressSync(chunk))),
    'in zstd of very many frames': Buffer.concat(
      Array.from({ length: tar.length / 512 }, (_, i) => zstdCompressSync(tar.subarray(i * 512, (i + 1) * 512))),
    ),
  }
  for (const [form, blob] of Object.entries(forms))
    it(`${form} is unpacked, and verified`, async () => {
      await unpack(blob)
      assert.ok((await readFile(join(root, 'layer/dir/file'))).equals(content))
      assert.equal(await readFile(join(root, 'layer/other'), 'utf8'), 'other')
      await verifyLayer(await source(blob))
      await assert.rejects(verifyLayer({ ...(await source(blob)), diffId: digestOf(front) }), /not the diff_id/)
    })

  const damages: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
    'a truncated gzip': [gzipSync(tar).subarray(0, -100), /truncated/],
    'a gzip without its last byte': [gzipSync(tar).subarray(0, -1), /truncated/],
    'a damaged gzip': [Buffer.from(gzipSync(tar)).fill(0xff, 1000, 1100), /gzip|compressed|diff_id|tar/],
    'a gzip with another checksum': [Buffer.concat([gzipSync(tar).subarray(0, -8), Buffer.alloc(8)]), /checksum/],
    'bytes after gzip that are none': [Buffer.concat([gzipSync(tar), Buffer.from('some more junk')]), /no gzip/],
    'a truncated zstd': [zstdCompressSync(tar).subarray(0, -100), /truncated/],
    'a zstd cut between blocks and checksum': [zstdCompressSync(tar).subarray(0, -3), /truncated/],
    'bytes after zstd that begin no frame': [Buffer.concat([zstdCompressSync(tar), Buffer.from('junk')]), /not a zstd/],
    'an empty blob': [Buffer.alloc(0), /diff_id/],
  }
  for (const [damage, [blob, expected]] of Object.entries(damages))
    it(`that is ${damage} is refused, naming the layer`, async () => {
      const named = new RegExp(`layer ${digestOf(blob)}: .*(${expected.source})`)
      await assert.rejects(unpack(blob), (error) => error instanceof UnpackError && named.test(error.message))
      await assert.rejects(verifyLayer(await source(blob)), named)
    })

  it('is left as soon as nobody wants it', async () => {
    for (const blob of [gzipSync(tar), zstdCompressSync(tar)]) {
      const reason = new Error('enough')
      await assert.rejects(verifyLayer(await source(blob), AbortSignal.abort(reason)), reason)
      const later = new AbortController()
      const pending = verifyLayer(await source(blob), later.signal)
      later.abort(reason)
      await pending.catch((error) => assert.equal(error, reason))
    }
  })
  it('holds no descriptor afterwards, whatever became of it', async () => {
    const attempt = async () => {
      await verifyLayer(await source(zstdCompressSync(tar)))
      for (const [blob] of Object.values(damages)) await assert.rejects(verifyLayer(await source(blob)))
    }
    await attempt()
    const before = (await readdir('/proc/self/fd')).length
    for (let i = 0; i < 3; i++) await attempt()
    assert.equal((await readdir('/proc/self/fd')).length, before)
  })

  it('in zstd goes through a pipe where the decoder cannot be called', async () => {
    const read = async (blob: Buffer): Promise<Buffer> =>
      await throughPipe(Readable.from([blob]), undefined, async (readable) =>
        buffer(createReadStream('', { fd: readable, autoClose: false })),
      )
    assert.ok((await read(forms['in zstd of several frames, some to be skipped'])).equals(tar))
    await assert.rejects(read(zstdCompressSync(tar).subarray(0, -100)), /truncated/)
  })
})
