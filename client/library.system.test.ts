/** Images from a program: README's examples as they stand there, and what the library promises of its errors and its streams. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { accessOf, addUser } from '../server/testing/access.ts'
import { type ServedApp, serveApp } from '../server/testing/served-app.ts'
import {
  ArchiveInvalid,
  ChangeError,
  copy,
  history,
  importTar,
  inspect,
  Layout,
  load,
  login,
  logout,
  manifest,
  NoSuchImage,
  NotAStore,
  PlaceError,
  type ProgressEvent,
  pullArtifact,
  push,
  pushArtifact,
  Registry,
  RegistryRefusal,
  Store,
  type SyncedTag,
  save,
  sync,
} from './library.ts'
import { layerOf } from './testing/image-pages.ts'

const skip = process.getuid?.() === 0 ? false : 'unpacking images needs root'

const readme = await readFile(join(import.meta.dirname, '..', 'README.md'), 'utf8')
const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)]
  .map(([, example = '']) => example)
  .filter((example) => example.includes("from 'gantry'"))

describe('from a program, images', { skip }, () => {
  let app: ServedApp
  let host: string
  let folder: string
  let root: string
  before(async () => {
    app = await serveApp()
    host = new URL(app.url).host
  })
  after(async () => await app[Symbol.asyncDispose]())
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-library-'))
    root = join(folder, 'store')
  })
  afterEach(async () => await rm(folder, { recursive: true, force: true }))

  const rootfs = async (): Promise<Buffer> => await layerOf({ 'etc/motd': 'hello\n', 'bin/tool': '#!' })
  const imported = async (name: string) => await importTar(Readable.from([await rootfs()]), `${host}/${name}`, { root })

  assert.ok(examples.length >= 2, 'README has examples')
  for (const [i, example] of examples.entries())
    it(`README’s example ${i + 1} runs as it stands there`, async () => {
      const { name } = await imported('team/app:1')
      await push(name, { root })
      await rm(root, { recursive: true })
      await writeFile(join(folder, 'rootfs.tar'), await rootfs())
      await writeFile(join(folder, 'sbom.json'), '{"name":"sbom"}')
      const here = example
        .replaceAll('localhost:5000', host)
        .replaceAll("'gantry'", `'${import.meta.dirname}/library.ts'`)
      await writeFile(join(folder, 'example.ts'), here)
      const { stdout } = await promisify(execFile)(process.execPath, ['example.ts'], { cwd: folder, timeout: 60_000 })
      const expected = [/team\/app:1\n/, /application\/spdx\+json sha256:[0-9a-f]{64}'.*\ntrue no image .*\n404\n$/s][i]
      assert.match(stdout, expected as RegExp)
    })

  it('go into archives and come out of them, by files and by streams, with the same digests', async () => {
    const { name, manifestDigest } = await imported('team/archived:1')
    const [saved] = await save([name], join(folder, 'image.tar'), { root })
    assert.deepEqual(saved, { name, digest: manifestDigest })
    const events: ProgressEvent[] = []
    const elsewhere = join(folder, 'elsewhere')
    const archive = Readable.from([await readFile(join(folder, 'image.tar'))])
    const loaded = await load(archive, {
      root: elsewhere,
      as: `${host}/other:2`,
      onProgress: (event) => events.push(event),
    })
    assert.deepEqual(
      loaded.map((image) => [image.name, image.manifestDigest]),
      [[`${host}/other:2`, manifestDigest]],
    )
    assert.ok(events.length > 0)
    await assert.rejects(load(Readable.from([Buffer.alloc(4096, 1)]), { root: elsewhere }), ArchiveInvalid)
  })

  it('are looked at where they are: here, in a registry, in a folder', async () => {
    const image = await imported('team/looked:1')
    await push(image.name, { root })
    await copy(image.name, `oci:${join(folder, 'layout')}:one`, { root })
    for (const place of [image.name, `oci:${join(folder, 'layout')}:one`])
      for (const at of [root, join(folder, 'nothing')]) {
        const { digest, manifest: parsed } = await inspect(place, { root: at })
        assert.deepEqual([digest, parsed.layers.length], [image.manifestDigest, 1])
        assert.equal((await history(place, { root: at })).length, 1)
        assert.equal(JSON.parse((await manifest(place, { root: at })).bytes.toString()).layers.length, 1)
      }
    assert.deepEqual(await readdir(folder), ['layout', 'store'])
    assert.equal((await new Layout(join(folder, 'layout')).entries()).length, 1)
    await assert.rejects(inspect('containers-storage:x'), PlaceError)
  })

  it('are named, listed and removed in a store, which is nobody else’s folder', async () => {
    const image = await imported('team/stored:1')
    const store = await Store.open(root)
    await store.tag(image.id, 'localhost:5000/again:2')
    assert.deepEqual(
      (await store.images()).whole.map(({ name }) => name),
      [image.name, 'localhost:5000/again:2'].sort(),
    )
    assert.deepEqual(await store.prune(), { names: [], freedBytes: 0 })
    await assert.rejects(store.tag('localhost:5000/none', 'localhost:5000/x'), NoSuchImage)
    const { names, freedBytes } = await store.prune({ all: true })
    assert.deepEqual([...names].sort(), [image.name, 'localhost:5000/again:2'].sort())
    assert.ok(freedBytes > 0)
    assert.deepEqual(await readdir(join(root, 'layers')), [])
    await mkdir(join(folder, 'theirs', 'data'), { recursive: true })
    await assert.rejects(Store.open(join(folder, 'theirs')), NotAStore)
    await assert.rejects(importTar(Readable.from([]), image.name, { root, changes: ['RUN rm'] }), ChangeError)
  })

  it('are mirrored by repository; each tag is told of', async () => {
    const image = await imported('team/synced:1')
    await push(image.name, { root })
    const told: SyncedTag[] = []
    const all = await sync(`${host}/team/synced`, `${host}/mirror/synced`, { onTag: (done) => told.push(done) })
    assert.deepEqual(all, [{ repository: 'team/synced', tag: '1', outcome: 'copied' }])
    assert.deepEqual(told, all)
    assert.equal((await sync(`${host}/team/synced`, `${host}/mirror/synced`))[0]?.outcome, 'same')
  })

  it('have artifacts, whose files are written whole or not at all', async () => {
    await writeFile(join(folder, 'app.yaml'), 'a: 1\n')
    await using registry = await Registry.open(host)
    const repository = registry.repository('team/config')
    const files = [{ path: join(folder, 'app.yaml'), mediaType: 'application/yaml' }]
    const digest = await pushArtifact(repository, { artifactType: 'application/vnd.acme', files, tag: '1' })
    await mkdir(join(folder, 'out'))
    assert.deepEqual(await pullArtifact(repository, '1', join(folder, 'out')), { digest, files: ['app.yaml'] })
    assert.equal(await readFile(join(folder, 'out', 'app.yaml'), 'utf8'), 'a: 1\n')
    await assert.rejects(pullArtifact(repository, '1', join(folder, 'out'), AbortSignal.abort()), {
      name: 'AbortError',
    })
  })

  it('are somebody’s: who logs in is kept where docker keeps it, a wrong password is not', async () => {
    await using guarded = await serveApp({ access: accessOf() })
    await addUser(guarded.accounts, 'ada', 'lovelace')
    const registry = new URL(guarded.url).host
    const environment = { DOCKER_CONFIG: folder, HOME: folder }
    await assert.rejects(login(registry, { username: 'ada', password: 'byron' }, { environment }), RegistryRefusal)
    assert.deepEqual(await readdir(folder), [])
    const { where } = await login(registry, { username: 'ada', password: 'lovelace' }, { environment })
    assert.equal(where, join(folder, 'config.json'))
    await using opened = await Registry.open(registry, { environment })
    assert.deepEqual(await Array.fromAsync(opened.catalog()), [])
    assert.equal(await logout(registry, { environment }), true)
    assert.equal(await logout(registry, { environment }), false)
  })
})
