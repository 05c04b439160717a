import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp, open, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readCached, statCached } from './cached-file.ts'

function whyNot(): string | false {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-cached-'))
  try {
    writeFileSync(join(folder, 'a'), 'one')
    return (
      readCached(join(folder, 'a')) === undefined &&
      'the filesystem of the temporary folder does not read from memory alone'
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
}
const skip = whyNot()

test('a file that was just written is in memory: its bytes and its size are known at once', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-cached-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'a')
  await writeFile(path, 'one')
  assert.equal(readCached(path)?.toString(), 'one')
  assert.equal(statCached(path)?.sizeBytes, 3)
  const file = await open(path)
  t.after(() => file.close())
  assert.equal(statCached(path)?.modifiedMs, (await file.stat()).mtimeMs)
})

test('bytes that are known come back themselves for as long as they are what the file says', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-cached-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'a')
  await writeFile(path, 'one')
  const known = readCached(path) ?? undefined
  assert.ok(known)
  assert.equal(readCached(path, known), known)
  for (const other of ['two', 'ones', 'on', '']) {
    await writeFile(path, other)
    const found: Uint8Array | null | undefined = readCached(path, known)
    assert.notEqual(found, known)
    assert.equal(Buffer.from(found ?? []).toString(), other)
  }
  await writeFile(path, 'one')
  assert.equal(readCached(path, known), known)
})

test('what somebody else replaced, or removed, is seen as it is now', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-cached-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'a')
  await writeFile(path, 'one')
  const first = readCached(path)
  await writeFile(join(folder, 'b'), 'another')
  await rename(join(folder, 'b'), path)
  assert.equal(readCached(path)?.toString(), 'another')
  assert.equal(first?.toString(), 'one', 'bytes that were handed out are the caller’s own')
  await unlink(path)
  assert.ok(!readCached(path))
  assert.ok(!statCached(path))
})

test('large files, folders, links that lead nowhere and names beyond what the kernel takes are no news from memory', {
  skip,
}, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-cached-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'large'), Buffer.alloc(64 * 1024))
  await symlink('nowhere', join(folder, 'dangling'))
  assert.equal(readCached(join(folder, 'large')), undefined)
  assert.equal(statCached(join(folder, 'large'))?.sizeBytes, 64 * 1024)
  assert.equal(readCached(folder), undefined)
  assert.ok(!readCached(join(folder, 'dangling')))
  assert.equal(readCached(`/${'a'.repeat(10_000)}`), undefined)
  await writeFile(join(folder, 'empty'), '')
  assert.equal(readCached(join(folder, 'empty'))?.length, 0)
})
