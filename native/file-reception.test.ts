import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Reception, type ReceptionProgress, receiveFile } from './file-reception.ts'
import { ResumableHash } from './hash.ts'
import { type SocketPair, socketPair } from './testing/socket-pair.ts'

const MIB = 1024 * 1024
const SIZE = 10 * MIB + 1

async function fileFor(t: TestContext): Promise<FileHandle> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-reception-'))
  const file = await open(join(folder, 'a'), 'wx+')
  t.after(async () => {
    await file.close()
    await rm(folder, { recursive: true })
  })
  return file
}

const BOTH = ['sha256', 'sha512'] as const

const start = (
  { descriptor }: SocketPair,
  file: FileHandle,
  lengthBytes: number,
  before = Buffer.alloc(0),
  algorithms: readonly ('sha256' | 'sha512')[] = BOTH,
): Reception =>
  receiveFile({
    socket: descriptor,
    file: file.fd,
    pieces: [before],
    offset: 0,
    lengthBytes,
    stepBytes: MIB,
    states: algorithms.map((name) => new ResumableHash(name).export()),
  })

async function end(reception: Reception): Promise<ReceptionProgress> {
  for (;;) {
    const progress = await reception.next()
    if (progress.over) return progress
    reception.goOn()
  }
}

async function demandStates(
  states: readonly Uint8Array[],
  content: Uint8Array,
  algorithms: readonly ('sha256' | 'sha512')[] = BOTH,
): Promise<void> {
  for (const [index, algorithm] of algorithms.entries()) {
    const hash = new ResumableHash(algorithm)
    await hash.update(content)
    assert.equal(ResumableHash.import(states[index] ?? assert.fail()).digestHex(), hash.digestHex())
  }
}

test('so many bytes arrive in the file behind those that came before, hashed, and the rest stays in the socket', async (t) => {
  const content = randomBytes(SIZE)
  const file = await fileFor(t)
  const pair = await socketPair(t)
  pair.far.end(content.subarray(1_000))
  const { error, ...done } = await end(start(pair, file, SIZE - 3_000, content.subarray(0, 1_000)))
  assert.deepEqual([error, done.offset, done.receivedBytes], [undefined, SIZE - 2_000, SIZE - 3_000])
  assert.ok((await file.readFile()).equals(content.subarray(0, SIZE - 2_000)))
  await demandStates(done.states, content.subarray(0, SIZE - 2_000))
  pair.near.resume()
  assert.ok(Buffer.concat(await pair.near.toArray()).equals(content.subarray(SIZE - 2_000)))
})

