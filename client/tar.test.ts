import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import tar from 'tar-stream'
import { readTar, TarError } from './tar.ts'

/** The bytes in pieces of any size, as a network or an inflater gives them. */
async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function read(bytes: Uint8Array, size = 1000) {
  const entries: {
    path: string
    type: string
    content: Buffer
    uid: number
    xattrs: ReadonlyMap<string, Buffer>
    mtime: bigint
  }[] = []
  for await (const entry of readTar(pieces(bytes, size))) {
    const content: Uint8Array[] = []
    for await (const chunk of entry.content) content.push(Buffer.from(chunk))
    entries.push({
      path: entry.path.toString(),
      type: entry.type,
      content: Buffer.concat(content),
      uid: entry.uid,
      xattrs: entry.xattrs,
      mtime: entry.modifiedNanoseconds,
    })
  }
  return entries
}

async function packed(fill: (pack: tar.Pack) => void): Promise<Buffer> {
  const pack = tar.pack()
  fill(pack)
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** A header with a right checksum, whatever else it says. */
function header(fields: { name?: string; size?: string; type?: string; uid?: string }): Buffer {
  const block = Buffer.alloc(512)
  block.write(fields.name ?? 'file', 0, 'latin1')
  block.write('0000644\0', 100)
  block.write(fields.uid ?? '0000000\0', 108, 'latin1')
  block.write('0000000\0', 116)
  block.write(fields.size ?? '00000000000\0', 124, 'latin1')
  block.write('00000000000\0', 136)
  block.write(fields.type ?? '0', 156)
  block.write('ustar\x0000', 257, 'latin1')
  block.fill(' ', 148, 156)
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  )
  return block
}

function paxRecord(key: string, value: Buffer | string): Buffer {
  const tail = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')])
  let length = tail.length + 1
  while (`${length}`.length + tail.length !== length) length = `${length}`.length + tail.length
  return Buffer.concat([Buffer.from(`${length}`), tail])
}

function paxHeader(body: Buffer): Buffer {
  const padded = Buffer.alloc(Math.ceil(body.length / 512) * 512)
  body.copy(padded)
  return Buffer.concat([header({ type: 'x', size: `${body.length.toString(8).padStart(11, '0')}\0` }), padded])
}

const END = Buffer.alloc(1024)

describe('the tar reader', () => {
  it('reads what tar-stream packs, in pieces of any size', async () => {
    const long = `${'a'.repeat(90)}/${'b'.repeat(90)}/${'c'.repeat(90)}`
    const content = randomBytes(3000)
    const archive = await packed((pack) => {
      pack.entry({ name: 'dir/', type: 'directory' })
      pack.entry({ name: long }, content)
      pack.entry({ name: 'link', type: 'symlink', linkname: '/etc' })
    })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5000 }), async (size) => {
        const entries = await read(archive, size)
        assert.deepEqual(
          entries.map(({ path, type }) => [path, type]),
          [
            ['dir/', 'directory'],
            [long, 'file'],
            ['link', 'symlink'],
          ],
        )
        assert.ok(entries[1]?.content.equals(content))
      }),
      { numRuns: 30 },
    )
  })
  it('keeps every byte of a binary attribute: capabilities are not text', async () => {
    const capability = Buffer.from('0100000280ff00000000000000000000ff000000', 'hex')
    const [entry] = await read(
      Buffer.concat([paxHeader(paxRecord('SCHILY.xattr.security.capability', capability)), header({}), END]),
    )
    assert.deepEqual(entry?.xattrs.get('security.capability'), capability)
  })
  it('reads times to the nanosecond', async () => {
    const [entry] = await read(Buffer.concat([paxHeader(paxRecord('mtime', '1700000000.123456789')), header({}), END]))
    assert.equal(entry?.mtime, 1_700_000_000_123_456_789n)
  })
  it('drains what follows the end of the archive', async () => {
    let drained = 0
    async function* source() {
      for await (const chunk of pieces(Buffer.concat([header({}), END, randomBytes(5000)]), 700)) {
        drained += chunk.length
        yield chunk
      }
    }
    for await (const _ of readTar(source()));
    assert.equal(drained, 512 + 1024 + 5000)
  })
  it('skips content that nobody reads', async () => {
    const archive = await packed((pack) => {
      pack.entry({ name: 'one' }, randomBytes(5000))
      pack.entry({ name: 'two' }, 'x')
    })
    const names: string[] = []
    for await (const entry of readTar(pieces(archive, 333))) names.push(entry.path.toString())
    assert.deepEqual(names, ['one', 'two'])
  })

  const hostile: Readonly<Record<string, Buffer>> = {
    'a truncated archive': header({ size: '00000001000\0' }),
    'a wrong checksum': Buffer.from(header({})).fill(0x41, 0, 1),
    'a negative PAX size': Buffer.concat([paxHeader(paxRecord('size', '-1')), header({}), END]),
    'an endless PAX size': Buffer.concat([paxHeader(paxRecord('size', '9'.repeat(30))), header({}), END]),
    'a PAX size with a tail': Buffer.concat([paxHeader(paxRecord('size', '12abc')), header({}), END]),
    'a negative base-256 size': header({ size: '\xff'.repeat(12) }),
    'an enormous base-256 size': header({ size: `\x80${'\xff'.repeat(11)}` }),
    'a uid that would wrap': Buffer.concat([paxHeader(paxRecord('uid', '4294967295')), header({}), END]),
    'a size that is no number': header({ size: '12z00000000\0' }),
    'a PAX header of a gigabyte': header({ type: 'x', size: '10000000000\0' }),
    'a PAX record longer than its header': Buffer.concat([paxHeader(Buffer.from('99 path=x\n')), header({}), END]),
    'a NUL in a PAX path': Buffer.concat([paxHeader(paxRecord('path', 'a\0b')), header({}), END]),
    'a path of 5000 bytes': Buffer.concat([paxHeader(paxRecord('path', 'a/'.repeat(2500))), header({}), END]),
    'a sparse file': header({ type: 'S' }),
    'an unknown type': header({ type: 'Z' }),
    'an extended header without an entry': Buffer.concat([paxHeader(paxRecord('path', 'x')), END]),
  }
  for (const [attack, archive] of Object.entries(hostile))
    it(`refuses ${attack}`, async () => await assert.rejects(read(archive), TarError))
  it('throws nothing but TarError, whatever the bytes', async () =>
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2048 }), async (noise) => {
        const bytes = Buffer.concat([header({}), Buffer.from(noise)])
        await read(bytes, 100).catch((error) => assert.ok(error instanceof TarError, String(error)))
      }),
    ))
})
