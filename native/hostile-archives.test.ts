/**
 * Archives made to harm: each test is an attack, named with what stops it, and what is asserted is that it fails, or does no harm. That it would succeed without
 * the defence is seen in hostile-archives.system.test.ts.
 */
import assert from 'node:assert/strict'
import { lstat, mkdir, open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { mountOverlay } from './overlay.ts'
import { Archive, END, header, padded, paxHeader, paxRecord } from './testing/archive.ts'
import { attack, harmless, refused, refusedIn, victims } from './testing/archive-attack.ts'
import { inFolder, skip, unpackTo } from './testing/unpack.ts'

const hash = (blocks: readonly Uint8Array[]): Buffer => Buffer.concat([...blocks, END])

const archive = (fill: (archive: Archive) => unknown): Buffer => {
  const made = new Archive()
  fill(made)
  return made.bytes()
}

const TWICE = {
  because: 'the parser knows the name, kNoWayUp refuses it, and the kernel would not go there: kRootedLayers',
}
const RELATIVE = { because: 'every name is taken relative to the folder: there is no code that takes it otherwise' }
const ORDER = { because: 'it harms nobody; what the layer says is to be done, in its order' }
const NO_NAME = { because: 'without the refusal the kernel has another word for it: there is no name to make' }
const STORE = { because: 'the store’s root is 0700 (client/store/store.test.ts)' }
const MEMORY = { because: 'without the limit it fills the memory of the machine' }
const LIBC = { because: 'mknod itself refuses what the kernel’s numbers do not hold' }
const KERNEL = { because: 'no filesystem has such offsets' }
const PARSER = { because: 'what is no archive is refused, not guessed at; to read on would mean to make something up' }

describe('a hostile archive', { skip, concurrency: 2 }, () => {
  attack(TWICE, 'with `..` in a name', () =>
    refused(
      archive((a) => a.file('../outside/evil')),
      /upwards/,
    ),
  )
  attack(TWICE, 'with `..` behind a directory', () =>
    refused(
      archive((a) => a.directory('d').file('d/../../outside/evil')),
      /upwards/,
    ),
  )
  attack(TWICE, 'with `..` in the target of a hard link', () =>
    refused(
      archive((a) => a.hardlink('x', '../outside/secret')),
      /upwards/,
    ),
  )
  attack('kNoWayUp', 'whose entry is `..` itself, and takes the place of what is around the layer', () =>
    refused(
      archive((a) => a.file('..', 'evil')),
      /upwards/,
    ),
  )
  attack(RELATIVE, 'with an absolute name', () =>
    harmless(
      (a, folder) => a.file(join(folder, 'outside/evil'), 'in'),
      async (layer) => assert.equal((await readdir(layer)).length, 1),
    ),
  )
  attack('kRootedLayers', 'that writes through a symbolic link', () =>
    refused(
      archive((a) => a.symlink('s', '../outside').file('s/evil')),
      /s\/evil/,
    ),
  )
  attack('kRootedLayers', 'that writes through a symbolic link to an absolute place', () =>
    inFolder(async (folder) => {
      await victims(folder)
      await refusedIn(
        folder,
        archive((a) => a.symlink('s', join(folder, 'outside')).file('s/evil')),
        /s\/evil/,
      )
    }),
  )
  attack('kRootedLayers', 'that writes through a chain of symbolic links', () =>
    refused(
      archive((a) => a.directory('a').symlink('a/b', '..').symlink('a/c', 'b/../outside').file('a/c/evil')),
      /evil/,
    ),
  )
  attack('kNewFiles', 'that overwrites a symbolic link’s target', () =>
    harmless(
      (a, folder) => a.symlink('s', join(folder, 'outside/secret')).file('s', 'evil', { mode: 0o777, uid: 7 }),
      async (layer) => assert.ok((await lstat(join(layer, 's'))).isFile()),
    ),
  )
  attack('kDirectoriesAreMade', 'that changes a symbolic link’s target by attributes of a directory', () =>
    harmless(
      (a, folder) => a.directory('d', { mode: 0o777, uid: 7 }).symlink('d', join(folder, 'outside')),
      async (layer) => assert.ok((await lstat(join(layer, 'd'))).isSymbolicLink()),
    ),
  )
  attack('kRootedLayers', 'that links to a file outside through a symbolic link (CVE-2026-26960)', () =>
    refused(
      archive((a) => a.symlink('s', '../outside').hardlink('x', 's/secret')),
      /x/,
    ),
  )
  attack('kNewFiles', 'that links to a symbolic link and writes to the link', () =>
    harmless(
      (a, folder) => a.symlink('s', join(folder, 'outside/secret')).hardlink('h', 's').file('h', 'evil'),
      async (layer) => assert.equal(await readFile(join(layer, 'h'), 'utf8'), 'evil'),
    ),
  )
  attack('kLinksNotFollowed', 'that links to a symbolic link, to get hold of what that leads to', () =>
    harmless(
      (a, folder) => a.symlink('s', join(folder, 'outside/secret')).hardlink('h', 's'),
      async (layer) => assert.ok((await lstat(join(layer, 'h'))).isSymbolicLink()),
    ),
  )
  attack('kOwnAttributes', 'that gives a symbolic link an owner, for what the link leads to', () =>
    harmless(
      (a, folder) => a.symlink('s', join(folder, 'outside/secret'), { uid: 7 }),
      async (layer) => assert.equal((await lstat(join(layer, 's'))).uid, 7),
    ),
  )
  attack('kLowerNotFollowed', 'that links to a file outside through a symbolic link of a layer below', () =>
    inFolder(async (folder) => {
      await victims(folder)
      const lower = join(folder, 'lower')
      await unpackTo(
        lower,
        archive((a) => a.symlink('s', '../outside')),
      )
      const upper = archive((a) => a.hardlink('x', 's/secret'))
      await refusedIn(folder, upper, /the target is in no layer/, {}, [lower])
    }),
  )
  attack('kRightDigest', 'that is another one than the image says', () =>
    refused(
      archive((a) => a.file('evil')),
      /not the diff_id/,
      { digestHex: '0'.repeat(64) },
    ),
  )
  attack('kRootedLayers', 'that writes through a directory replaced by a link', () =>
    refused(
      archive((a) => a.file('d/first').symlink('d', '../outside').file('d/evil')),
      /d\/evil/,
    ),
  )
  attack(ORDER, 'that replaces a directory it wrote to a moment ago, by a file', () =>
    harmless(
      (a) => a.file('d/first').file('d', 'file').file('d/second'),
      async (layer) => assert.deepEqual(await readdir(join(layer, 'd')), ['second']),
    ),
  )
  attack(NO_NAME, 'that makes the root a link (CVE-2021-29136)', () =>
    refused(
      archive((a) => a.symlink('/.', '/etc')),
      /root/,
    ),
  )
  attack(NO_NAME, 'that makes the root a file', () =>
    refused(
      archive((a) => a.file('./', '')),
      /root/,
    ),
  )
  attack('kNoDevices', 'with devices that reach the host’s disks: none works where containers see it', () =>
    inFolder(async (folder) => {
      const layer = join(folder, 'layer')
      await unpackTo(
        layer,
        archive((a) => a.node('null', 'character', 1, 3).node('disk', 'block', 7, 0)),
      )
      for (const name of ['upper', 'work', 'merged']) await mkdir(join(folder, name))
      mountOverlay({
        lower: [layer],
        upper: join(folder, 'upper'),
        work: join(folder, 'work'),
        target: join(folder, 'merged'),
      })
      for (const name of ['null', 'disk']) await assert.rejects(open(join(folder, 'merged', name)), { code: 'EACCES' })
    }),
  )
  attack(STORE, 'with a set-user-id file, which nobody else of the machine may reach', () =>
    harmless(
      (a) => a.file('su', 'x', { mode: 0o4755, uid: 0 }),
      async (layer) => assert.equal((await stat(join(layer, 'su'))).mode & 0o7777, 0o4755), // the store’s root is 0700
    ),
  )
  attack('kFewEntries', 'with a thousand and one devices', () =>
    refused(
      archive((a) => {
        for (let i = 0; i < 1001; i++) a.node(`n${i}`, 'character', 1, 3)
      }),
      /n1000.*more than 1000 device nodes/,
    ),
  )
  attack('kOwnWhiteouts', 'with a forged whiteout', () =>
    refused(
      archive((a) => a.node('w', 'character', 0, 0)),
      /forge a whiteout/,
    ),
  )
  attack(LIBC, 'with impossible device numbers', () =>
    refused(
      archive((a) => a.node('n', 'block', 0o77777, 1)),
      /major number 32767/,
    ),
  )
  for (const name of ['.wh.', '.wh..', '.wh...'])
    attack(name === '.wh...' ? TWICE : 'kNamedWhiteouts', `with the whiteout ${name}`, () =>
      refused(
        archive((a) => a.file(`d/${name}`, '')),
        /whiteout that hides nothing/,
      ),
    )
  attack(TWICE, 'with a whiteout that leads upwards', () =>
    refused(
      archive((a) => a.file('d/../../.wh.outside', '')),
      /upwards/,
    ),
  )
  attack('kNoOverlayAttributes', 'with attributes that speak to overlayfs', () =>
    inFolder(async (folder) => {
      const xattrs = { 'trusted.overlay.redirect': '/etc', 'trusted.overlay.opaque': 'y', 'user.overlay.metacopy': '' }
      await unpackTo(
        join(folder, 'low'),
        archive((a) => a.file('d/below')),
      )
      await unpackTo(
        join(folder, 'layer'),
        archive((a) => a.directory('d', { xattrs }).file('d/own')),
      )
      for (const name of ['upper', 'work', 'merged']) await mkdir(join(folder, name))
      const lower = [join(folder, 'layer'), join(folder, 'low')]
      mountOverlay({ lower, upper: join(folder, 'upper'), work: join(folder, 'work'), target: join(folder, 'merged') })
      assert.deepEqual((await readdir(join(folder, 'merged/d'))).sort(), ['below', 'own'])
    }),
  )
  attack(ORDER, 'with names that differ in case, form and bytes only: all are there', () =>
    harmless(
      (a) =>
        a
          .file('File')
          .file('file')
          .file('\u00e9')
          .file('e\u0301')
          .raw(header({ name: Buffer.from([0x66, 0xff]) })),
      async (layer) => assert.equal((await readdir(layer, { encoding: 'buffer' })).length, 5),
    ),
  )
  attack(ORDER, 'with the same entry again and again: the last one is there', () =>
    harmless(
      (a) =>
        a
          .file('x', 'first')
          .directory('x')
          .file('x/y')
          .symlink('x', '/etc')
          .hardlink('z', 'x')
          .file('x', 'last')
          .file('z', 'own'),
      async (layer) => {
        assert.equal(await readFile(join(layer, 'x'), 'utf8'), 'last')
        assert.equal(await readFile(join(layer, 'z'), 'utf8'), 'own')
      },
    ),
  )

  const size = (text: string) => hash([header({ size: text }), padded(Buffer.from('content'))])
  const pax = (...records: readonly (readonly [string, string | Buffer])[]) =>
    hash([
      paxHeader(Buffer.concat(records.map(([key, value]) => paxRecord(key, value)))),
      header({ size: 7 }),
      padded(Buffer.from('content')),
    ])
  const lies: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
    'a size larger than the archive': [size('00000100000\0'), /"file": the archive is truncated/],
    'a size smaller than the content': [hash([header({ size: 1 }), Buffer.alloc(1024, 'x')]), /wrong checksum/],
    'a size of all there is': [size('77777777777\0'), /truncated/],
    'a negative size': [size(`\xff${'\xff'.repeat(10)}\xfe`), /"file": the negative size -2/],
    'an enormous base-256 size': [size(`\x80${'\x7f'.repeat(11)}`), /size that is too large/],
    'a size that wraps': [size(`\x80\0\0\0${'\xff'.repeat(8)}`), /too large/],
    'a size that is no number': [size('12z00000000\0'), /size that is not a number/],
    'a pax size that is negative': [pax(['size', '-1']), /impossible PAX size "-1"/],
    'a pax size with a tail': [pax(['size', '12abc']), /impossible PAX size/],
    'a pax size of thirty digits': [pax(['size', '9'.repeat(30)]), /impossible PAX size/],
    'a pax size beyond the archive': [pax(['size', '9000000000000000000']), /truncated/],
    'a pax owner who would wrap to root': [pax(['uid', '4294967295']), /impossible uid 4294967295/],
    'a pax group below zero': [pax(['gid', '-5']), /impossible gid/],
    'a pax time that is none': [pax(['mtime', '1e9']), /impossible PAX mtime/],
    'a pax path with a NUL': [pax(['path', 'a\0b']), /holds a NUL/],
    'a pax path that leads upwards': [pax(['path', '../outside/evil']), /upwards/],
    'a pax path of 5000 bytes': [pax(['path', 'a/'.repeat(2500)]), /5000 bytes/],
    'a pax header of a gigabyte': [
      hash([header({ type: 'x', size: '10000000000\0' })]),
      /extended header of 1073741824 bytes/,
    ],
    'a pax record longer than its header': [
      hash([paxHeader(Buffer.from('99 path=x\n')), header({})]),
      /malformed record/,
    ],
    'a pax record of no length': [hash([paxHeader(Buffer.from('0 path=x\n')), header({})]), /malformed record/],
    'a pax header behind which nothing comes': [
      hash([paxHeader(paxRecord('path', 'x'))]),
      /ends after an extended header/,
    ],
    'attributes of a megabyte': [
      pax(['SCHILY.xattr.user.x', 'x'.repeat(900_000)]),
      /more than 65536 bytes of extended/,
    ],
    'an attribute with a malformed name': [pax(['LIBARCHIVE.xattr.%zz', 'eA==']), /malformed attribute name/],
    'a header with a wrong checksum': [hash([header({}).fill(1, 0, 1)]), /wrong checksum/],
    'an unknown type': [hash([header({ type: 'Z' })]), /unknown type "Z"/],
    'no name': [hash([header({ name: '' })]), /no name/],
    'no archive at all': [Buffer.alloc(4096, 'this is text'), /no tar archive/],
    'a single block of zeros, and more behind it': [
      hash([header({}), Buffer.alloc(512), header({ name: 'hidden' })]),
      /single block of zeros/,
    ],
    'half a header': [header({}).subarray(0, 300), /truncated/],
  }
  const defended: Readonly<Record<string, `k${string}`>> = {
    'a pax owner who would wrap to root': 'kOwnersInRange',
    'a pax path with a NUL': 'kWholeNames',
    'a single block of zeros, and more behind it': 'kNothingBehindTheEnd',
  }
  for (const [lie, [bytes, expected]] of Object.entries(lies))
    attack(defended[lie] ?? PARSER, `with ${lie}`, () => refused(bytes, expected))

  const sparse = (...records: readonly (readonly [string, string])[]) =>
    pax(...records.map(([key, value]) => [`GNU.sparse.${key}`, value] as const))
  const maps: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
    overlap: [sparse(['size', '100'], ['map', '0,4,3,3']), /overlap/],
    'go beyond the end': [sparse(['size', '5'], ['map', '0,7']), /beyond the file's end/],
    'wrap around': [sparse(['size', '9223372036854775807'], ['map', '9223372036854775807,7']), /beyond the file's end/],
    'are of other bytes': [sparse(['size', '100'], ['map', '0,6']), /other bytes than are stored/],
    'are half of a pair': [sparse(['size', '100'], ['map', '0,7,9']), /without a length/],
    'have two offsets': [sparse(['size', '100'], ['offset', '1'], ['offset', '2']), /two offsets/],
    'have no size': [sparse(['map', '0,7']), /does not say its size/],
    'are of an unknown form': [sparse(['size', '9'], ['major', '2'], ['minor', '0']), /unknown form "2.0"/],
    'are longer than the file that holds them': [
      sparse(['realsize', '9'], ['major', '1'], ['minor', '0']),
      /longer than its file/,
    ],
  }
  for (const [flaw, [bytes, expected]] of Object.entries(maps))
    attack(
      ['overlap', 'go beyond the end'].includes(flaw) ? 'kMapsInRange' : PARSER,
      `with a sparse map whose pieces ${flaw}`,
      () => refused(bytes, expected),
    )
  attack(MEMORY, 'with a sparse map of a billion pieces', () =>
    refused(
      hash([
        paxHeader(
          Buffer.concat(
            Object.entries({ major: '1', minor: '0', realsize: '9' }).map(([key, value]) =>
              paxRecord(`GNU.sparse.${key}`, value),
            ),
          ),
        ),
        header({ size: 512 }),
        padded(Buffer.from('1000000000\n')),
      ]),
      /too many pieces/,
    ),
  )
  attack(KERNEL, 'with a sparse file larger than any filesystem', () =>
    refused(sparse(['size', '9223372036854775807'], ['map', '0,7']), /write the file "file"/),
  )

  attack('kFewEntries', 'with more entries than there may be (ten million would be the same)', () =>
    refused(
      archive((a) => {
        for (let i = 0; i < 101; i++) a.file(`f${i}`, '')
      }),
      /f100.*more than 100 entries/,
      { limits: { entries: 100 } },
    ),
  )
  attack('kFewEntries', 'with names that would fill the memory', () =>
    refused(
      archive((a) => {
        for (let i = 0; i < 100; i++) a.directory(`${'d'.repeat(200)}/${i}`)
      }),
      /more than 10000 bytes of names/,
      { limits: { pathBytes: 10_000 } },
    ),
  )
  attack('kBoundedTar', 'of zeros without end: a terabyte from a megabyte would stop at the same place', async () => {
    const zeros = Buffer.concat([header({ size: '77777777777\0' }), Buffer.alloc(64 << 20)])
    const bomb = gzipSync(zeros)
    await inFolder(async (folder) => {
      const options = { compression: 'gzip', tar: zeros, limits: { tarBytes: 8 << 20 } } as const
      const failure = await unpackTo(join(folder, 'layer'), bomb, [], options).catch((error: Error) => error.message)
      assert.ok((await stat(join(folder, 'layer/file'))).size <= 8 << 20)
      assert.match(String(failure), /more than 8388608 bytes.*decompression bomb/)
    })
  })
  attack(
    PARSER,
    'of random bytes behind a good header: refused by words, whatever they are',
    async () =>
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (noise) => {
          const bytes = Buffer.concat([header({ size: 10 }), noise])
          await inFolder(async (folder) => {
            await unpackTo(join(folder, 'layer'), bytes).catch((error) =>
              assert.match(error.message, /^(entry|the header) /),
            )
          })
        }),
        { numRuns: 50 },
      ),
  )
})
