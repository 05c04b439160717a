// What profiles become: the compiler's programs, run by a machine of our own, against the profile read rule by rule.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { runCli } from './testing/cli.ts'
import { evaluate, type Instruction, parseProgram } from './testing/filter-machine.ts'

const AUDIT = { x86_64: 0xc000003e, x86: 0x40000003, aarch64: 0xc00000b7, arm: 0x40000028 }
const X32_BIT = 0x40000000
const KILL_PROCESS = 0x80000000
const ALLOW = 0x7fff0000
const errno = (number: number): number => 0x00050000 + number
const ENOSYS = 38

const COMPARISONS: Readonly<Record<string, (argument: bigint, value: bigint, second: bigint) => boolean>> = {
  SCMP_CMP_NE: (argument, value) => argument !== value,
  SCMP_CMP_LT: (argument, value) => argument < value,
  SCMP_CMP_LE: (argument, value) => argument <= value,
  SCMP_CMP_EQ: (argument, value) => argument === value,
  SCMP_CMP_GE: (argument, value) => argument >= value,
  SCMP_CMP_GT: (argument, value) => argument > value,
  SCMP_CMP_MASKED_EQ: (argument, value, second) => (argument & value) === second,
}

interface Condition {
  readonly index: number
  readonly op: string
  readonly value: bigint
  readonly valueTwo: bigint
}

interface Rule {
  readonly names: readonly string[]
  readonly action: string
  readonly errnoRet?: number
  readonly args: readonly Condition[]
}

const NONE = [0n, 0n, 0n, 0n, 0n, 0n]

/** Digits and all: the numbers of profiles go beyond what a double holds. */
const print = (profile: unknown): string =>
  JSON.stringify(profile, (_, value) => (typeof value === 'bigint' ? `#${value}#` : value)).replace(/"#(\d+)#"/g, '$1')

