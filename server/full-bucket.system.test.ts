/** An S3 server whose disk is full: what clients are told, what is kept, and that nobody has to restart anything. */
import assert from 'node:assert/strict'
import { unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { notBuilt } from '../conformance/support/go-tools.ts'
import { startS3 } from '../conformance/support/s3-server.ts'
import { sha256, someBytes } from './testing/content.ts'
import { serveGantry } from './testing/gantry-process.ts'
import { begin, close, send } from './testing/slow-push.ts'
import { mountSmallDisk } from './testing/small-disk.ts'

const MIB = 2 ** 20
const DISK_MIB = 128
const skip = process.getuid?.() === 0 ? await notBuilt('versitygw') : 'needs root: it mounts a small disk'

async function fill(path: string): Promise<void> {
  const piece = Buffer.alloc(MIB)
  for (let size = piece.length; size > 0; size = size >> 1) {
    while (
      await writeFile(path, piece.subarray(0, size), { flag: 'a' }).then(
        () => true,
        () => false,
      )
    ) {
      // as long as there is room for as much
    }
  }
}

describe('a registry on a bucket', { skip }, () => {
  it('that fills up says so, keeps the upload, still reads, and goes on once there is room', async () => {
    await using disk = await mountSmallDisk(`size=${DISK_MIB}m`)
    await using s3 = await startS3('versitygw', process.env, disk.path)
    await using gantry = await serveGantry({ env: s3.env('full') as Record<string, string> })
    const [ballast, filler] = [join(disk.path, 'ballast'), join(disk.path, 'filler')]
    const [before, content] = [someBytes(2 * MIB), someBytes(40 * MIB)]
    assert.equal(await close(await begin(gantry.url), sha256(before), before), 201)
    const first = await send('PATCH', await begin(gantry.url), content.subarray(0, 9 * MIB))
    assert.equal(first.status, 202)
    await writeFile(ballast, Buffer.alloc((DISK_MIB - 35) * MIB))

    const full = await send('PATCH', first.location, content.subarray(9 * MIB))
    assert.deepEqual([full.status, full.reason], [507, 'no space is left'])
    await fill(filler)
    const refused = await fetch(`${gantry.url}/v2/a/blobs/uploads/`, { method: 'POST' })
    assert.ok(refused.status === 507 || refused.status === 503, `${refused.status}`)
    assert.match(await refused.text(), /"code":"UNAVAILABLE"/)
    assert.equal((await fetch(`${gantry.url}/v2/a/blobs/${sha256(before)}`)).status, 200)
    const kept = await send('GET', first.location)
    const offset = Number(kept.range.split('-')[1]) + 1
    assert.ok(kept.status === 204 && offset >= 9 * MIB, `${kept.status} ${kept.range}`)

    for (const path of [ballast, filler]) await unlink(path)
    assert.equal(await close(kept.location, sha256(content), content.subarray(offset)), 201)
    const answer = await fetch(`${gantry.url}/v2/a/blobs/${sha256(content)}`)
    assert.equal(sha256(Buffer.from(await answer.arrayBuffer())), sha256(content))
  })
})
