import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { StoreFolders } from './store.ts'

describe('the folder of a store', () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-store-'))
    await chmod(root, 0o755)
  })
  afterEach(async () => await rm(root, { recursive: true, force: true }))

  const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

  it('is closed to everybody else', async () => {
    await StoreFolders.open(root)
    await StoreFolders.open(root)
    assert.equal(await modeOf(root), 0o700)
  })
  it('may be the root of a filesystem', async () => {
    await mkdir(join(root, 'lost+found'))
    await StoreFolders.open(root)
  })
  it('is never made of a folder that is something else, which stays as it was', async () => {
    await writeFile(join(root, 'letter'), 'mine')
    await assert.rejects(StoreFolders.open(root), /is not empty and is no local store of Gantry; choose another/)
    assert.deepEqual([await modeOf(root), await readdir(root)], [0o755, ['letter']])
  })
})
