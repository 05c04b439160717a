/** What one push of a manifest promises: all of its tags or none, its conditions, its references, its place among the referrers. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import type { Condition } from './condition.ts'
import type { Key, StorageDriver } from './driver.ts'
import {
  ManifestInvalid,
  ManifestUnknown,
  PreconditionFailed,
  ReferencesMissing,
  StorageUnavailable,
} from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { tagKey } from './layout.ts'
import { type Digest, digestOf, parseAnyDigest } from './model/digest.ts'
import { type MediaType, OCI_INDEX, OCI_MANIFEST } from './model/media-type.ts'
import { parseRepositoryName, parseTag, referrersTag, type Tag } from './model/reference.ts'
import { openStore } from './open.ts'
import { readRecord } from './records.ts'
import type { ReferencePolicy } from './repository.ts'
import type { Referrer, Repository, Store } from './store.ts'
import type { TagRecord } from './tags.ts'
import { RACED } from './testing/push-child.ts'
import { bytesOf, pieces } from './testing/sources.ts'

const run = promisify(execFile)
const PUSHER = join(import.meta.dirname, 'testing', 'push-child.ts')

const CONFIG = bytesOf('{}')
const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest: digestOf(CONFIG), size: CONFIG.length }
const absent = { mediaType: 'a/layer', digest: digestOf(bytesOf('absent')), size: 6 }
const tags = (...names: readonly string[]): readonly Tag[] => names.map(parseTag)

let folder: string
let driver: StorageDriver
let store: Store
let policy: ReferencePolicy = 'sparse-index'
/** To stand between the store and its disk. */
let onWrite: (key: Key) => Promise<void> = async () => {}
let count = 0

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gantry-push-'))
  driver = await openFsDriver(folder)
  const faulty = new Proxy(driver, {
    get(target, field) {
      const value: unknown = Reflect.get(target, field)
      if (typeof value !== 'function') return value
      if (field !== 'write') return value.bind(target)
      return async (...args: Parameters<StorageDriver['write']>) => {
        await onWrite(args[0])
        return await target.write(...args)
      }
    },
  })
  store = await openStore(faulty, { references: () => policy })
})
after(async () => {
  await store.close()
  await rm(folder, { recursive: true, force: true })
})

async function newRepository(): Promise<Repository> {
  const name = parseRepositoryName(`push/r${count++}`)
  const { id } = await store.uploads.start(name)
  await store.uploads.commit(name, id, config.digest, pieces([CONFIG]))
  return store.repository(name)
}

const image = (label: string, more: object = {}): Uint8Array =>
  bytesOf(JSON.stringify({ schemaVersion: 2, config, layers: [], annotations: { label }, ...more }))
const index = (manifests: readonly object[], more: object = {}): Uint8Array =>
  bytesOf(JSON.stringify({ schemaVersion: 2, manifests, ...more }))

async function push(
  repository: Repository,
  bytes: Uint8Array,
  names: readonly string[] = [],
  condition?: Condition,
  mediaType: MediaType = OCI_MANIFEST,
): Promise<Digest> {
  const wanted = { mediaType, bytes, tags: tags(...names), ...(condition ? { condition } : {}) }
  return (await repository.putManifest(wanted)).digest
}

const pointsAt = async (repository: Repository, name: string): Promise<string> =>
  (await repository.getManifest(parseTag(name)).catch(() => undefined))?.digest ?? 'nothing'
const listed = (repository: Repository): Promise<Tag[]> => Array.fromAsync(repository.listTags({}))

/** Runs `work` while the write of the record of `name` fails, or does something else first. */
async function whenWriting<T>(
  repository: Repository,
  name: string,
  first: () => Promise<void>,
  work: () => Promise<T>,
) {
  const key = tagKey(repository.name, parseTag(name))
  let once = first
  onWrite = async (written) => {
    if (written !== key) return
    const now = once
    once = async () => {}
    await now()
  }
  try {
    return await work()
  } finally {
    onWrite = async () => {}
  }
}

