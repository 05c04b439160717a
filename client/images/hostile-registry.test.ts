/** Registries that mean harm, one test each, named after what they try. Whatever they do, it ends, is told, and leaves nothing. */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { digestOf } from '../../storage/model/digest.ts'
import { RegistryRefusal } from '../registry/refusals.ts'
import { RegistryRepository } from '../registry/registry.ts'
import { Transport, type TransportOptions } from '../registry/transport.ts'
import { described, imagePages, layerOf, MANIFEST, type Pages, serve } from '../testing/image-pages.ts'
import { type ScriptedRegistry, scriptedRegistry } from '../testing/scripted-registry.ts'
import { copyContent } from './copy.ts'
import { Layout } from './layout.ts'

const INDEX = 'application/vnd.oci.image.index.v1+json'
const credential = async () => ({ username: 'me', password: 'secret' })

describe('a registry that', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-hostile-'))
  })
  afterEach(async () => await rm(folder, { recursive: true, force: true }))

  type Answering = (request: IncomingMessage, response: ServerResponse, count: number) => unknown

  /** A copy of everything under `latest` into a layout, from a registry that answers so. */
  async function copying(answer: Answering, options: TransportOptions = {}): Promise<ScriptedRegistry['asked']> {
    await using registry = await scriptedRegistry(answer)
    await using transport = new Transport(registry.host, { backOffMs: 1, ...options })
    const from = new RegistryRepository(transport, 'team/app')
    await copyContent({ from, reference: 'latest', to: new Layout(folder), toReference: 'v1', all: true })
    return registry.asked
  }
  async function refused(answer: Answering, expected: RegExp | object, options: TransportOptions = {}): Promise<void> {
    await assert.rejects(copying(answer, options), expected)
    const left = (await readdir(folder, { recursive: true })).filter((name) => /index\.json|\.tmp-/.test(name))
    assert.deepEqual(left, [])
  }
  const image = async (): Promise<Pages> => imagePages([await layerOf({ hello: 'one', other: 'x'.repeat(3000) })], {})
  const layerPath = (pages: Pages): string => [...pages.keys()].filter((path) => path.startsWith('blobs/')).at(-1) ?? ''
  const instead =
    (pages: Pages, path: string, answer: Answering): Answering =>
    (request, response, count) =>
      request.url?.endsWith(path) ? answer(request, response, count) : serve(pages)(request, response)

  it('serves a layer with other bytes', async () => {
    const pages = await image()
    const path = layerPath(pages)
    const bytes = Buffer.from(pages.get(path)?.bytes ?? [])
    await refused(
      instead(pages, path, (_, response) => response.end(bytes.fill(7, 20, 21))),
      /has the digest/,
    )
  })
  it('serves a layer without an end', async () => {
    const pages = await image()
    await refused(
      instead(pages, layerPath(pages), (_, response) => {
        const endless = (): void => void (response.destroyed || response.write(Buffer.alloc(65536), endless))
        endless()
      }),
      /is longer than/,
    )
  })
  it('says one digest of a manifest in its header and serves another', async () => {
    const pages = await image()
    const bytes = pages.get('manifests/latest')?.bytes ?? Buffer.alloc(0)
    const headers = { 'content-type': MANIFEST, 'docker-content-digest': digestOf(Buffer.from('other')) }
    await refused(
      instead(pages, 'manifests/latest', (_, response) => response.writeHead(200, headers).end(bytes)),
      /has the digest/,
    )
  })
  it('serves a manifest of a gigabyte', async () => {
    let sent = 0
    await refused((_, response) => {
      response.writeHead(200, { 'content-type': MANIFEST, 'content-length': 1024 ** 3 })
      const chunk = Buffer.alloc(1024 * 1024, ' ')
      const more = (): void => {
        sent += chunk.length
        if (!response.destroyed) response.write(chunk, more)
      }
      more()
    }, /more than 8388608 bytes/)
    assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes were taken`)
  })
  it('serves an image as an index (CVE-2021-41190)', async () => {
    const pages = await image()
    pages.set('manifests/latest', { type: INDEX, bytes: pages.get('manifests/latest')?.bytes ?? Buffer.alloc(0) })
    await refused(serve(pages), /mediaType/)
  })
  it('serves a manifest of a type that is none', async () => {
    const pages = await image()
    pages.set('manifests/latest', { type: 'text/html', bytes: Buffer.from('<h1>hello</h1>') })
    await refused(serve(pages), { name: 'ManifestInvalid' })
  })
  it('nests indexes in indexes', async () => {
    let bytes = Buffer.from('{"schemaVersion":2,"manifests":[]}')
    const pages: Pages = new Map()
    for (let depth = 0; depth < 20; depth++) {
      pages.set(`manifests/${digestOf(bytes)}`, { type: INDEX, bytes })
      bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [described(INDEX, bytes)] }))
    }
    pages.set('manifests/latest', { type: INDEX, bytes })
    await refused(serve(pages), /nested more than 5 deep/)
  })
  it('lists twenty thousand manifests that lead on and on', async () => {
    const child = (i: number): Buffer =>
      Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [], annotations: { i: `${i}` } }))
    const manifests = Array.from({ length: 20_000 }, (_, i) => described(INDEX, child(i)))
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }))
    const pages: Pages = new Map([['manifests/latest', { type: INDEX, bytes }]])
    await refused(serve(pages), /more than 10000 manifests/)
  })
  it('sends requests in a circle', async () => {
    let asked = 0
    await refused((_, response) => {
      asked++
      response.writeHead(307, { location: '/v2/around' }).end()
    }, /more than 5 redirects/)
    assert.equal(asked, 6)
  })
  it('sends a blob’s reader, and not his credential, to another host', async () => {
    const pages = await image()
    const path = layerPath(pages)
    await using other = await scriptedRegistry((_, response) => response.end(pages.get(path)?.bytes))
    const asked = await copying(
      (request, response) => {
        if (request.headers.authorization === undefined)
          return response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
        if (request.url?.endsWith(path)) return response.writeHead(307, { location: `http://${other.host}/x` }).end()
        return serve(pages)(request, response)
      },
      { credential },
    )
    assert.ok(asked.some(({ headers }) => headers.authorization !== undefined))
    assert.deepEqual(
      other.asked.map(({ headers }) => headers.authorization),
      [undefined],
    )
  })
  it('sends an upload, and not the credential, to another host', async () => {
    await using other = await scriptedRegistry((request, response) => {
      request.resume()
      request.on('end', () => response.writeHead(201).end())
    })
    await using registry = await scriptedRegistry((request, response) => {
      if (request.headers.authorization === undefined)
        return response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
      if (request.method === 'HEAD') return response.writeHead(404).end()
      return response.writeHead(202, { location: `http://${other.host}/steal` }).end()
    })
    await using transport = new Transport(registry.host, { backOffMs: 1, credential })
    const bytes = Buffer.from('mine')
    async function* open(): AsyncGenerator<Uint8Array> {
      yield bytes
    }
    await new RegistryRepository(transport, 'team/app').putBlob({ digest: digestOf(bytes), sizeBytes: 4, open })
    assert.deepEqual(
      other.asked.map(({ headers }) => headers.authorization),
      [undefined],
    )
  })
  it('turns a push into another request by a redirect', async () => {
    await using registry = await scriptedRegistry((request, response) =>
      request.method === 'PUT'
        ? response.writeHead(302, { location: '/v2/other' }).end()
        : response.writeHead(404).end(),
    )
    await using transport = new Transport(registry.host, { backOffMs: 1 })
    const put = new RegistryRepository(transport, 'team/app').putManifest({
      bytes: Buffer.from('{}'),
      mediaType: MANIFEST,
      digest: digestOf(Buffer.from('{}')),
    })
    await assert.rejects(put, /which would become another request, is not followed/)
    assert.equal(registry.asked.length, 1)
  })
  it('drips a manifest', async () => {
    await refused(
      (_, response) => {
        response.writeHead(200, { 'content-type': MANIFEST, 'content-length': 4000 })
        const timer = setInterval(() => response.write(' '), 20)
        response.on('close', () => clearInterval(timer))
      },
      /not whole after 0\.3 seconds/,
      { patience: { smallAnswerMs: 300 } },
    )
  })
  it('drips a layer', async () => {
    const pages = await image()
    await refused(
      instead(pages, layerPath(pages), (_, response) => {
        response.writeHead(200)
        const timer = setInterval(() => response.write('.'), 20)
        response.on('close', () => clearInterval(timer))
      }),
      /less than 16384 bytes in 0\.2 seconds/,
      { patience: { windowMs: 200 } },
    )
  })
  it('says nothing at all', async () => {
    await refused(() => {}, { name: 'RegistryUnreachable' }, { patience: { idleMs: 200 } })
  })
  it('asks for patience without end', async () => {
    let waits = 0
    await refused(
      (_, response) => {
        waits++
        response.writeHead(429, { 'retry-after': '0' }).end()
      },
      (error: unknown) => error instanceof RegistryRefusal && error.status === 429,
    )
    assert.equal(waits, 5)
  })
  it('lists the same page of tags for ever', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response.setHeader('link', '</v2/team/app/tags/list?n=1&last=a>; rel="next"').end('{"tags":["a"]}'),
    )
    await using transport = new Transport(registry.host)
    const tags: string[] = []
    await assert.rejects(async () => {
      for await (const tag of new RegistryRepository(transport, 'team/app').tags()) tags.push(tag)
    }, /the same page again and again/)
    assert.deepEqual(tags, ['a', 'a'])
  })
  it('writes to the terminal in an error', async () => {
    await refused(
      (_, response) => response.writeHead(400).end('{"errors":[{"code":"X","message":"\\u001b]0;owned\\u0007"}]}'),
      (error: unknown) => {
        assert.ok(error instanceof RegistryRefusal)
        // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
        return !/[\u0000-\u001f\u007f]/.test(error.message)
      },
    )
  })
  it('answers an upload with a session that is nowhere', async () => {
    await using registry = await scriptedRegistry((request, response) =>
      request.method === 'HEAD'
        ? response.writeHead(404).end()
        : response.writeHead(202, { location: 'http://[' }).end(),
    )
    await using transport = new Transport(registry.host)
    async function* open(): AsyncGenerator<Uint8Array> {}
    const put = new RegistryRepository(transport, 'a').putBlob({
      digest: digestOf(Buffer.alloc(0)),
      sizeBytes: 0,
      open,
    })
    await assert.rejects(put, /which is no address/)
  })
})
