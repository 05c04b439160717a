/** Records that a disk has changed: what is answered, what goes on, and what a push makes whole again. */
import assert from 'node:assert/strict'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { deleteRepository } from '../storage/deletion.ts'
import { openFsDriver } from '../storage/fs/driver.ts'
import { parseRepositoryName } from '../storage/model/reference.ts'
import { fuzzRuns } from '../storage/testing/fuzz.ts'
import { MANIFEST_TYPE, pushBlob, pushManifest, sha256 } from './testing/content.ts'
import { type Answer, type ServedApp, serveApp } from './testing/served-app.ts'

const HARMS: Readonly<Record<string, (path: string) => Promise<void>>> = {
  'cut short': async (path) => await truncate(path, 12),
  emptied: async (path) => await truncate(path, 0),
  'of zeros': async (path) => await writeFile(path, Buffer.alloc((await readFile(path)).length)),
  'of one other bit': async (path) => await flip(path, 30, 1),
}

/** `place` from the beginning, or what is left of it. */
async function flip(path: string, place: number, bits: number): Promise<void> {
  const bytes = await readFile(path)
  if (bytes.length === 0) return
  const at = place % bytes.length
  bytes.writeUInt8(bytes.readUInt8(at) ^ bits, at)
  await writeFile(path, bytes)
}

const LAYER = 'the bytes of a layer'
const REPOSITORIES = ['a/b', 'other']

interface Image {
  readonly subject: string
  readonly signature: string
}

/** What a client that has everything brings: it asks first, and pushes what is said to be missing. */
async function pushAll(app: ServedApp, name: string): Promise<Image> {
  const layer = sha256(LAYER)
  if ((await app.ask('HEAD', `/v2/${name}/blobs/${layer}`)).status !== 200) await pushBlob(app, name, LAYER)
  const layers = [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: layer, size: LAYER.length }]
  const subject = await pushManifest(app, name, 'latest', { layers })
  const signature = await pushManifest(app, name, 'signed', {
    artifactType: 'application/signature',
    subject: { mediaType: MANIFEST_TYPE, digest: subject, size: 1 },
  })
  return { subject, signature }
}

const routesOf = (name: string, { subject, signature }: Image): readonly string[] => [
  `/v2/${name}/blobs/${sha256(LAYER)}`,
  `/v2/${name}/blobs/${sha256('{}')}`,
  `/v2/${name}/manifests/latest`,
  `/v2/${name}/manifests/signed`,
  `/v2/${name}/manifests/${subject}`,
  `/v2/${name}/manifests/${signature}`,
  `/v2/${name}/manifests/absent`,
  `/v2/${name}/tags/list`,
  `/v2/${name}/tags/list?n=1`,
  `/v2/${name}/referrers/${subject}`,
]

const seen = async (app: ServedApp, path: string): Promise<Answer> => {
  const answer = await app.ask('GET', path)
  const text = answer.body.toString()
  assert.ok(answer.status < 500 || /^(500|503)$/.test(`${answer.status}`), `${path}: ${answer.status}`)
  if (answer.status >= 400) assert.match(answer.errorCode(), /^[A-Z_]+$/)
  assert.doesNotMatch(text, /SyntaxError|\bat .*:\d+:\d+|node:internal/, path)
  if (answer.status >= 400) assert.notEqual(answer.errorCode(), 'UNKNOWN', `${path}: ${text}`)
  return answer
}

/** Status and body of each. */
async function wholeAnswers(app: ServedApp, name: string, image: Image): Promise<readonly string[]> {
  const answers: string[] = []
  for (const path of [...routesOf(name, image), '/v2/_catalog']) {
    const { status, body } = await seen(app, path)
    answers.push(`${path} ${status} ${body.toString()}`)
  }
  return answers
}

const pathOf = async (app: ServedApp, part: RegExp): Promise<string> => {
  const [path] = (await app.files()).filter((each) => part.test(each)).sort()
  assert.ok(path, `${part} is stored`)
  return path
}

