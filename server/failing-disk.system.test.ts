/** A disk that is full, out of inodes, or read-only: what clients are told, what is kept, and that nobody has to restart anything. */
import assert from 'node:assert/strict'
import { unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { sha256, someBytes } from './testing/content.ts'
import { serveGantry } from './testing/gantry-process.ts'
import { begin, close, send } from './testing/slow-push.ts'
import { mountSmallDisk } from './testing/small-disk.ts'

const MIB = 2 ** 20
const skip = process.getuid?.() === 0 ? false : 'needs root: it mounts a small disk'

describe('a registry', { skip }, () => {
  it('on a disk that fills up says so, keeps the upload, and goes on with it once there is room', async () => {
    await using disk = await mountSmallDisk('size=24m')
    const ballast = join(disk.path, 'ballast')
    await writeFile(ballast, Buffer.alloc(12 * MIB))
    await using gantry = await serveGantry({ data: join(disk.path, 'data') })
    const content = someBytes(18 * MIB)
    const first = await send('PATCH', await begin(gantry.url), content.subarray(0, 4 * MIB))
    assert.equal(first.status, 202)
    const full = await send('PATCH', first.location, content.subarray(4 * MIB))
    assert.deepEqual([full.status, full.reason], [507, 'no space is left'])
    const kept = await send('GET', first.location)
    const offset = Number(kept.range.split('-')[1]) + 1
    assert.ok(kept.status === 204 && offset >= 4 * MIB, `${kept.status} ${kept.range}`)
    await unlink(ballast)
    assert.equal(await close(kept.location, sha256(content), content.subarray(offset)), 201)
    assert.equal((await fetch(`${gantry.url}/v2/a/blobs/${sha256(content)}`)).status, 200)
  })

  it('without an inode left says so, and works again when there is one', async () => {
    await using disk = await mountSmallDisk('size=64m,nr_inodes=200')
    await using gantry = await serveGantry({ data: join(disk.path, 'data') })
    const content = someBytes(2 * MIB)
    const location = await begin(gantry.url)
    let fillers = 0
    for (; ; fillers += 1) {
      const failed = await writeFile(join(disk.path, `filler-${fillers}`), '').then(
        () => false,
        () => true,
      )
      if (failed) break
    }
    const full = await fetch(`${gantry.url}/v2/a/blobs/uploads/`, { method: 'POST' })
    assert.equal(full.status, 507)
    for (let index = 0; index < fillers; index += 1) await unlink(join(disk.path, `filler-${index}`))
    assert.equal(await close(location, sha256(content), content), 201)
  })

  it('on a disk that becomes read-only refuses to write, still reads, and writes again when it may', async () => {
    await using disk = await mountSmallDisk('size=64m')
    await using gantry = await serveGantry({ data: join(disk.path, 'data') })
    const content = someBytes(MIB)
    const location = await begin(gantry.url)
    assert.equal(await close(await begin(gantry.url), sha256(content), content), 201)
    disk.remount('ro')
    const refused = await send('PATCH', location, content)
    assert.deepEqual([refused.status, refused.reason], [503, 'the filesystem is read-only'])
    assert.equal((await fetch(`${gantry.url}/v2/a/blobs/${sha256(content)}`)).status, 200)
    disk.remount('rw')
    const more = someBytes(2 * MIB)
    assert.equal(await close(location, sha256(more), more), 201)
  })
})
