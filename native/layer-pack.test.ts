/** What a container has written, as a layer: packed, unpacked again and compared, on a really mounted overlay. */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import {
  chown,
  link,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { packedLayer } from './layer-pack.ts'
import { mountOverlay } from './overlay.ts'
import { Archive } from './testing/archive.ts'
import { inFolder, skip, unpackTo } from './testing/unpack.ts'

const packed = async (folder: string, leftOut: readonly string[] = []): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(packedLayer(folder, leftOut)))

/** All that there is to know of what is in a folder, in the order of the names. */
function listing(folder: string): string {
  const files =
    'find . -mindepth 1 -printf "%P %y %#m %U:%G %s %T@ %n %l\\n" | sed -E "s/^(.* d 0[0-7]+ [0-9:]+) [0-9]+/\\1/; s/( c 0 0:0 0) .*/\\1/" | sort'
  const content = 'find . -type f -exec sha256sum {} + | sort -k2'
  const attributes = 'getfattr -Rhd -m - -e hex . | grep -v overlay.origin | grep -v overlay.impure || true'
  return execFileSync('sh', ['-c', `${files}; ${content}; ${attributes}`], { cwd: folder, encoding: 'utf8' })
}

test('what was unpacked, packed and unpacked again is the same, byte for byte', { skip }, () =>
  inFolder(async (folder) => {
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
    const long = 'long/'.repeat(40)
    const archive = new Archive()
      .directory('d', { mode: 0o1750, uid: 7, xattrs: { 'user.of': 'a folder' } })
      .file('d/f', 'x', { mode: 0o4711, uid: 3_000_000, xattrs: { 'security.capability': capability } })
      .hardlink('d/g', 'd/f')
      .file('d/empty', '')
      .file('d/large', Buffer.alloc(700_001, 'gantry '))
      .file('d/before', 'old', { mtime: '-1.25' })
      .file('d/second', 'whole', { mtime: '1600000000' })
      .node('d/fifo', 'fifo')
      .node('d/null', 'character', 1, 3)
      .node('d/disk', 'block', 8, 0, { mode: 0o600 })
      .symlink('d/link', '../../outside', { uid: 5 })
      .symlink('d/far', long.repeat(3))
      .directory(long.slice(0, -1))
      .file(`${long}file`)
      .file('na\u00efve')
      .whiteout('d/hidden')
      .directory('opaque')
      .opaque('opaque')
      .file('opaque/new')
    const [once, twice] = [join(folder, 'once'), join(folder, 'twice')]
    await unpackTo(once, archive.bytes())
    const layer = await packed(once)
    await unpackTo(twice, layer)
    assert.equal(listing(twice), listing(once))
    assert.deepEqual(await packed(twice), layer)
    const names = execFileSync('tar', ['-t'], { input: layer, encoding: 'utf8' }) // GNU's reads it, too
    for (const name of ['d/.wh.hidden', 'opaque/.wh..wh..opq', `${long}file`])
      assert.ok(names.includes(`${name}\n`), name)
  }),
)

test('what a kernel has written into an upper directory shows the same over the same layers', { skip }, () =>
  inFolder(async (folder) => {
    const [low, upper, work, merged, layer] = ['low', 'upper', 'work', 'merged', 'layer'].map((name) =>
      join(folder, name),
    ) as [string, string, string, string, string]
    const base = new Archive()
    for (const path of ['keep/changed', 'keep/gone', 'keep/moved', 'again/old', 'tree/a/b', 'etc/hosts'])
      base.file(path)
    base.hardlink('keep/twin', 'keep/changed')
    await unpackTo(low, base.bytes())
    for (const name of [upper, work, merged]) await mkdir(name)
    mountOverlay({ lower: [low], upper, work, target: merged })
    const at = (path: string): string => join(merged, path)
    await writeFile(at('keep/changed'), 'new')
    await rm(at('keep/gone'))
    await rename(at('keep/moved'), at('keep/elsewhere'))
    await rm(at('again'), { recursive: true })
    await mkdir(at('again'))
    await writeFile(at('again/new'), 'new')
    await rm(at('tree'), { recursive: true })
    await writeFile(at('tree'), 'a file now')
    await mkdir(at('new/deep'), { recursive: true })
    await writeFile(at('new/deep/file'), 'x')
    await link(at('new/deep/file'), at('new/twin'))
    await symlink('/nowhere', at('new/link'))
    await chown(at('keep'), 12, 34)
    await utimes(at('new/deep'), 1, 2.5)
    await writeFile(join(upper, 'mount-point'), '')
    await using server = createServer().listen(at('new/socket'))
    await new Promise((resolve) => server.once('listening', resolve))
    await unpackTo(layer, await packed(upper, ['mount-point']), [low])
    const expected = listing(merged)
    await new Promise((resolve) => server.close(resolve)) // its name goes with it
    assert.match(expected, /new\/socket s/)
    execFileSync('umount', [merged])
    for (const name of ['upper2', 'work2']) await mkdir(join(folder, name))
    mountOverlay({ lower: [layer, low], upper: join(folder, 'upper2'), work: join(folder, 'work2'), target: merged })
    const without = (text: string): string => text.replace(/^.*(socket|mount-point).*\n/gm, '')
    assert.equal(without(listing(merged)), without(expected))
    assert.deepEqual(await readdir(at('again')), ['new'])
    assert.deepEqual((await readdir(at('keep'))).sort(), ['changed', 'elsewhere', 'twin'])
    assert.equal(await readFile(at('tree'), 'utf8'), 'a file now')
  }),
)

test('what no layer can hold is refused, naming it', { skip }, () =>
  inFolder(async (folder) => {
    const refused = async (make: (upper: string) => unknown, expected: RegExp): Promise<void> => {
      const upper = join(folder, `${Math.random()}`)
      await mkdir(upper)
      await make(upper)
      await assert.rejects(packed(upper), expected)
    }
    await refused((upper) => writeFile(join(upper, '.wh.x'), ''), /\.wh\.x.*hides another file/)
    for (const name of ['redirect', 'metacopy'])
      await refused(async (upper) => {
        await writeFile(join(upper, 'f'), '')
        execFileSync('setfattr', ['-n', `trusted.overlay.${name}`, '-v', '/other', join(upper, 'f')])
      }, /f.*redirect_dir or metacopy/)
    await assert.rejects(packed(join(folder, 'none')), { code: 'ENOENT', step: /open .*none/ })
  }),
)

test('who stops reading stops the work; a process that ends does not wait for it', { skip }, () =>
  inFolder(async (folder) => {
    const upper = join(folder, 'upper')
    await mkdir(upper)
    await writeFile(join(upper, 'huge'), '')
    await truncate(join(upper, 'huge'), 2 ** 32)
    for await (const chunk of packedLayer(upper)) {
      assert.match(Buffer.from(chunk.subarray(0, 1536)).toString(), /huge/)
      break
    }
    const script = `const { packedLayer } = await import(${JSON.stringify(join(import.meta.dirname, 'layer-pack.ts'))})
      for await (const chunk of packedLayer(${JSON.stringify(upper)})) process.exit(7)`
    const ended = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 30_000 })
    await assert.rejects(ended, { code: 7 })
  }),
)
