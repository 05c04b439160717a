/** Blobs from one registry to another, socket to socket, through whatever may stand between. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, open as openFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type ServedApp, serveApp } from '../../server/testing/served-app.ts'
import { type Digest, digestOf } from '../../storage/model/digest.ts'
import { copyContent } from '../images/copy.ts'
import { Content, ContentMismatch } from '../store/content.ts'
import { StoreFolders } from '../store/store.ts'
import { between } from '../testing/between.ts'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { fileBody } from './direct-body.ts'
import { RegistryMisbehaves } from './refusals.ts'
import { RegistryRepository } from './registry.ts'
import { Transport, type TransportOptions } from './transport.ts'

const MiB = 1024 * 1024
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

describe('a blob from registry to registry', () => {
  let here: ServedApp
  let there: ServedApp
  before(async () => {
    ;[here, there] = await Promise.all([serveApp(), serveApp()])
  })
  after(async () => {
    await Promise.all([here[Symbol.asyncDispose](), there[Symbol.asyncDispose]()])
  })

  const bytes = randomBytes(24 * MiB)
  const digest = digestOf(bytes)
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: 'application/vnd.oci.empty.v1+json', digest, size: bytes.length },
      layers: [],
    }),
  )

  async function publish(app: ServedApp, name: string): Promise<void> {
    const headers = { 'content-type': MANIFEST }
    await app.ask('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes })
    assert.equal((await app.ask('PUT', `/v2/${name}/manifests/v1`, { headers, body: manifest })).status, 201)
  }

  async function move(from: string, to: string, name: string, options: TransportOptions = {}, signal?: AbortSignal) {
    await using source = new RegistryRepository(new Transport(from, { backOffMs: 1, ...options }), 'from/app')
    await using target = new RegistryRepository(new Transport(to), name)
    return await copyContent({ from: source, reference: 'v1', to: target, toReference: 'v1', signal })
  }

  const arrived = async (name: string): Promise<boolean> =>
    (await there.ask('GET', `/v2/${name}/blobs/${digest}`)).body.equals(bytes)
  const hostOf = ({ url }: ServedApp): string => new URL(url).host

  it('arrives, and goes on where either connection broke', async () => {
    await publish(here, 'from/app')
    await move(hostOf(here), hostOf(there), 'to/whole')
    assert.ok(await arrived('to/whole'))
    let cuts = 0
    const isBlob = (url = ''): boolean => url.includes('/blobs/sha256')
    await using from = await between(here.url, ({ method, url }) =>
      method === 'GET' && isBlob(url) && cuts++ === 0 ? { cutAnswerAfterBytes: 9 * MiB } : 'pass',
    )
    await move(from.host, hostOf(there), 'to/source-cut')
    assert.ok(await arrived('to/source-cut'))
    let bodies = 0
    await using to = await between(there.url, ({ method }) =>
      method === 'PUT' && bodies++ === 0 ? { cutAfterBytes: 9 * MiB } : 'pass',
    )
    await move(hostOf(here), to.host, 'to/target-cut')
    assert.ok(await arrived('to/target-cut'))
    const again = to.requests.filter(({ method }) => method === 'PATCH')
    assert.ok(again.length === 1 && (again[0]?.bodyBytes ?? 0) < bytes.length)
  })

  /** Serves the manifest, and of the blob what `body` says. */
  const liar = (body: (write: (piece: Buffer) => Promise<void>) => Promise<void>) =>
    scriptedRegistry(async ({ url }, response) => {
      if (url?.includes('/manifests/')) return response.writeHead(200, { 'content-type': MANIFEST }).end(manifest)
      response.writeHead(200, { 'content-length': bytes.length })
      await body((piece) => new Promise((resolve) => response.write(piece, () => resolve())))
    })

  it('that is something else never arrives whole, even where nobody looks', async () => {
    await using from = await liar(async (write) => {
      await write(bytes.subarray(0, -1))
      await write(Buffer.from([~(bytes.at(-1) ?? 0) & 255]))
    })
    let received = 0
    await using lenient = await scriptedRegistry((request, response) => {
      if (request.method === 'HEAD') return response.writeHead(404).end()
      if (request.method === 'POST') return response.writeHead(202, { location: '/upload' }).end()
      request
        .on('error', () => {})
        .on('data', (piece: Buffer) => {
          received += piece.length
        })
      return request.on('end', () => response.writeHead(201, { location: '/upload' }).end())
    })
    await assert.rejects(move(from.host, lenient.host, 'to/lenient'), ContentMismatch)
    assert.ok(received > 0 && received < bytes.length, `${received} bytes`)
  })
  it('that drips is given up, and so is one that is not wanted any more', async () => {
    await using from = await liar(async (write) => {
      await write(bytes.subarray(0, 2 * MiB))
    })
    const patience = { windowMs: 200, windowBytes: 1000 }
    await assert.rejects(move(from.host, hostOf(there), 'to/dripping', { patience }), RegistryMisbehaves)
    const stop = new AbortController()
    const moving = move(from.host, hostOf(there), 'to/unwanted', {}, stop.signal)
    setTimeout(() => stop.abort(new Error('enough')), 300)
    await assert.rejects(moving, /enough/)
  })
  it('leaves its connections to be used again', async () => {
    const blobs = [0, 1, 2].map((seed) =>
      createHash('shake256', { outputLength: 3 * MiB })
        .update(`${seed}`)
        .digest(),
    )
    const sockets = new Set<unknown>()
    await using from = await scriptedRegistry(({ url, socket }, response) => {
      sockets.add(socket)
      const found = blobs.find((blob) => url?.endsWith(digestOf(blob)))
      response.writeHead(200, { 'content-length': found?.length }).end(found)
    })
    await using source = new RegistryRepository(new Transport(from.host), 'from/app')
    await using target = new RegistryRepository(new Transport(hostOf(there)), 'to/again')
    for (const blob of blobs) {
      const each = { digest: digestOf(blob), sizeBytes: blob.length }
      const direct = (stretch: Parameters<RegistryRepository['direct']>[1]) => source.direct(each, stretch)
      const open = (): never => assert.fail('it was not taken')
      assert.equal(await target.putBlob({ ...each, direct, open }), 'sent')
    }
    assert.equal(sockets.size, 1)
  })
})

