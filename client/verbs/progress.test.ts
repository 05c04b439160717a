/** What people and programs see of long work. Time is the test's own. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { digestOf } from '../../storage/model/digest.ts'
import { createProgress, type ProgressEvent, type ProgressStyle, printSeconds } from '../images/progress.ts'

const MB = 1_000_000
const layer = (seed: string) => digestOf(Buffer.from(seed))
const short = (seed: string): string => layer(seed).slice('sha256:'.length, 'sha256:'.length + 12)

function shown(style: ProgressStyle, size: { readonly columns?: number; readonly rows?: number } = {}) {
  const written: string[] = []
  let time = 0
  const progress = createProgress(style, { write: (text) => written.push(text), ...size }, () => time)
  const at = (ms: number, seed: string, phase: ProgressEvent['phase'], bytes: number, totalBytes = 100 * MB): void => {
    time = ms
    progress.event({ layer: layer(seed), phase, bytes, totalBytes })
  }
  return { at, progress, written }
}
const CODES = new RegExp(`${String.fromCharCode(27)}\\[[0-9]*[A-Z]|\\r`, 'g')
/** The lines as they stand, without the codes that put them there. */
const lines = (text: string): readonly string[] => text.replace(CODES, '').split('\n').slice(0, -1)

describe('progress on a terminal', () => {
  const half = (columns: number): string => {
    const { at, written } = shown('tty', { columns })
    at(0, 'a', 'downloading', 0)
    at(1000, 'a', 'downloading', 10 * MB)
    at(2000, 'a', 'downloading', 20 * MB)
    return lines(written.at(-1) ?? '')[0] ?? ''
  }
  it('has a bar, how much, how fast and how long for each layer', () =>
    assert.equal(half(100), `${short('a')} downloading [======                        ] 20MB/100MB 10MB/s 8s`))
  it('leaves out what a narrow one has no room for: the time, the speed, the bar', () => {
    assert.match(half(52), /\[[= ]+\] 20MB\/100MB 10MB\/s$/)
    assert.match(half(46), /\[[= ]+\] 20MB\/100MB$/)
    assert.equal(half(40), `${short('a')} downloading 20MB/100MB`)
    assert.equal(half(20), `${short('a')} downlo`)
  })
  it('is never wider than the terminal, nor longer', () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 120 }),
        fc.integer({ min: 2, max: 30 }),
        fc.integer({ min: 1, max: 40 }),
        (columns, rows, count) => {
          const { at, progress, written } = shown('tty', { columns, rows })
          for (let i = 0; i < count; i++) at(i * 100, `${i}`, 'downloading', i * MB)
          for (let i = 0; i < count; i += 2) at(10_000 + i * 100, `${i}`, 'done', 100 * MB)
          progress.end()
          for (const text of written) {
            assert.ok(lines(text).length < rows)
            for (const line of lines(text)) assert.ok(line.length < columns, line)
          }
        },
      ),
    ))
  it('with more layers than lines shows those that move, and how many are done', () => {
    const { at, progress, written } = shown('tty', { rows: 5 })
    for (let i = 0; i < 10; i++) at(i * 100, `${i}`, i < 8 ? 'done' : 'downloading', i * MB)
    progress.end()
    assert.deepEqual(
      lines(written.at(-1) ?? '').map((line) => line.slice(0, 12)),
      [short('8'), short('9'), '8 of 10 laye'],
    )
  })
})

describe('progress elsewhere', () => {
  it('is a line for each phase of a layer, and one in five seconds of a long one', () => {
    const { at, written } = shown('plain')
    for (let second = 0; second <= 12; second++) at(second * 1000, 'a', 'downloading', second * MB)
    at(13_000, 'a', 'unpacking', 0)
    at(13_500, 'a', 'done', 100 * MB)
    assert.deepEqual(written, [
      `${short('a')}: downloading 100MB\n`,
      `${short('a')}: downloading 5MB/100MB 1MB/s 1m35s\n`,
      `${short('a')}: downloading 10MB/100MB 1MB/s 1m30s\n`,
      `${short('a')}: unpacking\n`,
      `${short('a')}: done\n`,
    ])
  })
  it('is an object a line for programs, the speed in it', () => {
    const { at, written } = shown('json')
    at(0, 'a', 'downloading', 0, 4 * MB)
    at(1000, 'a', 'downloading', 2 * MB, 4 * MB)
    at(1010, 'a', 'downloading', 3 * MB, 4 * MB)
    at(2000, 'a', 'downloading', 4 * MB, 4 * MB)
    const events = written.map(
      (text) => JSON.parse(text) as ProgressEvent & { bytesPerSecond?: number; remainingSeconds?: number },
    )
    assert.deepEqual(
      events.map(({ bytes, bytesPerSecond, remainingSeconds }) => [bytes, bytesPerSecond, remainingSeconds]),
      [
        [0, undefined, undefined],
        [2 * MB, 2 * MB, 1],
        [4 * MB, 2 * MB, 0],
      ],
    )
  })
  it('is nothing if it is to be quiet', () => {
    const { at, written, progress } = shown('quiet')
    at(0, 'a', 'downloading', 1)
    progress.end()
    assert.deepEqual(written, [])
  })
  it('says times as people do', () =>
    assert.deepEqual([5, 59, 65, 3600, 11_220, 400_000].map(printSeconds), [
      '5s',
      '59s',
      '1m05s',
      '1h00m',
      '3h07m',
      '>99h',
    ]))
})
