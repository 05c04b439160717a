// Detached containers: their monitor and those who talk to it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { readContainerLog } from './container-log.ts'
import { startMonitor } from './monitor.ts'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { collect, DetachedBench, logOf, processSizesKb, statusOf } from './testing/detached.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'

describe('a monitor of a container', { skip, timeout: 300_000 }, () => {
  let bench: Bench
  let detached: DetachedBench

  before(async () => {
    bench = await Bench.open()
    detached = new DetachedBench(bench)
  })
  afterEach(async () => {
    await detached.endAll()
    assert.deepEqual(await bench.leftovers(), [])
  })
  after(async () => await bench.close())

  const withTerminal = (...args: string[]): BundleConfig => {
    const config = dockerConfig(...args)
    config.process['terminal'] = true
    return config
  }

  describe('with standard input', () => {
    it('passes it on, and its end when the first who attached says so', async () => {
      const folder = await detached.folder(dockerConfig('copy'), { stdin: 'once' })
      const { connection, attached } = await detached.startAttached(folder)
      const text = 'x'.repeat(300_000)
      attached.stdin.end(text)
      assert.equal((await connection.ended()).exitCode, 0)
      await once(attached.stdout, 'end')
      assert.equal(attached.output().length, text.length)
    })

    it('ends it when the first who attached goes', async () => {
      const folder = await detached.folder(dockerConfig('copy'), { stdin: 'once' })
      const { attached, connection } = await detached.startAttached(folder)
      attached.stdin.write('bye\n')
      await attached.until(/bye/)
      const other = await detached.connect(folder)
      const ended = other.ended()
      connection.close()
      assert.equal((await ended).exitCode, 0)
    })

    it('keeps it open for the next where it is open', async () => {
      const folder = await detached.folder(dockerConfig('copy'), { stdin: 'open' })
      const first = await detached.startAttached(folder)
      first.attached.stdin.end('one\n')
      await first.attached.until(/one/)
      first.connection.close()
      const next = await detached.connect(folder)
      const attached = collect(await next.attach({ input: true, whenSlow: 'skip' }))
      attached.stdin.write('two\n')
      await attached.until(/two/)
    })
  })

  describe('with a terminal', () => {
    it('lets several in at once, resizes it, and goes on without them', async () => {
      const folder = await detached.folder(withTerminal('copy', '--', 'size', '--', 'sleep', '60'), { stdin: 'open' })
      const { connection, attached } = await detached.startAttached(folder)
      const second = await detached.connect(folder)
      const seen = collect(await second.attach({ input: true, whenSlow: 'skip' }))
      attached.stdin.write('to all\n')
      await attached.until(/to all\r\nto all\r\n/) // the terminal's echo, and the program
      await seen.until(/to all\r\nto all\r\n/)
      await second.detach()
      await connection.resize(123, 45)
      connection.close()
      const third = await detached.connect(folder)
      const last = collect(await third.attach({ input: true, whenSlow: 'skip' }))
      last.stdin.write('\x04') // Ctrl-D ends what `copy` reads
      await last.until(/size 45 123/)
      assert.equal((await third.status()).phase, 'running')
      assert.ok((await logOf(folder)).some(({ text }) => text === 'size 45 123\r\n'))
    })
  })

  describe('with clients that are slow', () => {
    const LINES = 100_000
    const flood = (): Promise<string> => detached.folder(dockerConfig('flood', String(LINES)))

    it('goes on without one that wants output skipped, and tells it', async () => {
      const folder = await flood()
      let missed = 0
      const connection = await startMonitor(folder)
      const attached = await connection.attach({
        input: false,
        whenSlow: 'skip',
        onMissed: (bytes) => {
          missed += bytes
        },
      })
      await connection.start()
      const other = await detached.connect(folder)
      assert.equal((await other.ended()).exitCode, 0)
      let got = 0
      for await (const chunk of attached.stdout) got += (chunk as Buffer).length
      assert.ok(missed > 0)
      assert.equal(got + missed, LINES * 64)
      let count = 0
      for await (const _ of readContainerLog(folder)) count += 1
      assert.equal(count, LINES)
      await connection[Symbol.asyncDispose]()
    })

    it('waits for one that wants every byte, also after the end', async () => {
      const folder = await flood()
      const connection = await startMonitor(folder)
      const attached = await connection.attach({ input: false, whenSlow: 'wait' })
      await connection.start()
      await delay(300)
      assert.equal((await statusOf(folder)).phase, 'running') // held up
      let got = 0
      for await (const chunk of attached.stdout) got += (chunk as Buffer).length
      assert.equal(got, LINES * 64)
      await connection[Symbol.asyncDispose]()
      assert.equal((await statusOf(folder)).exitCode, 0)
    })
  })

  describe('with peers that mean no good', () => {
    const rawly = async (folder: string): Promise<Socket> => {
      const socket = connect(join(folder, 'control'))
      await once(socket, 'connect')
      return socket
    }
    const frame = (type: number, payload: string, length = payload.length): Buffer => {
      const header = Buffer.alloc(5)
      header.writeUInt32LE(length)
      header.writeUInt8(type, 4)
      return Buffer.concat([header, Buffer.from(payload)])
    }

    it('drops one that talks nonsense, and goes on', async () => {
      const folder = await detached.folder(dockerConfig('sleep', '60'))
      const connection = await detached.start(folder)
      for (const nonsense of [
        frame(99, ''),
        frame(1, '', 0xffff_ffff),
        frame(1, 'not JSON'),
        frame(1, '{"do": "stop"}'),
        frame(1, '{"id": 1e99, "do": "stop"}'),
      ]) {
        const socket = await rawly(folder)
        socket.resume().write(nonsense)
        await once(socket, 'close')
      }
      for (const request of [{ do: 'nosuch' }, { do: 'signal', signal: 999 }, { do: 'resize', rows: -1, columns: 1 }]) {
        const socket = await rawly(folder)
        socket.write(frame(1, JSON.stringify({ id: 7, ...request })))
        const [answer] = (await once(socket, 'data')) as [Buffer]
        assert.match(answer.toString(), /"id":7,"error":\{"message":"(unknown request|request\.\w+: must be)/)
        socket.destroy()
      }
      assert.equal((await connection.status()).phase, 'running')
    })

    it('answers others while some say nothing, and one asks and does not listen', async () => {
      const folder = await detached.folder(dockerConfig('sleep', '60'))
      const connection = await detached.start(folder)
      const { monitor } = await connection.status()
      const silent = await Promise.all(Array.from({ length: 40 }, () => rawly(folder)))
      const deaf = await rawly(folder)
      deaf.pause()
      for (let id = 1; id < 20_000; id += 1) deaf.write(frame(1, JSON.stringify({ id, do: 'status' })))
      await delay(300)
      const second = await detached.connect(folder)
      assert.equal((await second.status()).phase, 'running')
      assert.ok(((await processSizesKb(monitor.pid)).get('RssAnon') ?? 0) < 2048)
      for (const socket of [...silent, deaf]) socket.destroy()
      await connection.stop({ timeoutMs: 0 })
    })

    it('lets nobody else in', async () => {
      const folder = await detached.folder(dockerConfig('sleep', '60'))
      await detached.start(folder)
      for (const name of ['control', 'status.json', 'monitor.lock'])
        assert.equal((await stat(join(folder, name))).mode & 0o077, 0, name)
    })
  })
})
