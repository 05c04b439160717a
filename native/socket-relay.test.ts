import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { findAll } from '../conformance/support/needs.ts'
import { relaySocket } from './socket-relay.ts'
import { type SocketPair, socketPair } from './testing/socket-pair.ts'

const SIZE = 20_000_000

test('pieces and then bytes of another socket arrive in order, so many and no more, between what is written before and after', async (t) => {
  const content = randomBytes(SIZE)
  const source = await socketPair(t)
  const target = await socketPair(t)
  const received = buffer(target.far)
  source.far.write(content)
  source.far.write('not asked for')
  target.near.write('before')
  const pieces = [Buffer.from('one '), Buffer.alloc(0), Buffer.from('two ')]
  const relay = relaySocket({ from: source.descriptor, to: target.descriptor, pieces, lengthBytes: SIZE })
  assert.deepEqual(await relay.done, { sentBytes: SIZE + 8, silent: false })
  target.near.end('after')
  assert.ok(Buffer.concat([Buffer.from('beforeone two '), content, Buffer.from('after')]).equals(await received))
  source.near.resume()
  assert.equal(String(...(await once(source.near, 'data'))), 'not asked for')
})

test('a source that says nothing behind the last byte is told from one that does, or has ended', async (t) => {
  for (const [what, silent] of [
    ['nothing', true],
    ['more', false],
    ['the end', false],
  ] as const) {
    const source = await socketPair(t)
    const target = await socketPair(t)
    target.far.resume()
    if (what === 'nothing') source.far.write('content')
    else if (what === 'more') source.far.write('content and more')
    else source.far.end('content')
    if (what === 'the end') await once(source.far, 'finish')
    const relay = relaySocket({ from: source.descriptor, to: target.descriptor, pieces: [], lengthBytes: 7 })
    assert.deepEqual(await relay.done, { sentBytes: 7, silent }, what)
  }
})

const noSs = (await findAll('ss')).length === 0 && 'not installed: ss'

test('what goes to a peer on this machine is not paced', { skip: noSs }, async (t) => {
  const source = await socketPair(t)
  const target = await socketPair(t)
  target.far.resume()
  source.far.write('content')
  await relaySocket({ from: source.descriptor, to: target.descriptor, pieces: [], lengthBytes: 7 }).done
  const algorithmOf = async ({ near }: SocketPair): Promise<string | undefined> => {
    const ends = `sport = :${near.localPort} and dport = :${near.remotePort}`
    const { stdout } = await promisify(execFile)('ss', ['-tinHO', ends])
    return /(reno|cubic|bbr|dctcp|vegas|westwood|htcp|illinois)/.exec(stdout)?.[1]
  }
  assert.equal(await algorithmOf(target), 'reno')
  assert.ok(await algorithmOf(source)) // the machine's own
})

test('many at once, from any source to any receiver, do not wait for each other, and each knows whom it waits for', async (t) => {
  const content = randomBytes(SIZE)
  const begin = async (sends: boolean) => {
    const source = await socketPair(t)
    const target = await socketPair(t)
    if (sends) source.far.end(content)
    const relay = relaySocket({ from: source.descriptor, to: target.descriptor, pieces: [], lengthBytes: SIZE })
    return { relay, target }
  }
  const stuck = await Promise.all(Array.from({ length: 12 }, () => begin(true))) // nobody reads there
  const starved = await Promise.all(Array.from({ length: 12 }, () => begin(false)))
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      const { relay, target } = await begin(true)
      const received = buffer(target.far)
      assert.equal((await relay.done).sentBytes, SIZE)
      target.near.end()
      assert.ok(content.equals(await received))
    }),
  )
  for (const { relay } of stuck) {
    for (let sent = -1; relay.isStarved() || sent !== relay.sentBytes(); await delay(20)) sent = relay.sentBytes()
    assert.ok(relay.sentBytes() < SIZE)
  }
  for (const { relay } of starved) while (!relay.isStarved()) await delay(5)
  for (const { relay } of [...stuck, ...starved]) {
    relay.cancel()
    const { error } = await relay.done
    assert.equal(error?.code, 'ECANCELED')
    relay.cancel()
  }
})

test('a source that ends early is told by what was sent, and one that breaks by its error', async (t) => {
  for (const breaks of [false, true]) {
    const source = await socketPair(t)
    const target = await socketPair(t)
    target.far.resume()
    source.far.write(randomBytes(5_000))
    const { descriptor: from } = source
    const relay = relaySocket({ from, to: target.descriptor, pieces: [Buffer.from('1')], lengthBytes: SIZE })
    while (relay.sentBytes() < 5_001) await delay(5)
    if (breaks) source.far.resetAndDestroy()
    else source.far.end()
    const { sentBytes, silent, error } = await relay.done
    assert.deepEqual([sentBytes, silent], [5_001, false])
    assert.equal(error?.step, breaks ? 'read a socket' : undefined)
  }
})

test('a receiver that goes away ends the relay, and so does cancelling after both sockets were closed here', async (t) => {
  const source = await socketPair(t)
  const target = await socketPair(t)
  source.far.write(randomBytes(SIZE))
  const relay = relaySocket({ from: source.descriptor, to: target.descriptor, pieces: [], lengthBytes: SIZE })
  target.far.resetAndDestroy()
  assert.equal((await relay.done).error?.step, 'write a socket')

  const quiet = await socketPair(t)
  const closed = await socketPair(t)
  const other = relaySocket({ from: quiet.descriptor, to: closed.descriptor, pieces: [], lengthBytes: SIZE })
  quiet.near.destroy()
  closed.near.destroy()
  other.cancel()
  assert.equal((await other.done).error?.code, 'ECANCELED')
})

test('what is hashed arrives whole if it is right, and never whole if it is wrong', async (t) => {
  const content = randomBytes(SIZE)
  const pieces = [content.subarray(0, 1000)]
  for (const algorithm of ['sha256', 'sha512'] as const) {
    const right = createHash(algorithm).update(content).digest('hex')
    for (const hex of [right, right.replace(/^./, (first) => (first === '0' ? '1' : '0'))]) {
      const source = await socketPair(t)
      const target = await socketPair(t)
      const received = buffer(target.far)
      source.far.write(content.subarray(1000))
      const ends = { from: source.descriptor, to: target.descriptor }
      const relay = relaySocket({ ...ends, pieces, lengthBytes: SIZE - 1000, digest: { algorithm, hex } })
      const { sentBytes, digestHex, error } = await relay.done
      target.near.end()
      const arrived = await received
      assert.equal(digestHex, right)
      assert.equal(arrived.length, sentBytes)
      assert.ok(content.subarray(0, sentBytes).equals(arrived))
      if (hex === right) assert.deepEqual([sentBytes, error], [SIZE, undefined])
      else assert.ok(sentBytes < SIZE && error?.step === 'compare a digest')
    }
  }
  const source = await socketPair(t)
  const target = await socketPair(t)
  const digest = { algorithm: 'sha256', hex: '0'.repeat(64) } as const
  const relay = relaySocket({ from: source.descriptor, to: target.descriptor, pieces, lengthBytes: 0, digest })
  const { sentBytes, error } = await relay.done // all of it is in pieces
  assert.deepEqual([sentBytes, error?.step], [0, 'compare a digest'])
})
