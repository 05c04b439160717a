/** What a layer's names, links and attributes do on a real filesystem. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { appendFile, lstat, mkdir, open, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { UnpackedFolder } from './layer-unpack.ts'
import { Archive, header } from './testing/archive.ts'
import { inFolder, layer, skip } from './testing/unpack.ts'

test('names that lead upwards, NULs and a root that is no directory are refused, naming the entry', { skip }, () =>
  inFolder(async (folder) => {
    const refused = async (fill: (archive: Archive) => unknown, expected: RegExp | object) =>
      await assert.rejects(layer(join(folder, `${Math.random()}`), fill), expected)
    await refused((archive) => archive.file('x/../../evil'), /x\/\.\.\/\.\.\/evil/)
    await refused((archive) => archive.whiteout('a/../b'), /a\/\.\.\/b.*upwards/)
    await refused((archive) => archive.file('a\0b'), /holds a NUL/)
    await refused((archive) => archive.symlink('/.', '/etc'), /root/)
    await refused((archive) => archive.file('x'.repeat(256)), { code: 'ENAMETOOLONG' })
    await refused((archive) => archive.node('forged', 'character', 0, 0), /forged.*whiteout/)
    await layer(join(folder, 'a'), (archive) => archive.file('/absolute'))
    assert.deepEqual(await readdir(join(folder, 'a')), ['absolute'])
  }),
)

test('writing through a symbolic link to the outside stays inside', { skip }, () =>
  inFolder(async (folder) => {
    await mkdir(join(folder, 'outside'))
    await writeFile(join(folder, 'outside', 'secret'), 'secret')
    const through = (target: string) => (archive: Archive) => archive.symlink('out', target).file('out/evil')
    await assert.rejects(layer(join(folder, 'b'), through(join(folder, 'outside'))), /out\/evil/)
    await assert.rejects(layer(join(folder, 'c'), through('../outside')), /out\/evil/)
    await layer(join(folder, 'a'), (archive) =>
      archive
        .symlink('link', join(folder, 'outside/secret'))
        .hardlink('hard', 'link')
        .file('link', 'own')
        .directory('real')
        .symlink('inside', '/real')
        .file('inside/file'),
    )
    assert.deepEqual(await readdir(join(folder, 'outside')), ['secret'])
    assert.equal(await readFile(join(folder, 'outside/secret'), 'utf8'), 'secret')
    assert.equal(await readlink(join(folder, 'a/hard')), join(folder, 'outside/secret'))
    assert.equal(await readFile(join(folder, 'a/real/file'), 'utf8'), 'inside/file')
  }),
)

test('the last of a directory, a link and a file of the same name stays', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), (writer) => {
      writer.file('x/deep/er/file')
      writer.symlink('x', '/etc')
      writer.file('x', 'file')
      writer.file('y', 'file')
      writer.file('y/z', 'below')
    })
    assert.equal(await readFile(join(folder, 'a/x'), 'utf8'), 'file')
    assert.equal(await readFile(join(folder, 'a/y/z'), 'utf8'), 'below')
  }),
)

test('modes, owners, times, attributes, links and nodes are kept', { skip }, () =>
  inFolder(async (folder) => {
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
    await layer(join(folder, 'a'), (writer) => {
      writer.directory('d', { mode: 0o1750, uid: 7 })
      const xattrs = { 'security.capability': capability, 'trusted.overlay.opaque': 'y' }
      writer.file('d/f', 'x', { mode: 0o4711, uid: 5, gid: 6, xattrs })
      writer.hardlink('d/g', 'd/f')
      writer.node('d/p', 'fifo')
      writer.node('d/n', 'character', 1, 3, { xattrs: { 'user.x': '1' } })
    })
    const f = await lstat(join(folder, 'a/d/f'), { bigint: true })
    assert.deepEqual([f.mode & 0o7777n, f.uid, f.gid, f.nlink], [0o4711n, 5n, 6n, 2n])
    assert.equal(f.mtimeNs, 1_600_000_000_123_456_789n)
    const d = await lstat(join(folder, 'a/d'), { bigint: true })
    assert.deepEqual([d.mode & 0o7777n, d.uid, d.mtimeNs], [0o1750n, 7n, 1_600_000_000_123_456_789n])
    assert.ok((await lstat(join(folder, 'a/d/p'))).isFIFO())
    assert.equal((await lstat(join(folder, 'a/d/n'))).rdev, 0x103)
  }),
)

test('no descriptor and no thread stays, whether a layer succeeds or fails', { skip }, () =>
  inFolder(async (folder) => {
    const attempt = async (name: string) => {
      await layer(join(folder, name), (archive) => archive.file('a/b', 'x'.repeat(2_000_000)))
      const short = (archive: Archive) => archive.file('a').raw(header({ size: 400_000 }))
      await assert.rejects(layer(join(folder, `${name}-short`), short), /truncated/)
      await assert.rejects(
        layer(join(folder, `${name}-up`), (archive) => archive.file('..')),
        /upwards/,
      )
    }
    await attempt('first')
    const held = async () => [(await readdir('/proc/self/fd')).length, (await readdir('/proc/self/task')).length]
    const before = await held()
    for (let i = 0; i < 5; i++) await attempt(`again-${i}`)
    assert.deepEqual(await held(), before)
    assert.equal((await lstat(join(folder, 'first/a/b'))).size, 2_000_000)
  }),
)

test('a tree far deeper than a process has descriptors is replaced', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), (writer) => {
      writer.directory('top')
      let link = 'top'
      // Each link leads deeper than a path could say.
      for (let n = 0; n < 8; n += 1) {
        const deep = `${link}/${'d/'.repeat(400)}e`
        writer.directory(deep)
        const target = n === 0 ? deep : `${'d/'.repeat(400)}e`
        const place = n === 0 ? `link${n}` : `${link}/link${n}`
        writer.symlink(place, n === 0 ? `/${target}` : target)
        link = place
      }
      writer.symlink('top', 'elsewhere')
    })
    assert.equal(await readlink(join(folder, 'a/top')), 'elsewhere')
  }),
)

test('attributes of a directory do not go through the symbolic link that took its place', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), (writer) => {
      writer.directory('real', { mode: 0o700 })
      writer.directory('zz', { mode: 0o777 })
      writer.symlink('zz', 'real')
      writer.directory('a', { mode: 0o777 })
      writer.symlink('a', 'real')
    })
    assert.equal((await lstat(join(folder, 'a/real'))).mode & 0o7777, 0o700)
  }),
)

test('control characters, long names and NULs in an error are shown, escaped and cut', { skip }, () =>
  inFolder(async (folder) => {
    const message = async (fill: (archive: Archive) => unknown) =>
      await layer(join(folder, `${Math.random()}`), fill).then(
        () => assert.fail('did not fail'),
        (error) => `${String(error.step ?? '')}|${error.message}`,
      )
    const xattrs = { 'trusted.bad\x1b[31m': Buffer.alloc(65500) }
    for (const text of [
      await message((archive) => archive.file(`\x1b[31m\n${'x'.repeat(3000)}/..`)),
      await message((archive) => archive.file('a\0tail')),
      await message((archive) => archive.file('x', 'x', { xattrs })),
    ]) {
      assert.doesNotMatch(text, /\p{Cc}/u)
      assert.ok(text.length < 2000)
    }
    assert.match(await message((archive) => archive.file('a\0tail')), /tail/)
  }),
)

/** A blob that is written as far as into its second file. */
async function begun(folder: string) {
  const blob = new Archive().file('first', 'x'.repeat(2_000_000)).file('second', 'y'.repeat(2_000_000)).bytes()
  const path = join(folder, 'blob')
  const bytes = 3_000_000
  await writeFile(path, blob.subarray(0, bytes))
  await mkdir(join(folder, 'layer'))
  const listeners = new Set<() => void>()
  const growth = {
    bytes,
    isWhole: false,
    onChange: (listener: () => void) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const file = await open(path)
  const digestHex = createHash('sha256').update(blob).digest('hex')
  const limits = { tarBytes: 1e9, entries: 10, devices: 0, xattrBytes: 0, pathBytes: 1000 }
  const described = {
    descriptor: file.fd,
    growth,
    compression: 'none',
    algorithm: 'sha256',
    digestHex,
    limits,
  } as const
  const isBegun = async () => (await readdir(join(folder, 'layer'))).includes('second')
  return { blob, path, file, growth, described, listeners, isBegun }
}

test('a blob that is still being written is unpacked as it grows', { skip }, () =>
  inFolder(async (folder) => {
    const { blob, path, file, growth, described, listeners, isBegun } = await begun(folder)
    await using _ = file
    const filling = UnpackedFolder.fill(join(folder, 'layer'), described)
    for (let i = 0; i < 5000 && !(await isBegun()); i++) await delay(5)
    await appendFile(path, blob.subarray(growth.bytes))
    Object.assign(growth, { bytes: blob.length, isWhole: true })
    for (const listener of listeners) listener()
    await (await filling).close()
    assert.equal((await readFile(join(folder, 'layer/second'), 'utf8')).length, 2_000_000)
    assert.equal(listeners.size, 0)
  }),
)

test('who waits for a blob that does not grow any more can be told to stop', { skip }, () =>
  inFolder(async (folder) => {
    const { file, described, listeners, isBegun } = await begun(folder)
    await using _ = file
    const stop = new AbortController()
    const filling = UnpackedFolder.fill(join(folder, 'layer'), described, { signal: stop.signal })
    for (let i = 0; i < 5000 && !(await isBegun()); i++) await delay(5)
    stop.abort()
    await assert.rejects(filling, { code: 'ECANCELED' })
    assert.equal(listeners.size, 0)
  }),
)
