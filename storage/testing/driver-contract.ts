/** What every storage driver must do. A driver is done when this passes; a bug of one gets its case here first. */
import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import {
  BLOCK_BYTES,
  type Block,
  type Checkpoint,
  type Key,
  type ObjectAhead,
  type Staging,
  type StorageDriver,
} from '../driver.ts'
import { ObjectNotFound, StoreFormatUnsupported, VersionConflict } from '../errors.ts'
import { demandFormat, demandStore } from '../format.ts'
import { FORMAT_KEY } from '../layout.ts'
import { readRecord, updateRecord } from '../records.ts'
import { blocks, bytesOf } from './sources.ts'

export interface OpenedDriver {
  readonly driver: StorageDriver
  /** Another driver on the same place, as another process or replica would have it. */
  another(): Promise<StorageDriver>
  /** What is there besides objects, by name: must be nothing at the end. */
  leftovers(): Promise<readonly string[]>
  close(): Promise<void>
}

const key = (text: string): Key => text as Key
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Several parts, whatever a driver takes for one, and something over; and enough for checkpoints on the way. */
const LARGE_BYTES = 12 * BLOCK_BYTES + 12_345
const LARGEST_BYTES = 47 * BLOCK_BYTES + 12_345

/** From `offset` on; with a failure, it breaks after two thirds of what is left. */
async function* blocksOfLarge(content: Buffer, offset: number, failure?: Error): AsyncGenerator<Block> {
  const left = content.length - offset
  const cut = offset + Math.ceil((left * 2) / 3)
  const end = failure && left > 4 * BLOCK_BYTES ? cut - (cut % BLOCK_BYTES) : content.length
  for (let at = offset; at < end; ) {
    const next = Math.min(at - (at % BLOCK_BYTES) + BLOCK_BYTES, end)
    yield [content.subarray(at, at + 1000), content.subarray(at + 1000, next)].filter(({ length }) => length > 0)
    at = next
  }
  if (failure && end < content.length) throw failure
}
const without = (value: object, field: string): object =>
  Object.fromEntries(Object.entries(value).filter(([name]) => name !== field))
const collect = async <T>(items: AsyncIterable<T>): Promise<T[]> => await Array.fromAsync(items)

async function textOf(driver: StorageDriver, at: Key, range?: { start: number; end: number }): Promise<string> {
  const { body } = await driver.read(at, range)
  return Buffer.concat(await collect(body)).toString()
}

/** All checkpoints; an error of the source is returned, not thrown. */
async function appendAll(
  staging: Staging,
  source: Parameters<Staging['append']>[0],
  offset: number,
): Promise<{ readonly checkpoints: readonly Checkpoint[]; readonly error?: unknown }> {
  const checkpoints: Checkpoint[] = []
  try {
    for await (const checkpoint of staging.append(source, offset)) checkpoints.push(checkpoint)
    return { checkpoints }
  } catch (error) {
    return { checkpoints, error }
  }
}

