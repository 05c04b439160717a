/**
 * The power goes after an answer: what was acknowledged is there when the machine comes back. A filesystem of its own lies in a
 * file; what it has not written into that file yet is what a power loss takes, so a copy of the file is the disk afterwards.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { promisify } from 'node:util'
import { openFsDriver } from './fs/driver.ts'
import { digestOf } from './model/digest.ts'
import { OCI_MANIFEST } from './model/media-type.ts'
import { parseRepositoryName, parseTag } from './model/reference.ts'
import { openStore } from './open.ts'
import type { Store } from './store.ts'
import { pieces } from './testing/sources.ts'

const run = promisify(execFile)
const DISK_BYTES = 256 * 1024 * 1024
const AT_ONCE = 8
const name = parseRepositoryName('power/loss')

const needs = process.getuid?.() === 0 ? false : 'only root may mount a filesystem'

interface Disk {
  readonly folder: string
  /** What a machine finds after the power went now. */
  afterPowerLoss(look: (store: Store) => Promise<void>): Promise<void>
}

/** Owned by `stack`. */
async function diskFor(stack: AsyncDisposableStack): Promise<Disk> {
  const place = await mkdtemp(join(tmpdir(), 'gantry-power-'))
  stack.defer(() => rm(place, { recursive: true, force: true }))
  const image = join(place, 'disk')
  await using file = await open(image, 'w')
  await file.truncate(DISK_BYTES)
  await run('mkfs.ext4', ['-q', image])
  const folder = await mounted(stack, image, join(place, 'mounted'))
  let copies = 0
  return {
    folder,
    async afterPowerLoss(look) {
      copies += 1
      const copy = join(place, `copy${copies}`)
      await run('cp', ['--sparse=always', image, copy])
      await using found = new AsyncDisposableStack()
      const at = await mounted(found, copy, join(place, `found${copies}`))
      const store = await openStore(await openFsDriver(join(at, 'data')))
      found.defer(() => store.close())
      await look(store)
    },
  }
}

async function mounted(stack: AsyncDisposableStack, image: string, folder: string): Promise<string> {
  await mkdir(folder)
  await run('mount', ['-o', 'loop', image, folder])
  stack.defer(async () => void (await run('umount', [folder])))
  return folder
}

async function demandBlob(store: Store, content: Uint8Array): Promise<void> {
  const { body } = await store.repository(name).readBlob(digestOf(content))
  assert.ok(Buffer.concat(await body.toArray()).equals(content))
}

it('a power loss takes nothing that was acknowledged', { skip: needs }, async (t) => {
  await using stack = new AsyncDisposableStack()
  const disk = await diskFor(stack)
  const store = await openStore(await openFsDriver(join(disk.folder, 'data')))
  stack.defer(() => store.close())

  await t.test('of blobs that came in one request, many at once', async () => {
    const contents = Array.from({ length: AT_ONCE }, (_, index) => randomBytes(1 + index * 40_000))
    await Promise.all(
      contents.map(async (content) => {
        const { id } = await store.uploads.start(name)
        await store.uploads.commit(name, id, digestOf(content), pieces([content]), { lengthBytes: content.length })
      }),
    )
    await disk.afterPowerLoss(async (found) => {
      for (const content of contents) await demandBlob(found, content)
    })
  })

  await t.test('of an upload, from its first piece on', async () => {
    const content = randomBytes(20 * 1024 * 1024)
    const { id } = await store.uploads.start(name)
    for (const [start, end] of [
      [0, 5],
      [5, 3_000_000],
      [3_000_000, content.length],
    ]) {
      await store.uploads.append(name, id, pieces([content.subarray(start, end)]), { offset: start as number })
      await disk.afterPowerLoss(async (found) => {
        assert.equal((await found.uploads.status(name, id)).offset, end)
        const rest = pieces([content.subarray(end)])
        await found.uploads.commit(name, id, digestOf(content), rest)
        await demandBlob(found, content)
      })
    }
    await store.uploads.commit(name, id, digestOf(content))
    await disk.afterPowerLoss(async (found) => {
      await demandBlob(found, content)
      // The answer may have been lost with the power: then it is asked for again, or begun anew by who finds the blob.
      await found.uploads.commit(name, id, digestOf(content)).catch(() => undefined)
      await demandBlob(found, content)
    })
  })

  await t.test('of an image and its tag', async () => {
    const layer = randomBytes(2_000_000)
    const config = Buffer.from('{}')
    for (const blob of [layer, config]) await store.uploads.push(name, digestOf(blob), pieces([blob]))
    const described = (bytes: Uint8Array, mediaType: string) => ({
      mediaType,
      digest: digestOf(bytes),
      size: bytes.length,
    })
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: described(config, 'application/vnd.oci.image.config.v1+json'),
        layers: [described(layer, 'application/vnd.oci.image.layer.v1.tar')],
      }),
    )
    const tag = parseTag('latest')
    await store.repository(name).putManifest({ mediaType: OCI_MANIFEST, bytes: manifest, tags: [tag] })
    await disk.afterPowerLoss(async (found) => {
      assert.equal((await found.repository(name).getManifest(tag)).digest, digestOf(manifest))
      const tags = await Array.fromAsync(found.repository(name).listTags({ limit: 10 }))
      assert.deepEqual(tags, [tag])
      await demandBlob(found, layer)
    })
  })
})
