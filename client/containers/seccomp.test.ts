/** The default profile as the runtime's compiler reads it, and profiles in docker's format. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { EXECUTABLE } from '../../native/testing/cli.ts'
import { evaluate, parseProgram } from '../../native/testing/filter-machine.ts'
import { CAPABILITIES } from './capabilities.ts'
import { RequestError } from './request-error.ts'
import { defaultSeccomp, type SeccompProfile } from './seccomp.ts'
import { readSeccompFile } from './seccomp-file.ts'

const ALLOW = 0x7fff0000
const errno = (number: number): number => 0x00050000 + number
const KILL_PROCESS = 0x80000000
const X86_64 = 0xc000003e
const X86 = 0x40000003

describe('seccomp profiles', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-seccomp-'))
  })
  after(async () => await rm(folder, { recursive: true, force: true }))

  /** What it answers to a call: the audit number of the architecture, the call's number, its first arguments. */
  async function answers(profile: SeccompProfile) {
    const file = join(folder, 'profile.json')
    await writeFile(file, JSON.stringify(profile))
    const program = parseProgram(execFileSync(EXECUTABLE, ['seccomp', '--arch', 'x86_64', file], { encoding: 'utf8' }))
    return (audit: number, number: number, ...given: readonly bigint[]): number =>
      evaluate(program, { audit, number, args: [0, 1, 2, 3, 4, 5].map((i) => given[i] ?? 0n) })
  }

  describe('the default', () => {
    it('allows what programs do and refuses what is the host’s', async () => {
      const answer = await answers(defaultSeccomp('amd64', CAPABILITIES))
      const allowed = { read: 0, ptrace: 101, chroot: 161, statmount: 457, mseal: 462, removexattrat: 466 }
      for (const [name, number] of Object.entries(allowed)) assert.equal(answer(X86_64, number), ALLOW, name)
      const refused = { mount: 165, swapon: 167, init_module: 175, kexec_load: 246, add_key: 248, keyctl: 250 }
      const newer = { bpf: 321, userfaultfd: 323, io_uring_setup: 425, io_uring_enter: 426, io_uring_register: 427 }
      for (const [name, number] of Object.entries({ ...refused, ...newer }))
        assert.equal(answer(X86_64, number), errno(1), name)
      assert.equal(answer(X86_64, 435), errno(38), 'clone3')
      assert.equal(answer(X86_64, 467), errno(38), 'newer than the profile')
    })

    it('lets no namespace be made by clone', async () => {
      const answer = await answers(defaultSeccomp('amd64', CAPABILITIES))
      const CLONE = 56
      assert.equal(answer(X86_64, CLONE, 0x11n), ALLOW)
      for (const flag of [0x20000n, 0x2000000n, 0x4000000n, 0x8000000n, 0x10000000n, 0x20000000n, 0x40000000n])
        assert.equal(answer(X86_64, CLONE, flag | 0x11n), errno(1))
    })

    it('refuses vsock and the kernel’s ciphers however their numbers are spelled', async () => {
      const answer = await answers(defaultSeccomp('amd64', CAPABILITIES))
      const SOCKET = 41
      for (const family of [1n, 2n, 10n, 16n, 17n]) assert.equal(answer(X86_64, SOCKET, family), ALLOW)
      // The kernel takes the lower half of the register for the family; the filter sees all of it.
      for (const family of [38n, 40n])
        for (const upper of [0n, 1n << 32n, 0xffffffffn << 32n])
          assert.equal(answer(X86_64, SOCKET, upper | family), errno(1))
      assert.equal(answer(X86, 359, 40n), errno(1))
      assert.equal(answer(X86, 102, 1n), errno(1), 'socketcall: its family cannot be seen')
    })

    it('runs 32-bit images, and no x32 programs', async () => {
      const answer = await answers(defaultSeccomp('386', CAPABILITIES))
      assert.deepEqual([answer(X86, 3), answer(X86, 102, 1n), answer(X86_64, 0x40000000)], [ALLOW, ALLOW, KILL_PROCESS])
    })

    it('allows with a capability what it is for', async () => {
      const answer = await answers(defaultSeccomp('amd64', [...CAPABILITIES, 'CAP_SYS_ADMIN']))
      for (const number of [165, 272, 308, 435]) assert.equal(answer(X86_64, number), ALLOW)
      assert.equal(answer(X86_64, 56, 0x20000n), ALLOW)
    })
  })

  describe('a file in docker’s format', () => {
    const read = async (content: unknown, architecture = 'amd64', capabilities: readonly string[] = []) => {
      const path = join(folder, 'given.json')
      await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content))
      return await readSeccompFile(path, architecture, capabilities)
    }
    const archMap = [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }]

    it('is resolved for the architecture, the capabilities and the kernel', async () => {
      const rule = (names: string[], more: object = {}): object => ({ names, action: 'SCMP_ACT_ALLOW', ...more })
      const profile = await read(
        {
          defaultAction: 'SCMP_ACT_ERRNO',
          archMap,
          syscalls: [
            { name: 'old', action: 'SCMP_ACT_ALLOW' },
            rule(['both'], { comment: 'x', includes: {}, excludes: null }),
            rule(['arm'], { includes: { arches: ['arm64'] } }),
            rule(['x86'], { includes: { arches: ['amd64'] } }),
            rule(['admin'], { includes: { caps: ['CAP_SYS_ADMIN'] } }),
            rule(['not-for-root'], { excludes: { caps: ['CAP_CHOWN', 'CAP_SYS_ADMIN'] } }),
            rule(['new'], { includes: { minKernel: '5.1' } }),
            rule(['newest'], { includes: { minKernel: '99.0' } }),
          ],
        },
        'amd64',
        ['CAP_CHOWN'],
      )
      assert.deepEqual(profile.architectures, ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'])
      assert.deepEqual(
        profile.syscalls.flatMap(({ names }) => names),
        ['old', 'both', 'x86', 'new'],
      )
      assert.deepEqual(Object.keys(profile.syscalls[1] ?? {}), ['names', 'action'])
    })

    it('is refused when it says nothing', async () => {
      await assert.rejects(read('{'), RequestError)
      await assert.rejects(read([]), /has no defaultAction/)
      const architectures = ['SCMP_ARCH_X86']
      await assert.rejects(read({ defaultAction: 'SCMP_ACT_ALLOW', architectures, archMap }), /one of them says/)
      await assert.rejects(readSeccompFile(join(folder, 'nosuch'), 'amd64', []), /nosuch cannot be read/)
    })
  })
})
