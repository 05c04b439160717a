/** The forms of tar that writers have used, read as Go's archive/tar reads them, with which docker and umoci unpack. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { lstat, mkdir, open, readdir, readFile, readlink, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import tar from 'tar-stream'
import { Archive, END, header, padded, paxHeader, paxRecord, withChecksum } from './testing/archive.ts'
import { inFolder, skip, unpackTo } from './testing/unpack.ts'

const MIB = 1024 * 1024
const file = (name: string, content = name, fields: Parameters<typeof header>[0] = {}): Buffer =>
  Buffer.concat([header({ name, size: Buffer.byteLength(content), ...fields }), padded(Buffer.from(content))])
const unpacked = async (folder: string, ...blocks: readonly Uint8Array[]): Promise<string> => {
  const into = join(folder, `${Math.random()}`)
  await unpackTo(into, Buffer.concat([...blocks, END]))
  return into
}

test('v7, ustar with a prefix, star, GNU and pax say the same in their own ways', { skip }, () =>
  inFolder(async (folder) => {
    const v7 = { magic: '\0'.repeat(8), major: '', minor: '' }
    const long = `${'a'.repeat(120)}/${'b'.repeat(120)}`
    const gnu = { magic: 'ustar  \0' }
    const star = header({ name: 'star', size: 4, prefix: 'from' })
    star.write('tar\0', 508, 'latin1')
    const into = await unpacked(
      folder,
      header({ ...v7, name: 'old/', type: '\0' }),
      file('old/file', 'v7', { ...v7, type: '\0' }),
      file('short', 'ustar', { prefix: 'some/prefix' }),
      Buffer.concat([withChecksum(star), padded(Buffer.from('star'))]),
      file('gnu', 'no prefix', { ...gnu, prefix: '00000000000\0' }), // there GNU has a time
      header({ ...gnu, name: '././@LongLink', type: 'L', size: long.length + 1 }),
      padded(Buffer.from(`${long}\0`)),
      header({ ...gnu, name: '././@LongLink', type: 'K', size: long.length + 1 }),
      padded(Buffer.from(`${long}\0`)),
      header({ ...gnu, name: 'cut', type: '2', link: 'cut' }),
      paxHeader(Buffer.concat([paxRecord('path', 'n\u00e4me'), paxRecord('size', '3'), paxRecord('uid', '3000000')])),
      file('other', 'pax', { size: 0 }),
    )
    assert.equal(await readFile(join(into, 'old/file'), 'utf8'), 'v7')
    assert.equal(await readFile(join(into, 'some/prefix/short'), 'utf8'), 'ustar')
    assert.equal(await readFile(join(into, 'from/star'), 'utf8'), 'star')
    assert.equal(await readFile(join(into, 'gnu'), 'utf8'), 'no prefix')
    assert.equal(await readlink(join(into, long)), long)
    assert.equal(await readFile(join(into, 'n\u00e4me'), 'utf8'), 'pax')
    assert.equal((await stat(join(into, 'n\u00e4me'))).uid, 3_000_000)
  }),
)

test('numbers in base 256 and negative times are read', { skip }, () =>
  inFolder(async (folder) => {
    const base256 = (value: bigint, digits: number) => {
      const field = Buffer.alloc(digits)
      for (let i = 0, rest = BigInt.asUintN(64, value); i < 8; i++, rest >>= 8n)
        field[digits - 1 - i] = Number(rest & 255n)
      if (value < 0n) field.fill(0xff, 0, digits - 8)
      field[0] = value < 0n ? 0xff : 0x80
      return field.toString('latin1')
    }
    const into = await unpacked(
      folder,
      file('x', 'four', { size: base256(4n, 12), uid: '\x80\0\0\0\0\x2d\xc6\xc0', mtime: base256(-100n, 12) }),
      paxHeader(paxRecord('mtime', '-1.25')),
      file('y'),
    )
    const x = await lstat(join(into, 'x'), { bigint: true })
    assert.deepEqual([x.size, x.uid, x.mtimeNs], [4n, 3_000_000n, -100_000_000_000n])
    assert.equal((await lstat(join(into, 'y'), { bigint: true })).mtimeNs, -1_250_000_000n)
  }),
)

test('a global header says nothing, an empty value takes a record back, junk behind the end is hashed', { skip }, () =>
  inFolder(async (folder) => {
    const into = await unpacked(
      folder,
      paxHeader(paxRecord('path', 'everything'), 'g'),
      file('own'),
      paxHeader(Buffer.concat([paxRecord('path', 'taken'), paxRecord('path', '')])),
      file('kept'),
      END,
      Buffer.from('junk that is no header'),
    )
    assert.deepEqual(await readdir(into), ['kept', 'own'])
  }),
)

test('attributes are kept to the byte: capabilities, access lists, and those of libarchive', { skip }, () =>
  inFolder(async (folder) => {
    const capability = Buffer.from('0100000280ff00000000000000000000ff000000', 'hex')
    // Version 2; owner rwx, user 7 r--, group r-x, mask r-x, others ---.
    const acl = Buffer.from(
      '0200000001000700ffffffff020004000700000004000500ffffffff10000500ffffffff20000000ffffffff',
      'hex',
    )
    const base64 = Buffer.from('a\0b').toString('base64').replace(/=+$/, '')
    const into = await unpacked(
      folder,
      new Archive()
        .file('f', 'x', { mode: 0o750, xattrs: { 'security.capability': capability, 'system.posix_acl_access': acl } })
        .bytes()
        .subarray(0, -1024),
      paxHeader(
        Buffer.concat([paxRecord('LIBARCHIVE.xattr.user.%61b', base64), paxRecord('SCHILY.xattr.user.empty', '')]),
      ),
      file('g'),
    )
    const attributes = (name: string) =>
      execFileSync('getfattr', ['-d', '-m', '-', '-e', 'hex', name], { cwd: into, encoding: 'utf8' })
    assert.match(attributes('f'), new RegExp(`security.capability=0x${capability.toString('hex')}`))
    assert.match(attributes('f'), new RegExp(`system.posix_acl_access=0x${acl.toString('hex')}`))
    assert.match(attributes('g'), /user.ab=0x610062/)
    assert.match(attributes('g'), /user.empty/)
    assert.equal((await stat(join(into, 'f'))).mode & 0o7777, 0o750)
  }),
)

test('sparse files of every form keep their holes, as GNU tar made them', { skip }, () =>
  inFolder(async (folder) => {
    const source = join(folder, 'source')
    await mkdir(source)
    const made = await open(join(source, 'holes'), 'w')
    for (let i = 0; i < 40; i++) await made.write(`piece ${i}`, i * MIB + 5000)
    await made.close()
    await truncate(join(source, 'holes'), 64 * MIB)
    await writeFile(join(source, 'after'), 'after')
    await writeFile(join(source, 'empty'), '')
    await truncate(join(source, 'empty'), 3 * MIB)
    const expected = await readFile(join(source, 'holes'))
    const forms = [
      ['--format=gnu'],
      ...['0.0', '0.1', '1.0'].map((version) => ['--format=pax', `--sparse-version=${version}`]),
    ]
    for (const flags of forms) {
      const archive = execFileSync('tar', ['-cS', ...flags, '-C', source, 'holes', 'empty', 'after'])
      assert.ok(archive.length < 4 * MIB)
      const into = join(folder, flags.join())
      await unpackTo(into, archive)
      assert.ok((await readFile(join(into, 'holes'))).equals(expected), flags.join())
      assert.ok((await stat(join(into, 'holes'))).blocks * 512 < 4 * MIB, 'the holes are holes')
      assert.deepEqual([(await stat(join(into, 'empty'))).size, (await stat(join(into, 'empty'))).blocks], [3 * MIB, 0])
      assert.equal(await readFile(join(into, 'after'), 'utf8'), 'after')
    }
  }),
)

test('what tar-stream packs is read, whatever the sizes', { skip }, () =>
  inFolder(async (folder) => {
    const entries = fc.array(
      fc.record({
        name: fc.stringMatching(/^[a-z]{1,8}(\/[a-z]{1,120}){0,2}$/),
        bytes: fc.integer({ min: 0, max: 600_000 }),
      }),
      { minLength: 1, maxLength: 6 },
    )
    await fc.assert(
      fc.asyncProperty(entries, async (wanted) => {
        const pack = tar.pack()
        const contents = wanted.map(({ name, bytes }) => [name, Buffer.alloc(bytes, name)] as const)
        for (const [name, bytes] of contents) pack.entry({ name }, bytes)
        pack.finalize()
        const chunks: Buffer[] = []
        for await (const chunk of pack) chunks.push(chunk as Buffer)
        const into = join(folder, `${Math.random()}`)
        await unpackTo(into, Buffer.concat(chunks))
        const [name, bytes] = contents.at(-1) ?? ['', Buffer.alloc(0)]
        assert.ok((await readFile(join(into, name))).equals(bytes))
      }),
      { numRuns: 15 },
    )
  }),
)
