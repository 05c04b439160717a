// Filters as the kernel enforces them inside containers.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Bench, CAPABILITIES, dockerConfig } from './testing/bundle.ts'
import { type CliResult, runCli } from './testing/cli.ts'
import { systemCallNumbers } from './testing/system-call-numbers.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'
const SUPERVISOR = fileURLToPath(new URL('./testing/seccomp-supervisor.py', import.meta.url))

const { getpid: GETPID, getppid: GETPPID, personality: PERSONALITY, swapoff: SWAPOFF } = systemCallNumbers()
const NEWER_THAN_ANY = 600

describe('a container with a seccomp profile', { skip }, () => {
  let bench: Bench
  before(async () => {
    bench = await Bench.open()
  })
  afterEach(async () => assert.deepEqual(await bench.leftovers(), []))
  after(async () => await bench.close())

  const run = async (seccomp: object, args: readonly (string | number)[], process: object = {}): Promise<CliResult> => {
    const config = dockerConfig(...args.map(String))
    Object.assign(config.linux, { seccomp })
    Object.assign(config.process, process)
    return runCli(bench.stateRoot, ['run', '-b', await bench.bundle(config), bench.nextId()])
  }
  const permissive = (...syscalls: readonly object[]): object => ({ defaultAction: 'SCMP_ACT_ALLOW', syscalls })
  const rule = (action: string, more: object = {}): object => ({ names: ['getppid'], action, ...more })

  it('has each action done by the kernel', async () => {
    const SIGSYS = 31
    const outcome = async (...rules: readonly object[]): Promise<string> =>
      (await run(permissive(...rules), ['call', GETPPID])).stdout
    assert.equal(await outcome(), `call ${GETPPID} errno 0\n`)
    assert.equal(await outcome(rule('SCMP_ACT_LOG')), `call ${GETPPID} errno 0\n`)
    assert.equal(await outcome(rule('SCMP_ACT_ERRNO')), `call ${GETPPID} errno 1\n`)
    assert.equal(await outcome(rule('SCMP_ACT_ERRNO', { errnoRet: 99 })), `call ${GETPPID} errno 99\n`)
    assert.equal(await outcome(rule('SCMP_ACT_TRACE')), `call ${GETPPID} errno 38\n`) // ENOSYS: nobody traces
    for (const action of ['KILL', 'KILL_THREAD', 'KILL_PROCESS', 'TRAP'])
      assert.equal(await outcome(rule(`SCMP_ACT_${action}`)), `call ${GETPPID} signal ${SIGSYS}\n`, action)
  })

  it('may be asked for what its arguments are', async () => {
    const args = [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 0xff, valueTwo: 0x08 }]
    const profile = permissive({ names: ['personality'], action: 'SCMP_ACT_ERRNO', errnoRet: 99, args })
    const { stdout } = await run(profile, ['call', PERSONALITY, '0x20008', '--', 'call', PERSONALITY, '0x20000'])
    assert.equal(stdout, `call ${PERSONALITY} errno 99\ncall ${PERSONALITY} errno 0\n`)
  })

  it('is told ENOSYS of calls that are newer than its profile', async () => {
    const profile = {
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [
        // What the test's program needs.
        {
          names: words('execve write exit_group brk arch_prctl mmap mprotect fork clone wait4 clock_nanosleep'),
          action: 'SCMP_ACT_ALLOW',
        },
        {
          names: words(
            'uname readlink newfstatat ioctl set_tid_address set_robust_list rseq prlimit64 getrandom pipe2',
          ),
          action: 'SCMP_ACT_ALLOW',
        },
      ],
    }
    const { stdout } = await run(profile, ['call', SWAPOFF, '--', 'call', NEWER_THAN_ANY])
    assert.equal(stdout, `call ${SWAPOFF} errno 1\ncall ${NEWER_THAN_ANY} errno 38\n`)
  })

  it('needs none of what the runtime itself has to do, where it may gain no privileges', async () => {
    const calls = 'setgroups setresuid setresgid capset prctl chdir close_range setrlimit keyctl setsid mount'
    const { stdout, code } = await run(permissive({ names: words(calls), action: 'SCMP_ACT_KILL_PROCESS' }), ['id'], {
      user: { uid: 7, gid: 8 },
    })
    assert.deepEqual([stdout, code], ['uid 7 gid 8 umask 022 groups\n', 0])
  })

  it('has its filter loaded while the runtime may still do so, where it may gain privileges', async () => {
    const { stdout } = await run(permissive(rule('SCMP_ACT_ERRNO')), ['call', GETPPID, '--', 'id'], {
      noNewPrivileges: false,
      user: { uid: 7, gid: 8 },
    })
    assert.match(stdout, /errno 1\nuid 7 gid 8/)
  })

  it('shows in /proc that it is filtered', async () => {
    const { stdout } = await run(permissive(), ['cat', '/proc/self/status'])
    assert.match(stdout, /^Seccomp:\s+2\nSeccomp_filters:\s+1$/m)
  })

  it('is supervised by whoever listens on the profile’s path', { timeout: 30_000 }, async () => {
    for (const noNewPrivileges of [true, false]) {
      const folder = await mkdtemp(join(bench.directory, 'supervisor-'))
      const listenerPath = join(folder, 'socket')
      const supervisor = spawn('python3', [SUPERVISOR, listenerPath, '1'], { stdio: ['ignore', 'pipe', 'inherit'] })
      try {
        await once(supervisor.stdout, 'readable')
        const said = text(supervisor.stdout)
        const seccomp = {
          ...permissive(rule('SCMP_ACT_NOTIFY')),
          listenerPath,
          listenerMetadata: 'who it is',
        }
        const { stdout, stderr } = await run(seccomp, ['call', GETPPID, '--', 'fds'], { noNewPrivileges })
        assert.deepEqual([stdout, stderr], [`call ${GETPPID} errno 77\nfd 0\nfd 1\nfd 2\n`, ''])
        const [, document = '', asked] = (await said).split('\n')
        assert.equal(asked, `asked about ${GETPPID}`)
        const { ociVersion, fds, pid, metadata, state } = JSON.parse(document)
        assert.deepEqual([ociVersion, fds, metadata], ['1.0.2', ['seccompFd'], 'who it is'])
        assert.deepEqual([state.status, state.pid], ['creating', pid])
      } finally {
        supervisor.kill('SIGKILL')
      }
    }
  })

  it('does not start when nobody supervises it', async () => {
    const seccomp = { ...permissive(rule('SCMP_ACT_NOTIFY')), listenerPath: join(bench.directory, 'nobody') }
    const { code, stderr } = await run(seccomp, ['true'])
    assert.equal(code, 1)
    assert.match(stderr, /send the seccomp listener to .*nobody: no such file or directory/)
  })

  it('keeps the filter whatever its program’s capabilities', async () => {
    const all = [...CAPABILITIES, 'CAP_SYS_ADMIN']
    const { stdout } = await run(permissive(rule('SCMP_ACT_ERRNO')), ['call', GETPPID, '--', 'call', GETPID], {
      capabilities: { bounding: all, effective: all, permitted: all },
    })
    assert.equal(stdout, `call ${GETPPID} errno 1\ncall ${GETPID} errno 0\n`)
  })
})

const words = (text: string): readonly string[] => text.split(' ')
