import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  opendirSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { mkdtemp, open, opendir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { Listings } from './listing.ts'

async function folderFor(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-listing-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}
const namesOf = async (listings: Listings, folder: string, options = {}): Promise<string[]> =>
  (await Array.fromAsync(listings.parts(folder, options))).flat()

test('a listing is what is there now, after any history of changes and listings', async () => {
  const name = fc.constantFrom('a', 'b', 'b!1', 'c~', 'd', 'zz')
  const step = fc.oneof(
    fc.record({ kind: fc.constantFrom('write', 'remove', 'folder', 'empty', 'list'), name }),
    fc.record({ kind: fc.constant('list'), name }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const root = await mkdtemp(join(tmpdir(), 'gantry-listing-'))
      const folder = join(root, 'it')
      const expected = new Set<string>()
      using listings = new Listings()
      try {
        for (const { kind, name } of steps) {
          if (kind === 'write' && !expected.has(`${name}/`)) {
            mkdirSync(folder, { recursive: true })
            writeFileSync(join(folder, name), '')
            expected.add(name)
          } else if (kind === 'remove' && expected.delete(name)) {
            unlinkSync(join(folder, name))
          } else if (kind === 'folder' && !expected.has(name)) {
            mkdirSync(join(folder, name), { recursive: true })
            expected.add(`${name}/`)
          } else if (kind === 'empty') {
            rmSync(folder, { recursive: true, force: true })
            expected.clear()
          } else if (kind === 'list') {
            const sorted = [...expected].sort()
            assert.deepEqual(await namesOf(listings, folder), sorted)
            assert.deepEqual(
              await namesOf(listings, folder, { after: name, limit: 2 }),
              sorted.filter((each) => each > name).slice(0, 2),
            )
          }
          const whole = listings.whole(folder)
          if (whole || (kind === 'list' && expected.size > 0)) assert.deepEqual(whole, [...expected].sort())
        }
      } finally {
        rmSync(root, { recursive: true, force: true })
      }
    }),
    { numRuns: 60 },
  )
})

test('changes that come while a folder is read, and listings that wait for the same reading, are not lost', async (t) => {
  const folder = await folderFor(t)
  for (let index = 0; index < 3_000; index += 1) writeFileSync(join(folder, `x${index}`), '')
  using listings = new Listings()
  const first = namesOf(listings, folder)
  writeFileSync(join(folder, 'added'), '')
  unlinkSync(join(folder, 'x7'))
  const second = await namesOf(listings, folder)
  assert.ok(second.includes('added') && !second.includes('x7'))
  assert.equal(second.length, 3_000)
  await first
  assert.deepEqual(await namesOf(listings, folder), second)
})

test('all of a short listing is one and the same array until something changes, and a long one is no such thing', async (t) => {
  const folder = await folderFor(t)
  for (let index = 0; index < 1_000; index += 1) writeFileSync(join(folder, `x${index}`), '')
  using listings = new Listings()
  assert.equal(listings.whole(folder), undefined, 'nobody has listed it yet')
  await namesOf(listings, folder)
  const whole = listings.whole(folder)
  assert.equal(whole?.length, 1_000)
  assert.equal(listings.whole(folder), whole)
  unlinkSync(join(folder, 'x0'))
  assert.equal(listings.whole(folder)?.length, 999)
  assert.equal(whole?.length, 1_000, 'who has it may keep it')
  for (const name of ['y1', 'y2']) writeFileSync(join(folder, name), '')
  assert.equal(listings.whole(folder), undefined)
})

test('a long listing goes on where it was although the folder changes under it', async (t) => {
  const folder = await folderFor(t)
  const names = Array.from({ length: 2_500 }, (_, index) => `n${String(index).padStart(5, '0')}`)
  for (const name of names) writeFileSync(join(folder, name), '')
  using listings = new Listings()
  const seen: string[] = []
  for await (const part of listings.parts(folder, {})) {
    if (seen.length === 0) writeFileSync(join(folder, 'a-new-one-before'), '')
    else unlinkSync(join(folder, `n0000${seen.length / 1_000}`))
    seen.push(...part)
  }
  assert.deepEqual(seen, names)
})

test('a folder that was emptied, removed and made again is the new one, although somebody has the old one open', async (t) => {
  const folder = join(await folderFor(t), 'it')
  const make = (name: string): void => {
    mkdirSync(folder)
    writeFileSync(join(folder, name), '')
  }
  using listings = new Listings()
  make('old')
  assert.deepEqual(await namesOf(listings, folder), ['old'])
  await using _open = await opendir(folder)
  unlinkSync(join(folder, 'old'))
  rmdirSync(folder)
  make('new')
  assert.deepEqual(await namesOf(listings, folder), ['new'])
  writeFileSync(join(folder, 'newer'), '')
  assert.deepEqual(await namesOf(listings, folder), ['new', 'newer'])
})

test('a folder that is removed and made again between the watch and the reading is the new one from then on', async (t) => {
  const root = await folderFor(t)
  const folder = join(root, 'it')
  mkdirSync(folder)
  writeFileSync(join(folder, 'old'), '')
  using listings = new Listings()
  using _open = opendirSync(folder) // so that the system says nothing of its end
  // Every thread of the pool waits, so that the reading begins when this says so.
  const pipes = Array.from({ length: Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) }, (_, index) =>
    join(root, `pipe-${index}`),
  )
  execFileSync('mkfifo', pipes)
  const waiting = pipes.map((pipe) => open(pipe, 'r'))
  const listed = namesOf(listings, folder)
  unlinkSync(join(folder, 'old'))
  rmdirSync(folder)
  mkdirSync(folder)
  writeFileSync(join(folder, 'new'), '')
  for (const pipe of pipes) closeSync(openSync(pipe, 'w'))
  for (const each of waiting) await (await each).close()
  assert.deepEqual(await listed, ['new'])
  writeFileSync(join(folder, 'newer'), '')
  assert.deepEqual(await namesOf(listings, folder), ['new', 'newer'])
  unlinkSync(join(folder, 'new'))
  assert.deepEqual(await namesOf(listings, folder), ['newer'])
})

test('more changes than the system keeps make the folder be read again', async (t) => {
  const limit = Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'utf8'))
  if (limit > 20_000) return t.skip(`the system keeps ${limit} changes`)
  const folder = await folderFor(t)
  using listings = new Listings()
  writeFileSync(join(folder, 'first'), '')
  assert.deepEqual(await namesOf(listings, folder), ['first'])
  mkdirSync(join(folder, 'sub'))
  for (let round = 0; round * 2 < limit + 10; round += 1) {
    rmdirSync(join(folder, 'sub'))
    mkdirSync(join(folder, 'sub'))
  }
  writeFileSync(join(folder, 'last'), '')
  assert.deepEqual(await namesOf(listings, folder), ['first', 'last', 'sub/'])
})
