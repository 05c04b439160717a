/**
 * The native parts on arm64, from a machine of another architecture: all of them are compiled for it, warnings being errors
 * there, too, and what has code of its own for it is run on an emulated processor.
 */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { findAll } from '../conformance/support/needs.ts'
import { EXECUTABLE } from './testing/cli.ts'
import { DECOMPRESS_PARTS, expectedChecksums } from './testing/decompress.ts'

const native = import.meta.dirname
const build = join(native, 'build/arm64')
const COMPILER = 'aarch64-linux-gnu-g++'
const EMULATOR = 'qemu-aarch64'
/** One with all the instructions that our code asks for. */
const PROCESSOR = 'max'
const execute = promisify(execFile)

async function reasonToSkip(): Promise<string | false> {
  if (process.arch === 'arm64') return 'this machine is one: all other tests are of it'
  for (const tool of [COMPILER, EMULATOR]) if ((await findAll(tool)).length === 0) return `not installed: ${tool}`
  return false
}

describe('on arm64', { skip: await reasonToSkip() }, () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-arm64-'))
    const words = ['make', '--no-print-directory', '-j2', `BUILD=${build}`, `CXX=${COMPILER}`]
    await execute('flock', ['build', ...words], { cwd: native })
  })
  after(async () => await rm(folder, { recursive: true, force: true }))

  const emulated = (program: string, words: readonly string[], input: Buffer | string = ''): Buffer =>
    execFileSync(EMULATOR, ['-cpu', PROCESSOR, program, ...words], { input, maxBuffer: 2 ** 26, timeout: 60_000 })

  describe('what reads layers', () => {
    let program: string
    before(async () => {
      program = join(folder, 'decompress')
      const objects = DECOMPRESS_PARTS.map((part) => join(build, 'addon-objects', `${part}.o`))
      const flags = ['-std=c++20', '-O2', '-D_GNU_SOURCE', '-Isrc', '-static', '-pthread']
      await execute(COMPILER, [...flags, '-o', program, 'testing/decompress.cc', ...objects], { cwd: native })
    })

    it('has the right checksums, with the instructions of the processor and without', () => {
      const bytes = randomBytes(400)
      assert.equal(emulated(program, ['checksums'], bytes).toString(), expectedChecksums(bytes))
    })
    it('inflates what zlib has deflated', () => {
      const bytes = Buffer.from(randomBytes(100_000).toString('base64'))
      const pieces = ['4000', '1000']
      assert.ok(emulated(program, ['gzip', ...pieces], gzipSync(bytes)).equals(bytes))
    })
  })

  describe('the runtime', () => {
    const runtime = join(build, 'gantry-runtime')

    it('compiles a seccomp profile for itself as it is compiled for it elsewhere', async () => {
      const profile = join(folder, 'profile.json')
      const newNamespaces = { index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 0x7e020000, valueTwo: 0 }
      const content = {
        defaultAction: 'SCMP_ACT_ERRNO',
        architectures: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
        syscalls: [
          { names: ['read', 'getppid', 'openat2'], action: 'SCMP_ACT_ALLOW' },
          { names: ['clone'], action: 'SCMP_ACT_ALLOW', args: [newNamespaces] },
        ],
      }
      await writeFile(profile, JSON.stringify(content))
      const elsewhere = execFileSync(EXECUTABLE, ['seccomp', '--arch', 'aarch64', profile], { encoding: 'utf8' })
      assert.equal(emulated(runtime, ['seccomp', profile]).toString(), elsewhere)
    })
    it('says which architectures it filters', () => {
      const { linux } = JSON.parse(emulated(runtime, ['features']).toString())
      assert.deepEqual(linux.seccomp.archs, ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'])
    })
  })
})
