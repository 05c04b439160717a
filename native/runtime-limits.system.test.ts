// Limits, as the kernel has them for the container's processes.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { Bench, CAPABILITIES, dockerConfig } from './testing/bundle.ts'
import { type CliResult, watchEvents } from './testing/cli.ts'
import { commandLine } from './testing/command-line.ts'

const V1 = '/sys/fs/cgroup'
const skip =
  process.getuid?.() !== 0
    ? 'containers need root'
    : existsSync(join(V1, 'memory')) && existsSync(join(V1, 'devices'))
      ? false
      : 'the limits here are those of cgroups of version 1'

describe('the resources of a container', { skip }, () => {
  let bench: Bench
  const { cli, nextId, end } = commandLine(() => bench)
  const start = async (resources: object, ...args: string[]): Promise<CliResult & { id: string }> => {
    const config = dockerConfig(...args)
    Object.assign(config.linux, { resources })
    const id = nextId()
    const detach = args[0] === 'sleep' ? ['--detach'] : []
    return { id, ...(await cli('run', ...detach, '-b', await bench.bundle(config), id)) }
  }
  const file = async (id: string, name: string): Promise<string> =>
    (await readFile(join(V1, name.replace('/', `/gantry/${id}/`)), 'utf8')).trim()

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(end)
  after(async () => await bench.close())

  it('are limited, and may be limited otherwise while it runs', async () => {
    const { id, stderr } = await start(
      {
        memory: { limit: 33554432, reservation: 16777216, swap: 0 },
        cpu: { shares: 512, quota: 50000, period: 100000, cpus: '0', mems: '0' },
        pids: { limit: 77 },
      },
      ...['sleep', '60'],
    )
    assert.equal(stderr, '')
    const limits = {
      'memory/memory.limit_in_bytes': '33554432',
      'memory/memory.soft_limit_in_bytes': '16777216',
      'cpu/cpu.shares': '512',
      'cpu/cpu.cfs_quota_us': '50000',
      'cpu/cpu.cfs_period_us': '100000',
      'cpuset/cpuset.cpus': '0',
      'pids/pids.max': '77',
    }
    for (const [name, value] of Object.entries(limits)) assert.equal(await file(id, name), value, name)
    const update = join(bench.directory, 'update.json')
    await writeFile(update, JSON.stringify({ memory: { limit: 67108864 }, pids: { limit: -1 } }))
    assert.deepEqual(await cli('update', '--resources', update, id), { code: 0, stdout: '', stderr: '' })
    assert.equal(await file(id, 'memory/memory.limit_in_bytes'), '67108864')
    assert.equal(await file(id, 'pids/pids.max'), 'max')
    assert.equal(await file(id, 'cpu/cpu.shares'), '512')
  })

  it('are limited by flags, which change only what they name', async () => {
    const { id } = await start({ memory: { limit: 33554432 }, pids: { limit: 77 } }, 'sleep', '60')
    const flags = ['--memory', '64m', '--memory-reservation=1048576', '--cpu-quota', '20000', '--cpu-period', '50000']
    const more = ['--cpu-share', '300', '--cpuset-cpus', '0', '--cpuset-mems', '0', '--cpu-burst', '100']
    assert.deepEqual(await cli('update', ...flags, ...more, id), { code: 0, stdout: '', stderr: '' })
    const limits = {
      'memory/memory.limit_in_bytes': '67108864',
      'memory/memory.soft_limit_in_bytes': '1048576',
      'cpu/cpu.cfs_quota_us': '20000',
      'cpu/cpu.cfs_period_us': '50000',
      'cpu/cpu.cfs_burst_us': '100',
      'cpu/cpu.shares': '300',
      'cpuset/cpuset.cpus': '0',
      'pids/pids.max': '77',
    }
    for (const [name, value] of Object.entries(limits)) assert.equal(await file(id, name), value, name)
    assert.equal((await cli('update', '--pids-limit', '-1', '--cpu-quota=-1', id)).code, 0)
    assert.deepEqual([await file(id, 'pids/pids.max'), await file(id, 'cpu/cpu.cfs_quota_us')], ['max', '-1'])
    for (const [flag, value] of [
      ['--memory', '64x'],
      ['--memory', '99999999999g'],
      ['--pids-limit', '5m'],
      ['--cpu-share', ''],
    ] as const) {
      const { code, stderr } = await cli('update', flag, value, id)
      assert.deepEqual([code, stderr.includes(`${flag} must be a number`)], [1, true], stderr)
    }
  })

  it('are the devices that its rules allow, the last one that fits deciding, and those of every container', async () => {
    const config = dockerConfig(
      'write',
      '/dev/null',
      'x',
      '--',
      'write',
      '/dev/mem1',
      'x',
      '--',
      'write',
      '/dev/tun1',
      'x',
    )
    const all = [...CAPABILITIES, 'CAP_MKNOD']
    Object.assign(config.process, { capabilities: { bounding: all, effective: all, permitted: all } })
    const device = (path: string, major: number, minor: number): object => ({ path, type: 'c', major, minor })
    Object.assign(config.linux, {
      devices: [device('/dev/mem1', 1, 1), device('/dev/tun1', 10, 200)],
      resources: {
        devices: [
          { allow: false, access: 'rwm' },
          { allow: true, type: 'c', major: 10, minor: 200, access: 'rwm' },
        ],
      },
    })
    const { stdout } = await cli('run', '-b', await bench.bundle(config), bench.nextId())
    assert.match(
      stdout,
      /^wrote \/dev\/null\nwrite \/dev\/mem1: Operation not permitted\nwrite \/dev\/tun1: File descriptor in bad state\n$/,
    )
  })

  it('are told to whoever watches when memory was not enough', async () => {
    const config = dockerConfig('await-signal', '--', 'use', '64')
    Object.assign(config.linux, { resources: { memory: { limit: 16777216 } } })
    const id = nextId()
    await cli('run', '--detach', '-b', await bench.bundle(config), id)
    const kinds = await watchEvents(bench.stateRoot, id, () => cli('kill', id, 'TERM'))
    assert.deepEqual(kinds, ['stats', 'oom'])
  })

  it('are refused, and nothing of the container is left, where they make no sense or cannot be had', async () => {
    const refused: [object, RegExp][] = [
      [{ memory: { limit: 4096.5 } }, /linux\.resources\.memory\.limit: must be an integer/],
      [{ memory: { limit: 67108864, swap: 33554432 } }, /linux\.resources\.memory\.swap/],
      [{ cpu: { cpus: '9999' } }, /linux\.resources\.cpu\.cpus: write "9999"/],
      [{ devices: [{ allow: true, type: 'x' }] }, /devices\[0\]\.type: must be a, b or c/],
      [{ devices: [{ allow: true, access: 'q' }] }, /devices\[0\]\.access: must be made of r, w and m/],
      [{ hugepageLimits: [{ pageSize: '2', limit: 1 }] }, /hugepageLimits\[0\]\.pageSize: must be a number and KB/],
      [
        { hugepageLimits: [{ pageSize: '3MB', limit: 1 }] },
        /hugepageLimits: no controller of this host has hugetlb\.3MB/,
      ],
      [{ blockIO: { weight: 5 } }, /blockIO\.weight: must be from 10 to 1000/],
      [{ memory: { kernel: 4096 } }, /memory\.kernel: no kernel since 5\.16/],
      [{ rdma: { nosuch: { hcaHandles: 1 } } }, /rdma: no controller of this host has rdma\.max/],
      [{ unified: { '../x': '1' } }, /unified\.\.\.\/x: must be the name of a file/],
      [{ unified: { 'no.such': '1' } }, /linux\.resources\.unified: no controller of this host has no\.such/],
    ]
    for (const [resources, pattern] of refused) {
      const { code, stderr } = await start(resources, 'true')
      assert.equal(code, 1)
      assert.match(stderr, pattern)
      assert.deepEqual(await bench.leftovers(), [])
    }
    assert.match((await cli('update', 'x')).stderr, /update needs limits: --resources FILE/)
  })
})
