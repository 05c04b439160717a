/** Copies between roots, also while somebody swaps what is in them. */
import assert from 'node:assert/strict'
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { mountOverlay } from './overlay.ts'
import { Archive } from './testing/archive.ts'
import { inFolder, skip, unpackTo } from './testing/unpack.ts'
import { copyTree, lookInRoot } from './tree-copy.ts'

describe('a copy of a tree', () => {
  let base: string
  let from: string
  let to: string
  beforeEach(async () => {
    base = await mkdtemp(join(tmpdir(), 'gantry-copy-'))
    from = join(base, 'from')
    to = join(base, 'to')
    for (const folder of [from, to, join(base, 'outside')]) await mkdir(folder)
    await writeFile(join(base, 'outside', 'secret'), 'secret')
  })
  afterEach(async () => await rm(base, { recursive: true, force: true }))

  it('keeps modes, times, links and names of one file', async () => {
    await mkdir(join(from, 'a'))
    await writeFile(join(from, 'a', 'file'), 'text')
    await chmod(join(from, 'a', 'file'), 0o4750)
    await link(join(from, 'a', 'file'), join(from, 'a', 'same'))
    await symlink('../nowhere', join(from, 'a', 'link'))
    await utimes(join(from, 'a', 'file'), 1000, 2000)
    await utimes(join(from, 'a'), 3000, 4000)
    await copyTree({ root: from, path: '/' }, { root: to, path: '/' }, { contents: true })
    const [file, same, folder] = await Promise.all(['a/file', 'a/same', 'a'].map((name) => lstat(join(to, name))))
    assert.equal(await readFile(join(to, 'a', 'file'), 'utf8'), 'text')
    assert.deepEqual([(file?.mode ?? 0) & 0o7777, file?.mtimeMs, folder?.mtimeMs], [0o4750, 2_000_000, 4_000_000])
    assert.equal(file?.ino, same?.ino)
    assert.equal(await readlink(join(to, 'a', 'link')), '../nowhere')
  })

  it('merges folders, and puts a file where another was', async () => {
    await mkdir(join(from, 'a'))
    await mkdir(join(to, 'a'))
    await writeFile(join(from, 'a', 'new'), 'new')
    await writeFile(join(to, 'a', 'old'), 'old')
    await writeFile(join(from, 'a', 'both'), 'from')
    await symlink(join(base, 'outside', 'secret'), join(to, 'a', 'both'))
    await copyTree({ root: from, path: '/a' }, { root: to, path: '/a' })
    const texts = await Promise.all(['new', 'old', 'both'].map((name) => readFile(join(to, 'a', name), 'utf8')))
    assert.deepEqual(texts, ['new', 'old', 'from'])
    assert.equal(await readFile(join(base, 'outside', 'secret'), 'utf8'), 'secret')
  })

  it('resolves absolute links inside of the root on both sides', async () => {
    await mkdir(join(from, 'outside'))
    await writeFile(join(from, 'outside', 'secret'), 'inner')
    await symlink('/outside', join(from, 'link'))
    await symlink('/landing', join(to, 'place'))
    await mkdir(join(to, 'landing'))
    await copyTree({ root: from, path: '/link/secret' }, { root: to, path: '/place/copy' })
    assert.equal(await readFile(join(to, 'landing', 'copy'), 'utf8'), 'inner')
    assert.equal(lookInRoot({ root: from, path: '/link/../../../outside/secret' }, true)?.sizeBytes, 5)
  })

  it('never follows a link that takes the place of a folder on either side', async () => {
    await symlink(join(base, 'outside'), join(from, 'dir'))
    await symlink(join(base, 'outside'), join(to, 'sub'))
    await mkdir(join(from, 'sub'))
    await writeFile(join(from, 'sub', 'secret'), 'overwritten')
    await copyTree({ root: from, path: '/dir' }, { root: to, path: '/dir' })
    assert.equal(await readlink(join(to, 'dir')), join(base, 'outside'))
    await assert.rejects(copyTree({ root: from, path: '/sub' }, { root: to, path: '/sub' }), { code: 'ENOTDIR' })
    assert.equal(await readFile(join(base, 'outside', 'secret'), 'utf8'), 'secret')
  })

  it('stays inside while the target is swapped for a link again and again', async () => {
    await mkdir(join(from, 'a', 'deep'), { recursive: true })
    for (let i = 0; i < 20; i++) await writeFile(join(from, 'a', 'deep', `file${i}`), 'x')
    await mkdir(join(to, 'real', 'deep'), { recursive: true })
    await symlink(join(base, 'outside'), join(to, 'evil'))
    let swapping = true
    const swapper = (async () => {
      await mkdir(join(to, 'a', 'deep'), { recursive: true })
      while (swapping) {
        await rename(join(to, 'a'), join(to, 'b')).catch(() => {})
        await symlink(join(base, 'outside'), join(to, 'a')).catch(() => {})
        await rm(join(to, 'a')).catch(() => {})
        await rename(join(to, 'b'), join(to, 'a')).catch(() => {})
      }
    })()
    for (let i = 0; i < 100; i++) await copyTree({ root: from, path: '/a' }, { root: to, path: '/a' }).catch(() => {})
    swapping = false
    await swapper
    assert.deepEqual(lookInRoot({ root: base, path: '/outside/deep' }, true), undefined)
  })

  it('refuses to copy a folder into itself', async () => {
    await mkdir(join(from, 'a'))
    await assert.rejects(copyTree({ root: from, path: '/' }, { root: from, path: '/a/copy' }), /into itself/)
  })

  it('gives everything to the owner who was named', {
    skip: process.getuid?.() === 0 ? false : 'changing owners needs root',
  }, async () => {
    await writeFile(join(from, 'file'), '')
    await copyTree({ root: from, path: '/file' }, { root: to, path: '/file' }, { owner: { uid: 12, gid: 34 } })
    const { uid, gid } = await lstat(join(to, 'file'))
    assert.deepEqual([uid, gid], [12, 34])
  })
})

it('copies of layers, one over the other, are what overlayfs shows of them', { skip }, async () => {
  await inFolder(async (folder) => {
    const at = (name: string): string => join(folder, name)
    const below = new Archive().directory('keep').file('keep/gone').file('keep/stays').directory('emptied')
    below.file('emptied/old').file('hidden').directory('turned').file('turned/old').file('became').directory('whole')
    const above = new Archive().directory('keep', { mode: 0o700 }).whiteout('keep/gone').directory('emptied')
    above.opaque('emptied').file('emptied/new').whiteout('hidden').file('turned', 'file').directory('became')
    above.file('became/new').whiteout('whole')
    await unpackTo(at('below'), below.bytes())
    await unpackTo(at('above'), above.bytes(), [at('below')])
    for (const name of ['upper', 'work', 'merged', 'copy']) await mkdir(at(name))
    mountOverlay({ lower: [at('above'), at('below')], upper: at('upper'), work: at('work'), target: at('merged') })
    for (const layer of ['below', 'above'])
      await copyTree({ root: at(layer), path: '.' }, { root: at('copy'), path: '.' }, { contents: true, layer: true })
    const shown = async (root: string) => {
      const names = (await readdir(root, { recursive: true })).toSorted()
      return await Promise.all(names.map(async (name) => [name, (await lstat(join(root, name))).mode]))
    }
    assert.deepEqual(await shown(at('copy')), await shown(at('merged')))
    assert.deepEqual(
      (await shown(at('copy'))).map(([name]) => name),
      ['became', 'became/new', 'emptied', 'emptied/new', 'keep', 'keep/stays', 'turned'],
    )
  })
})
