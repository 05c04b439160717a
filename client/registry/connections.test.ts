import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { BodyFailed, Connections, type StreamedBody } from './connections.ts'

const IDLE_MS = 300

async function put(host: string, body: StreamedBody): Promise<{ readonly status: number; readonly text: string }> {
  const connections = new Connections({ idleMs: IDLE_MS })
  try {
    const headers = { 'content-length': String(body.sizeBytes) }
    const answer = await connections.send(new URL(`http://${host}/`), { method: 'PUT', headers, body })
    const pieces: Buffer[] = []
    for await (const piece of answer) pieces.push(piece as Buffer)
    return { status: answer.statusCode ?? 0, text: String(Buffer.concat(pieces)) }
  } finally {
    connections.destroy()
  }
}

const endless = async function* (): AsyncGenerator<Uint8Array> {
  for (;;) yield Buffer.alloc(64 * 1024)
}

describe('a connection', () => {
  it('on which nothing moves is given up', async () => {
    await using silent = await scriptedRegistry(() => {})
    await assert.rejects(put(silent.host, { sizeBytes: 0, open: async function* () {} }), { code: 'ETIMEDOUT' })
    await using deaf = await scriptedRegistry((request) => request.pause())
    await assert.rejects(put(deaf.host, { sizeBytes: 1e9, open: endless }), { code: 'ETIMEDOUT' })
  })
  it('is not given up while it is us who have nothing to say', async () => {
    await using registry = await scriptedRegistry(async (request, response) => {
      request.resume()
      await once(request, 'end')
      response.end('all')
    })
    const slow = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a')
      await delay(3 * IDLE_MS)
      yield Buffer.from('b')
    }
    assert.deepEqual(await put(registry.host, { sizeBytes: 2, open: slow }), { status: 200, text: 'all' })
    await using silent = await scriptedRegistry((request) => request.resume())
    await assert.rejects(put(silent.host, { sizeBytes: 2, open: slow }), { code: 'ETIMEDOUT' })
  })
  it('that answers before all was sent is listened to, and asks for no more', async () => {
    await using registry = await scriptedRegistry((request, response) => {
      request.pause()
      response.writeHead(413).end('too much')
    })
    let stopped = false
    const watched = async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield* endless()
      } finally {
        stopped = true
      }
    }
    assert.deepEqual(await put(registry.host, { sizeBytes: 1e12, open: watched }), { status: 413, text: 'too much' })
    assert.ok(stopped)
  })
  it('is closed when what is sent breaks off, or is shorter than was said', async () => {
    let closed = 0
    const arrivals: (() => void)[] = []
    await using registry = await scriptedRegistry((request) => {
      request.resume().on('error', () => closed++)
      arrivals.shift()?.()
    })
    const arrived = () => new Promise<void>((resolve) => arrivals.push(resolve))
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a')
      await arrived()
      throw new Error('the disk')
    }
    const short = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a')
      await arrived()
    }
    for (const [open, why] of [
      [broken, /the disk/],
      [short, /1 bytes instead of 2/],
    ] as const)
      await assert.rejects(put(registry.host, { sizeBytes: 2, open }), (error) => {
        assert.ok(error instanceof BodyFailed)
        assert.match(String(error.cause), why)
        return true
      })
    while (closed < 2) await delay(10)
  })
})
