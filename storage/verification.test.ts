/** Never wrong bytes: what a disk changed does not go out as if it were whole. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { until } from '../conformance/support/commands.ts'
import { BlobDamaged, BlobUnknown } from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { blobKey } from './layout.ts'
import { type Digest, digestOf } from './model/digest.ts'
import { parseRepositoryName } from './model/reference.ts'
import { openStore } from './open.ts'
import type { BlobContent, RangeOf, Store } from './store.ts'
import { pieces } from './testing/sources.ts'
import type { Damage } from './verification.ts'

const name = parseRepositoryName('a')
const range = (start: number, end: number): RangeOf => {
  return () => ({ start, end })
}

describe('a blob', () => {
  let folder: string
  let store: Store
  const damages: Damage[] = []
  const restart = async (): Promise<Store> =>
    await openStore(await openFsDriver(folder), { verification: { onDamage: (damage) => damages.push(damage) } })
  const disposable = async (): Promise<Store & AsyncDisposable> => {
    const opened = await restart()
    return { ...opened, [Symbol.asyncDispose]: () => opened.close() }
  }
  const eventually = (what: string, holds: () => Promise<boolean>): Promise<true> =>
    until(what, 10_000, async () => ((await holds()) ? true : undefined))
  const isUnknown = async (where: Store, digest: Digest): Promise<boolean> =>
    await where
      .repository(name)
      .statBlob(digest)
      .then(
        () => false,
        (error: unknown) => error instanceof BlobUnknown,
      )
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

  it('remembers through restarts that it was hashed, but not as a copy, nor when it was written to', async () => {
    const content = randomBytes(2_000_000)
    const digest = await push(content)
    /** Whether a process that begins now sends it as a file, without a look at its bytes. */
    const isBelieved = async (): Promise<boolean> => {
      await using fresh = await disposable()
      const reading = await fresh.repository(name).readBlob(digest, () => ({ start: 10, end: 19 }))
      assert.ok(content.subarray(10, 20).equals((await receive(reading)).bytes))
      return reading.file !== undefined && reading.file.lengthBytes === 10
    }
    assert.equal(await isBelieved(), true, 'its bytes were hashed when they came')

    const path = join(folder, blobKey(digest))
    execFileSync('cp', ['--archive', path, `${path}.copy`])
    await rename(`${path}.copy`, path)
    {
      await using fresh = await disposable()
      const copied = await fresh.repository(name).readBlob(digest)
      assert.equal(copied.file, undefined)
      assert.ok(content.equals((await receive(copied)).bytes))
      await eventually('the copy to be remembered as verified', isBelieved)
    }

    await flipByte(digest, 7)
    await flipByte(digest, 7)
    {
      await using fresh = await disposable()
      const written = await fresh.repository(name).readBlob(digest)
      assert.equal(written.file, undefined)
      written.body.destroy()
    }
  })

  it('is read through once somebody wants a range of it, which does not wait', async () => {
    const content = randomBytes(3_000_000)
    const digest = await push(content)
    await flipByte(digest, 0)
    await flipByte(digest, 0)
    {
      await using fresh = await disposable()
      const two = await Promise.all(
        [range(0, 999_999), range(2_000_000, 2_999_999)].map((part) => fresh.repository(name).readBlob(digest, part)),
      )
      assert.deepEqual(
        two.map(({ file }) => file),
        [undefined, undefined],
      )
      const [first, last] = await Promise.all(two.map(receive))
      assert.ok(first?.bytes.equals(content.subarray(0, 1_000_000)) && last?.bytes.equals(content.subarray(2_000_000)))
      await eventually('the blob to be verified', async () => {
        const again = await fresh.repository(name).readBlob(digest, range(0, 9))
        again.body.destroy()
        return again.file !== undefined
      })
    }

    await flipByte(digest, 2_999_999)
    await using damaged = await disposable()
    await receive(await damaged.repository(name).readBlob(digest, range(0, 99)))
    await eventually('the damage to be found', () => isUnknown(damaged, digest))
    await using another = await disposable()
    await eventually('it to be set aside, so that everybody knows', () => isUnknown(another, digest))
    await eventually('it to be reported', async () => damages.at(-1)?.digest === digest)
    const kept = await readFile(damages.at(-1)?.keptAt ?? '')
    assert.equal(kept.length, content.length, 'and it can be put back')
  })

  it('fails in the middle of a range, if it is found damaged by then', async () => {
    const content = randomBytes(3_000_000)
    const digest = await push(content)
    await flipByte(digest, 5)
    await using fresh = await disposable()
    const reading = await fresh.repository(name).readBlob(digest, () => ({ start: 1_000_000, end: 2_999_999 }))
    const pieces = reading.body[Symbol.asyncIterator]()
    await pieces.next()
    await eventually('the damage to be found', () => isUnknown(fresh, digest))
    await assert.rejects(async () => {
      while ((await pieces.next()).done !== true);
    }, BlobDamaged)
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
