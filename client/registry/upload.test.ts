/** Blobs on their way into our own registry, through whatever may stand between. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open as openFile, readdir, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type ServedApp, serveApp } from '../../server/testing/served-app.ts'
import { digestOf } from '../../storage/model/digest.ts'
import { type Between, between, type Treatment } from '../testing/between.ts'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { fileBody } from './direct-body.ts'
import type { DirectBody, PutBlob, Stretch } from './endpoint.ts'
import { isBrokenConnection, RegistryRefusal } from './refusals.ts'
import { RegistryRepository } from './registry.ts'
import { Transport } from './transport.ts'
import { UploadFiles } from './upload-journal.ts'

const MiB = 1024 * 1024

for (const from of ['a stream', 'a file that the kernel sends'] as const)
  describe(`a blob that is pushed from ${from}`, () => {
    let app: ServedApp
    let folder: string
    let files: string
    before(async () => {
      app = await serveApp()
      folder = await mkdtemp(join(tmpdir(), 'gantry-upload-'))
      files = await mkdtemp(join(tmpdir(), 'gantry-upload-files-'))
    })
    after(async () => {
      await app[Symbol.asyncDispose]()
      for (const each of [folder, files]) await rm(each, { recursive: true, force: true })
    })

    function blobOf(sizeBytes: number, more: Partial<PutBlob> = {}): PutBlob & { readonly bytes: Buffer } {
      const bytes = randomBytes(sizeBytes)
      async function* open(fromByte: number): AsyncGenerator<Uint8Array> {
        for (let at = fromByte; at < bytes.length; at += 65536) yield bytes.subarray(at, at + 65536)
      }
      const path = join(files, randomBytes(8).toString('hex'))
      async function direct({ fromByte, lengthBytes }: Stretch): Promise<DirectBody> {
        await writeFile(path, bytes)
        return fileBody(await openFile(path), fromByte, lengthBytes)
      }
      return { digest: digestOf(bytes), sizeBytes, open, ...(from === 'a stream' ? {} : { direct }), bytes, ...more }
    }

    async function push(
      blob: PutBlob,
      treat?: Parameters<typeof between>[1],
      name = 'team/app',
      backOffMs = 1,
    ): Promise<{ readonly arrival: string; readonly requests: Between['requests'] }> {
      await using link = await between(app.url, treat)
      await using transport = new Transport(link.host, { backOffMs })
      const repository = new RegistryRepository(transport, name, { journal: new UploadFiles(folder) })
      return { arrival: await repository.putBlob(blob), requests: link.requests }
    }

    async function assertThere(blob: PutBlob & { readonly bytes: Buffer }, name = 'team/app'): Promise<void> {
      const answer = await app.ask('GET', `/v2/${name}/blobs/${blob.digest}`)
      assert.ok(answer.body.equals(blob.bytes))
    }
    const bringsBytes = ({ method, headers }: Pick<IncomingMessage, 'method' | 'headers'>): boolean =>
      (method === 'PATCH' || method === 'PUT') && headers['content-length'] !== '0'
    const shown = (requests: Between['requests']): readonly string[] =>
      requests.map(({ method, status }) => `${method} ${status}`)

    it('that is small takes a look and two requests, and the second time the look', async () => {
      const blob = blobOf(1000)
      const { arrival, requests } = await push(blob)
      assert.deepEqual([arrival, ...shown(requests)], ['sent', 'HEAD 404', 'POST 202', 'PUT 201'])
      await assertThere(blob)
      const again = await push(blob)
      assert.deepEqual([again.arrival, ...shown(again.requests)], ['present', 'HEAD 200'])
    })
    it('takes no more requests when it is large', async () => {
      const blob = blobOf(6 * MiB)
      const { requests } = await push(blob)
      assert.deepEqual(shown(requests), ['HEAD 404', 'POST 202', 'PUT 201'])
      await assertThere(blob)
      assert.deepEqual(await readdir(folder), [])
    })
    it('of no bytes arrives, too', async () => {
      const blob = blobOf(0)
      await push(blob)
      await assertThere(blob)
    })
    it('is mounted from a neighbour that has it, and sent if none has', async () => {
      const blob = blobOf(1000)
      await push(blob, undefined, 'team/other')
      const mounted = await push({ ...blob, mountFrom: ['team/other'] })
      assert.deepEqual([mounted.arrival, ...shown(mounted.requests)], ['mounted', 'HEAD 404', 'POST 201'])
      await assertThere(blob)
      const missing = blobOf(1000, { mountFrom: ['team/other'] })
      assert.equal((await push(missing)).arrival, 'sent')
      await assertThere(missing)
    })
    it('goes on where a connection broke, and sends nothing twice that had arrived', async () => {
      const blob = blobOf(40 * MiB)
      let cuts = 0
      const cutting: Parameters<typeof between>[1] = (request) =>
        bringsBytes(request) && cuts++ < 2 ? { cutAfterBytes: 12 * MiB } : 'pass'
      const { requests } = await push(blob, cutting, 'team/app', 400)
      await assertThere(blob)
      assert.deepEqual(
        requests.filter(bringsBytes).map(({ headers }) => Number(headers['content-range']?.split('-')[0] ?? 0)),
        [0, 12 * MiB, 24 * MiB],
      )
    })
    it('goes on where it was when the push that sent it was ended', async () => {
      const blob = blobOf(40 * MiB)
      const stop = new AbortController()
      await using link = await between(app.url)
      await using transport = new Transport(link.host)
      const repository = new RegistryRepository(transport, 'team/app', { journal: new UploadFiles(folder) })
      const half = setInterval(() => {
        if (link.requests.some(({ bodyBytes }) => bodyBytes > 20 * MiB)) stop.abort(new Error('killed'))
      }, 1)
      await assert
        .rejects(repository.putBlob({ ...blob, signal: stop.signal }), /killed/)
        .finally(() => clearInterval(half))
      assert.equal((await readdir(folder)).length, 1)
      const sent = link.requests.length
      assert.equal(await repository.putBlob(blob), 'sent')
      await assertThere(blob)
      const again = link.requests.slice(sent).find(bringsBytes)
      assert.ok((again?.bodyBytes ?? 0) < 40 * MiB, `${again?.bodyBytes} bytes were sent again`)
      assert.ok(!again?.headers['content-range']?.startsWith('0-'))
      assert.deepEqual(await readdir(folder), [])
    })
    it('is remembered while it takes long, for who comes after a kill', async () => {
      const blob = blobOf(6 * MiB)
      await using slow = await scriptedRegistry(async (request, response) => {
        if (request.method === 'HEAD') return response.writeHead(404).end()
        if (request.method === 'POST') return response.writeHead(202, { location: '/upload' }).end()
        while ((await readdir(folder)).length === 0) await delay(10)
        await request.resume().once('end', () => response.writeHead(201).end())
      })
      await using transport = new Transport(slow.host)
      const repository = new RegistryRepository(transport, 'team/app', { journal: new UploadFiles(folder) })
      assert.equal(await repository.putBlob(blob), 'sent')
      assert.deepEqual(await readdir(folder), [])
    })
    it('is not remembered any more once it is forgotten, however long that takes', async () => {
      const blob = blobOf(6 * MiB)
      class Slow extends UploadFiles {
        override async forget(key: string): Promise<void> {
          await super.forget(key)
          await delay(1100) // a second after it began it would be remembered
        }
      }
      const journal = new Slow(folder)
      await using transport = new Transport(new URL(app.url).host)
      await journal.remember(`${transport.registry}/team/app@${blob.digest}`, `${app.url}/v2/team/app/blobs/uploads/x`)
      assert.equal(await new RegistryRepository(transport, 'team/app', { journal }).putBlob(blob), 'sent')
      assert.deepEqual(await readdir(folder), [])
    })
    it('that was committed although the answer was lost is not sent again', async () => {
      const blob = blobOf(6 * MiB)
      const lost = (): Treatment => ({ cutAnswerAfterBytes: 0 })
      let closings = 0
      const { requests } = await push(blob, ({ method }) => (method === 'PUT' && closings++ === 0 ? lost() : 'pass'))
      await assertThere(blob)
      assert.equal(requests.filter(bringsBytes).length, 1)
    })
    for (const [status, sizeBytes] of [
      [429, 1000],
      [503, 6 * MiB],
    ] as const)
      it(`of ${sizeBytes} bytes arrives once a registry has time that had none (${status})`, async () => {
        let refused = 0
        const { arrival, requests } = await push(blobOf(sizeBytes), (request) =>
          bringsBytes(request) && refused++ < 2 ? { status, headers: { 'retry-after': '0' } } : 'pass',
        )
        assert.equal(arrival, 'sent')
        assert.equal(requests.filter(({ bodyBytes }) => bodyBytes === sizeBytes).length, 1)
      })
    it('is not sent again before the time that a busy registry asked for', async () => {
      const times: number[] = []
      await push(blobOf(1000), (request) => {
        if (!bringsBytes(request)) return 'pass'
        return times.push(performance.now()) === 1 ? { status: 429, headers: { 'retry-after': '1' } } : 'pass'
      })
      const [first = 0, second = 0] = times
      assert.ok(second - first > 990, `${second - first} ms`)
    })
    it('is given up with what the registry says that never has time', async () => {
      const body = '{"errors":[{"code":"UNAVAILABLE","message":"closed for lunch"}]}'
      const error: unknown = await push(blobOf(1000), (request) =>
        bringsBytes(request) ? { status: 503, body } : 'pass',
      ).catch((caught: unknown) => caught)
      assert.match(String(error), /answered 503 to PUT .*: closed for lunch/)
    })
    it('goes in chunks where a body is too large for a proxy', async () => {
      const blob = blobOf(20 * MiB)
      const { requests } = await push(blob, ({ headers }) =>
        Number(headers['content-length'] ?? 0) > 9 * MiB ? { status: 413 } : 'pass',
      )
      await assertThere(blob)
      const sizes = requests
        .filter(({ method, status }) => method === 'PATCH' && status === 202)
        .map((each) => each.bodyBytes)
      assert.deepEqual(sizes, [8 * MiB, 8 * MiB, 4 * MiB])
    })
    it('is sent again where a connection broke and there is no PATCH', async () => {
      const blob = blobOf(20 * MiB)
      let cuts = 0
      const { requests } = await push(
        blob,
        (request) => {
          if (request.method === 'PATCH') return { status: 405 }
          return bringsBytes(request) && cuts++ === 0 ? { cutAfterBytes: 12 * MiB } : 'pass'
        },
        'team/app',
        400,
      )
      await assertThere(blob)
      assert.deepEqual(shown(requests).slice(-3), ['PATCH 405', 'POST 202', 'PUT 201'])
    })
    it('is given up with the limit that is in its way', async () => {
      const blob = blobOf(6 * MiB)
      await assert.rejects(
        push(blob, ({ headers }) => (Number(headers['content-length'] ?? 0) > 1000 ? { status: 413 } : 'pass')),
        /client_max_body_size/,
      )
    })
    it('is given up when a connection breaks again and again and nothing arrives', async () => {
      const error: unknown = await push(blobOf(6 * MiB), (request) =>
        bringsBytes(request) ? { cutAfterBytes: 0 } : 'pass',
      ).catch((caught: unknown) => caught)
      assert.ok(isBrokenConnection(error), String(error))
    })
    it('whose source fails is given up with what the source said, at once', async () => {
      const broken = blobOf(6 * MiB)
      async function* open(): AsyncGenerator<Uint8Array> {
        yield broken.bytes.subarray(0, 100)
        throw new Error('the disk is on fire')
      }
      const direct = async (): Promise<never> => {
        throw new Error('the disk is on fire')
      }
      await assert.rejects(push({ ...broken, open, ...(broken.direct ? { direct } : {}) }), {
        message: 'the disk is on fire',
      })
    })
    it('that is not what its digest says is refused by the registry', async () => {
      const blob = blobOf(6 * MiB)
      await assert.rejects(
        push({ ...blob, digest: digestOf(Buffer.from('other')) }),
        (error) => error instanceof RegistryRefusal && error.code === 'DIGEST_INVALID',
      )
    })
  })
