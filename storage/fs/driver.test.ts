import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { Blobs } from '../blobs.ts'
import type { Key } from '../driver.ts'
import { StorageUnavailable } from '../errors.ts'
import { parseRepositoryName } from '../model/reference.ts'
import { openStore } from '../open.ts'
import type { UploadId } from '../store.ts'
import { describeStorageDriver } from '../testing/driver-contract.ts'
import { bytesOf, pieces } from '../testing/sources.ts'
import { openUploads } from '../uploads.ts'
import { openFsDriver } from './driver.ts'

const key = (text: string): Key => text as Key

describeStorageDriver('filesystem', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-driver-'))
  const driver = await openFsDriver(folder)
  return {
    driver,
    another: () => openFsDriver(folder),
    async leftovers() {
      const sessions = await readdir(join(folder, 'sessions')).catch(() => [])
      return [...(await readdir(join(folder, 'tmp'))), ...sessions]
    },
    async close() {
      await driver.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
})

describe('the filesystem driver', () => {
  it('sweeps temporary files that a crash left, when they are old enough to be nobody’s', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-driver-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    await (await openFsDriver(folder)).close()
    await writeFile(join(folder, 'tmp', 'old'), 'x')
    await writeFile(join(folder, 'tmp', 'young'), 'x')
    const yesterday = new Date(Date.now() - 24 * 60 * 60 * 1000)
    await utimes(join(folder, 'tmp', 'old'), yesterday, yesterday)
    await (await openFsDriver(folder)).close()
    assert.deepEqual(await readdir(join(folder, 'tmp')), ['young'])
  })

  it('never lets a body that became shorter look whole', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-driver-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const driver = await openFsDriver(folder)
    await driver.write(key('b/one'), Buffer.alloc(2_000_000, 1), { ifAbsent: true })
    const { body } = await driver.read(key('b/one'))
    await truncate(join(folder, 'b/one'), 1_500_000)
    await assert.rejects(Array.fromAsync(body), /ended/)
    await driver.close()
  })

  const skip = process.getuid?.() === 0 ? false : 'needs root, to mount a small disk'
  async function smallDisk(t: TestContext): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-full-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', folder])
    t.after(async () => {
      execFileSync('umount', [folder])
      await rm(folder, { recursive: true, force: true })
    })
    return folder
  }
  const isFull = (error: unknown): boolean => error instanceof StorageUnavailable && /full/.test(error.message)
  const name = parseRepositoryName('full')

  it('says that the disk is full, keeps the upload, and goes on when there is room again', { skip }, async (t) => {
    const folder = await smallDisk(t)
    const store = await openStore(await openFsDriver(folder))
    const { id } = await store.uploads.start(name)
    await store.uploads.append(name, id, pieces([Buffer.alloc(500_000, 1)]))
    await writeFile(join(folder, 'filler'), Buffer.alloc(2_200_000))
    await assert.rejects(store.uploads.append(name, id, pieces([Buffer.alloc(900_000, 2)])), isFull)
    await rm(join(folder, 'filler'))
    const { offset } = await store.uploads.status(name, id)
    assert.ok(offset >= 500_000)
    const after = await store.uploads.append(name, id, pieces([bytesOf('rest')]), { offset })
    assert.equal(after.offset, offset + 4)
    await store.close()
  })

  it('gives back the room of what was refused for want of it', { skip }, async (t) => {
    const store = await openStore(await openFsDriver(await smallDisk(t)))
    const { id } = await store.uploads.start(name)
    await assert.rejects(store.uploads.append(name, id, pieces([Buffer.alloc(4_000_000)])), isFull)
    await store.uploads.start(name)
    await store.close()
  })

  it('lets uploads be cancelled, and sweeps them, when no byte is free', { skip }, async (t) => {
    const folder = await smallDisk(t)
    const driver = await openFsDriver(folder)
    const uploads = openUploads(driver, new Blobs(driver))
    const ids = [await uploads.start(name), await uploads.start(name)].map((status) => status.id)
    for (const id of ids) await uploads.append(name, id, pieces([Buffer.alloc(500_000)]))
    const fill = async (): Promise<void> => {
      await assert.rejects(writeFile(join(folder, 'filler'), Buffer.alloc(4_000_000)), { code: 'ENOSPC' })
    }
    await fill()
    await uploads.cancel(name, ids[0] as UploadId)
    await fill()
    await uploads.sweep(Date.now() + 8 * 24 * 60 * 60 * 1000)
    assert.deepEqual(await readdir(join(folder, 'sessions')), [])
    await driver.close()
  })
})