describe('a blob of the local store', () => {
  let root: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-direct-'))
  })
  after(async () => await rm(root, { recursive: true, force: true }))

  it('is believed as it was kept, and not once anybody has written to it', async () => {
    const content = new Content(await StoreFolders.open(root))
    const bytes = randomBytes(1000)
    const digest = digestOf(bytes)
    const isBelieved = async (of: Digest, sizeBytes = 1000): Promise<boolean> => {
      await using file = await content.openVerified(of, sizeBytes)
      return file !== undefined
    }
    async function* once(): AsyncGenerator<Uint8Array> {
      yield bytes
    }
    assert.equal(await isBelieved(digest), false)
    for (const keep of [
      () => content.write(digest, 1000, once()),
      () => content.fetch(digest, 1000, { open: once }),
      () => content.add(once()),
    ]) {
      await keep()
      assert.equal(await isBelieved(digest), true)
      assert.equal(await isBelieved(digest, 999), false)
      await writeFile(content.path(digest), bytes)
      await utimes(content.path(digest), 1, 1)
      assert.equal(await isBelieved(digest), false)
      await content.remove(digest)
    }
  })
  it('that has become shorter is nothing that a registry is blamed for', async () => {
    await writeFile(join(root, 'short'), 'short')
    await using there = await serveApp()
    await using target = new RegistryRepository(new Transport(new URL(there.url).host), 'to/app')
    const sizeBytes = 6 * MiB
    const direct = async () => fileBody(await openFile(join(root, 'short')), 0, sizeBytes)
    const blob = { digest: digestOf(Buffer.from('x')), sizeBytes, direct, open: (): never => assert.fail() }
    await assert.rejects(target.putBlob(blob), /had 5 bytes instead of 6291456/)
  })
})
