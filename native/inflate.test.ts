/** Our inflate beside Node's zlib: what one reads, the other reads alike, and what one refuses, the other refuses. Built with sanitizers. */
import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { constants, createGunzip, gunzipSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { DECOMPRESS_PARTS, expectedChecksums } from './testing/decompress.ts'

const native = import.meta.dirname
const sources = ['testing/decompress.cc', ...DECOMPRESS_PARTS.map((part) => `src/${part}.cc`)]
const program = join(native, 'build/test-decompress')
const RUNS = Number(process.env['GANTRY_FUZZ_RUNS'] ?? (process.env['GANTRY_TEST_FULL_SIZE'] ? 60 : 20))

async function build(): Promise<void> {
  const built = await stat(program).catch(() => undefined)
  const changed = await Promise.all(sources.map(async (source) => (await stat(join(native, source))).mtimeMs))
  if (built && built.mtimeMs > Math.max(...changed)) return
  const made = `${program}.${process.pid}`
  const flags = [
    '-std=c++20',
    '-O1',
    '-g',
    '-fsanitize=address,undefined',
    '-fno-sanitize-recover=all',
    '-D_GNU_SOURCE',
    '-Isrc',
  ]
  await mkdir(join(native, 'build'), { recursive: true })
  await promisify(execFile)('g++', [...flags, '-o', made, ...sources], { cwd: native })
  await rename(made, program)
}

/** What comes out, or `undefined` if it was refused; anything else that happens is a failure. */
async function ours(blob: Uint8Array, readBytes: number, chunkBytes: number): Promise<Buffer | undefined> {
  const child = spawn(program, ['gzip', `${readBytes}`, `${chunkBytes}`])
  const chunks: Buffer[] = []
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr.on('data', (text: Buffer) => (said += text))
  child.stdin.on('error', () => {}) // it need not read to the end
  child.stdin.end(blob)
  const [code] = await once(child, 'close')
  if (code === 1) assert.match(said, /gzip|compressed data|truncated/)
  else assert.equal(code, 0, said)
  return code === 0 ? Buffer.concat(chunks) : undefined
}

/** Node's, which takes what follows a member and is none for the end; a layer has no business with that. */
function theirs(blob: Buffer): Buffer | undefined {
  try {
    return gunzipSync(blob)
  } catch {
    return undefined
  }
}

const content = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }),
  fc
    .array(fc.constantFrom('the ', 'quick ', 'brown ', '\0'.repeat(40), 'fox'), { maxLength: 9000 })
    .map((words) => Buffer.from(words.join(''))),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 9 }), fc.integer({ min: 1, max: 9000 }))
    .map(([unit, times]) => Buffer.concat(Array(times).fill(unit))),
  // Far apart, so that distances are long.
  fc
    .tuple(fc.uint8Array({ minLength: 200, maxLength: 900 }), fc.integer({ min: 20_000, max: 40_000 }))
    .map(([unit, apart]) => Buffer.concat([unit, Buffer.alloc(apart, 7), unit])),
)
const settings = fc.record({
  level: fc.integer({ min: 0, max: 9 }),
  memLevel: fc.integer({ min: 1, max: 9 }),
  windowBits: fc.integer({ min: 9, max: 15 }),
  strategy: fc.constantFrom(
    constants.Z_DEFAULT_STRATEGY,
    constants.Z_FILTERED,
    constants.Z_HUFFMAN_ONLY,
    constants.Z_RLE,
    constants.Z_FIXED,
  ),
})
const pieces = fc.constantFrom(1, 7, 100, 4000, 262_144)

describe('inflate', () => {
  before(build)

  it('gives what zlib gives, in pieces of any size', async () =>
    await fc.assert(
      fc.asyncProperty(content, settings, pieces, pieces, async (bytes, options, readBytes, chunkBytes) => {
        const blob = gzipSync(bytes, options)
        assert.ok((await ours(blob, readBytes, Math.max(chunkBytes, bytes.length > 50_000 ? 100 : 1)))?.equals(bytes))
      }),
      { numRuns: RUNS },
    ))
  it('refuses what zlib refuses, and reads what zlib reads, of damaged data', async () =>
    await fc.assert(
      fc.asyncProperty(
        content,
        settings,
        fc.nat(),
        fc.nat(7),
        fc.boolean(),
        pieces,
        async (bytes, options, place, bit, early, chunkBytes) => {
          const blob = Buffer.from(gzipSync(bytes, options))
          const at = 10 + (place % (Math.min(blob.length, early ? 80 : blob.length) - 10))
          blob[at] = (blob[at] ?? 0) ^ (1 << bit)
          const expected = theirs(blob)
          const actual = await ours(blob, 262_144, Math.max(chunkBytes, 100))
          assert.deepEqual(actual === undefined, expected === undefined)
          if (expected) assert.ok(actual?.equals(expected))
        },
      ),
      { numRuns: RUNS },
    ))
  it('refuses a stream that ends anywhere before its end', async () => {
    const blob = gzipSync(Buffer.from('some words, some words, and others'.repeat(20)))
    for (let length = 1; length < blob.length; length++)
      assert.equal(await ours(blob.subarray(0, length), 100, 100), undefined)
  })
  it('reads headers with names, comments, extra fields and checksums', async () => {
    const bytes = Buffer.from('content')
    const plain = gzipSync(bytes)
    const extras = [Buffer.from([5, 0, 1, 2, 3, 4, 5]), Buffer.from('name\0'), Buffer.from('comment\0')]
    const header = Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0x1c, 0, 0, 0, 0, 0, 3]), ...extras])
    const blob = Buffer.concat([header, plain.subarray(10)])
    assert.ok((await ours(blob, 1, 100))?.equals(bytes))
    const unknown = Buffer.from(plain)
    unknown[3] = 0x80
    assert.equal(await ours(unknown, 100, 100), undefined)
    const damaged = Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 2, 0, 0, 0, 0, 0, 3, 1, 2]), plain.subarray(10)])
    assert.equal(await ours(damaged, 100, 100), undefined)
  })
  it('has beside it the checksums of zlib and node:crypto, with the instructions of the CPU and without', () => {
    const bytes = randomBytes(700)
    const said = execFileSync(program, ['checksums'], { input: bytes, encoding: 'utf8' })
    assert.equal(said, expectedChecksums(bytes))
  })
  it('agrees with zlib’s own streaming of members one after the other', async () => {
    const members = Array.from({ length: 20 }, (_, i) => gzipSync(Buffer.alloc(i * 5000, `member ${i} `)))
    const stream = createGunzip()
    stream.end(Buffer.concat(members))
    const expected: Buffer[] = []
    for await (const chunk of stream) expected.push(chunk)
    assert.ok((await ours(Buffer.concat(members), 100, 3000))?.equals(Buffer.concat(expected)))
  })
})
