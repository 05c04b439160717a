// The log writer, the pace of restarts and the rules of health checks, without a container; and the reader of logs.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type LogEntry, type LogOptions, readContainerLog } from './container-log.ts'

const native = fileURLToPath(new URL('.', import.meta.url))
const execute = promisify(execFile)

describe('the parts of a monitor', () => {
  let directory: string
  let program: string
  let count = 0

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'gantry-monitor-parts-'))
    program = join(directory, 'parts')
    const folders = ['core', 'runtime', 'monitor'].map((name) => join(native, 'build/runtime-objects', name))
    const objects = await Promise.all(
      folders.map(async (folder) => (await readdir(folder)).map((name) => join(folder, name))),
    )
    const linked = objects.flat().filter((path) => path.endsWith('.o') && !path.endsWith('/main.o'))
    const source = join(native, 'testing/monitor-parts.cc')
    const flags = ['-std=c++20', `-I${join(native, 'src')}`, '-static', '-Wl,--gc-sections']
    await execute('g++', [...flags, '-o', program, source, ...linked])
  })
  after(async () => await rm(directory, { recursive: true, force: true }))

  const part = async (...words: string[]): Promise<string> => (await execute(program, words)).stdout.trim()
  const newFolder = async (): Promise<string> => {
    count += 1
    const folder = join(directory, String(count))
    await mkdir(folder)
    return folder
  }
  const write = async (folder: string, maxSize: number, maxFiles: number, ...texts: string[]): Promise<string> =>
    await part('log', folder, 'json-file', String(maxSize), String(maxFiles), ...texts)
  const read = async (folder: string, options?: LogOptions): Promise<LogEntry[]> => {
    const entries: LogEntry[] = []
    for await (const entry of readContainerLog(folder, options)) entries.push(entry)
    return entries
  }
  const texts = async (folder: string, options?: LogOptions): Promise<string[]> =>
    (await read(folder, options)).map(({ text }) => text)

  describe('the log', () => {
    it('has an entry for each line, of each stream, and for the rest at the end', async () => {
      const folder = await newFolder()
      await write(folder, 0, 1, 'one%0atw', '!err%0a', 'o%0a%0athree')
      const entries = await read(folder)
      assert.deepEqual(
        entries.map(({ stream, text }) => [stream, text]),
        [
          ['stdout', 'one\n'],
          ['stderr', 'err\n'],
          ['stdout', 'two\n'],
          ['stdout', '\n'],
          ['stdout', 'three'],
        ],
      )
      for (const { time } of entries) assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/)
    })

    it('is JSON whatever a program writes', async () => {
      const folder = await newFolder()
      await write(folder, 0, 1, '"\\%09%00%1b[0m%0d%0a', 'ä€😀%ff%c3(%e2%82%0a', '%ed%a0%80%f5%80%0a')
      assert.deepEqual(await texts(folder), [
        '"\\\t\0\x1b[0m\r\n',
        'ä€😀\ufffd\ufffd(\ufffd\ufffd\n',
        `${'\ufffd'.repeat(5)}\n`,
      ])
    })

    it('cuts lines of more than 16 KiB, but not their characters', async () => {
      const folder = await newFolder()
      const line = `${'x'.repeat(16 * 1024 - 1)}é${'y'.repeat(20_000)}`
      await write(folder, 0, 1, line, '%0a')
      const parts = await texts(folder)
      assert.equal(parts.join(''), `${line}\n`)
      assert.equal(parts[0], 'x'.repeat(16 * 1024 - 1))
      assert.equal(parts.length, 3)
    })

    it('sets files aside that are full, and keeps so many', async () => {
      const folder = await newFolder()
      const lines = Array.from({ length: 40 }, (_, index) => `line ${String(index).padStart(3, '0')}`)
      await write(folder, 400, 3, ...lines.map((line) => `${line}%0a`))
      assert.deepEqual((await readdir(folder)).sort(), ['container.log', 'container.log.1', 'container.log.2'])
      const kept = await texts(folder)
      assert.deepEqual(
        kept,
        lines.slice(-kept.length).map((line) => `${line}\n`),
      )
      assert.ok(kept.length > 8)
      for (const name of await readdir(folder)) assert.ok((await readFile(join(folder, name))).length <= 500)
      const alone = await newFolder()
      await write(alone, 400, 1, ...lines.map((line) => `${line}%0a`))
      assert.deepEqual(await readdir(alone), ['container.log'])
      assert.equal((await texts(alone)).at(-1), 'line 039\n')
    })

    it('goes on in the file that is there, also after a line that was cut off', async () => {
      const folder = await newFolder()
      await write(folder, 0, 1, 'one%0a')
      await writeFile(join(folder, 'container.log'), '{"log":"half', { flag: 'a' })
      await write(folder, 0, 1, 'two%0a')
      assert.deepEqual(await texts(folder), ['one\n', 'two\n'])
    })

    it('counts what cannot be written, and says why', async () => {
      const folder = await newFolder()
      await mkdir(join(folder, 'container.log'))
      assert.match(await write(folder, 0, 1, 'one%0a'), /^\d\d+ write the log: is a directory$/)
    })

    it('may have the bytes as they are, or nothing', async () => {
      const folder = await newFolder()
      await part('log', folder, 'plain', '0', '1', 'a%0ab', '!c%ff')
      assert.deepEqual(await readFile(join(folder, 'container.log')), Buffer.from('a\nbc\xff', 'latin1'))
      const none = await newFolder()
      await part('log', none, 'none', '0', '1', 'a%0a')
      assert.deepEqual(await readdir(none), [])
    })
  })

  describe('reading the log', () => {
    it('gives the last lines only, wherever they are', async () => {
      const folder = await newFolder()
      const lines = Array.from({ length: 40 }, (_, index) => `${index}\n`)
      await write(folder, 1000, 9, ...lines.map((line) => `${line.trim()}%0a`))
      for (const tail of [0, 1, 13, 39, 40, 41]) {
        assert.deepEqual(await texts(folder, { tail }), tail === 0 ? [] : lines.slice(-tail), `tail ${tail}`)
      }
    })

    it('gives what is between two times', async () => {
      const folder = await newFolder()
      const times = ['01', '02', '03', '04'].map((second) => `2026-01-01T00:00:${second}.000000000Z`)
      const entries = times.map((time, index) => JSON.stringify({ log: `${index}\n`, stream: 'stdout', time }))
      await writeFile(join(folder, 'container.log'), `${entries.join('\n')}\n`)
      assert.deepEqual(await texts(folder, { since: times[1] ?? '', until: times[2] ?? '' }), ['1\n', '2\n'])
      assert.deepEqual(await texts(folder, { since: times[3] ?? '' }), ['3\n'])
    })

    it('follows through rotations, from before there is a file, to the end', async () => {
      const folder = await newFolder()
      const { promise: follow, resolve: end } = Promise.withResolvers<void>()
      const reading = texts(folder, { follow })
      const lines = Array.from({ length: 60 }, (_, index) => `line ${index}`)
      for (let at = 0; at < lines.length; at += 6) {
        await write(folder, 300, 50, ...lines.slice(at, at + 6).map((line) => `${line}%0a`))
      }
      end()
      assert.deepEqual(
        await reading,
        lines.map((line) => `${line}\n`),
      )
    })

    it('stops at once when it is aborted', async () => {
      const folder = await newFolder()
      await write(folder, 0, 1, 'one%0a')
      const controller = new AbortController()
      const reading = (async () => {
        for await (const { text } of readContainerLog(folder, {
          follow: new Promise(() => {}),
          signal: controller.signal,
        })) {
          assert.equal(text, 'one\n')
          setImmediate(() => controller.abort(new Error('enough')))
        }
      })()
      await assert.rejects(reading, /enough/)
    })
  })

  it('restarts at a pace that doubles from 100 ms to a minute, and from the beginning after 10 s', async () => {
    const failures = Array.from({ length: 12 }, () => ['1', '0']).flat()
    assert.equal(
      await part('restarts', 'always', '0', ...failures),
      '100 200 400 800 1600 3200 6400 12800 25600 51200 60000 60000 count 12',
    )
    assert.equal(
      await part('restarts', 'always', '0', '0', '0', '0', '9999', '0', '10000', '0', '1'),
      '100 200 100 200 count 4',
    )
  })

  it('restarts what has failed, so many times; or never', async () => {
    assert.equal(await part('restarts', 'on-failure', '2', '1', '0', '137', '0', '1', '0'), '100 200 ends count 2')
    assert.equal(await part('restarts', 'on-failure', '0', '3', '0', '0', '0'), '100 ends count 1')
    assert.equal(await part('restarts', 'no', '0', '1', '0'), 'ends count 0')
  })

  it('judges health as docker does: streaks, the start period, the last five results', async () => {
    assert.equal(
      await part('health', '0', '3', '1', '1', '1', '2', '1', '3', '0', '4', '1', '5', '0', '6'),
      'starting/1/1000 starting/2/1000 unhealthy/3/1000 healthy/0/1000 healthy/1/1000 healthy/0/1000 kept 5',
    )
    // Failures of the start period count for nothing, and it is asked more often, until it is over or was healthy once.
    assert.equal(
      await part('health', '100', '1', '1', '50', '1', '99', '1', '100'),
      'starting/0/10 starting/0/10 unhealthy/1/1000 kept 3',
    )
    assert.equal(
      await part('health', '100', '2', '0', '10', '1', '20', '1', '30'),
      'healthy/0/1000 healthy/1/1000 unhealthy/2/1000 kept 3',
    )
  })
})
