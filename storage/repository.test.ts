import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { StorageDriver } from './driver.ts'
import {
  BlobUnknown,
  ManifestInvalid,
  ManifestUnknown,
  PreconditionFailed,
  ReferencesMissing,
  RepositoryUnknown,
  StoreFormatUnsupported,
} from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { blobKey, manifestKey, newNonce, referrerKey } from './layout.ts'
import { type Digest, digestOf } from './model/digest.ts'
import { OCI_INDEX, OCI_MANIFEST } from './model/media-type.ts'
import { parseRepositoryName, parseTag, type Tag } from './model/reference.ts'
import { openStore, type StoreOptions } from './open.ts'
import { sealed } from './sealed.ts'
import type { Repository, Store } from './store.ts'
import { bytesOf, pieces } from './testing/sources.ts'

const CONFIG = bytesOf('{}')
const tag = parseTag
const anywhere = async (): Promise<boolean> => true

describe('a repository', () => {
  let folder: string
  let driver: StorageDriver
  let store: Store
  let count = 0
  const open = async (options?: StoreOptions): Promise<Store> => await openStore(await openFsDriver(folder), options)

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-repository-'))
    driver = await openFsDriver(folder)
    store = await open()
  })
  after(async () => {
    await store.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function pushBlob(repository: Repository, content: Uint8Array): Promise<Digest> {
    const { id } = await store.uploads.start(repository.name)
    return (await store.uploads.commit(repository.name, id, digestOf(content), pieces([content]))).digest
  }

  async function newRepository(): Promise<Repository> {
    const repository = store.repository(parseRepositoryName(`test/r${count++}`))
    await pushBlob(repository, CONFIG)
    return repository
  }

  const manifest = (label: string, more: object = {}): Uint8Array => {
    const config = {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: digestOf(CONFIG),
      size: CONFIG.length,
    }
    return bytesOf(JSON.stringify({ schemaVersion: 2, config, layers: [], annotations: { label }, ...more }))
  }
  const push = (repository: Repository, bytes: Uint8Array, ...tags: readonly string[]): Promise<{ digest: Digest }> =>
    repository.putManifest({ mediaType: OCI_MANIFEST, bytes, tags: tags.map(tag) })
  const tagsOf = (repository: Repository): Promise<Tag[]> => Array.fromAsync(repository.listTags({}))

  it('is listed before anything in it can be seen, for a push may die in between', async () => {
    const { name } = await newRepository()
    const { write } = driver
    const dying = new Proxy(driver, {
      get(target, property) {
        const value = Reflect.get(target, property)
        if (property !== 'write') return typeof value === 'function' ? value.bind(target) : value
        return (...args: Parameters<typeof write>) =>
          args[0].includes('/manifests/') ? Promise.reject(new Error('killed')) : write.apply(target, args)
      },
    })
    const bytes = manifest('first')
    const pushing = (await openStore(dying)).repository(name).putManifest({ mediaType: OCI_MANIFEST, bytes, tags: [] })
    await assert.rejects(pushing, /killed/)
    await store.repository(name).demandKnown()
  })

  it('gives back the exact bytes, by tag and by digest', async () => {
    const repository = await newRepository()
    const bytes = manifest('a', { unknown: ['kept '] })
    const { digest } = await push(repository, bytes, 'v1')
    for (const reference of [tag('v1'), digest]) {
      const found = await repository.getManifest(reference)
      assert.deepEqual([found.digest, Buffer.from(found.bytes)], [digest, Buffer.from(bytes)])
    }
  })

  it('moves a tag, lists it once, and forgets it when it is deleted', async () => {
    const repository = await newRepository()
    const one = await push(repository, manifest('1'), 'moving')
    const two = await push(repository, manifest('2'), 'moving', 'other')
    assert.equal((await repository.getManifest(tag('moving'))).digest, two.digest)
    assert.deepEqual(await tagsOf(repository), ['moving', 'other'])
    await repository.deleteManifest(tag('moving'))
    await assert.rejects(repository.getManifest(tag('moving')), ManifestUnknown)
    await assert.rejects(repository.deleteManifest(tag('moving')), ManifestUnknown)
    assert.deepEqual(await tagsOf(repository), ['other'])
    assert.equal((await repository.getManifest(one.digest)).digest, one.digest)
  })

  it('loses all tags of a digest with it, and none rises again when it is pushed again', async () => {
    const repository = await newRepository()
    const bytes = manifest('x')
    const { digest } = await push(repository, bytes, 'a', 'b', 'c')
    await push(repository, manifest('y'), 'd')
    await repository.deleteManifest(digest)
    for (const reference of [digest, tag('a'), tag('b'), tag('c')]) {
      await assert.rejects(repository.getManifest(reference), ManifestUnknown)
    }
    assert.deepEqual(await tagsOf(repository), ['d'])
    await push(repository, bytes, 'b')
    assert.deepEqual(await tagsOf(repository), ['b', 'd'])
    await assert.rejects(repository.getManifest(tag('a')), ManifestUnknown)
  })

  it('lets twenty racing pushers of one tag all succeed, and one be last for every reader', async () => {
    const repository = await newRepository()
    const elsewhere = await open()
    const pushers = Array.from({ length: 20 }, (_, n) =>
      push(n % 2 ? repository : elsewhere.repository(repository.name), manifest(`race ${n}`), 'latest'),
    )
    const digests = (await Promise.all(pushers)).map(({ digest }) => digest)
    const { digest } = await repository.getManifest(tag('latest'))
    assert.ok(digests.includes(digest))
    assert.equal((await elsewhere.repository(repository.name).getManifest(tag('latest'))).digest, digest)
    assert.deepEqual(await tagsOf(repository), ['latest'])
    await elsewhere.close()
  })

  it('never acknowledges a push that a racing delete undid', async () => {
    const repository = await newRepository()
    const bytes = manifest('fought over')
    for (let round = 0; round < 15; round += 1) {
      const { digest } = await push(repository, bytes, 'tag')
      await Promise.all([repository.deleteManifest(digest).catch(() => {}), push(repository, bytes, 'tag')])
      const byTag = await repository.getManifest(tag('tag')).catch((error: unknown) => error)
      const byDigest = await repository.getManifest(digest).catch((error: unknown) => error)
      assert.equal(byTag instanceof Error, byDigest instanceof Error, 'the tag lives exactly when its manifest does')
    }
  })

  it('moves a tag on condition only if it points where the pusher thinks', async () => {
    const repository = await newRepository()
    const put = (label: string, only: Digest | 'gone') =>
      repository.putManifest({
        mediaType: OCI_MANIFEST,
        bytes: manifest(label),
        tags: [tag('t')],
        condition: only === 'gone' ? { ifNoneMatch: '*' } : { ifMatch: [only] },
      })
    const first = await put('1', 'gone')
    await assert.rejects(put('2', 'gone'), PreconditionFailed)
    await assert.rejects(put('2', digestOf(bytesOf('other'))), PreconditionFailed)
    const racers = await Promise.allSettled(['2', '3', '4'].map((label) => put(label, first.digest)))
    assert.equal(racers.filter(({ status }) => status === 'fulfilled').length, 1)
    await repository.deleteManifest((await repository.getManifest(tag('t'))).digest)
    await put('5', 'gone')
  })

  it('lists tags in byte order, page by page', async () => {
    const repository = await newRepository()
    const names = ['A', 'Z', '_', 'a', 'a-b', 'a.b', 'a_b', 'aa', 'b']
    await push(repository, manifest('many'), ...names.toReversed())
    const listed = await tagsOf(repository)
    assert.deepEqual(listed, names.toSorted())
    assert.deepEqual(await Array.fromAsync(repository.listTags({ last: 'a', limit: 2 })), ['a-b', 'a.b'])
    assert.deepEqual(await Array.fromAsync(repository.listTags({ last: 'a-a' })), ['a-b', 'a.b', 'a_b', 'aa', 'b'])
    assert.deepEqual(await Array.fromAsync(repository.listTags({ limit: 0 })), [])
  })

  it('is unknown until a manifest is pushed, and is listed from then on', async () => {
    const repository = store.repository(parseRepositoryName('never/pushed'))
    await assert.rejects(tagsOf(repository), RepositoryUnknown)
    await assert.rejects(repository.getManifest(tag('x')), RepositoryUnknown)
    const known = await newRepository()
    const { digest } = await push(known, manifest('x'), 'x')
    await known.deleteManifest(digest)
    assert.deepEqual(await tagsOf(known), [])
    assert.ok((await Array.fromAsync(store.listRepositories({}))).includes(known.name))
  })

  it('lists what refers to a subject, filtered by type, and not what was deleted or left by a crash', async () => {
    const repository = await newRepository()
    const subjectDigest = digestOf(bytesOf('subject'))
    const subject = { mediaType: OCI_MANIFEST, digest: subjectDigest, size: 7 }
    const signature = await push(repository, manifest('s', { subject, artifactType: 'application/signature' }))
    const report = await push(repository, manifest('r', { subject, artifactType: 'application/report' }))
    const list = async (page = {}) =>
      (await Array.fromAsync(repository.listReferrers(subjectDigest, page))).map(({ descriptor }) => descriptor.digest)
    assert.deepEqual(new Set(await list()), new Set([signature.digest, report.digest]))
    assert.deepEqual(await list({ artifactType: 'application/report' }), [report.digest])
    const stray = referrerKey(repository.name, subjectDigest, 'application/x', digestOf(bytesOf('stray')), newNonce())
    await driver.write(stray, bytesOf('{}'), { ifAbsent: true })
    await repository.deleteManifest(report.digest)
    assert.deepEqual(await list(), [signature.digest])
    assert.deepEqual(await Array.fromAsync(repository.listReferrers(digestOf(bytesOf('nothing')), {})), [])
  })

  it('serves only blobs of its own, until it mounts them', async () => {
    const owner = await newRepository()
    const guest = await newRepository()
    const digest = await pushBlob(owner, bytesOf('only the owner’s'))
    await assert.rejects(guest.statBlob(digest), BlobUnknown)
    await assert.rejects(guest.readBlob(digest), BlobUnknown)
    assert.equal(await guest.mountBlob(digest, anywhere, parseRepositoryName('some/stranger')), false)
    assert.equal(await guest.mountBlob(digest, anywhere, owner.name), true)
    await owner.unlinkBlob(digest)
    await assert.rejects(owner.unlinkBlob(digest), BlobUnknown)
    assert.ok((await guest.statBlob(digest)).sizeBytes > 0)
    const third = await newRepository()
    assert.equal(await third.mountBlob(digest, anywhere), true)
    assert.equal(await third.mountBlob(digestOf(bytesOf('nowhere')), anywhere), false)
  })

  it('does not know a blob that the disk has cut short, and knows it again when it is pushed again', async () => {
    const repository = await newRepository()
    const content = bytesOf('a blob that will be damaged')
    const digest = await pushBlob(repository, content)
    await truncate(join(folder, blobKey(digest)), 3)
    await assert.rejects(repository.statBlob(digest), BlobUnknown)
    await assert.rejects(repository.readBlob(digest), BlobUnknown)
    await pushBlob(repository, content)
    const { body } = await repository.readBlob(digest)
    assert.deepEqual(Buffer.concat(await Array.fromAsync(body as AsyncIterable<Uint8Array>)), content)
  })

  it('does not know a manifest that the disk has damaged, and knows it and its tags again when it is pushed again', async () => {
    const repository = await newRepository()
    const bytes = manifest('will be damaged')
    const { digest } = await push(repository, bytes, 'kept')
    const path = join(folder, manifestKey(repository.name, digest))
    const whole = await readFile(path)
    const flipped = Buffer.from(whole)
    flipped.writeUInt8(whole.readUInt8(whole.length - 4) ^ 1, whole.length - 4)
    for (const damaged of [flipped, whole.subarray(0, -10)]) {
      await writeFile(path, damaged)
      for (const reference of [digest, tag('kept')])
        await assert.rejects(repository.getManifest(reference), ManifestUnknown)
      await push(repository, bytes)
      assert.deepEqual(Buffer.from((await repository.getManifest(tag('kept'))).bytes), Buffer.from(bytes))
    }
  })

  it('asks for what a manifest needs, as its policy says', async () => {
    const repository = await newRepository()
    const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: digestOf(bytesOf('absent')), size: 6 }
    const foreign = { ...layer, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' }
    const index = bytesOf(JSON.stringify({ schemaVersion: 2, manifests: [{ ...layer, mediaType: OCI_MANIFEST }] }))
    const image = manifest('incomplete', { layers: [layer] })
    await push(repository, manifest('foreign', { layers: [foreign] }))
    const verdicts: Record<string, readonly boolean[]> = {
      strict: [false, false],
      'sparse-index': [true, false],
      sparse: [true, true],
    }
    for (const references of ['strict', 'sparse-index', 'sparse'] as const) {
      const other = await open({ references })
      const put = async (mediaType: typeof OCI_INDEX, bytes: Uint8Array): Promise<boolean> => {
        try {
          await other.repository(repository.name).putManifest({ mediaType, bytes, tags: [] })
          return true
        } catch (error) {
          assert.ok(error instanceof ReferencesMissing && error.missing.some(({ digest }) => digest === layer.digest))
          return false
        }
      }
      assert.deepEqual([await put(OCI_INDEX, index), await put(OCI_MANIFEST, image)], verdicts[references])
      await other.close()
    }
  })

  it('refuses a manifest that contradicts itself, naming the place', async () => {
    const repository = await newRepository()
    const cases: readonly (readonly [object, RegExp])[] = [
      [{ mediaType: OCI_INDEX }, /^mediaType: found .*expected/],
      [{ manifests: [] }, /^\$: .*"manifests" and "layers"/],
      [{ schemaVersion: 1 }, /^schemaVersion: .*schema 1/],
      [
        { layers: [{ mediaType: 'x/y', digest: 'sha256:short', size: 1 }] },
        /^layers\[0\]\.digest: found "sha256:short"/,
      ],
      [{ layers: [{ mediaType: 'x/y', digest: digestOf(CONFIG), size: -1 }] }, /^layers\[0\]\.size: found -1/],
      [{ subject: { mediaType: 'x/y', digest: digestOf(CONFIG), size: 2, data: 'AAAA' } }, /^subject\.data: /],
      [{ config: null }, /^config: found null/],
    ]
    for (const [more, message] of cases) {
      await assert.rejects(push(repository, manifest('bad', more)), (error) => {
        assert.ok(error instanceof ManifestInvalid)
        assert.match(error.message, message)
        return true
      })
    }
    await assert.rejects(push(repository, bytesOf('no json')), ManifestInvalid)
  })

  it('has links that grow old unless they are touched: by a push, a mount, a manifest, a pusher who was told of them', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const repository = await newRepository()
    const digest = digestOf(CONFIG)
    const other = await newRepository()
    for (const touch of [
      () => repository.touchBlob(digest),
      () => pushBlob(repository, CONFIG),
      () => repository.mountBlob(digest, anywhere, other.name),
      () => push(repository, manifest('touching')),
    ]) {
      t.mock.timers.tick(13 * 60 * 60 * 1000)
      assert.equal((await repository.statBlob(digest)).aging, true)
      await touch()
      assert.equal((await repository.statBlob(digest)).aging, false)
    }
  })
})

describe('a store', () => {
  it('of a newer format is refused', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-format-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    await writeFile(join(folder, 'gantry.json'), sealed({ format: 2, nonce: 'x' }))
    const driver = await openFsDriver(folder)
    await assert.rejects(openStore(driver), StoreFormatUnsupported)
    await driver.close()
  })
})
