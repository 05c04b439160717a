import assert from 'node:assert/strict'
import { it } from 'node:test'
import { blocksOf } from './blocks.ts'
import { BLOCK_BYTES } from './driver.ts'
import { bytesOf } from './testing/sources.ts'

it('blocks hold no more pieces than one system call takes, however small they are', async () => {
  async function* drip(): AsyncGenerator<Uint8Array> {
    for (let n = 0; n < 5000; n += 1) yield bytesOf('x')
  }
  const blocks = await Array.fromAsync(blocksOf(drip(), 0, undefined, new AbortController().signal))
  assert.equal(blocks.flat().length, 5000)
  assert.ok(blocks.every((block) => block.length <= 1024))
})

it('many bodies at once are gathered in smaller blocks, and none crosses the end of a larger one', async () => {
  const piece = Buffer.alloc(60_000)
  async function* body(): AsyncGenerator<Uint8Array> {
    for (let n = 0; n < 40; n += 1) yield piece
  }
  const never = new AbortController().signal
  const bodies = Array.from({ length: 200 }, () => blocksOf(body(), 0, undefined, never))
  await Promise.all(bodies.map((blocks) => blocks.next()))
  const sizes: number[] = []
  for await (const block of bodies[0] ?? []) sizes.push(block.reduce((total, { length }) => total + length, 0))
  assert.ok(Math.max(...sizes) < 200_000, `${sizes}`)
  await Promise.all(bodies.map((blocks) => blocks.return(undefined)))

  let offset = 0
  for await (const block of blocksOf(body(), 0, undefined, never)) {
    const size = block.reduce((total, { length }) => total + length, 0)
    assert.equal(Math.floor(offset / BLOCK_BYTES), Math.floor((offset + size - 1) / BLOCK_BYTES))
    if (offset === 0) assert.equal(size, BLOCK_BYTES)
    offset += size
  }
  assert.equal(offset, 40 * piece.length)
})
