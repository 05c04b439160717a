// What a container's processes are given beside files and rights: clocks, processors, priorities, memory, a personality.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { EXECUTABLE, runCommand } from './testing/cli.ts'
import { commandLine } from './testing/command-line.ts'
import { FACES, type Face, openFace } from './testing/faces.ts'
import { belongingTo, withUserNamespace } from './testing/user-namespace.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'

const withTime = (offsets: object, ...args: string[]): BundleConfig => {
  const config = dockerConfig(...args)
  ;(config.linux['namespaces'] as object[]).push({ type: 'time' })
  config.linux['timeOffsets'] = offsets
  return config
}
const clocksOf = (output: string): number[] =>
  (/^monotonic (\d+) boottime (\d+)$/m.exec(output) ?? assert.fail(output)).slice(1).map(Number)
const uptime = async (): Promise<number> => Number.parseFloat(await readFile('/proc/uptime', 'utf8'))
const near = (actual: number | undefined, expected: number): void =>
  assert.ok(Math.abs((actual ?? 0) - expected) < 1000, `${actual}, but about ${expected} expected`)

describe('the processes of a container', { skip }, () => {
  let bench: Bench
  const { cli, fails, start, stateOf, end } = commandLine(() => bench)
  const refused = async (config: BundleConfig, reason: RegExp): Promise<void> =>
    fails(1, reason, 'run', '-b', await bench.bundle(config), bench.nextId())
  const started = (config: BundleConfig): Promise<string> => start((own) => Object.assign(own, config))

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(end)
  after(async () => await bench.close())

  for (const name of FACES) {
    describe(`through the ${name}`, () => {
      let face: Face
      before(async () => {
        face = await openFace(name, bench)
      })
      after(async () => await face[Symbol.asyncDispose]())
      const output = async (config: BundleConfig): Promise<string> =>
        (await face.start(await bench.bundle(config)).ended).output

      it('have clocks of their own, as far from the host’s as they are asked to be', async () => {
        const offsets = { monotonic: { secs: 500_000, nanosecs: 7 }, boottime: { secs: 1_000_000 } }
        const [monotonic, boottime] = clocksOf(await output(withTime(offsets, 'clocks')))
        near(monotonic, (await uptime()) + 500_000)
        near(boottime, (await uptime()) + 1_000_000)
        // Whoever made the container, and what it makes later, are where they were.
        near(clocksOf(await output(dockerConfig('clocks')))[1], await uptime())
      })

      it('have the scheduler and the I/O priority that they are given', async () => {
        const config = dockerConfig('scheduling')
        config.process['scheduler'] = { policy: 'SCHED_BATCH', nice: 7 }
        config.process['ioPriority'] = { class: 'IOPRIO_CLASS_BE', priority: 6 }
        assert.match(await output(config), /^policy 3 flags 0 nice 7 priority 0 deadline 0\nio class 2 level 6\n/)
        config.process['scheduler'] = { policy: 'SCHED_IDLE', flags: ['SCHED_FLAG_RESET_ON_FORK'] }
        config.process['ioPriority'] = { class: 'IOPRIO_CLASS_IDLE' }
        assert.match(await output(config), /^policy 5 flags 1 .*\nio class 3 level 0\n/)
      })

      it('have the memory policy and the personality of the container', async () => {
        const config = dockerConfig('memory-policy', '--', 'machine')
        config.linux['memoryPolicy'] = { mode: 'MPOL_INTERLEAVE', nodes: '0', flags: ['MPOL_F_STATIC_NODES'] }
        config.linux['personality'] = { domain: 'LINUX32' }
        const text = await output(config)
        assert.match(text, /^memory policy 32771 nodes 1$/m)
        assert.match(text, /^machine (i686|armv8l)$/m)
      })
    })
  }

  it('run where the cgroup lets them, whatever their maker was pinned to', async () => {
    const bundle = await bench.bundle(dockerConfig('scheduling'))
    const runUnder = async (...words: string[]): Promise<string | undefined> => {
      const run = [EXECUTABLE, '--root', bench.stateRoot, 'run', '-b', bundle, bench.nextId()]
      return /^cpus .*$/m.exec((await runCommand('taskset', [...words, ...run])).stdout)?.[0]
    }
    assert.notEqual(await runUnder('0x3'), 'cpus 0', 'this takes a machine of two CPUs')
    assert.equal(await runUnder('0x1'), await runUnder('0x3'))
  })

  it('of a user namespace have clocks, schedulers and policies, too', async () => {
    const mappings = [{ containerID: 0, hostID: 100_000, size: 1000 }]
    const config = withUserNamespace(mappings, 'clocks', '--', 'scheduling', '--', 'memory-policy')
    ;(config.linux['namespaces'] as object[]).push({ type: 'time' })
    config.linux['timeOffsets'] = { boottime: { secs: 1_000_000 } }
    config.process['scheduler'] = { policy: 'SCHED_FIFO', priority: 3 }
    config.linux['memoryPolicy'] = { mode: 'MPOL_BIND', nodes: '0' }
    const bundle = await bench.bundle(config, belongingTo(100_000))
    const { stdout, stderr } = await cli('run', '-b', bundle, bench.nextId())
    if (/set process\.scheduler: .*a real-time policy needs linux\.resources\.cpu\.realtimeRuntime/.test(stderr)) {
      delete config.process['scheduler'] // version 1 gives groups no real time unless they are given some
      await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
    } else {
      assert.match(stdout, /^policy 1 flags 0 nice 0 priority 3 /m, stderr)
    }
    const again = await cli('run', '-b', bundle, bench.nextId())
    near(clocksOf(again.stdout + again.stderr)[1], (await uptime()) + 1_000_000)
    assert.match(again.stdout, /^memory policy 2 nodes 1$/m)
    config.process['scheduler'] = { policy: 'SCHED_OTHER', flags: ['SCHED_FLAG_RESET_ON_FORK'] }
    await refused(config, /process\.scheduler: is one that no child inherits/)
  })

  it('that exec starts are in the container’s time, under its policies, and where execCPUAffinity says', async () => {
    const config = withTime({ boottime: { secs: 1_000_000 } }, 'sleep', '60')
    config.linux['memoryPolicy'] = { mode: 'MPOL_BIND', nodes: '0' }
    config.linux['personality'] = { domain: 'LINUX32' }
    config.process['execCPUAffinity'] = { initial: '0', final: '0' }
    const id = await started(config)
    const words = ['clocks', '--', 'memory-policy', '--', 'machine', '--', 'scheduling']
    const { stdout, stderr } = await cli('exec', id, '/init', ...words)
    near(clocksOf(stdout + stderr)[1], (await uptime()) + 1_000_000)
    assert.match(stdout, /^memory policy 2 nodes 1$/m)
    assert.match(stdout, /^machine (i686|armv8l)$/m)
    assert.match(stdout, /^cpus 0$/m)

    const file = join(bench.directory, 'process.json')
    const own = { args: ['/init', 'scheduling'], cwd: '/', execCPUAffinity: { final: '8000' } }
    await writeFile(file, JSON.stringify(own))
    const none = await cli('exec', '--process', file, id)
    assert.deepEqual(
      [none.code, /set process\.execCPUAffinity\.final: invalid argument/.test(none.stderr)],
      [255, true],
    )
    await writeFile(
      file,
      JSON.stringify({ ...own, execCPUAffinity: { initial: '0' }, scheduler: { policy: 'SCHED_IDLE' } }),
    )
    const pinned = await cli('exec', '--process', file, id)
    // "the final affinity is determined by the Linux kernel": cgroups of version 2 give back all that they have.
    assert.match(pinned.stdout, /^policy 5 [\s\S]*^cpus 0( \d+)*$/m)
  })

  it('may join the time of another container', async () => {
    const first = await started(withTime({ boottime: { secs: 1_000_000 } }, 'sleep', '60'))
    const { pid } = await stateOf(first)
    const config = dockerConfig('clocks')
    ;(config.linux['namespaces'] as object[]).push({ type: 'time', path: `/proc/${pid}/ns/time` })
    const { stdout } = await cli('run', '-b', await bench.bundle(config), bench.nextId())
    near(clocksOf(stdout)[1], (await uptime()) + 1_000_000)
    config.linux['timeOffsets'] = { boottime: { secs: 1 } }
    await refused(config, /linux\.timeOffsets: needs a new time namespace/)
  })

  const wrong: readonly [string, (config: BundleConfig) => unknown, RegExp][] = [
    [
      'a clock that would be negative',
      (c) => Object.assign(c, withTime({ boottime: { secs: -1e9 } }, 'true')),
      /numerical result out of range/,
    ],
    [
      'a clock that there is not',
      (c) => Object.assign(c, withTime({ realtime: { secs: 1 } }, 'true')),
      /timeOffsets\.realtime: is no clock/,
    ],
    [
      'a second of two thousand million parts',
      (c) => Object.assign(c, withTime({ boottime: { nanosecs: 2e9 } }, 'true')),
      /nanosecs/,
    ],
    [
      'a policy that is in no kernel',
      (c) => Object.assign(c.process, { scheduler: { policy: 'SCHED_ISO' } }),
      /SCHED_ISO is in no kernel/,
    ],
    [
      'a policy that nobody knows',
      (c) => Object.assign(c.process, { scheduler: { policy: 'x' } }),
      /scheduler\.policy: is no/,
    ],
    [
      'a priority without real time',
      (c) => Object.assign(c.process, { scheduler: { policy: 'SCHED_OTHER', priority: 1 } }),
      /scheduler\.priority: is for/,
    ],
    [
      'a deadline without SCHED_DEADLINE',
      (c) => Object.assign(c.process, { scheduler: { policy: 'SCHED_RR', runtime: 1 } }),
      /scheduler\.runtime: is for/,
    ],
    [
      'an unknown flag of the scheduler',
      (c) => Object.assign(c.process, { scheduler: { policy: 'SCHED_RR', flags: ['x'] } }),
      /flags\[0\]: is no flag/,
    ],
    [
      'an I/O class that there is not',
      (c) => Object.assign(c.process, { ioPriority: { class: 'x' } }),
      /ioPriority\.class/,
    ],
    [
      'an I/O priority of 8',
      (c) => Object.assign(c.process, { ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 8 } }),
      /ioPriority\.priority/,
    ],
    [
      'a list of CPUs that is none',
      (c) => Object.assign(c.process, { execCPUAffinity: { initial: '0,,1' } }),
      /initial: must be numbers/,
    ],
    [
      'a range of CPUs backwards',
      (c) => Object.assign(c.process, { execCPUAffinity: { final: '3-1' } }),
      /final: has a range/,
    ],
    [
      'a CPU beyond every kernel',
      (c) => Object.assign(c.process, { execCPUAffinity: { final: '0-99999' } }),
      /below 8192/,
    ],
    [
      'a memory policy that there is not',
      (c) => Object.assign(c.linux, { memoryPolicy: { mode: 'x' } }),
      /memoryPolicy\.mode/,
    ],
    [
      'nodes for a policy that takes none',
      (c) => Object.assign(c.linux, { memoryPolicy: { mode: 'MPOL_LOCAL', nodes: '0' } }),
      /set linux\.memoryPolicy: invalid argument/,
    ],
    [
      'a personality that is not Linux’s',
      (c) => Object.assign(c.linux, { personality: { domain: 'BSD' } }),
      /personality\.domain/,
    ],
    [
      'flags of a personality',
      (c) => Object.assign(c.linux, { personality: { domain: 'LINUX', flags: ['x'] } }),
      /personality\.flags/,
    ],
  ]
  for (const [what, change, reason] of wrong) {
    it(`are refused ${what}`, async () => {
      const config = dockerConfig('true')
      change(config)
      await refused(config, reason)
    })
  }
})