describe('tags pushed together', () => {
  it('all move, ten and fifty of them', async () => {
    const repository = await newRepository()
    for (const [label, many] of [
      ['ten', 10],
      ['fifty', 50],
    ] as const) {
      const names = Array.from({ length: many }, (_, n) => `t${n}`)
      const digest = await push(repository, image(label), names)
      assert.deepEqual(await listed(repository), names.toSorted())
      for (const name of names) assert.equal(await pointsAt(repository, name), digest)
    }
  })

  it('do not move at all when a condition fails for one of them, whichever', async () => {
    const repository = await newRepository()
    const first = await push(repository, image('1'), ['a', 'b'])
    const other = await push(repository, image('other'), ['c'])
    const condition = { ifMatch: [first] }
    for (const names of [
      ['a', 'b', 'c'],
      ['c', 'a', 'b'],
      ['a', 'b', 'new'],
    ]) {
      await assert.rejects(push(repository, image('2'), names, condition), PreconditionFailed)
    }
    assert.deepEqual([await pointsAt(repository, 'a'), await pointsAt(repository, 'c')], [first, other])
    await assert.rejects(repository.getManifest(digestOf(image('2'))), ManifestUnknown, 'and nothing was stored')
    assert.equal(await push(repository, image('2'), ['a', 'b'], condition), await pointsAt(repository, 'b'))
  })

  it('that moved are taken back when somebody else is faster at a later one', async () => {
    const repository = await newRepository()
    const first = await push(repository, image('1'), ['a', 'c'])
    const rival = image('rival')
    const pushed = whenWriting(
      repository,
      'c',
      async () => {
        await push(repository, rival, ['c'])
      },
      () => push(repository, image('2'), ['a', 'c'], { ifMatch: [first] }),
    )
    await assert.rejects(pushed, PreconditionFailed)
    assert.deepEqual([await pointsAt(repository, 'a'), await pointsAt(repository, 'c')], [first, digestOf(rival)])
    await repository.deleteManifest(first)
    assert.equal(await pointsAt(repository, 'a'), 'nothing', 'a tag taken back belongs to its manifest again')
  })

  it('that moved are taken back when the disk fails at a later one, and those that were new are gone', async () => {
    const repository = await newRepository()
    const first = await push(repository, image('1'), ['a', 'z'])
    const failing = whenWriting(
      repository,
      'z',
      async () => {
        throw new StorageUnavailable('no space')
      },
      () => push(repository, image('2'), ['a', 'new', 'z']),
    )
    await assert.rejects(failing, StorageUnavailable)
    assert.deepEqual(await listed(repository), ['a', 'z'])
    for (const name of ['a', 'z']) assert.equal(await pointsAt(repository, name), first)
    const second = await push(repository, image('2'), ['a', 'new', 'z'])
    for (const name of ['a', 'new', 'z']) assert.equal(await pointsAt(repository, name), second)
  })

  it('are not taken back from somebody who has moved them since', async () => {
    const repository = await newRepository()
    await push(repository, image('1'), ['a', 'z'])
    let later: Digest | undefined
    const failing = whenWriting(
      repository,
      'z',
      async () => {
        later = await push(repository, image('later'), ['a'])
        throw new StorageUnavailable('no space')
      },
      () => push(repository, image('2'), ['a', 'z']),
    )
    await assert.rejects(failing, StorageUnavailable)
    assert.equal(await pointsAt(repository, 'a'), later)
  })
})

describe('a condition', () => {
  const other = digestOf(bytesOf('other'))
  it('of a push is judged by what the tag stands for', async () => {
    const repository = await newRepository()
    const first = await push(repository, image('1'), ['t'])
    const cases: readonly (readonly [Condition, string, boolean])[] = [
      [{ ifMatch: '*' }, 't', true],
      [{ ifMatch: '*' }, 'none', false],
      [{ ifMatch: [other, first] }, 't', true],
      [{ ifMatch: [other] }, 't', false],
      [{ ifNoneMatch: '*' }, 't', false],
      [{ ifNoneMatch: '*' }, 'none', true],
      [{ ifNoneMatch: [other] }, 't', true],
      [{ ifNoneMatch: [other, first] }, 't', false],
      [{ ifNoneMatch: [first] }, 'none', true],
      [{ ifMatch: '*', ifNoneMatch: [first] }, 't', false],
    ]
    for (const [condition, name, holds] of cases) {
      const pushed = push(repository, image('2'), [name], condition).then(
        () => true,
        (error: unknown) => {
          assert.ok(error instanceof PreconditionFailed)
          return false
        },
      )
      assert.equal(await pushed, holds, JSON.stringify([condition, name]))
      await push(repository, image('1'), ['t'])
      await repository.deleteManifest(parseTag('none')).catch(() => {})
    }
  })

  it('of a push without tags is judged by whether the digest is there', async () => {
    const repository = await newRepository()
    const bytes = image('bare')
    await assert.rejects(push(repository, bytes, [], { ifMatch: '*' }), PreconditionFailed)
    await push(repository, bytes, [], { ifNoneMatch: '*' })
    await assert.rejects(push(repository, bytes, [], { ifNoneMatch: '*' }), PreconditionFailed)
    await push(repository, bytes, [], { ifMatch: [digestOf(bytes)] })
  })

  it('of a deletion too, and what is not there is unknown, whatever the condition', async () => {
    const repository = await newRepository()
    const digest = await push(repository, image('1'), ['t'])
    for (const reference of [parseTag('t'), digest]) {
      await assert.rejects(repository.deleteManifest(reference, { ifMatch: [other] }), PreconditionFailed)
      assert.equal(await pointsAt(repository, 't'), digest)
    }
    await repository.deleteManifest(parseTag('t'), { ifMatch: [digest] })
    await repository.deleteManifest(digest, { ifMatch: [digest] })
    for (const reference of [parseTag('t'), digest]) {
      await assert.rejects(repository.deleteManifest(reference, { ifMatch: [digest] }), ManifestUnknown)
    }
  })
})

