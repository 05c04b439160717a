import assert from 'node:assert/strict'
import { it } from 'node:test'
import { blocksOf } from './blocks.ts'
import { bytesOf } from './testing/sources.ts'

it('blocks hold no more pieces than one system call takes, however small they are', async () => {
  async function* drip(): AsyncGenerator<Uint8Array> {
    for (let n = 0; n < 5000; n += 1) yield bytesOf('x')
  }
  const blocks = await Array.fromAsync(blocksOf(drip(), 0, undefined, new AbortController().signal))
  assert.equal(blocks.flat().length, 5000)
  assert.ok(blocks.every((block) => block.length <= 1024))
})
