/** Never wrong bytes: what a disk changed does not go out as if it were whole. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { BlobDamaged, BlobUnknown } from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { blobKey } from './layout.ts'
import { type Digest, digestOf } from './model/digest.ts'
import { parseRepositoryName } from './model/reference.ts'
import { openStore } from './open.ts'
import type { BlobContent, Store } from './store.ts'
import { pieces } from './testing/sources.ts'

const name = parseRepositoryName('a')

describe('a blob', () => {
  let folder: string
  let store: Store
  const restart = async (): Promise<Store> => await openStore(await openFsDriver(folder))
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-verification-'))
    store = await restart()
  })
  after(async () => {
    await store.close()
    await rm(folder, { recursive: true, force: true })
  })

  const push = async (content: Buffer): Promise<Digest> => {
    const digest = digestOf(content)
    const { id } = await store.uploads.start(name)
    await store.uploads.commit(name, id, digest, pieces([content]))
    return digest
  }
  const flipByte = async (digest: Digest, position: number): Promise<void> => {
    await using file = await open(join(folder, blobKey(digest)), 'r+')
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, position)
    await file.write(Buffer.of((buffer[0] ?? 0) ^ 1), 0, 1, position)
  }
  /** What arrives before the end or the failure, and the failure. */
  const receive = async (content: BlobContent): Promise<{ bytes: Buffer; failure: unknown }> => {
    const got: Uint8Array[] = []
    let failure: unknown
    try {
      for await (const piece of content.body) got.push(piece as Uint8Array)
    } catch (error) {
      failure = error
    }
    return { bytes: Buffer.concat(got), failure }
  }

  for (const size of [1_000, 3_000_000]) {
    it(`of ${size} bytes that the disk changed fails before its end, is unknown from then on, and is repaired by a push`, async () => {
      const content = randomBytes(size)
      const digest = await push(content)
      await flipByte(digest, size / 2)
      const reading = store.repository(name).readBlob(digest)
      if (size < 32 * 1024) {
        await assert.rejects(reading, BlobDamaged)
      } else {
        const { bytes, failure } = await receive(await reading)
        assert.ok(failure instanceof BlobDamaged)
        assert.ok(bytes.length < size)
      }
      await assert.rejects(store.repository(name).statBlob(digest), BlobUnknown)
      await assert.rejects(store.repository(name).readBlob(digest), BlobUnknown)
      await push(content)
      assert.equal((await store.repository(name).statBlob(digest)).sizeBytes, size)
      assert.ok(content.equals((await receive(await store.repository(name).readBlob(digest))).bytes))
    })
  }

  it('may be sent as a file once it was verified, and not before', async () => {
    const content = randomBytes(2_000_000)
    const digest = await push(content)
    const pushed = await store.repository(name).readBlob(digest)
    assert.equal(pushed.file?.lengthBytes, content.length, 'its bytes were hashed when they came')
    pushed.body.destroy()

    const restarted = await restart()
    const unseen = await restarted.repository(name).readBlob(digest)
    assert.equal(unseen.file, undefined)
    assert.ok(content.equals((await receive(unseen)).bytes))
    const seen = await restarted.repository(name).readBlob(digest, () => ({ start: 10, end: 19 }))
    assert.deepEqual([seen.file?.startBytes, seen.file?.lengthBytes], [10, 10])
    assert.ok(content.subarray(10, 20).equals((await receive(seen)).bytes))
    await restarted.close()
  })

  it('is verified for its ranges too, before their last byte', async () => {
    const content = randomBytes(3_000_000)
    const digest = await push(content)
    const range = (start: number, end: number) => () => ({ start, end })
    const whole = await restart()
    const two = await Promise.all(
      [range(0, 999_999), range(2_000_000, 2_999_999)].map((part) => whole.repository(name).readBlob(digest, part)),
    )
    const [first, last] = await Promise.all(two.map(receive))
    assert.ok(first?.bytes.equals(content.subarray(0, 1_000_000)) && last?.bytes.equals(content.subarray(2_000_000)))
    await whole.close()

    await flipByte(digest, 2_999_999)
    const damaged = await restart()
    const { bytes, failure } = await receive(await damaged.repository(name).readBlob(digest, range(0, 99)))
    assert.ok(failure instanceof BlobDamaged)
    assert.ok(bytes.length < 100)
    await assert.rejects(damaged.repository(name).statBlob(digest), BlobUnknown)
    await damaged.close()
  })

  it('that nobody reads to the end, or begins to read, leaves no file open', async () => {
    const digest = await push(randomBytes(3_000_000))
    const restarted = await restart()
    const unread = await restarted.repository(name).readBlob(digest)
    const closed = new Promise((resolve) => unread.body.once('close', resolve))
    unread.body.destroy()
    await closed
    const half = await restarted.repository(name).readBlob(digest)
    for await (const _ of half.body) break
    assert.ok(half.body.destroyed)
    await restarted.close()
  })
})