describe('the history of a tag', () => {
  it('has the moves of all racing pushers, the last of them where the tag points', async () => {
    const repository = await newRepository()
    const digests = await Promise.all(Array.from({ length: 12 }, (_, n) => push(repository, image(`${n}`), ['t'])))
    const { moves = [] } = (await readRecord<TagRecord>(driver, tagKey(repository.name, parseTag('t'))))?.value ?? {}
    assert.deepEqual(moves.map(({ digest }) => digest).toSorted(), digests.toSorted())
    assert.equal(moves.at(-1)?.digest, await pointsAt(repository, 't'))
  })

  it('has them all too when the pushers are two processes on one folder', async (t) => {
    const shared = await mkdtemp(join(tmpdir(), 'gantry-two-processes-'))
    t.after(() => rm(shared, { recursive: true, force: true }))
    const times = 20
    const outputs = await Promise.all(
      ['one', 'two'].map((label) => run(process.execPath, [PUSHER, shared, label, String(times)])),
    )
    const pushed = outputs.flatMap(({ stdout }) => stdout.trim().split('\n'))
    assert.equal(new Set(pushed).size, 2 * times)
    const reader = await openFsDriver(shared)
    const { moves = [] } = (await readRecord<TagRecord>(reader, tagKey(RACED.repository, RACED.tag)))?.value ?? {}
    assert.deepEqual(moves.map(({ digest }) => digest).toSorted(), pushed.toSorted())
    const other = await openStore(reader)
    const last = await other.repository(RACED.repository).getManifest(RACED.tag)
    assert.equal(last.digest, moves.at(-1)?.digest)
    assert.deepEqual(await Array.fromAsync(other.repository(RACED.repository).listTags({})), [RACED.tag])
    await other.close()
  })
})

describe('what a manifest refers to', () => {
  it('is all named when it is missing, with its place, and only what is missing', async () => {
    const repository = await newRepository()
    const foreign = { ...absent, digest: `blake3:${'a'.repeat(64)}` }
    const bytes = image('holes', { layers: [absent, config, foreign, absent] })
    await assert.rejects(push(repository, bytes), (error: unknown) => {
      assert.ok(error instanceof ReferencesMissing)
      assert.deepEqual(error.missing, [
        { path: 'layers[0]', digest: absent.digest },
        { path: 'layers[2]', digest: foreign.digest },
        { path: 'layers[3]', digest: absent.digest },
      ])
      return true
    })
  })

  it('has the size that it says, blobs always and the manifests of an index where they must be there', async (t) => {
    t.after(() => {
      policy = 'sparse-index'
    })
    const repository = await newRepository()
    const wrong = image('wrong size', { layers: [config, { ...config, size: 3 }] })
    const refusal = (path: RegExp) => (error: unknown) => error instanceof ManifestInvalid && path.test(error.message)
    await assert.rejects(
      push(repository, wrong),
      refusal(/^layers\[1\]\.size: found 3, expected 2, the size of sha256:/),
    )
    const child = image('child')
    const described = { mediaType: OCI_MANIFEST, digest: await push(repository, child), size: child.length }
    policy = 'strict'
    await push(repository, index([described]), [], undefined, OCI_INDEX)
    const off = index([{ ...described, size: 1 }])
    await assert.rejects(push(repository, off, [], undefined, OCI_INDEX), refusal(/^manifests\[0\]\.size/))
    policy = 'sparse'
    await push(repository, wrong)
    await push(
      repository,
      image('of another algorithm', { layers: [{ ...absent, digest: `blake3:${'b'.repeat(64)}` }] }),
    )
  })
})

