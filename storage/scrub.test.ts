/** A pass over everything that is stored, through the ends that it can come to. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readFile, rm, stat, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { until } from '../conformance/support/commands.ts'
import type { StorageDriver } from './driver.ts'
import { BlobUnknown, ManifestUnknown } from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { blobKey, catalogKey, linkKey, manifestKey, passKey, tagKey } from './layout.ts'
import { type Digest, digestOf } from './model/digest.ts'
import { parseMediaType } from './model/media-type.ts'
import { parseRepositoryName, parseTag } from './model/reference.ts'
import { openStore } from './open.ts'
import { readRecord } from './records.ts'
import { type Pass, type PassDamage, PassTaken, runPass, Scrub } from './scrub.ts'
import type { Store } from './store.ts'
import { pieces } from './testing/sources.ts'

const SIZES = [0, 1_000, 40_000, 300_000, 2_000_000]
const NAMES = ['a', 'a-b', 'a/b', 'b'].map(parseRepositoryName)
const IMAGE = parseMediaType('application/vnd.oci.image.manifest.v1+json')

describe('a pass over everything that is stored', () => {
  let folder: string
  let driver: StorageDriver
  let store: Store
  const contents: Buffer[] = []
  const manifests: { readonly name: (typeof NAMES)[number]; readonly digest: Digest; readonly bytes: Buffer }[] = []
  const push = async (content: Buffer): Promise<Digest> => {
    const digest = digestOf(content)
    for (const name of NAMES) await store.uploads.push(name, digest, pieces([content]), { lengthBytes: content.length })
    return digest
  }
  const pushManifest = async (index: number): Promise<void> => {
    const { name, bytes } = manifests[index] as (typeof manifests)[number]
    await store.repository(name).putManifest({ mediaType: IMAGE, bytes, tags: [] })
  }
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-scrub-'))
    driver = await openFsDriver(folder)
    store = await openStore(driver)
    for (const size of SIZES) {
      const content = randomBytes(size)
      contents.push(content)
      await push(content)
    }
    const config = { mediaType: 'application/octet-stream', digest: digestOf(contents[1] as Buffer), size: SIZES[1] }
    for (const [index, name] of NAMES.entries()) {
      const bytes = Buffer.from(
        JSON.stringify({ schemaVersion: 2, mediaType: IMAGE, config, layers: [], annotations: { index: `${index}` } }),
      )
      manifests.push({ name, bytes, digest: digestOf(bytes) })
      await pushManifest(index)
    }
  })
  after(async () => {
    await store.close()
    await rm(folder, { recursive: true, force: true })
  })
  const flipByte = async (key: string, position: number): Promise<void> => {
    await using file = await open(join(folder, key), 'r+')
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, position)
    await file.write(Buffer.of((buffer[0] ?? 0) ^ 1), 0, 1, position)
  }
  const recorded = async (): Promise<Pass | undefined> => (await readRecord<Pass>(driver, passKey('demand')))?.value

  it('looks at each blob and manifest once', async () => {
    const pass = await runPass(driver, 'demand')
    const bytes = SIZES.reduce((sum, size) => sum + size, 0)
    assert.deepEqual([pass.blobs, pass.manifests, pass.bytes, pass.damaged], [SIZES.length, NAMES.length, bytes, 0])
    assert.ok(pass.finishedAt)
    assert.deepEqual({ ...(await recorded()), nonce: '' }, { ...pass, nonce: '' })
  })

  it('sets damaged blobs aside although they were known to be whole, and reports damaged manifests; pushing repairs both', async () => {
    for (const [index, content] of contents.entries()) {
      if (content.length === 0) continue
      const path = join(folder, blobKey(digestOf(content)))
      const { mtime } = await stat(path)
      await flipByte(blobKey(digestOf(content)), content.length - 1)
      if (index % 2 === 0) await utimes(path, mtime, mtime) // what a failing disk changes has no date
    }
    const [first, second] = manifests
    assert.ok(first && second)
    const header = (await readFile(join(folder, manifestKey(first.name, first.digest)))).indexOf('\n')
    await flipByte(manifestKey(first.name, first.digest), header + 20)
    await flipByte(manifestKey(second.name, second.digest), 0)
    const found: PassDamage[] = []
    const pass = await runPass(driver, 'demand', { onDamage: (damage) => found.push(damage) })
    assert.deepEqual([pass.damaged, found.length], [SIZES.length + 1, SIZES.length + 1])
    for (const damage of found) {
      if ('repository' in damage) {
        await assert.rejects(store.repository(damage.repository).getManifest(damage.digest), ManifestUnknown)
      } else {
        assert.ok('digest' in damage)
        await assert.rejects(store.repository(NAMES[0] as (typeof NAMES)[0]).statBlob(damage.digest), BlobUnknown)
        assert.ok((await readFile(damage.keptAt ?? '')).length > 0)
      }
    }
    for (const content of contents) await push(content)
    for (const index of manifests.keys()) await pushManifest(index)
    for (const { name, digest, bytes } of manifests)
      assert.ok(bytes.equals((await store.repository(name).getManifest(digest)).bytes))
    assert.equal((await runPass(driver, 'demand')).damaged, 0)
  })

  it('finds every damaged record, and says what makes it whole', async () => {
    const [name] = NAMES as [(typeof NAMES)[number]]
    const { bytes } = manifests[0] as (typeof manifests)[number]
    const tag = parseTag('kept')
    const putAll = async (): Promise<void> => {
      for (const content of contents) await push(content)
      await store.repository(name).putManifest({ mediaType: IMAGE, bytes, tags: [tag] })
    }
    await putAll()
    const keys = [catalogKey(name), linkKey(digestOf(contents[0] as Buffer), name), tagKey(name, tag)]
    for (const key of keys) await flipByte(key, 5)
    const found: PassDamage[] = []
    const pass = await runPass(driver, 'demand', { onDamage: (damage) => found.push(damage) })
    assert.equal(pass.damaged, keys.length)
    assert.deepEqual(
      found.map((damage) => 'record' in damage && damage.record),
      keys,
    )
    for (const damage of found) assert.match('heals' in damage ? damage.heals : '', /^push .* again/)
    await putAll()
    assert.equal((await runPass(driver, 'demand')).damaged, 0)
  })

  it('begins anew where nobody can read any more how far it came', async () => {
    await runPass(driver, 'demand')
    await flipByte(passKey('demand'), 5)
    const pass = await runPass(driver, 'demand')
    assert.equal(pass.manifests, NAMES.length)
    assert.ok((await recorded())?.finishedAt)
  })

  it('goes on where it was stopped, wherever that is, unless it is to begin anew', async () => {
    const steps = SIZES.length + NAMES.length
    for (let stopAfter = 0; stopAfter < steps - 1; stopAfter += 1) {
      const stop = new AbortController()
      const onProgress = ({ blobs, manifests: done }: Pass): void => {
        if (blobs + done > stopAfter) stop.abort(new Error('stopped'))
      }
      await assert.rejects(runPass(driver, 'demand', { restart: true, signal: stop.signal, onProgress }), /stopped/)
      const left = await recorded()
      assert.equal((left?.blobs ?? 0) + (left?.manifests ?? 0), stopAfter + 1)
      assert.equal(left?.finishedAt, undefined)
      const pass = await runPass(driver, 'demand')
      assert.deepEqual([pass.startedAt, pass.blobs, pass.manifests], [left?.startedAt, SIZES.length, NAMES.length])
    }
  })

  it('belongs to whoever began last', async () => {
    let taken: Promise<Pass> | undefined
    const first = runPass(driver, 'demand', {
      restart: true,
      onProgress: ({ blobs }) => {
        if (blobs === 2) taken ??= runPass(driver, 'demand')
      },
      bytesPerSecond: 1_000_000,
    })
    await assert.rejects(first, PassTaken)
    assert.equal((await taken)?.blobs, SIZES.length)
  })

  it('is made in the background by one of those who share the store', async () => {
    const ended: Pass[] = []
    const failures: unknown[] = []
    const options = {
      everyMs: 60 * 60 * 1000,
      firstAfterMs: 0,
      onEnd: (pass: Pass) => void ended.push(pass),
      onFailure: (error: unknown) => void failures.push(error),
    }
    await using _one = new Scrub(driver, options)
    await using _two = new Scrub(driver, options)
    await until('a pass', 10_000, () => ended[0])
    assert.deepEqual(
      ended.map(({ blobs }) => blobs),
      [SIZES.length],
    )
    assert.deepEqual(failures, [])
  })
})
