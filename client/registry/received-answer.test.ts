/** Large blobs of registries that are asked in clear, on their way into the local store: read and hashed by the addon. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { digestOf } from '../../storage/model/digest.ts'
import { Content, ContentMismatch } from '../store/content.ts'
import { StoreFolders } from '../store/store.ts'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { RegistryMisbehaves, RegistryUnreachable } from './refusals.ts'
import { RegistryRepository } from './registry.ts'
import { Transport, type TransportOptions } from './transport.ts'

const MiB = 1024 * 1024
const bytes = randomBytes(20 * MiB)
const digest = digestOf(bytes)

/** Serves ranges of the blob; `until`: cuts the connection there. */
function serve({ headers }: IncomingMessage, response: ServerResponse, until = bytes.length, from = 0): void {
  const [, start = ''] = /^bytes=([0-9]+)-$/.exec(headers.range ?? '') ?? []
  const begin = start === '' ? from : Number(start)
  const range = start === '' ? {} : { 'content-range': `bytes ${begin}-${bytes.length - 1}/${bytes.length}` }
  response.writeHead(start === '' ? 200 : 206, { ...range, 'content-length': bytes.length - begin })
  if (until === bytes.length) response.end(bytes.subarray(begin))
  else response.write(bytes.subarray(begin, until), () => response.destroy())
}

describe('a large blob that is pulled in clear', () => {
  let root: string
  let content: Content
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-received-'))
    content = new Content(await StoreFolders.open(join(root, 'store')))
  })
  afterEach(async () => await rm(root, { recursive: true, force: true }))

  interface Fetched {
    /** So many bytes of it came through JavaScript. */
    readonly pumpedBytes: number
    /** How far it was said to be. */
    readonly told: readonly number[]
  }

  async function fetch(host: string, signal?: AbortSignal, options: TransportOptions = {}): Promise<Fetched> {
    await using repository = new RegistryRepository(new Transport(host, { backOffMs: 1, ...options }), 'team/app')
    let pumpedBytes = 0
    const told: number[] = []
    const blob = { digest, sizeBytes: bytes.length }
    async function* open(fromByte: number): AsyncGenerator<Uint8Array> {
      for await (const chunk of repository.blob(blob, { fromByte, signal })) {
        pumpedBytes += chunk.length
        yield chunk
      }
    }
    await content.fetch(
      digest,
      bytes.length,
      { open, receive: (file) => repository.receive(blob, file, signal) },
      (file) => {
        file.onChange(() => told.push(file.bytes))
      },
    )
    return { pumpedBytes, told }
  }
  const isThere = async (): Promise<boolean> => (await content.readSmall(digest)).equals(bytes)
  const kept = async (): Promise<readonly string[]> => await readdir(join(root, 'store/content/blobs/sha256'))

  it('does not pass through JavaScript, and whoever follows it is told how far it is', async () => {
    await using registry = await scriptedRegistry((request, response) => serve(request, response))
    const { pumpedBytes, told } = await fetch(registry.host)
    assert.equal(pumpedBytes, 0)
    assert.ok(await isThere())
    assert.ok(told.length > 10 && told.every((reached, i) => reached >= (told[i - 1] ?? 0)), String(told))
    assert.equal(told.at(-1), bytes.length)
  })
  it('goes on where the connection broke, twice', async () => {
    await using registry = await scriptedRegistry((request, response, count) =>
      serve(request, response, count < 3 ? count * 8 * MiB : undefined),
    )
    assert.equal((await fetch(registry.host)).pumpedBytes, 0)
    assert.ok(await isThere())
    const begins = registry.asked.map(({ headers }) => Number(/[0-9]+/.exec(headers.range ?? '0')))
    assert.equal(begins.length, 3)
    assert.ok((begins[1] ?? 0) > MiB && (begins[2] ?? 0) > 8 * MiB, String(begins))
  })
  it('is given up when the connection breaks again and again and nothing comes', async () => {
    await using registry = await scriptedRegistry((request, response) => serve(request, response, 0))
    await assert.rejects(fetch(registry.host), RegistryUnreachable)
  })
  it('is read by JavaScript where a server cannot go on in the middle, or does not say how much will come', async () => {
    await using forgetful = await scriptedRegistry((request, response, count) => {
      delete request.headers.range
      serve(request, response, count === 1 ? 8 * MiB : undefined)
    })
    assert.ok((await fetch(forgetful.host)).pumpedBytes > 0)
    assert.ok(await isThere())
    await content.remove(digest)
    await using chunked = await scriptedRegistry((_, response) => response.writeHead(200).end(bytes))
    assert.equal((await fetch(chunked.host)).pumpedBytes, bytes.length)
    assert.ok(await isThere())
  })
  it('that is something else is refused, and nothing of it is kept', async () => {
    const other = Buffer.from(bytes)
    other[other.length - 1] = ~(other.at(-1) ?? 0) & 255
    await using registry = await scriptedRegistry((_, response) =>
      response.writeHead(200, { 'content-length': other.length }).end(other),
    )
    await assert.rejects(fetch(registry.host), ContentMismatch)
    assert.deepEqual(await kept(), [])
  })
  it('that is longer or shorter than was announced is refused', async () => {
    for (const lengthBytes of [bytes.length + 1, bytes.length - 1]) {
      await using registry = await scriptedRegistry((_, response) =>
        response
          .writeHead(200, { 'content-length': lengthBytes })
          .end(Buffer.concat([bytes, bytes]).subarray(0, lengthBytes)),
      )
      await assert.rejects(fetch(registry.host), ContentMismatch)
      assert.deepEqual(await kept(), [])
    }
  })
  it('that drips is given up', async () => {
    await using registry = await scriptedRegistry((_, response) => {
      response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 2 * MiB))
      const drip = setInterval(() => response.write('x'), 20)
      response.once('close', () => clearInterval(drip))
    })
    await assert.rejects(fetch(registry.host, undefined, { patience: { windowMs: 100 } }), RegistryMisbehaves)
  })
  it('that is not wanted any more stops, and the next goes on behind what had come', async () => {
    const stop = new AbortController()
    await using registry = await scriptedRegistry((request, response, count) => {
      if (count > 1) return serve(request, response)
      response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 8 * MiB), async () => {
        while ((await content.storedBytes()) < MiB) await new Promise(setImmediate)
        stop.abort(new Error('never mind'))
      })
    })
    await assert.rejects(fetch(registry.host, stop.signal), { message: 'never mind' })
    assert.equal((await kept()).length, 1)
    assert.equal((await fetch(registry.host)).pumpedBytes, 0)
    assert.ok(await isThere())
    assert.match(registry.asked[1]?.headers.range ?? '', /^bytes=[1-9]/)
  })
})
