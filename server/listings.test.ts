/** A listing without `n` is streamed: no more of it is read than the client takes, and it never looks whole when it is not. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { StorageUnavailable } from '../storage/errors.ts'
import { parseTag, type Tag } from '../storage/model/reference.ts'
import type { Repository, Store } from '../storage/store.ts'
import { RawConnection } from './testing/raw-http.ts'
import { type ServedApp, serveApp } from './testing/served-app.ts'

/** An application whose every repository lists these tags. */
const serving = (tags: () => AsyncGenerator<Tag>): Promise<ServedApp> =>
  serveApp({
    store: (real: Store) => {
      const repository = (): Partial<Repository> => ({
        tagsAtHand: async () => undefined,
        async *listTagParts() {
          for await (const tag of tags()) yield [tag]
        },
      })
      return Object.assign(Object.create(real), { repository }) as Store
    },
  })
const LIST = '/v2/many/tags/list'
const aTag = (n: number): Tag => parseTag(`tag-${String(n).padStart(7, '0')}`)
/** As long as one may be: the buffers between are full of fewer. */
const aLongTag = (n: number): Tag => parseTag(String(n).padStart(128, '0'))

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5)
}

describe('a listing', () => {
  it('of a hundred thousand tags is whole, in one answer', async () => {
    await using app = await serving(async function* () {
      for (let n = 0; n < 100_000; n += 1) yield aTag(n)
    })
    const { tags } = (await app.ask('GET', LIST)).json() as { tags: readonly string[] }
    assert.deepEqual([tags.length, tags[0], tags.at(-1)], [100_000, aTag(0), aTag(99_999)])
  })

  it('without end is read no further than the client takes it, and is let go when the client leaves', async () => {
    let produced = 0
    let over = false
    await using app = await serving(async function* () {
      try {
        for (;;) yield aLongTag(produced++)
      } finally {
        over = true
      }
    })
    await using connection = new RawConnection(app.url)
    connection.socket.pause()
    connection.write(`GET ${LIST} HTTP/1.1\r\nHost: a\r\n\r\n`)
    let before = -1
    while (produced !== before || produced === 0) {
      before = produced
      await delay(300) // comes to rest, or would go on until memory ends
    }
    connection.socket.resume()
    await until(() => produced > before * 2)
    connection.socket.destroy()
    await until(() => over)
  })

  it('is let go unread when only its headers are asked for', async () => {
    let over = false
    await using app = await serving(async function* () {
      try {
        for (let n = 0; ; n += 1) yield aTag(n)
      } finally {
        over = true
      }
    })
    assert.equal((await app.ask('HEAD', LIST)).status, 200)
    await until(() => over)
  })

  it('is an error answer when storage fails before the first tag, and broken off when it fails later', async () => {
    for (const healthy of [0, 50_000]) {
      await using app = await serving(async function* () {
        for (let n = 0; n < healthy; n += 1) yield aTag(n)
        throw new StorageUnavailable('reading the folder')
      })
      if (healthy === 0) assert.equal((await app.ask('GET', LIST)).status, 503)
      else await assert.rejects(app.ask('GET', LIST), { code: 'ECONNRESET' })
    }
  })
})
