import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { transferFile } from './file-transfer.ts'
import { socketPair } from './testing/socket-pair.ts'

const SIZE = 20_000_000

async function opened(t: TestContext, content: Buffer): Promise<FileHandle> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-transfer-'))
  const file = await open(join(folder, 'a'), 'wx+')
  t.after(async () => {
    await file.close()
    await rm(folder, { recursive: true })
  })
  await file.writeFile(content)
  return file
}

test('a range of a file arrives byte for byte, between what is written before and after it', async (t) => {
  const content = randomBytes(SIZE)
  const file = await opened(t, content)
  const { near: sender, far: receiver, descriptor } = await socketPair(t)
  const received = buffer(receiver)
  sender.write('before')
  assert.equal(await transferFile(descriptor, file.fd, 1_000, SIZE - 3_000).done, SIZE - 3_000)
  sender.end('after')
  const whole = Buffer.concat([Buffer.from('before'), content.subarray(1_000, SIZE - 2_000), Buffer.from('after')])
  assert.ok(whole.equals(await received))
})

test('many transfers at once, to receivers of any speed, do not wait for each other', async (t) => {
  const content = randomBytes(SIZE)
  const file = await opened(t, content)
  const stuck = await Promise.all(Array.from({ length: 20 }, () => socketPair(t))) // nobody reads there
  const waiting = stuck.map(({ descriptor }) => transferFile(descriptor, file.fd, 0, SIZE))
  const pairs = await Promise.all(Array.from({ length: 10 }, () => socketPair(t)))
  await Promise.all(
    pairs.map(async ({ near: sender, far: receiver, descriptor }) => {
      const received = buffer(receiver)
      assert.equal(await transferFile(descriptor, file.fd, 0, SIZE).done, SIZE)
      sender.end()
      assert.ok(content.equals(await received))
    }),
  )
  for (const transfer of waiting) {
    assert.ok(transfer.sentBytes() < SIZE)
    transfer.cancel()
    await assert.rejects(transfer.done, { code: 'ECANCELED' })
  }
})

test('a receiver that goes away ends the transfer, and so does cancelling after the socket was closed here', async (t) => {
  const file = await opened(t, randomBytes(SIZE))
  const gone = await socketPair(t)
  const transfer = transferFile(gone.descriptor, file.fd, 0, SIZE)
  gone.far.resetAndDestroy()
  await assert.rejects(transfer.done, { step: 'send a file' })

  const closed = await socketPair(t)
  const other = transferFile(closed.descriptor, file.fd, 0, SIZE)
  closed.near.destroy()
  other.cancel()
  await assert.rejects(other.done, { code: 'ECANCELED' })
  other.cancel()
})

test('a file that ends early is told by the bytes that were sent', async (t) => {
  const file = await opened(t, randomBytes(5_000))
  const { far: receiver, descriptor } = await socketPair(t)
  receiver.resume()
  assert.equal(await transferFile(descriptor, file.fd, 1_000, 10_000).done, 4_000)
})

test('a process can end while a transfer is stuck', () => {
  const program = `
    import { openSync } from 'node:fs'
    import { connect, createServer } from 'node:net'
    import { transferFile } from ${JSON.stringify(fileURLToPath(new URL('file-transfer.ts', import.meta.url)))}
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      const file = openSync(process.execPath)
      const stuck = transferFile(socket._handle.fd, file, 0, 50_000_000)
      stuck.done.catch(() => {})
      setTimeout(() => process.exit(7), 50)
    }).listen(0, () => connect(server.address().port).pause())`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  assert.equal(status, 7, stderr)
})