test('progress is told with the states that belong to it, and no more than one step is received before it is answered', async (t) => {
  const content = randomBytes(SIZE)
  const pair = await socketPair(t)
  pair.far.write(content)
  const reception = start(pair, await fileFor(t), SIZE)
  const first = await reception.next()
  assert.ok(!first.over && first.offset >= MIB)
  await demandStates(first.states, content.subarray(0, first.offset))
  assert.ok(reception.isOurTurn())
  let received = 0
  while (received < reception.receivedBytes()) {
    received = reception.receivedBytes()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.ok(received < first.offset + 2 * MIB, `${received}`)
  reception.goOn()
  assert.equal((await end(reception)).offset, SIZE)
})

test('a step that was passed while the one before was looked at is told then, although nothing more comes', async (t) => {
  const content = randomBytes(SIZE)
  const pair = await socketPair(t)
  const reception = start(pair, await fileFor(t), SIZE)
  pair.far.write(content.subarray(0, MIB))
  assert.equal((await reception.next()).offset, MIB)
  await new Promise<void>((resolve) => pair.far.write(content.subarray(MIB, 2 * MIB), () => resolve()))
  while (reception.receivedBytes() < 2 * MIB) await new Promise(setImmediate)
  reception.goOn()
  assert.equal((await reception.next()).offset, 2 * MIB)
  reception.goOn()
  pair.far.write(content.subarray(2 * MIB))
  assert.equal((await end(reception)).offset, SIZE)
})

test('those that share a thread, and are hashed together, have their own bytes, lengths, hashes and ends', async (t) => {
  const kinds = [BOTH, ['sha256'], ['sha512', 'sha256']] as const
  const bytes = randomBytes(SIZE)
  await Promise.all(
    Array.from({ length: 16 }, async (_, i) => {
      const algorithms = kinds[i % kinds.length] ?? BOTH
      const [beforeBytes, lengthBytes] = [(i * 977) % 200, 1 + ((i * 1_234_567) % SIZE)]
      const content = bytes.subarray(i * 1_000, i * 1_000 + Math.min(SIZE - 16_000, beforeBytes + lengthBytes))
      const sentBytes = content.length - (i % 5 === 0 ? Math.floor(content.length / 3) : 0) // some say less than they announced
      const [file, pair] = [await fileFor(t), await socketPair(t)]
      const before = content.subarray(0, Math.min(beforeBytes, sentBytes))
      const reception = start(pair, file, content.length - before.length, Buffer.from(before), algorithms)
      for (let at = before.length; at < sentBytes; at += 50_000 + i) {
        pair.far.write(content.subarray(at, Math.min(sentBytes, at + 50_000 + i)))
      }
      pair.far.end()
      const { offset, states } = await end(reception)
      assert.equal(offset, sentBytes)
      assert.ok((await file.readFile()).equals(content.subarray(0, sentBytes)))
      await demandStates(states, content.subarray(0, sentBytes), algorithms)
    }),
  )
})

test('many at once, from senders of any speed, do not wait for each other', async (t) => {
  const file = await fileFor(t)
  const silent = await Promise.all(Array.from({ length: 20 }, () => socketPair(t)))
  const waiting = silent.map((pair) => start(pair, file, SIZE))
  const content = randomBytes(SIZE)
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      const pair = await socketPair(t)
      pair.far.write(content)
      const { states } = await end(start(pair, await fileFor(t), SIZE))
      await demandStates(states, content)
    }),
  )
  for (const reception of waiting) {
    reception.cancel()
    assert.equal((await end(reception)).error?.code, 'ECANCELED')
  }
})

test('a sender that ends early, or goes away, ends the reception with what came', async (t) => {
  const early = await socketPair(t)
  early.far.end('abc')
  const ended = await end(start(early, await fileFor(t), SIZE))
  assert.deepEqual([ended.error, ended.offset, ended.receivedBytes], [undefined, 3, 3])
  await demandStates(ended.states, Buffer.from('abc'))

  const gone = await socketPair(t)
  const reception = start(gone, await fileFor(t), SIZE)
  gone.far.resetAndDestroy()
  const { error } = await end(reception)
  assert.deepEqual([error?.code, error?.step], ['ECONNRESET', 'read a socket'])
})

test('a disk that takes no more ends it, with the bytes that were read', async (t) => {
  await using full = await open('/dev/full', 'r+')
  const pair = await socketPair(t)
  pair.far.write('abc')
  const { error, offset, receivedBytes } = await end(start(pair, full, SIZE))
  assert.deepEqual([error?.code, error?.step, offset, receivedBytes], ['ENOSPC', 'write a file', 0, 3])
})

test('a process can end while a reception waits', () => {
  const module = fileURLToPath(new URL('./file-reception.ts', import.meta.url))
  const script = `
    import { open } from 'node:fs/promises'
    import { connect, createServer } from 'node:net'
    import { receiveFile } from ${JSON.stringify(module)}
    const server = createServer({ pauseOnConnect: true }, async (socket) => {
      const file = await open('/dev/null', 'r+')
      receiveFile({ socket: socket._handle.fd, file: file.fd, pieces: [], offset: 0, lengthBytes: 9, stepBytes: 9, states: [] })
      setTimeout(() => process.exit(7), 50)
    }).listen(0, '127.0.0.1', () => connect(server.address().port, '127.0.0.1'))`
  const { status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 })
  assert.deepEqual([status, signal], [7, null])
})
