/** Copies between our own registry, layouts and archives: every kind of content, byte for byte. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import {
  allContent,
  digestOf as contentDigest,
  contentOf,
  type Slug,
  writeLayout,
} from '../../conformance/interop/content.ts'
import { assertLayout, assertStored, pushOver } from '../../conformance/interop/moves.ts'
import { type ServedApp, serveApp } from '../../server/testing/served-app.ts'
import { digestOf } from '../../storage/model/digest.ts'
import { discoverArtifacts, Layout, pushArtifact, Registry, Store, sync } from '../library.ts'
import { between } from '../testing/between.ts'
import { described, layerOf } from '../testing/image-pages.ts'
import { copy, pull, push } from './transfer.ts'

describe('a copy', () => {
  let here: ServedApp
  let there: ServedApp
  let folder: string
  const hostOf = (app: ServedApp): string => new URL(app.url).host
  before(async () => {
    ;[here, there] = await Promise.all([serveApp(), serveApp()])
    folder = await mkdtemp(join(tmpdir(), 'gantry-copy-'))
    process.env['XDG_STATE_HOME'] = folder
  })
  after(async () => {
    delete process.env['XDG_STATE_HOME']
    await Promise.all([here[Symbol.asyncDispose](), there[Symbol.asyncDispose]()])
    await rm(folder, { recursive: true, force: true })
  })

  const NOT_FOREIGN = (slug: Slug): boolean => slug !== 'foreign'
  for (const slug of [
    'image',
    'index',
    'nested',
    'artifact',
    'subject',
    'empty',
    'annotations',
    'foreign',
    'zstd',
    'plain',
    'sha512',
    'zero',
    'docker',
  ] as const)
    it(`of ${slug} goes from a layout through two registries and an archive into a layout`, async () => {
      const content = await contentOf(slug)
      const byDigest = content.root.digest.startsWith('sha512:')
      const at = (app: ServedApp): string => `${hostOf(app)}/all/${slug}${byDigest ? `@${content.root.digest}` : ':v1'}`
      const name = byDigest ? '' : ':v1'
      await writeLayout(join(folder, slug, 'from'), content, 'v1')
      await copy(`oci:${join(folder, slug, 'from')}:v1`, at(here), { all: true })
      await assertStored(here.url, `all/${slug}`, content, byDigest ? [] : ['v1'])
      await copy(at(here), at(there), { all: true })
      await assertStored(there.url, `all/${slug}`, content, byDigest ? [] : ['v1'])
      await copy(at(there), `oci-archive:${join(folder, slug, 'a.tar')}${name}`, { all: true })
      await copy(`oci-archive:${join(folder, slug, 'a.tar')}${name}`, `oci:${join(folder, slug, 'to')}:v1`, {
        all: true,
      })
      await assertLayout(join(folder, slug, 'to'), content)
      assert.ok(NOT_FOREIGN(slug) || content.blobs.size > 0)
    })

  it('of one platform of an index is of that image alone', async () => {
    const content = await contentOf('index')
    await pushOver(here.url, 'one/from', content)
    const options = { platform: { os: 'linux', architecture: 'arm64' } }
    const { digest } = await copy(`${hostOf(here)}/one/from:v1`, `${hostOf(here)}/one/to:v1`, options)
    assert.ok(content.manifests.has(digest) && digest !== content.root.digest)
    const absent = { platform: { os: 'linux', architecture: 's390x' } }
    await assert.rejects(
      copy(`${hostOf(here)}/one/from:v1`, `oci:${folder}/none`, absent),
      /not for linux\/s390x; it is there for linux\/amd64, linux\/arm64/,
    )
    assert.ok(!(await readdir(folder)).includes('none'))
  })
  it('inside a registry mounts, and the second time finds everything there', async () => {
    const content = await contentOf('image')
    await pushOver(here.url, 'mount/from', content)
    await using link = await between(here.url)
    const first = await copy(`${link.host}/mount/from:v1`, `${link.host}/mount/to:v1`)
    assert.deepEqual(first.blobs, { present: 0, mounted: content.blobs.size, sent: 0 })
    assert.deepEqual(
      link.requests.filter(({ bodyBytes, method }) => method !== 'PUT' && bodyBytes > 0),
      [],
    )
    const before = link.requests.length
    await copy(`${link.host}/mount/from:v1`, `${link.host}/mount/to:v2`)
    assert.deepEqual(
      link.requests.slice(before).map(({ method }) => method),
      ['GET', 'HEAD', 'PUT'],
    )
  })
  it('takes what refers to an image along, and what refers to that, if it is asked to', async () => {
    const [source, bare, full] = [
      `${hostOf(here)}/signed/app`,
      `${hostOf(there)}/bare/app`,
      `${hostOf(there)}/full/app`,
    ]
    await pushOver(here.url, 'signed/app', await contentOf('index'))
    await using registries = new AsyncDisposableStack()
    const at = async (place: string) =>
      registries.use(await Registry.open(place.split('/')[0] ?? '')).repository(place.replace(/^[^/]*\//, ''))
    const attach = async (subject: string, artifactType: string) =>
      await pushArtifact(await at(source), { artifactType, subject, files: [] })
    const found = async (place: string, subject: string) =>
      (await discoverArtifacts(await at(place), subject)).referrers.map(({ digest }) => digest)
    const [image = ''] = JSON.parse(String((await (await at(source)).manifest('v1')).bytes)).manifests.map(
      ({ digest }: { digest: string }) => digest,
    )
    const sbom = await attach(image, 'application/spdx+json')
    const signature = await attach(sbom, 'application/vnd.example.signature')

    await copy(`${source}:v1`, `${bare}:v1`, { all: true })
    assert.deepEqual(await found(bare, image), [])
    assert.equal((await copy(`${source}:v1`, `${full}:v1`, { all: true, referrers: true })).referrers, 2)
    assert.deepEqual(await found(full, image), [sbom])
    assert.deepEqual(await found(full, sbom), [signature])
    await assert.rejects(copy(`${source}:v1`, `oci:${join(folder, 'signed')}:v1`, { referrers: true }), /to a registry/)

    const outcomes = async () => (await sync(source, bare, { referrers: true })).map(({ outcome }) => outcome)
    assert.deepEqual(await outcomes(), ['copied'])
    assert.deepEqual(await found(bare, sbom), [signature])
    assert.deepEqual(await outcomes(), ['same'])
    await attach('v1', 'application/vnd.example.signature')
    assert.deepEqual(await outcomes(), ['copied'])
    assert.equal((await found(bare, 'v1')).length, 1)
  })
  it('sends only what is missing', async () => {
    const content = await contentOf('image')
    await pushOver(here.url, 'half/from', content)
    const [[digest, body] = ['', Buffer.alloc(0)]] = content.blobs
    await there.ask('POST', `/v2/half/to/blobs/uploads/?digest=${digest}`, { body })
    const { blobs } = await copy(`${hostOf(here)}/half/from:v1`, `${hostOf(there)}/half/to:v1`)
    assert.deepEqual(blobs, { present: 1, mounted: 0, sent: content.blobs.size - 1 })
  })
  it('of what is damaged at its source arrives nowhere', async () => {
    const content = await contentOf('image')
    const from = join(folder, 'damaged')
    await writeLayout(from, content, 'v1')
    const [largest = ['', Buffer.alloc(0)]] = [...content.blobs].sort((a, b) => b[1].length - a[1].length)
    const path = join(from, 'blobs', ...largest[0].split(':'))
    await writeFile(path, Buffer.concat([largest[1].subarray(0, -1), Buffer.from([0xff])]))
    for (const to of [`${hostOf(here)}/damaged/to:v1`, `oci:${folder}/damaged-to`, `oci-archive:${folder}/damaged.tar`])
      await assert.rejects(copy(`oci:${from}:v1`, to), /has the digest/)
    assert.equal((await here.ask('GET', '/v2/damaged/to/manifests/v1')).status, 404)
    assert.ok(!(await readdir(folder)).some((name) => name === 'damaged.tar' || name.startsWith('.tmp-')))
    assert.ok(!(await readdir(join(folder, 'damaged-to'))).includes('index.json'))
  })
  it('names what is in a layout where the name is wrong', async () => {
    await writeLayout(join(folder, 'named'), await contentOf('image'), 'v1')
    await assert.rejects(copy(`oci:${folder}/named:v2`, `oci:${folder}/x`), /has no "v2"; it has v1/)
    await assert.rejects(copy(`oci:${folder}/nowhere`, `oci:${folder}/x`), /has no index\.json/)
    await assert.rejects(copy('dir:x', 'oci:y'), /no place that Gantry knows/)
  })
  it('into a layout leaves its other images, and takes a name from the one that had it', async () => {
    const [one, two] = [await contentOf('image'), await contentOf('artifact')]
    const to = join(folder, 'several')
    for (const content of [one, two]) await pushOver(here.url, `several/${content.slug}`, content)
    await Promise.all(['a', 'b', 'c'].map((name) => copy(`${hostOf(here)}/several/image:v1`, `oci:${to}:${name}`)))
    await copy(`${hostOf(here)}/several/artifact:v1`, `oci:${to}:a`)
    const names = (await new Layout(to).entries()).map(({ digest, annotations }) => [
      annotations?.['org.opencontainers.image.ref.name'],
      digest,
    ])
    assert.deepEqual(names.toSorted(), [
      ['a', two.root.digest],
      ['b', one.root.digest],
      ['c', one.root.digest],
    ])
  })
  it('can be stopped, and leaves nothing', async () => {
    const content = await contentOf('image')
    await pushOver(here.url, 'stop/from', content)
    const signal = AbortSignal.abort(new Error('enough'))
    await assert.rejects(copy(`${hostOf(here)}/stop/from:v1`, `oci-archive:${folder}/stop.tar`, { signal }), /enough/)
    assert.ok(!(await readdir(folder)).includes('stop.tar'))
  })

  it('reads the archives that docker wrote before there were layouts, compressed too', async () => {
    const tars = [await layerOf({ hello: 'one' }), await layerOf({ there: 'two' })]
    const config = Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: 'amd64',
        config: {},
        rootfs: { diff_ids: tars.map((each) => digestOf(each)) },
      }),
    )
    const name = `${digestOf(config).slice(7)}.json`
    const dockerish = await layerOf({
      'a/layer.tar': tars[0] ?? '',
      'b/layer.tar': gzipSync(tars[1] ?? ''),
      [name]: config,
      'manifest.json': JSON.stringify([
        { Config: name, RepoTags: ['hello:1'], Layers: ['a/layer.tar', 'b/layer.tar'] },
      ]),
    })
    for (const [file, bytes] of [
      ['old.tar', dockerish],
      ['old.tgz', gzipSync(dockerish)],
    ] as const) {
      await writeFile(join(folder, file), bytes)
      await copy(`docker-archive:${folder}/${file}:hello:1`, `${hostOf(here)}/old/${file}:1`)
      const answer = await here.ask('GET', `/v2/old/${file}/manifests/1`)
      const { layers } = answer.json() as { layers: { digest: string; mediaType: string }[] }
      assert.deepEqual(
        layers.map(({ mediaType }) => mediaType.split('.').at(-1)),
        ['tar', 'tar+gzip'],
      )
      assert.equal(layers[0]?.digest, digestOf(tars[0] ?? Buffer.alloc(0)))
    }
    await assert.rejects(
      copy(`docker-archive:${folder}/old.tar`, `oci:${folder}/x`, { preserveDigests: true }),
      /no digest to preserve/,
    )
    assert.ok(!(await readdir(tmpdir())).some((each) => each.startsWith('gantry-archive-')))
  })
  it('writes archives that tar can read, the same for the same image', async () => {
    const content = await contentOf('image')
    await pushOver(here.url, 'tar/from', content)
    const write = async (name: string): Promise<Buffer> => {
      await copy(`${hostOf(here)}/tar/from:v1`, `docker-archive:${folder}/${name}:team/app:1`)
      return await readFile(join(folder, name))
    }
    await write('docker.tar')
    const listed = execFileSync('tar', ['-tf', join(folder, 'docker.tar')], { encoding: 'utf8' })
    for (const file of [
      'index.json',
      'manifest.json',
      'oci-layout',
      ...[...content.blobs.keys()].map((each) => `blobs/${each.replace(':', '/')}`),
    ])
      assert.ok(listed.split('\n').includes(file), file)
    const [entry] = JSON.parse(
      execFileSync('tar', ['-xOf', join(folder, 'docker.tar'), 'manifest.json'], { encoding: 'utf8' }),
    ) as { RepoTags: string[]; Config: string }[]
    assert.deepEqual(entry?.RepoTags, ['docker.io/team/app:1'])
    const index = await contentOf('index')
    await pushOver(here.url, 'tar/index', index)
    await assert.rejects(
      copy(`${hostOf(here)}/tar/index:v1`, `docker-archive:${folder}/index.tar`, { all: true }),
      /one platform of each image; save it as oci-archive/,
    )
  })

  it('is what a push is, and a pull brings it back: the library as README shows it', async () => {
    const root = join(folder, 'store')
    const tar = await layerOf({ hello: 'world' })
    const layer = gzipSync(tar)
    const config = Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: process.arch === 'x64' ? 'amd64' : process.arch,
        config: {},
        rootfs: { diff_ids: [digestOf(tar)] },
      }),
    )
    const registry = await Registry.open(hostOf(here))
    await using _ = registry
    const repository = registry.repository('team/app')
    for (const bytes of [layer, config]) {
      async function* open(fromByte: number): AsyncGenerator<Uint8Array> {
        yield bytes.subarray(fromByte)
      }
      await repository.putBlob({ digest: digestOf(bytes), sizeBytes: bytes.length, open })
    }
    const mediaType = 'application/vnd.oci.image.manifest.v1+json'
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType,
        config: described('application/vnd.oci.image.config.v1+json', config),
        layers: [described('application/vnd.oci.image.layer.v1.tar+gzip', layer)],
      }),
    )
    await repository.putManifest({ bytes: manifest, mediaType, digest: digestOf(manifest), reference: '1' })

    const phases: string[] = []
    const image = await pull(`${hostOf(here)}/team/app:1`, { root, onProgress: ({ phase }) => phases.push(phase) })
    assert.ok(phases.includes('done'))
    const store = await Store.open(root)
    assert.deepEqual(
      (await store.images()).whole.map(({ name }) => name),
      [image.name],
    )
    const [layerFolder = ''] = (await store.layers(image)) ?? []
    assert.equal(await readFile(join(layerFolder, 'hello'), 'utf8'), 'world')

    const result = await push(image.name, { root, to: `${hostOf(there)}/team/app:2` })
    assert.equal(result.digest, digestOf(manifest))
    const neighbour = await push(image.name, { root, to: `${hostOf(here)}/other/app:1` })
    assert.deepEqual(neighbour.blobs, { present: 0, mounted: 1, sent: 1 })
    const tags: string[] = []
    for await (const tag of repository.tags()) tags.push(tag)
    assert.deepEqual(tags, ['1'])
    const names: string[] = []
    for await (const name of registry.catalog()) names.push(name)
    assert.ok(names.includes('other/app'))
    assert.deepEqual(await store.remove(image.name), [image.name])
    await assert.rejects(push(image.name, { root }), /no image .* is here/)
  })
})

it('the kinds of content are all there are', async () => {
  assert.equal((await allContent()).length, 13)
  assert.equal(contentDigest(Buffer.alloc(0)), digestOf(Buffer.alloc(0)))
})
