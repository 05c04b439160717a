/** Pulls from a registry that a test scripts: what is good arrives, what is a lie leaves nothing. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { digestOf } from '../../storage/model/digest.ts'
import { parseImageName } from '../model/image-name.ts'
import { hostPlatform } from '../model/platform.ts'
import { RegistryRepository } from '../registry/registry.ts'
import { Transport } from '../registry/transport.ts'
import { StoreFolders } from '../store/store.ts'
import { described, imagePages, layerOf, MANIFEST, type Pages, serve } from '../testing/image-pages.ts'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { Images } from './images.ts'
import { pullImage } from './pull.ts'

const INDEX = 'application/vnd.oci.image.index.v1+json'

/** A good image of two layers; `change` spoils its manifest. */
const twoLayers = async (change?: Parameters<typeof imagePages>[2]): Promise<Pages> =>
  imagePages(
    [await layerOf({ hello: 'one', 'etc/motd': 'x' }), await layerOf({ 'dir/file': 'two' })],
    { Cmd: ['/hello'] },
    change,
  )

describe('a pull', () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-pull-'))
  })
  afterEach(async () => await rm(root, { recursive: true, force: true }))

  async function pull(
    answer: (request: IncomingMessage, response: ServerResponse, count: number) => unknown,
    reference = '',
  ) {
    await using registry = await scriptedRegistry(answer)
    await using transport = new Transport(registry.host, { backOffMs: 1 })
    const store = await StoreFolders.open(root)
    const images = new Images(store)
    const name = parseImageName(`${registry.host}/team/app${reference}`)
    const source = new RegistryRepository(transport, name.repository)
    return { image: await pullImage({ store, images, source, options: {} }, name), images, asked: registry.asked }
  }

  const layerDigests = (pages: Pages): readonly string[] =>
    (JSON.parse(String(pages.get('manifests/latest')?.bytes)) as { layers: { digest: string }[] }).layers.map(
      ({ digest }) => digest,
    )

  async function leftovers(): Promise<readonly string[]> {
    const names = await readdir(root, { recursive: true })
    return names.filter((name) => /\.(tmp|partial)-/.test(name) || name === 'content/index.json')
  }

  it('brings the image, its layers unpacked', async () => {
    const { image, images } = await pull(serve(await twoLayers()))
    assert.match(image.name, /\/team\/app:latest$/)
    const folders = await images.layers.find(image.config.diffIds)
    assert.deepEqual(await readdir(folders?.[0] ?? ''), ['etc', 'hello'])
    assert.deepEqual(
      (await images.list()).map(({ id }) => id),
      [image.id],
    )
  })
  it('fetches nothing twice', async () => {
    const pages = await twoLayers()
    await pull(serve(pages))
    const { asked } = await pull(serve(pages))
    assert.deepEqual(
      asked.map(({ url }) => url),
      ['/v2/team/app/manifests/latest'],
    )
  })
  it('goes on where a connection broke', async () => {
    const pages = await twoLayers()
    const [layer = ''] = layerDigests(pages)
    const bytes = pages.get(`blobs/${layer}`)?.bytes ?? Buffer.alloc(0)
    let broken = false
    const { asked } = await pull((request, response) => {
      if (!request.url?.endsWith(layer)) return serve(pages)(request, response)
      const range = /^bytes=([0-9]+)-$/.exec(request.headers.range ?? '')
      if (range) {
        const start = Number(range[1])
        const headers = { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` }
        return response.writeHead(206, headers).end(bytes.subarray(start))
      }
      broken = true
      response.writeHead(200, { 'content-length': bytes.length })
      return response.write(bytes.subarray(0, 20), () => setImmediate(() => request.socket.resetAndDestroy()))
    })
    assert.ok(broken)
    assert.ok(asked.some(({ headers }) => headers.range !== undefined))
  })
  it('goes on where an earlier one was killed, in the middle of a layer', async () => {
    const pages = await twoLayers()
    const [layer = ''] = layerDigests(pages)
    const bytes = pages.get(`blobs/${layer}`)?.bytes ?? Buffer.alloc(0)
    const partial = join(root, 'content/blobs/sha256', `.partial-${layer.slice('sha256:'.length)}`)
    await StoreFolders.open(root)
    await mkdir(join(root, 'content/blobs/sha256'), { recursive: true })
    await writeFile(partial, bytes.subarray(0, 33))
    const { asked, image } = await pull(serve(pages))
    const ranges = asked.filter(({ url }) => url?.endsWith(layer)).map(({ headers }) => headers.range)
    assert.deepEqual(ranges, ['bytes=33-'])
    assert.equal(image.manifest.layers.length, 2)
    assert.deepEqual(await leftovers(), ['content/index.json'])
  })
  for (const [form, compress] of Object.entries({
    gzip: (tar: Buffer) => gzipSync(tar),
    zstd: (tar: Buffer) => zstdCompressSync(tar),
    nothing: (tar: Buffer) => tar,
  }))
    it(`unpacks a layer, compressed by ${form}, while it comes`, async () => {
      const tar = await layerOf({ first: randomBytes(2 ** 20), second: randomBytes(2 ** 20) })
      const pages = imagePages([tar], {}, undefined, compress)
      const [layer = ''] = layerDigests(pages)
      const bytes = pages.get(`blobs/${layer}`)?.bytes ?? Buffer.alloc(0)
      const cut = bytes.length - 2 ** 19 // in the second file
      const isUnpacked = async () =>
        (await readdir(join(root, 'layers'), { recursive: true })).some((name) => name.endsWith('/second'))
      const { image, images } = await pull(async (request, response) => {
        if (!request.url?.endsWith(layer)) return serve(pages)(request, response)
        response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, cut))
        while (!response.destroyed && !(await isUnpacked())) await delay(5)
        assert.deepEqual(
          (await readdir(join(root, 'layers'))).filter((name) => name.startsWith('sha256')),
          [],
        )
        return response.end(bytes.subarray(cut))
      })
      const [folder = ''] = (await images.layers.find(image.config.diffIds)) ?? []
      assert.ok(tar.includes(await readFile(join(folder, 'second'))))
      assert.deepEqual(await leftovers(), ['content/index.json'])
    })
  it('that is interrupted keeps what has arrived of a layer', async () => {
    const pages = await twoLayers()
    const [layer = ''] = layerDigests(pages)
    const bytes = pages.get(`blobs/${layer}`)?.bytes ?? Buffer.alloc(0)
    await assert.rejects(
      pull((request, response) => {
        if (!request.url?.endsWith(layer)) return serve(pages)(request, response)
        if (request.headers.range) return response.writeHead(503, { 'retry-after': '0' }).end()
        response.writeHead(200, { 'content-length': bytes.length })
        return response.write(bytes.subarray(0, 20), () => setImmediate(() => request.socket.resetAndDestroy()))
      }),
      /503/,
    )
    const { asked } = await pull(serve(pages))
    assert.ok(asked.some(({ url, headers }) => url?.endsWith(layer) && headers.range === 'bytes=20-'))
  })
  it('starts a layer over whose beginning was damaged meanwhile', async () => {
    const pages = await twoLayers()
    const [layer = ''] = layerDigests(pages)
    await StoreFolders.open(root)
    await mkdir(join(root, 'content/blobs/sha256'), { recursive: true })
    await writeFile(join(root, 'content/blobs/sha256', `.partial-${layer.slice('sha256:'.length)}`), Buffer.alloc(33))
    const { image } = await pull(serve(pages))
    assert.equal(image.manifest.layers.length, 2)
  })
  it('clears what a killed one left half-made', async () => {
    await StoreFolders.open(root)
    await mkdir(join(root, 'layers/.tmp-dead/dir'), { recursive: true })
    await mkdir(join(root, 'content/blobs/sha256'), { recursive: true })
    await writeFile(join(root, 'content/blobs/sha256/.tmp-dead'), 'half')
    await writeFile(join(root, 'content/index.json.tmp-dead'), 'half')
    await pull(serve(await twoLayers()))
    assert.deepEqual(
      (await readdir(root, { recursive: true })).filter((name) => name.includes('.tmp-')),
      [],
    )
  })
  it('repairs what was damaged on the disk', async () => {
    const pages = await twoLayers()
    const { image, images } = await pull(serve(pages))
    const layer = image.manifest.layers[0]
    for (const digest of [image.id, layer?.digest ?? image.id]) {
      const bytes = await readFile(images.content.path(digest))
      await writeFile(images.content.path(digest), bytes.fill(0, 2, 9))
    }
    await rm(join(root, 'layers'), { recursive: true })
    await assert.rejects(images.find(parseImageName(image.name)), /is damaged; pull it again/)
    const again = await pull(serve(pages))
    assert.equal(again.image.id, image.id)
    assert.notEqual(await again.images.layers.find(again.image.config.diffIds), undefined)
  })
  it('of a bad image leaves the good ones whole, and nothing of its own', async () => {
    const good = await pull(serve(await twoLayers()))
    const before = (await readdir(root, { recursive: true })).toSorted()
    const other = gzipSync(await layerOf({ evil: 'x' }))
    const pages = await twoLayers(({ layers }) => Object.assign(layers[1] ?? {}, described('x', other)))
    pages.set(`blobs/${digestOf(other)}`, { type: 'x', bytes: other })
    await assert.rejects(pull(serve(pages)), /diff_id/)
    assert.deepEqual((await readdir(root, { recursive: true })).toSorted(), before)
    assert.notEqual(await good.images.layers.find(good.image.config.diffIds), undefined)
  })
  it('whose copy here is damaged is told about, is in nobody’s way, and can be removed', async () => {
    const [broken, whole] = [await pull(serve(await twoLayers())), await pull(serve(await twoLayers()), ':latest')]
    await writeFile(broken.images.content.path(broken.image.manifestDigest), '{')
    const { whole: listed, damaged } = await broken.images.inventory()
    assert.deepEqual([listed, damaged.length], [[], 2]) // both names are of the same manifest
    assert.deepEqual(await broken.images.remove(broken.image.name), [broken.image.name])
    assert.deepEqual(await broken.images.remove(whole.image.name), [whole.image.name])
    assert.deepEqual(await broken.images.inventory(), { whole: [], damaged: [] })
  })
  it('finds its platform in an index', async () => {
    const pages = await twoLayers()
    const bytes = pages.get('manifests/latest')?.bytes ?? Buffer.alloc(0)
    const index = {
      schemaVersion: 2,
      manifests: [
        { ...described(MANIFEST, Buffer.from('{}')), platform: { os: 'unknown', architecture: 'unknown' } },
        { ...described(MANIFEST, bytes), platform: hostPlatform() },
      ],
    }
    pages.set('manifests/latest', { type: INDEX, bytes: Buffer.from(JSON.stringify(index)) })
    assert.equal((await pull(serve(pages))).image.manifestDigest, digestOf(bytes))
  })

  async function refused(answer: Parameters<typeof pull>[0], expected: RegExp, reference = ''): Promise<void> {
    await assert.rejects(pull(answer, reference), expected)
    assert.deepEqual(await leftovers(), [])
  }
  const spoiled = async (spoil: (bytes: Buffer) => Buffer) => {
    const pages = await twoLayers()
    const path = `blobs/${layerDigests(pages)[0]}`
    pages.set(path, { type: 'x', bytes: spoil(pages.get(path)?.bytes ?? Buffer.alloc(0)) })
    return serve(pages)
  }

  it('refuses a layer with other bytes', async () =>
    refused(await spoiled((bytes) => Buffer.from(bytes).fill(0, 30, 31)), /has the digest/))
  it('refuses a truncated layer', async () =>
    refused(await spoiled((bytes) => bytes.subarray(0, 40)), /ended after 40 of/))
  it('refuses a layer whose last bytes are others, all of which was unpacked by then', async () => {
    const tar = await layerOf({ evil: randomBytes(2 ** 20) })
    const pages = imagePages([tar], {}, undefined, (bytes) => bytes)
    const path = `blobs/${layerDigests(pages)[0]}`
    const bytes = Buffer.from(pages.get(path)?.bytes ?? [])
    bytes.writeUInt8(1, bytes.length - 1)
    pages.set(path, { type: 'x', bytes })
    await refused(serve(pages), /has the digest/)
    assert.deepEqual(await readdir(join(root, 'layers')), [])
  })
  it('refuses a layer that goes on', async () =>
    refused(await spoiled((bytes) => Buffer.concat([bytes, bytes])), /is longer than/))
  it('refuses a size that is a lie', async () =>
    refused(serve(await twoLayers(({ layers }) => layers[0] && layers[0].size--)), /is longer than/))
  it('refuses an endless layer', async () => {
    const pages = await twoLayers()
    const [layer = ''] = layerDigests(pages)
    await refused((request, response) => {
      if (!request.url?.endsWith(layer)) return serve(pages)(request, response)
      const endless = (): void => void (response.destroyed || response.write(Buffer.alloc(65536), endless))
      return endless()
    }, /is longer than/)
  })
  it('refuses a diffID that is a lie', async () => {
    const other = gzipSync(await layerOf({ evil: 'x' }))
    const pages = await twoLayers(({ layers }) => Object.assign(layers[1] ?? {}, described('x', other)))
    pages.set(`blobs/${digestOf(other)}`, { type: 'x', bytes: other })
    await refused(serve(pages), /diff_id/)
  })
  it('refuses more layers than diff_ids', async () =>
    refused(serve(await twoLayers(({ layers }) => void (layers[0] && layers.push(layers[0])))), /3 layers.*2 diff_ids/))
  for (const type of ['application/json; charset=utf-8', 'application/octet-stream', 'text/plain'])
    it(`takes a manifest for what it calls itself where the server says only ${type}`, async () => {
      const pages = await twoLayers()
      const { bytes = Buffer.alloc(0) } = pages.get('manifests/latest') ?? {}
      pages.set('manifests/latest', { type, bytes: Buffer.from('{"schemaVersion":2,"layers":[]}') })
      await refused(serve(pages), /is no type/)
      pages.set('manifests/latest', { type, bytes })
      assert.equal((await pull(serve(pages))).image.mediaType, MANIFEST)
    })
  it('is for this machine where the image does not say what it is for', async () => {
    const pages = imagePages([await layerOf({ file: 'x' })], {}, () => {}, undefined, { os: '', architecture: '' })
    assert.deepEqual((await pull(serve(pages))).image.config.platform, {
      os: 'linux',
      architecture: hostPlatform().architecture,
    })
  })
  it('refuses a manifest that is an index by its type (CVE-2021-41190)', async () => {
    const pages = await twoLayers()
    pages.set('manifests/latest', { type: INDEX, bytes: pages.get('manifests/latest')?.bytes ?? Buffer.alloc(0) })
    await refused(serve(pages), /calls itself/)
  })
  it('refuses a manifest with another digest than asked for', async () => {
    const pages = await twoLayers()
    const digest = digestOf(Buffer.from('other'))
    pages.set(`manifests/${digest}`, pages.get('manifests/latest') ?? { type: '', bytes: Buffer.alloc(0) })
    await refused(serve(pages), /has the digest/, `@${digest}`)
  })
  it('refuses indexes in indexes without end', async () => {
    let bytes = Buffer.from('{"schemaVersion":2,"manifests":[]}')
    const pages: Pages = new Map()
    for (let depth = 0; depth < 10; depth++) {
      pages.set(`manifests/${digestOf(bytes)}`, { type: INDEX, bytes })
      bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [described(INDEX, bytes)] }))
    }
    pages.set('manifests/latest', { type: INDEX, bytes })
    await refused(serve(pages), /nested more than 3 deep/)
  })
  it('refuses an artifact', async () =>
    refused(
      serve(
        await twoLayers((manifest) =>
          Object.assign(manifest, { config: described('application/x', Buffer.from('{}')) }),
        ),
      ),
      /artifact/,
    ))
  it('refuses a digest that is a path', async () =>
    refused(
      serve(await twoLayers(({ layers }) => Object.assign(layers[0] ?? {}, { digest: 'sha256:../../../etc' }))),
      /no digest/,
    ))
})