export function describeStorageDriver(name: string, open: () => Promise<OpenedDriver>): void {
  describe(`storage driver: ${name}`, () => {
    let opened: OpenedDriver
    let driver: StorageDriver
    before(async () => {
      opened = await open()
      driver = opened.driver
    })
    after(async () => {
      const left = await opened.leftovers()
      await opened.close()
      assert.deepEqual(left, [], 'nothing is left behind')
    })

    it('knows nothing of a key that was never written', async () => {
      assert.equal(await driver.stat(key('r/none')), undefined)
      assert.equal(await driver.readSmall(key('r/none')), undefined)
      await driver.remove(key('r/none'))
      await assert.rejects(driver.read(key('r/none')), ObjectNotFound)
      assert.deepEqual(await collect(driver.list('r/none/')), [])
    })

    it('creates only what is absent', async () => {
      const version = await driver.write(key('w/one'), bytesOf('1'), { ifAbsent: true })
      await assert.rejects(driver.write(key('w/one'), bytesOf('2'), { ifAbsent: true }), VersionConflict)
      const found = await driver.readSmall(key('w/one'))
      assert.deepEqual([Buffer.from(found?.bytes ?? []).toString(), found?.version], ['1', version])
      assert.equal((await driver.stat(key('w/one')))?.sizeBytes, 1)
    })

    it('replaces only the version that was named', async () => {
      const first = await driver.write(key('w/two'), bytesOf('1'), { ifAbsent: true })
      const second = await driver.write(key('w/two'), bytesOf('2'), { ifVersion: first })
      assert.notEqual(second, first)
      await assert.rejects(driver.write(key('w/two'), bytesOf('3'), { ifVersion: first }), VersionConflict)
      await assert.rejects(driver.write(key('w/absent'), bytesOf('3'), { ifVersion: first }), VersionConflict)
      assert.equal(await textOf(driver, key('w/two')), '2')
    })

    it('has one winner among racing creators and among racing swappers, also of another driver', async () => {
      const other = await opened.another()
      for (let round = 0; round < 10; round += 1) {
        const at = key(`race/${round}`)
        const creators = Array.from({ length: 8 }, (_, n) =>
          (n % 2 === 0 ? driver : other).write(at, bytesOf(`${n} ${randomUUID()}`), { ifAbsent: true }),
        )
        const created = await Promise.allSettled(creators)
        const versions = created.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
        assert.equal(versions.length, 1)
        const [version] = versions
        assert.ok(version)
        const swappers = Array.from({ length: 8 }, (_, n) =>
          (n % 2 === 0 ? driver : other).write(at, bytesOf(`${n} ${randomUUID()}`), { ifVersion: version }),
        )
        const swapped = await Promise.allSettled(swappers)
        assert.equal(swapped.filter(({ status }) => status === 'fulfilled').length, 1)
        for (const result of [...created, ...swapped]) {
          if (result.status === 'rejected') assert.ok(result.reason instanceof VersionConflict, String(result.reason))
        }
      }
      await other.close()
    })

    it('counts up without losing one when many swap at once', async () => {
      const at = key('w/counter')
      await driver.write(at, bytesOf('0 start'), { ifAbsent: true })
      const increment = async (): Promise<void> => {
        for (;;) {
          const found = await driver.readSmall(at)
          assert.ok(found)
          const next = `${Number.parseInt(Buffer.from(found.bytes).toString(), 10) + 1} ${randomUUID()}`
          try {
            await driver.write(at, bytesOf(next), { ifVersion: found.version })
            return
          } catch (error) {
            if (!(error instanceof VersionConflict)) throw error
          }
        }
      }
      await Promise.all(Array.from({ length: 25 }, increment))
      assert.equal(Number.parseInt(await textOf(driver, at), 10), 25)
    })

    it('reads ranges, both ends included', async () => {
      await driver.write(key('w/range'), bytesOf('0123456789'), { ifAbsent: true })
      assert.equal(await textOf(driver, key('w/range'), { start: 0, end: 0 }), '0')
      assert.equal(await textOf(driver, key('w/range'), { start: 3, end: 9 }), '3456789')
      const { body, sizeBytes } = await driver.read(key('w/range'), { start: 1, end: 1 })
      body.destroy()
      assert.equal(sizeBytes, 10)
    })

    it('lists names in byte order, with after and limit, deeper levels once', async () => {
      for (const name of ['b', 'a-b', 'a!1', 'a.c', 'A', '_x', 'deep/1', 'deep/2']) {
        await driver.write(key(`list/${name}`), new Uint8Array(), { ifAbsent: true })
      }
      const all = ['A', '_x', 'a!1', 'a-b', 'a.c', 'b', 'deep/']
      assert.deepEqual(await collect(driver.list('list/')), all)
      assert.deepEqual(await collect(driver.list('list/', { after: 'a!1' })), all.slice(3))
      assert.deepEqual(await collect(driver.list('list/', { after: 'a!0', limit: 2 })), ['a!1', 'a-b'])
      assert.deepEqual(await collect(driver.list('list/', { after: 'zzz' })), [])
      assert.deepEqual(await collect(driver.list('list/', { limit: 0 })), [])
    })

    it('shows each change in the very next listing', async () => {
      for (let round = 0; round < 40; round += 1) {
        const at = key(`fresh/${round % 2}!${round}`)
        await driver.write(at, new Uint8Array(), { ifAbsent: true })
        assert.deepEqual(await collect(driver.list('fresh/')), [at.slice('fresh/'.length)])
        await driver.remove(at)
        assert.equal(await driver.stat(at), undefined)
        assert.deepEqual(await collect(driver.list('fresh/')), [])
      }
    })

    it('keeps staged content invisible, and goes on with it in another driver', async () => {
      const id = randomUUID()
      const first = await appendAll(driver.stage(id), blocks(['hello ', 'wor']), 0)
      const checkpoint = first.checkpoints.at(-1)
      assert.equal(checkpoint?.offset, 9)
      const other = await opened.another()
      const second = await appendAll(other.stage(id, checkpoint?.state), blocks(['ld']), 9)
      assert.equal(second.checkpoints.at(-1)?.offset, 11)
      const sealed = await other.stage(id, second.checkpoints.at(-1)?.state).seal(11)
      assert.equal(Buffer.concat(await collect(await sealed.read())).toString(), 'hello world')
      assert.equal(await driver.stat(key('staged/one')), undefined)
      const identity = await sealed.publish(key('staged/one'))
      assert.equal(await textOf(driver, key('staged/one')), 'hello world')
      assert.equal(Buffer.from((await driver.readSmall(key('staged/one')))?.bytes ?? []).toString(), 'hello world')
      const { body, identity: found } = await driver.read(key('staged/one'))
      body.destroy()
      assert.equal(found, identity)
      await driver.stage(id).discard()
      await other.close()
    })

    it('keeps the bytes that arrived when the source breaks', async () => {
      const id = randomUUID()
      const broken = new Error('connection reset')
      const { checkpoints, error } = await appendAll(driver.stage(id), blocks(['01234', '56789'], broken), 0)
      assert.equal(error, broken)
      assert.equal(checkpoints.at(-1)?.offset, 10)
      await driver.stage(id).discard()
    })

    it('cuts what lies beyond the offset that it goes on from', async () => {
      const id = randomUUID()
      const first = await appendAll(driver.stage(id), blocks(['abc']), 0)
      const state = first.checkpoints.at(-1)?.state
      await appendAll(driver.stage(id, state), blocks(['defgh']), 3) // and died before anybody recorded it
      const { checkpoints } = await appendAll(driver.stage(id, state), blocks(['XY']), 3)
      const sealed = await driver.stage(id, checkpoints.at(-1)?.state).seal(5)
      assert.equal(Buffer.concat(await collect(await sealed.read())).toString(), 'abcXY')
      await driver.stage(id).discard()
    })

    it('touches nothing when the source fails before its first block', async () => {
      const id = randomUUID()
      const { checkpoints } = await appendAll(driver.stage(id), blocks(['abcdef']), 0)
      const refused = new Error('the session is not yours any more')
      const { error } = await appendAll(driver.stage(id, checkpoints.at(-1)?.state), blocks([], refused), 3)
      assert.equal(error, refused)
      const sealed = await driver.stage(id, checkpoints.at(-1)?.state).seal(6)
      assert.equal(Buffer.concat(await collect(await sealed.read())).toString(), 'abcdef')
      await driver.stage(id).discard()
    })

    it('cuts nothing by sealing, and publishes no more than was sealed', async () => {
      const id = randomUUID()
      const { checkpoints } = await appendAll(driver.stage(id), blocks(['abcdef']), 0)
      const state = checkpoints.at(-1)?.state
      const sealed = await driver.stage(id, state).seal(3)
      assert.equal(
        Buffer.concat(await collect(await (await driver.stage(id, state).seal(6)).read())).toString(),
        'abcdef',
      )
      await sealed.publish(key('staged/cut'))
      assert.equal(await textOf(driver, key('staged/cut')), 'abc')
      await driver.stage(id).discard()
    })

    it('publishes once however often it is asked, and replaces what was damaged', async () => {
      const id = randomUUID()
      await driver.write(key('staged/two'), bytesOf('dam'), { ifAbsent: true })
      const { checkpoints } = await appendAll(driver.stage(id), blocks(['whole']), 0)
      const sealed = await driver.stage(id, checkpoints.at(-1)?.state).seal(5)
      await sealed.publish(key('staged/two'))
      await sealed.publish(key('staged/two'))
      assert.equal(await textOf(driver, key('staged/two')), 'whole')
      await driver.stage(id).discard()
    })

    it('takes content of no bytes at all', async () => {
      const id = randomUUID()
      const sealed = await driver.stage(id).seal(0)
      await sealed.publish(key('staged/empty'))
      assert.equal(await textOf(driver, key('staged/empty')), '')
      await driver.stage(id).discard()
    })

    it('takes content that is at hand, and nobody sees it before it is published', async () => {
      const dropped = await driver.stageWhole([bytesOf('never seen')])
      await dropped.discard()
      const staged = await driver.stageWhole([bytesOf('at '), bytesOf('hand')])
      assert.equal(await driver.stat(key('whole/one')), undefined)
      await staged.publish(key('whole/one'))
      assert.equal(await textOf(driver, key('whole/one')), 'at hand')
      const again = await driver.stageWhole([bytesOf('again')])
      await again.publish(key('whole/one'))
      assert.equal(await textOf(driver, key('whole/one')), 'again')
      const larger = randomBytes(BLOCK_BYTES)
      await (await driver.stageWhole([larger.subarray(0, 9), larger.subarray(9)])).publish(key('whole/larger'))
      await (await driver.stageWhole([larger])).publish(key('whole/larger'))
      assert.equal((await driver.stat(key('whole/larger')))?.sizeBytes, larger.length)
      const { body } = await driver.read(key('whole/larger'))
      assert.equal(sha256(Buffer.concat(await collect(body))), sha256(larger))
      const { body: some } = await driver.read(key('whole/larger'), { start: 900_000, end: 900_006 })
      assert.equal(sha256(Buffer.concat(await collect(some))), sha256(larger.subarray(900_000, 900_007)))
      await (await driver.stageWhole([])).publish(key('whole/empty'))
      assert.equal((await driver.stat(key('whole/empty')))?.sizeBytes, 0)
    })

    it('gives an object the identity that it was published with, and another when it is replaced', async () => {
      const identities = new Set<string>()
      for (const text of ['first', 'other']) {
        const published = await (await driver.stageWhole([bytesOf(text)])).publish(key('whole/two'))
        const { body, identity } = await driver.read(key('whole/two'))
        body.destroy()
        assert.equal(identity, published)
        identities.add(identity)
      }
      assert.equal(identities.size, 2)
    })

    it('writes a name that nobody knows, and what may be lost, as anything else', async () => {
      const version = await driver.write(key('unique/deep/er'), bytesOf('1'), { unique: true })
      assert.equal(await textOf(driver, key('unique/deep/er')), '1')
      await driver.write(key('unique/deep/er'), bytesOf('2'), { ifVersion: version, afterPowerLoss: 'before' })
      assert.equal(await textOf(await opened.another(), key('unique/deep/er')), '2')
      await assert.rejects(
        driver.write(key('unique/deep/er'), bytesOf('3'), { ifVersion: version, afterPowerLoss: 'before' }),
        VersionConflict,
      )
    })

    it('goes on with large content from any checkpoint, in any driver, and publishes exactly what was sent', async () => {
      const id = randomUUID()
      const content = randomBytes(LARGEST_BYTES)
      const other = await opened.another()
      const drivers = [driver, other]
      let reached: Checkpoint = { offset: 0, state: {} }
      for (let round = 0; reached.offset < content.length; round += 1) {
        const source = blocksOfLarge(content, reached.offset, new Error('connection reset'))
        const staging = (drivers[round % 2] as StorageDriver).stage(
          id,
          reached.offset === 0 ? undefined : reached.state,
        )
        const { checkpoints } = await appendAll(staging, source, reached.offset)
        for (const { offset } of checkpoints)
          assert.ok(offset % BLOCK_BYTES === 0 || offset === content.length, `${offset}`)
        // All but the last round lose their last checkpoints, as a crash does.
        const next = round < 2 ? checkpoints.find(({ offset }) => offset > reached.offset) : checkpoints.at(-1)
        assert.ok(next && next.offset > reached.offset)
        reached = next
      }
      const sealed = await driver.stage(id, reached.state).seal(content.length)
      await sealed.publish(key('staged/large'))
      await (await other.stage(id, reached.state).seal(content.length)).publish(key('staged/large'))
      await driver.stage(id).discard()

      const whole = await driver.read(key('staged/large'))
      assert.equal(whole.sizeBytes, content.length)
      assert.equal((await driver.stat(key('staged/large')))?.sizeBytes, content.length)
      assert.equal(sha256(Buffer.concat(await collect(whole.body))), sha256(content))
      for (const start of [0, 5 * BLOCK_BYTES - 3, 20 * BLOCK_BYTES - 1, content.length - 7]) {
        const { body } = await other.read(key('staged/large'), { start, end: start + 6 })
        assert.equal(sha256(Buffer.concat(await collect(body))), sha256(content.subarray(start, start + 7)))
      }
      await other.close()
    })

    it('reads what is sealed before anybody sees it, and forgets it when it is discarded after all', async () => {
      const id = randomUUID()
      const content = randomBytes(LARGE_BYTES)
      const { checkpoints } = await appendAll(driver.stage(id), blocksOfLarge(content, 0), 0)
      const sealed = await driver.stage(id, checkpoints.at(-1)?.state).seal(content.length)
      assert.equal(sha256(Buffer.concat(await collect(await sealed.read()))), sha256(content))
      await driver.stage(id).discard()
    })

    it('keeps one of two contents that are published under one key, and nothing of the other', async () => {
      const content = randomBytes(BLOCK_BYTES)
      const published: { readonly id: string; readonly state: Checkpoint['state']; readonly identity: string }[] = []
      for (const id of [randomUUID(), randomUUID()]) {
        const { checkpoints } = await appendAll(driver.stage(id), blocksOfLarge(content, 0), 0)
        const state = checkpoints.at(-1)?.state ?? {}
        const identity = await (await driver.stage(id, state).seal(content.length)).publish(key('staged/twice'))
        published.push({ id, state, identity })
      }
      const [first, second] = published
      assert.notEqual(first?.identity, second?.identity)
      // The first, whose answer was lost, asks again, although its content was replaced.
      const again = await driver.stage(first?.id ?? '', first?.state).seal(content.length)
      assert.notEqual(await again.publish(key('staged/twice')), first?.identity)
      for (const { id, state } of published) await driver.stage(id, state).discard()
      const { body } = await driver.read(key('staged/twice'))
      assert.equal(sha256(Buffer.concat(await collect(body))), sha256(content))
    })

    it('remembers with an object that what was published was hashed, for every driver', async () => {
      const other = await opened.another()
      const { body, verified } = await other.read(key('staged/large'))
      body.destroy()
      assert.equal(verified, true)
      await other.close()
    })

    it('reads behind a look ahead what is there by then: published since, or replaced by the same, its data gone', async () => {
      const lookAhead = (at: Key): ObjectAhead =>
        driver.lookAhead?.(at) ?? { read: (range) => driver.read(at, range), readSmall: () => driver.readSmall(at) }
      for (const sizeBytes of [1_000, LARGE_BYTES]) {
        const content = randomBytes(sizeBytes)
        const at = key(`staged/${randomUUID()}`)
        for (let round = 0; round < 2; round += 1) {
          const [whole, small] = [lookAhead(at), lookAhead(at)]
          for (let looks = 0; looks < 3; looks += 1) await driver.stat(at) // it has been looked at, too
          const id = randomUUID()
          const { checkpoints } = await appendAll(driver.stage(id), blocksOfLarge(content, 0), 0)
          const state = checkpoints.at(-1)?.state
          await (await driver.stage(id, state).seal(content.length)).publish(at)
          await driver.stage(id, state).discard()
          const { body } = await whole.read({ start: 1, end: content.length - 1 })
          assert.ok(content.subarray(1).equals(Buffer.concat(await collect(body))))
          assert.ok(content.equals((await small.readSmall())?.bytes ?? bytesOf('absent')))
        }
      }
    })

    it('sets a damaged object aside, but no other that stands there now, until it is published again', async () => {
      const content = randomBytes(LARGE_BYTES)
      const publish = async (): Promise<string> => {
        const id = randomUUID()
        const { checkpoints } = await appendAll(driver.stage(id), blocksOfLarge(content, 0), 0)
        const state = checkpoints.at(-1)?.state
        const identity = await (await driver.stage(id, state).seal(content.length)).publish(key('staged/damaged'))
        await driver.stage(id, state).discard()
        return identity
      }
      const other = await opened.another()
      const wholly = async (text: string): Promise<string> =>
        await (await driver.stageWhole([bytesOf(text)])).publish(key('whole/damaged'))
      for (const [at, make] of [
        [key('staged/damaged'), publish],
        [key('whole/damaged'), () => wholly(randomUUID())],
      ] as const) {
        const former = await make()
        const identity = await make()
        assert.equal(await driver.setAside(at, former), undefined, 'it is another one')
        assert.ok(await driver.stat(at))
        assert.ok(await driver.setAside(at, identity))
        assert.equal(await driver.setAside(at, identity), undefined, 'once')
        for (const each of [driver, other]) {
          assert.equal(await each.stat(at), undefined)
          assert.equal(await each.readSmall(at), undefined)
          await assert.rejects(each.read(at), ObjectNotFound)
        }
        await make()
        for (const each of [driver, other]) {
          const { body } = await each.read(at)
          assert.ok((await collect(body)).length > 0)
        }
      }
      await other.close()
    })

    it('keeps a store of a newer format from who knows less, and the fields that only others know', async () => {
      await demandFormat(driver)
      await demandFormat(driver)
      const before = await readRecord<object>(driver, FORMAT_KEY)
      await updateRecord<object>(driver, FORMAT_KEY, () => ({ later: 'kept' }))
      await updateRecord<object>(driver, FORMAT_KEY, () => ({ other: 'change' }))
      const { nonce: _, ...fields } = (await readRecord<Record<string, unknown>>(driver, FORMAT_KEY))?.value ?? {}
      assert.deepEqual(fields, { ...without(before?.value ?? {}, 'nonce'), later: 'kept', other: 'change' })
      await demandStore(driver)
      await updateRecord<object>(driver, FORMAT_KEY, () => ({ format: 2 }))
      for (const demand of [demandFormat, demandStore]) {
        await assert.rejects(demand(driver), (error: unknown) => {
          assert.ok(error instanceof StoreFormatUnsupported)
          assert.match(error.message, /format 2.*use a newer gantry/)
          return true
        })
      }
    })

    it('lets go of a body that nobody reads to its end', async () => {
      const { body } = await driver.read(key('staged/large'))
      await new Promise<void>((resolve, reject) => {
        body.once('data', () => {
          body.destroy()
          resolve()
        })
        body.once('error', reject)
      })
      assert.equal(body.destroyed, true)
    })

    it('discards what is there and what is not', async () => {
      const id = randomUUID()
      await appendAll(driver.stage(id), blocks(['x']), 0)
      await driver.stage(id).discard()
      await driver.stage(id).discard()
      await appendAll(driver.stage(id), blocksOfLarge(randomBytes(LARGE_BYTES), 0), 0)
      await driver.stage(id).discard()
    })
  })
}
