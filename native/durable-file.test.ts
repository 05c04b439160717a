import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createDurable, createUnique, replaceDurable, writeNew } from './durable-file.ts'

async function folderFor(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-durable-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}
const everything = async (folder: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .sort()

test('a file is created with all of its pieces, and folders above it', async (t) => {
  const folder = await folderFor(t)
  const pieces = Array.from({ length: 3_000 }, (_, index) => Buffer.from(`${index},`)) // more than one system call takes
  await createDurable(join(folder, 'tmp'), join(folder, 'a/b/c'), pieces)
  assert.ok(Buffer.concat(pieces).equals(await readFile(join(folder, 'a/b/c'))))
  await createUnique(join(folder, 'd/e/f'), [Buffer.alloc(0), Buffer.from('x'), Buffer.alloc(0)], true)
  assert.equal(await readFile(join(folder, 'd/e/f'), 'utf8'), 'x')
  await createUnique(join(folder, 'd/e/empty'), [], false)
  assert.deepEqual(await everything(folder), ['c', 'empty', 'f'])
})

test('what is there already is not touched, and nothing else is left', async (t) => {
  const folder = await folderFor(t)
  await writeFile(join(folder, 'a'), 'old')
  const bytes = [Buffer.from('new')]
  await assert.rejects(createDurable(join(folder, 'tmp'), join(folder, 'a'), bytes), { code: 'EEXIST' })
  await assert.rejects(createUnique(join(folder, 'a'), bytes, true), { code: 'EEXIST' })
  await assert.rejects(writeNew(join(folder, 'a'), bytes, true), { code: 'EEXIST' })
  assert.deepEqual(await everything(folder), ['a'])
  assert.equal(await readFile(join(folder, 'a'), 'utf8'), 'old')
})

test('of many that create one name at once, one does', async (t) => {
  const folder = await folderFor(t)
  const racers = Array.from({ length: 16 }, (_, index) =>
    createDurable(join(folder, `tmp${index}`), join(folder, 'x/one'), [Buffer.from(`${index}`)]).then(
      () => index,
      (error: NodeJS.ErrnoException) => error.code,
    ),
  )
  const winners = (await Promise.all(racers)).filter((outcome) => outcome !== 'EEXIST')
  assert.equal(winners.length, 1)
  assert.equal(await readFile(join(folder, 'x/one'), 'utf8'), `${winners[0]}`)
  assert.deepEqual(await everything(folder), ['one'])
})

test('a file is replaced by another, and a missing one is told from a missing folder', async (t) => {
  const folder = await folderFor(t)
  await writeNew(join(folder, 'new'), [Buffer.from('new')], false)
  await writeFile(join(folder, 'old'), 'old')
  await replaceDurable(join(folder, 'new'), join(folder, 'old'), true)
  assert.equal(await readFile(join(folder, 'old'), 'utf8'), 'new')
  await replaceDurable(join(folder, 'old'), join(folder, 'deep/er'), false)
  await assert.rejects(replaceDurable(join(folder, 'old'), join(folder, 'deep/er'), true), {
    code: 'ENOENT',
    step: 'rename a file',
  })
  assert.deepEqual(await everything(folder), ['er'])
})