describe('a damaged record', () => {
  const kinds: readonly (readonly [string, RegExp, string, number])[] = [
    ['link', new RegExp(`^links/.*${sha256(LAYER).slice(7)}/a!b$`), `/v2/a/b/blobs/${sha256(LAYER)}`, 404],
    ['tag', /^r\/a!b\/tags\/latest$/, '/v2/a/b/manifests/latest', 404],
    ['manifest', /^r\/a!b\/manifests\//, '/v2/a/b/tags/list', 200],
    ['repository', /^catalog\/a!b$/, '/v2/a/b/tags/list', 200],
    ['referrer', /^r\/a!b\/referrers\//, '/v2/a/b/tags/list', 200],
  ]
  for (const [kind, file, path, status] of kinds) {
    for (const [harm, damage] of Object.entries(HARMS)) {
      if (kind === 'referrer' && harm !== 'of zeros') continue // it is empty
      it(`of a ${kind}, ${harm}, hides nothing else and is made whole by the same push again`, async () => {
        await using app = await serveApp()
        const image = await pushAll(app, 'a/b')
        const other = await pushAll(app, 'other')
        const [whole, others] = [await wholeAnswers(app, 'a/b', image), await wholeAnswers(app, 'other', other)]
        const harmed = await pathOf(app, file)
        await damage(join(app.directory, harmed))
        assert.equal((await seen(app, path)).status, status)
        await wholeAnswers(app, 'a/b', image)
        assert.deepEqual(await wholeAnswers(app, 'other', other), others)
        if (kind !== 'referrer')
          assert.ok(
            app.logged.some(({ record }) => record === harmed),
            `the log has ${harmed}`,
          )
        await pushAll(app, 'a/b')
        assert.deepEqual(await wholeAnswers(app, 'a/b', image), whole)
        assert.ok((await pushAll(app, 'a/b')).subject)
      })
    }
  }

  it('of a repository that was deleted once is not guessed: pushes are refused until it is deleted', async () => {
    await using app = await serveApp()
    await using driver = Object.assign(await openFsDriver(app.directory), {
      async [Symbol.asyncDispose]() {
        await driver.close()
      },
    })
    const name = parseRepositoryName('a/b')
    const other = await pushAll(app, 'other')
    await pushAll(app, 'a/b')
    await deleteRepository(driver, name)
    const image = await pushAll(app, 'a/b')
    const whole = await wholeAnswers(app, 'a/b', image)
    await flip(join(app.directory, 'catalog/a!b'), 30, 1)
    assert.equal((await seen(app, '/v2/a/b/manifests/latest')).status, 200)
    assert.equal((await seen(app, '/v2/a/b/manifests/absent')).status, 404)
    assert.equal((await seen(app, '/v2/a/b/tags/list')).status, 500)
    assert.deepEqual((await app.ask('GET', '/v2/_catalog')).json(), { repositories: ['other'] })
    await assert.rejects(pushAll(app, 'a/b'), /UNAVAILABLE/)
    await wholeAnswers(app, 'other', other)
    await deleteRepository(driver, name)
    assert.equal((await seen(app, '/v2/a/b/manifests/latest')).status, 404)
    assert.equal((await seen(app, `/v2/a/b/manifests/${image.subject}`)).status, 404)
    await pushAll(app, 'a/b')
    assert.deepEqual(await wholeAnswers(app, 'a/b', image), whole)
  })

  it('of whatever kind keeps no deletion of its repository from the end', async () => {
    await using app = await serveApp()
    const driver = await openFsDriver(app.directory)
    try {
      const image = await pushAll(app, 'a/b')
      const whole = await wholeAnswers(app, 'a/b', image)
      for (const [, file] of kinds) await flip(join(app.directory, await pathOf(app, file)), 30, 1)
      await deleteRepository(driver, parseRepositoryName('a/b'))
      for (const path of routesOf('a/b', image).filter((each) => !each.includes('referrers')))
        assert.equal((await seen(app, path)).status, 404, path)
      assert.ok(!(await app.files()).some((path) => path.startsWith('r/a!b/taglist/')))
      await pushAll(app, 'a/b')
      assert.deepEqual(await wholeAnswers(app, 'a/b', image), whole)
    } finally {
      await driver.close()
    }
  })

  it('of an upload is no upload: its client begins anew', async () => {
    await using app = await serveApp()
    const begun = await app.ask('POST', '/v2/a/b/blobs/uploads/')
    const location = String(begun.headers.location)
    await flip(join(app.directory, await pathOf(app, /^sessions\/.*\/state$/)), 30, 1)
    const { pathname, search } = new URL(location, app.url)
    for (const method of ['GET', 'PATCH', 'DELETE']) {
      const answer = await app.ask(method, pathname + search, method === 'PATCH' ? { body: 'x' } : {})
      assert.deepEqual([answer.status, answer.errorCode()], [404, 'BLOB_UPLOAD_UNKNOWN'])
    }
  })
})

describe('a store in which any bytes were changed', () => {
  it('answers every request clearly, harms no other repository, and is whole after everything was pushed again', async () => {
    const harm = fc.record({ file: fc.nat(), place: fc.nat(), bits: fc.integer({ min: 1, max: 255 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(harm, { minLength: 1, maxLength: 12 }), async (harms) => {
        await using app = await serveApp()
        const image = await pushAll(app, 'a/b')
        const other = await pushAll(app, 'other')
        const [whole, others] = [await wholeAnswers(app, 'a/b', image), await wholeAnswers(app, 'other', other)]
        const files = (await app.files()).filter((path) => /^(catalog|links|r)\/.*a!b/.test(path)).sort()
        for (const { file, place, bits } of harms)
          await flip(join(app.directory, files[file % files.length] as string), place, bits)
        await wholeAnswers(app, 'a/b', image)
        assert.deepEqual(await wholeAnswers(app, 'other', other), others)
        await pushAll(app, 'a/b')
        assert.deepEqual(await wholeAnswers(app, 'a/b', image), whole)
      }),
      fuzzRuns(25),
    )
  })

  it('of whatever repository, blobs too, answers clearly and takes all of it again', async () => {
    const harm = fc.record({ file: fc.nat(), place: fc.nat(), bits: fc.integer({ min: 1, max: 255 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(harm, { minLength: 1, maxLength: 30 }), async (harms) => {
        await using app = await serveApp()
        const images = []
        for (const name of REPOSITORIES) images.push([name, await pushAll(app, name)] as const)
        const whole = []
        for (const [name, image] of images) whole.push(await wholeAnswers(app, name, image))
        const files = (await app.files())
          .filter((path) => /^(blobs|catalog|links|r|sessions|verification)\//.test(path))
          .sort()
        for (const { file, place, bits } of harms)
          await flip(join(app.directory, files[file % files.length] as string), place, bits)
        for (const round of [1, 2])
          for (const [name, image] of images) assert.ok(await wholeAnswers(app, name, image), `${round}`)
        for (const [name] of images) await pushAll(app, name)
        for (const [index, [name, image]] of images.entries())
          assert.deepEqual(await wholeAnswers(app, name, image), whole[index])
      }),
      fuzzRuns(25),
    )
  })
})