describe('a seccomp profile', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-seccomp-'))
  })
  after(async () => await rm(folder, { recursive: true, force: true }))

  const compiled = async (profile: unknown, architecture = 'x86_64') => {
    const file = join(folder, 'profile.json')
    await writeFile(file, typeof profile === 'string' ? profile : print(profile))
    return await runCli(folder, ['seccomp', '--arch', architecture, file])
  }
  const compile = async (profile: unknown, architecture?: string): Promise<readonly Instruction[]> => {
    const { code, stdout, stderr } = await compiled(profile, architecture)
    assert.equal(code, 0, stderr)
    return parseProgram(stdout)
  }
  const refused = async (profile: unknown, pattern: RegExp): Promise<void> => {
    const { code, stderr } = await compiled(profile)
    assert.equal(code, 1)
    assert.match(stderr, pattern)
  }

  it('decides as its rules read, whatever they are', async () => {
    const calls: Readonly<Record<string, number>> = { read: 0, openat: 257, socket: 41, personality: 135, clone3: 435 }
    const near = fc.constantFrom(0n, 1n, 40n, 0xffffffffn, 0x100000000n, 0x100000028n, 2n ** 63n, 2n ** 64n - 1n)
    const number = fc.oneof(near, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
    const condition: fc.Arbitrary<Condition> = fc.record({
      index: fc.nat(5),
      op: fc.constantFrom(...Object.keys(COMPARISONS)),
      value: number,
      valueTwo: number,
    })
    const rule: fc.Arbitrary<Rule> = fc
      .record({
        names: fc.uniqueArray(fc.constantFrom(...Object.keys(calls), 'no_such_call'), { minLength: 1, maxLength: 3 }),
        errnoRet: fc.nat(4095),
        args: fc.uniqueArray(condition, { maxLength: 3, selector: ({ index }) => index }),
      })
      .map((each) => ({ ...each, action: 'SCMP_ACT_ERRNO' }))
    await fc.assert(
      fc.asyncProperty(
        fc.array(rule, { maxLength: 12 }),
        fc.constantFrom('SCMP_ACT_ALLOW', 'SCMP_ACT_ERRNO'),
        fc.array(fc.array(number, { minLength: 6, maxLength: 6 }), { minLength: 20, maxLength: 20 }),
        async (rules, defaultAction, arguments_) => {
          const program = await compile({ defaultAction, syscalls: rules })
          const newest = Math.max(-1, ...rules.flatMap((each) => each.names.map((name) => calls[name] ?? -1)))
          for (const [name, nr] of Object.entries({ ...calls, unnamed: 3, futex_waitv: 449 })) {
            for (const args of arguments_) {
              const own = rules.filter((each) => each.names.includes(name))
              const holds = (each: Rule): boolean =>
                each.args.every(({ index, op, value, valueTwo }) =>
                  COMPARISONS[op]?.(args[index] ?? 0n, value, valueTwo),
                )
              const found =
                own.find((each) => each.args.length > 0 && holds(each)) ?? own.find((each) => each.args.length === 0)
              const refusing = defaultAction === 'SCMP_ACT_ERRNO'
              const other = !refusing ? ALLOW : newest >= 0 && nr > newest ? errno(ENOSYS) : errno(1)
              assert.equal(
                evaluate(program, { audit: AUDIT.x86_64, number: nr, args }),
                found ? errno(found.errnoRet ?? 1) : other,
                `${name}(${args})`,
              )
            }
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  const headers = '/usr/include/x86_64-linux-gnu/asm'
  const tables: readonly [string, string, string, number, number][] = [
    ['x86_64', `${headers}/unistd_64.h`, 'x86_64', AUDIT.x86_64, 0],
    ['x86', `${headers}/unistd_32.h`, 'x86_64', AUDIT.x86, 0],
    ['x32', `${headers}/unistd_x32.h`, 'x86_64', AUDIT.x86_64, X32_BIT],
    ['aarch64', '/usr/include/asm-generic/unistd.h', 'aarch64', AUDIT.aarch64, 0],
  ]
  for (const [name, header, machine, audit, bit] of tables) {
    const skip = existsSync(header) ? false : `there is no ${header}`
    it(`knows the calls of ${name} by the numbers of the kernel's headers`, { skip }, async () => {
      const defined = [
        ...readFileSync(header, 'utf8').matchAll(/^#define __NR_(\w+) \(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?$/gm),
      ]
      const calls = defined.map(([, call = '', number]) => [call, Number(number)] as const)
      const others = ['syscalls', 'arch_specific_syscall', 'sync_file_range2'] // a count, a range, another architecture's
      const time64 = (number: number): boolean => machine === 'aarch64' && number >= 403 && number <= 423 // of 32 bits alone
      const known = calls.filter(([call, number]) => !others.includes(call) && !time64(number))
      assert.ok(known.length > 200)
      const program = await compile(
        {
          defaultAction: 'SCMP_ACT_KILL_PROCESS',
          architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
          syscalls: known.map(([call], i) => ({ names: [call], action: 'SCMP_ACT_ERRNO', errnoRet: 1000 + i })),
        },
        machine,
      )
      for (const [i, [call, number]] of known.entries()) {
        const answer = evaluate(program, { audit, number: number + bit, args: NONE })
        assert.equal(answer, errno(1000 + i), call)
      }
    })
  }

  it('kills programs of an architecture that it does not list', async () => {
    const allowed = { defaultAction: 'SCMP_ACT_ALLOW' }
    const alone = await compile(allowed)
    const answer = (program: readonly Instruction[], audit: number, number: number): number =>
      evaluate(program, { audit, number, args: NONE })
    assert.equal(answer(alone, AUDIT.x86_64, 1), ALLOW)
    assert.equal(answer(alone, AUDIT.x86, 1), KILL_PROCESS)
    assert.equal(answer(alone, AUDIT.x86_64, X32_BIT + 1), KILL_PROCESS)
    assert.equal(answer(alone, AUDIT.aarch64, 1), KILL_PROCESS)
    const all = await compile({ ...allowed, architectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32', 'SCMP_ARCH_S390X'] })
    assert.equal(answer(all, AUDIT.x86, 1), ALLOW)
    assert.equal(answer(all, AUDIT.x86_64, X32_BIT + 1), ALLOW)
    assert.equal(answer(all, AUDIT.aarch64, 1), KILL_PROCESS)
    const arm = await compile({ ...allowed, architectures: ['SCMP_ARCH_ARM'] }, 'aarch64')
    assert.equal(answer(arm, AUDIT.aarch64, 1), ALLOW)
    assert.equal(answer(arm, AUDIT.arm, 1), ALLOW)
    assert.equal(answer(arm, AUDIT.x86_64, 1), KILL_PROCESS)
  })

  it('compares as many bits as a program of the architecture can give', async () => {
    const profile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86'],
      syscalls: [
        {
          names: ['ioctl'],
          action: 'SCMP_ACT_ERRNO',
          args: [{ index: 1, op: 'SCMP_CMP_EQ', value: 0xffffffff00005412n }],
        },
      ],
    }
    const program = await compile(profile)
    const ioctl = (audit: number, number: number, request: bigint): number =>
      evaluate(program, { audit, number, args: [0n, request, 0n, 0n, 0n, 0n] })
    assert.equal(ioctl(AUDIT.x86, 54, 0x5412n), errno(1))
    assert.equal(ioctl(AUDIT.x86_64, 16, 0x5412n), ALLOW)
    assert.equal(ioctl(AUDIT.x86_64, 16, 0xffffffff00005412n), errno(1))
  })

  it('takes several conditions on one argument for alternatives', async () => {
    const args = [1n, 2n].map((value) => ({ index: 0, op: 'SCMP_CMP_EQ', value }))
    const program = await compile({
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [{ names: ['personality'], action: 'SCMP_ACT_ALLOW', args }],
    })
    const answers = [1n, 2n, 3n].map((value) =>
      evaluate(program, { audit: AUDIT.x86_64, number: 135, args: [value, ...NONE.slice(1)] }),
    )
    assert.deepEqual(answers, [ALLOW, ALLOW, errno(1)])
  })

  it('may be so long that jumps need steps, but not longer than the kernel takes', async () => {
    const rules = (count: number) =>
      Array.from({ length: count }, (_, i) => ({
        names: ['ioctl'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: i % 4096,
        args: [{ index: 1, op: 'SCMP_CMP_EQ', value: BigInt(i) }],
      }))
    const program = await compile({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: rules(700) })
    const answer = (number: number, request: bigint): number =>
      evaluate(program, { audit: AUDIT.x86_64, number, args: [0n, request, 0n, 0n, 0n, 0n] })
    for (let i = 0; i < 700; i += 1) assert.equal(answer(16, BigInt(i)), errno(i))
    assert.deepEqual([answer(16, 700n), answer(15, 1n), answer(17, 1n)], [ALLOW, ALLOW, ALLOW])
    const tooLong = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: rules(1000) }
    await refused(tooLong, /linux\.seccomp: needs \d+ instructions, and the kernel takes no more than 4096/)
  })

  it('is refused with the path of what is wrong', async () => {
    const profile = (change: object): object => ({ defaultAction: 'SCMP_ACT_ALLOW', ...change })
    const rule = (change: object): object =>
      profile({ syscalls: [{ names: ['read'], action: 'SCMP_ACT_ERRNO', ...change }] })
    const notify = { names: ['read'], action: 'SCMP_ACT_NOTIFY' }
    const cases: readonly [object, RegExp][] = [
      [{}, /seccomp\.defaultAction: is required/],
      [{ defaultAction: 'ALLOW' }, /defaultAction: "ALLOW" is not known: must be one of SCMP_ACT_ALLOW, /],
      [profile({ defaultErrnoRet: 1 }), /defaultErrnoRet: SCMP_ACT_ALLOW has no number/],
      [rule({ errnoRet: 4096 }), /syscalls\[0\]\.errnoRet: must be an integer from 0 to 4095/],
      [rule({ names: [] }), /syscalls\[0\]\.names: must name a system call/],
      [rule({ args: [{ index: 6, op: 'SCMP_CMP_EQ', value: 1 }] }), /args\[0\]\.index: must be an integer from 0 to 5/],
      [rule({ args: [{ index: 0, op: 'EQ', value: 1 }] }), /args\[0\]\.op: "EQ" is not known/],
      [rule({ args: [{ index: 0, op: 'SCMP_CMP_EQ', value: -1 }] }), /args\[0\]\.value: must be an integer from 0/],
      [profile({ architectures: ['SCMP_ARCH_VAX'] }), /architectures\[0\]: "SCMP_ARCH_VAX" is not known/],
      [profile({ flags: ['X'] }), /flags\[0\]: "X" is no flag of seccomp/],
      [profile({ syscalls: [notify] }), /listenerPath: is required where an action is SCMP_ACT_NOTIFY/],
      [profile({ listenerPath: '/x' }), /listenerPath: is only for profiles with the action SCMP_ACT_NOTIFY/],
      [profile({ listenerMetadata: 'x' }), /listenerMetadata: is only for profiles with a listenerPath/],
      [profile({ listenerPath: '/x', syscalls: [{ ...notify, names: ['write'] }] }), /write cannot be notified about/],
      [{ defaultAction: 'SCMP_ACT_NOTIFY', listenerPath: '/x' }, /must not be SCMP_ACT_NOTIFY/],
    ]
    for (const [each, pattern] of cases) await refused(each, pattern)
  })
})