describe('referrers', () => {
  const subject = { mediaType: OCI_MANIFEST, digest: digestOf(bytesOf('a subject')), size: 9 }
  const all = (repository: Repository, digest = subject.digest, artifactType?: string): Promise<Referrer[]> =>
    Array.fromAsync(repository.listReferrers(digest, artifactType === undefined ? {} : { artifactType }))
  const digests = async (found: Promise<Referrer[]>): Promise<string[]> =>
    (await found).map(({ descriptor }) => descriptor.digest).toSorted()

  it('are images and indexes, and come and go at once, whether their subject is there or not', async () => {
    const repository = await newRepository()
    const target = image('the subject itself')
    const its = { mediaType: OCI_MANIFEST, digest: digestOf(target), size: target.length }
    const signature = image('signature', { subject: its, artifactType: 'a/signature' })
    const attached = index([], { subject: its, annotations: { of: 'an index' } })
    const one = await push(repository, signature)
    const two = await push(repository, attached, [], undefined, OCI_INDEX)
    const present = [one, two].toSorted()
    assert.deepEqual(await digests(all(repository, its.digest)), present, 'before the subject')
    await push(repository, target, ['v1'])
    assert.deepEqual(await digests(all(repository, its.digest)), present)
    await repository.deleteManifest(its.digest)
    assert.deepEqual(await digests(all(repository, its.digest)), present, 'after the subject')
    const [described] = (await all(repository, its.digest)).filter(({ descriptor }) => descriptor.digest === two)
    assert.deepEqual(described?.descriptor, {
      mediaType: OCI_INDEX,
      digest: two,
      size: attached.length,
      annotations: { of: 'an index' },
    })
    await repository.deleteManifest(one)
    assert.deepEqual(await digests(all(repository, its.digest)), [two])
    await push(repository, signature)
    assert.deepEqual(await digests(all(repository, its.digest, 'a/signature')), [one], 'pushed again')
  })

  it('that an index of the tag schema lists are among them, as long as the tag lists them', async () => {
    const repository = await newRepository()
    const old = image('made for another registry', { artifactType: 'a/old' })
    const native = image('with a subject', { subject, artifactType: 'a/new' })
    const stranger = image('of another subject', { subject: { ...subject, digest: absent.digest } })
    const pushed = await Promise.all([old, native, stranger].map((bytes) => push(repository, bytes)))
    const [oldDigest = '', nativeDigest = ''] = pushed
    const describe = (digest: string): object => ({ mediaType: OCI_MANIFEST, digest, size: 1 })
    const list = index([...pushed, oldDigest, absent.digest, `blake3:${'c'.repeat(64)}`].map(describe))
    const tag = referrersTag(subject.digest)
    await push(repository, list, [tag], undefined, OCI_INDEX)
    assert.deepEqual(await digests(all(repository)), [oldDigest, nativeDigest].toSorted())
    assert.deepEqual(await digests(all(repository, subject.digest, 'a/old')), [oldDigest])
    const [found] = await all(repository, subject.digest, 'a/old')
    assert.deepEqual(found?.descriptor, {
      mediaType: OCI_MANIFEST,
      digest: oldDigest,
      size: old.length,
      artifactType: 'a/old',
      annotations: { label: 'made for another registry' },
    })

    await push(repository, index([describe(nativeDigest)]), [tag], undefined, OCI_INDEX)
    assert.deepEqual(await digests(all(repository)), [nativeDigest], 'the tag was moved')
    await push(repository, list, [tag], undefined, OCI_INDEX)
    assert.equal((await all(repository)).length, 2)
    await repository.deleteManifest(tag)
    assert.deepEqual(await digests(all(repository)), [nativeDigest], 'the tag was deleted')
    await push(repository, image('an image under that name'), [tag])
    assert.deepEqual(await digests(all(repository)), [nativeDigest])
  })

  it('go on after any cursor that was given', async () => {
    const repository = await newRepository()
    const types = ['a/x', 'b/x', 'c/x']
    for (const [n, artifactType] of [...types, ...types].entries()) {
      await push(repository, image(`${n}`, { subject, artifactType }))
    }
    const old = await Promise.all(['p', 'q', 'r'].map((label) => push(repository, image(label))))
    const list = index(old.map((digest) => ({ mediaType: OCI_MANIFEST, digest, size: 1 })))
    await push(repository, list, [referrersTag(subject.digest)], undefined, OCI_INDEX)
    const whole = await all(repository)
    assert.equal(whole.length, 9)
    assert.deepEqual(
      whole.map(({ cursor }) => cursor).toSorted(),
      whole.map(({ cursor }) => cursor),
    )
    for (const [place, { cursor }] of whole.entries()) {
      const rest = await Array.fromAsync(repository.listReferrers(subject.digest, { last: cursor }))
      assert.deepEqual(rest, whole.slice(place + 1))
    }
  })

  it('of a subject by an algorithm that the registry does not compute are listed for just that one', async () => {
    const repository = await newRepository()
    const one = parseAnyDigest('a-b:c')
    const two = parseAnyDigest('a:b-c')
    const digest = await push(repository, image('1', { subject: { ...subject, digest: one } }))
    const list = async (of: typeof one): Promise<string[]> => digests(Array.fromAsync(repository.listReferrers(of, {})))
    assert.deepEqual([await list(one), await list(two)], [[digest], []])
  })
})
