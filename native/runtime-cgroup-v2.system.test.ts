// Limits, devices and the rest of cgroups on a host that has version 2 alone.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { basename, join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { Bench, type BundleConfig, CAPABILITIES, dockerConfig } from './testing/bundle.ts'
import { type CliResult, EXECUTABLE, runCommand, watchEvents } from './testing/cli.ts'
import { commandLine } from './testing/command-line.ts'
import { belongingTo, withUserNamespace } from './testing/user-namespace.ts'

const CGROUPS = '/sys/fs/cgroup'
const skip =
  process.getuid?.() !== 0
    ? 'containers need root'
    : existsSync(join(CGROUPS, 'cgroup.controllers'))
      ? false
      : 'this host has not cgroup version 2 alone: conformance/runtime/cgroup-v2.test.ts boots one that has'

/** Bounded by the runner's time for a test. */
const until = async (probe: () => Promise<boolean>): Promise<void> => {
  while (!(await probe())) await new Promise((resolve) => setTimeout(resolve, 10))
}

describe('a container in a cgroup of version 2', { skip }, () => {
  let bench: Bench
  const { cli, ok, nextId, end } = commandLine(() => bench)
  const run = async (config: BundleConfig, ...flags: string[]): Promise<CliResult & { id: string }> => {
    const id = nextId()
    return { id, ...(await cli('run', ...flags, '-b', await bench.bundle(config), id)) }
  }
  const start = async (resources: object, change: (config: BundleConfig) => unknown = () => {}): Promise<string> => {
    const config = dockerConfig('sleep', '60')
    Object.assign(config.linux, { resources })
    change(config)
    const { id, code, stderr } = await run(config, '--detach')
    assert.deepEqual([code, stderr], [0, ''])
    return id
  }
  const file = async (id: string, name: string): Promise<string> =>
    (await readFile(join(CGROUPS, 'gantry', id, name), 'utf8')).trim()
  const holds = async (id: string, expected: Record<string, string>): Promise<void> => {
    const found = await Promise.all(Object.keys(expected).map(async (name) => [name, await file(id, name)]))
    assert.deepEqual(Object.fromEntries(found), expected)
  }

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(end)
  after(async () => await bench.close())

  it('is born in it, and sees it as the root', async () => {
    const id = await start({})
    const { pid } = JSON.parse(await ok('state', id))
    assert.equal(await file(id, 'cgroup.procs'), String(pid))
    assert.equal(await ok('exec', id, '/init', 'cat', '/proc/self/cgroup'), '0::/\n')
  })

  it('has every controller of the host, whether limits are asked for or not', async () => {
    const id = await start({})
    assert.equal(
      await file(id, 'cgroup.controllers'),
      (await readFile(join(CGROUPS, 'cgroup.controllers'), 'utf8')).trim(),
    )
  })

  it('is limited in memory, processors and processes, and otherwise while it runs', async () => {
    const id = await start({
      memory: { limit: 33554432, reservation: 16777216, swap: 50331648 },
      cpu: { shares: 1024, quota: 50000, period: 200000, cpus: '0', mems: '0' },
      pids: { limit: 77 },
    })
    await holds(id, {
      'memory.max': '33554432',
      'memory.low': '16777216',
      'memory.swap.max': '16777216',
      'cpu.weight': '100',
      'cpu.max': '50000 200000',
      'cpuset.cpus': '0',
      'cpuset.mems': '0',
      'pids.max': '77',
    })
    const update = join(bench.directory, 'update.json')
    await writeFile(update, JSON.stringify({ memory: { limit: 67108864 }, cpu: { quota: 70000 }, pids: { limit: -1 } }))
    await ok('update', '--resources', update, id)
    await holds(id, { 'memory.max': '67108864', 'cpu.max': '70000 200000', 'pids.max': 'max', 'cpu.weight': '100' })
    await writeFile(update, JSON.stringify({ cpu: { period: 100000 } }))
    await ok('update', '--resources', update, id)
    await holds(id, { 'cpu.max': '70000 100000' })
  })

  it('has the weight that its shares mean', async () => {
    const id = await start({ cpu: { shares: 2 } })
    const update = join(bench.directory, 'update.json')
    for (const [shares, weight] of [
      [2, '1'],
      [512, '59'],
      [1024, '100'],
      [4096, '303'],
      [262144, '10000'],
    ]) {
      await writeFile(update, JSON.stringify({ cpu: { shares } }))
      await ok('update', '--resources', update, id)
      await holds(id, { 'cpu.weight': String(weight) })
    }
  })

  it('is limited in block devices, huge pages, and by whatever version 2 has a file for', async () => {
    const id = await start({
      blockIO: {
        weight: 1000,
        throttleReadBpsDevice: [{ major: 1, minor: 0, rate: 1048576 }],
        throttleWriteIOPSDevice: [{ major: 1, minor: 0, rate: 100 }],
      },
      hugepageLimits: [{ pageSize: '2MB', limit: 4194304 }],
      cpu: { idle: 1 },
      unified: { 'memory.high': '25165824', 'cgroup.max.descendants': '3' },
    })
    await holds(id, {
      'io.weight': 'default 10000',
      'io.max': '1:0 rbps=1048576 wbps=max riops=max wiops=100',
      'hugetlb.2MB.rsvd.max': '4194304',
      'cpu.idle': '1',
      'memory.high': '25165824',
      'cgroup.max.descendants': '3',
    })
  })

  it('is not made where a limit has no file here, or a value that the kernel refuses', async () => {
    const refused: [object, RegExp][] = [
      [{ memory: { swap: 1 } }, /memory\.swap: needs memory\.limit/],
      [{ memory: { limit: 67108864, swap: 33554432 } }, /memory\.swap: counts memory and swap/],
      [{ memory: { swappiness: 10 } }, /memory\.swappiness: no controller of this host has memory\.swappiness/],
      [{ memory: { disableOOMKiller: true } }, /memory\.disableOOMKiller: no controller/],
      [{ cpu: { realtimeRuntime: 1000 } }, /cpu\.realtimeRuntime: no controller/],
      [{ cpu: { cpus: '9999' } }, /cpu\.cpus: write "9999"/],
      [{ network: { classID: 1 } }, /network\.classID: no controller of this host has net_cls\.classid/],
      [
        { hugepageLimits: [{ pageSize: '3MB', limit: 1 }] },
        /hugepageLimits: no controller of this host has hugetlb\.3MB/,
      ],
      [{ rdma: { nosuch: { hcaHandles: 1 } } }, /rdma: write "nosuch hca_handle=1" to .*: no such device/],
      [{ unified: { 'no.such': '1' } }, /unified: no controller of this host has no\.such/],
      [
        { blockIO: { throttleReadBpsDevice: [{ major: 99, minor: 0, rate: 1 }] } },
        /throttleReadBpsDevice: .*: no such device/,
      ],
    ]
    for (const [resources, pattern] of refused) {
      const config = dockerConfig('true')
      Object.assign(config.linux, { resources })
      const { code, stderr } = await run(config)
      assert.equal(code, 1)
      assert.match(stderr, pattern)
      assert.deepEqual(await bench.leftovers(), [])
    }
  })

  it('is not told to use less memory than it does, if that is to be checked', async () => {
    const id = await start({ memory: { limit: 67108864 } })
    const update = join(bench.directory, 'update.json')
    await writeFile(update, JSON.stringify({ memory: { limit: 4096, checkBeforeUpdate: true } }))
    const { code, stderr } = await cli('update', '--resources', update, id)
    assert.deepEqual([code, /4096 is less than the \d+ bytes in use/.test(stderr)], [1, true], stderr)
    await holds(id, { 'memory.max': '67108864' })
  })

  // What a rule decides is tried by opening: as crw 1:1 (mem), 1:3 (null), 1:8 (random), 1:9 and brw 1:0 (ram0).
  const devices: [string, object[], Record<string, string>][] = [
    ['none without a rule that allows it', [{ allow: false }], { null: 'rw', mem1: '', ram1: '' }],
    [
      'of one kind',
      [{ allow: false }, { allow: true, type: 'b', access: 'rwm' }],
      { null: 'rw', mem1: '', ram1: 'rw' },
    ],
    [
      'for reading alone',
      [{ allow: false }, { allow: true, type: 'b', major: 1, minor: 0, access: 'r' }],
      { null: 'rw', mem1: '', ram1: 'r' },
    ],
    [
      'what an earlier rule allows and a later one denies in part',
      [{ allow: false }, { allow: true, type: 'b', access: 'rwm' }, { allow: false, type: 'b', major: 1, access: 'w' }],
      { null: 'rw', mem1: '', ram1: 'r' },
    ],
    [
      'what an earlier rule denies and a later one allows',
      [{ allow: true }, { allow: false, type: 'b', major: 1 }, { allow: true, type: 'b', major: 1, minor: 0 }],
      { null: 'rw', mem1: 'rw', ram1: 'rw' },
    ],
    [
      'another number than the rule has',
      [{ allow: false }, { allow: true, type: 'b', major: 2 }],
      { null: 'rw', ram1: '' },
    ],
    ['all', [{ allow: false }, { allow: true, access: 'rwm' }], { null: 'rw', mem1: 'rw', ram1: 'rw' }],
    [
      'those of every container, when the last rule denies all',
      [{ allow: true }, { allow: false }],
      { null: 'rw', mem1: '', ram1: '' },
    ],
  ]
  for (const [name, rules, expected] of devices) {
    it(`opens, of devices, ${name}`, async () => {
      const config = dockerConfig('sleep', '60')
      const all = [...CAPABILITIES, 'CAP_MKNOD', 'CAP_SYS_RAWIO']
      Object.assign(config.process, { capabilities: { bounding: all, effective: all, permitted: all } })
      Object.assign(config.linux, {
        devices: [
          { path: '/dev/mem1', type: 'c', major: 1, minor: 1 },
          { path: '/dev/ram1', type: 'b', major: 1, minor: 0 },
        ],
        resources: { devices: rules },
      })
      const { id, code, stderr } = await run(config, '--detach')
      assert.deepEqual([code, stderr], [0, ''])
      for (const [device, access] of Object.entries(expected)) {
        for (const way of ['r', 'w'] as const) {
          const { stdout: said } = await cli('exec', id, '/init', 'open', way, `/dev/${device}`)
          const wanted = access.includes(way) ? 'opened' : 'Operation not permitted'
          assert.ok(said.includes(wanted), `${device} for ${way}: ${said}`)
        }
      }
    })
  }

  it('ends with everything in it', async () => {
    const id = await start({})
    for (let i = 0; i < 3; ++i) await ok('exec', '--detach', id, '/init', 'sleep', '60')
    const cgroup = join(CGROUPS, 'gantry', id)
    assert.equal((await file(id, 'cgroup.procs')).split('\n').length, 4)
    await ok('kill', '--all', id, 'KILL')
    await until(async () => (await readFile(join(cgroup, 'cgroup.events'), 'utf8')).includes('populated 0'))
    await ok('delete', id)
    assert.ok(!existsSync(cgroup))
  })

  it('tells that its memory was not enough, also when that is its end', async () => {
    const config = dockerConfig('await-signal', '--', 'use', '64')
    Object.assign(config.linux, { resources: { memory: { limit: 16777216, swap: 16777216 } } })
    const { id } = await run(config, '--detach')
    const kinds = await watchEvents(bench.stateRoot, id, () => cli('kill', id, 'TERM'))
    assert.deepEqual(kinds, ['stats', 'oom'])
  })

  it('is given to its user, where that may write below it', async () => {
    const write = ['mkdir', '/sys/fs/cgroup/own', '--', 'write', '/sys/fs/cgroup/memory.max', 'max']
    const config = dockerConfig(...write)
    config.process['user'] = { uid: 1000, gid: 1000 }
    const { stdout: kept } = await run(config)
    assert.match(kept, /^mkdir \/sys\/fs\/cgroup\/own: Read-only file system\n/)
    const mount = config.mounts.find(({ type }) => type === 'cgroup')
    assert.ok(mount)
    mount.options = mount.options.filter((option) => option !== 'ro')
    const { stdout: given } = await run(config)
    assert.equal(given, 'write /sys/fs/cgroup/memory.max: Permission denied\n')
  })

  it('is limited where an ordinary user has cgroups of his own, as far as they were given to him', async () => {
    const user = 1000
    const given = join(CGROUPS, `given-${process.pid}`)
    const shell = join(given, 'shell')
    const root = join(bench.directory, 'user')
    const id = bench.nextId()
    const config = withUserNamespace([{ containerID: 0, hostID: user, size: 1 }], 'sleep', '60')
    for (const mount of config.mounts) mount.options = mount.options.filter((option) => option !== 'gid=5')
    const resources = { memory: { limit: 33554432 }, pids: { limit: 3 } }
    Object.assign(config.linux, { cgroupsPath: `/${basename(given)}/${id}`, resources })
    const bundle = await bench.bundle(config, belongingTo(user))
    await Promise.all([bench.directory, bundle].map((path) => chmod(path, 0o755)))
    await mkdir(root)
    await writeFile(join(CGROUPS, 'cgroup.subtree_control'), '+memory +pids')
    await mkdir(given)
    await mkdir(shell)
    const files = ['', 'cgroup.procs', 'cgroup.subtree_control', 'shell', 'shell/cgroup.procs']
    await Promise.all([root, ...files.map((name) => join(given, name))].map((path) => chown(path, user, user)))
    const asUser = (...args: string[]): Promise<CliResult> =>
      runCommand(EXECUTABLE, ['--root', root, ...args], 'ignore', {}, user)
    await writeFile(join(shell, 'cgroup.procs'), String(process.pid)) // and so what it starts
    try {
      const { code, stderr } = await asUser('run', '--detach', '-b', bundle, id)
      assert.deepEqual([code, stderr], [0, ''])
      const limits = ['memory.max', 'pids.max', 'cgroup.procs'].map((name) => readFile(join(given, id, name), 'utf8'))
      const { pid } = JSON.parse((await asUser('state', id)).stdout) as { pid: number }
      assert.deepEqual(await Promise.all(limits), ['33554432\n', '3\n', `${pid}\n`])
      assert.equal((await asUser('exec', id, '/init', 'cat', '/proc/self/cgroup')).stdout, '0::/\n')
      assert.equal((await asUser('pause', id)).stderr, '')
      assert.match(await readFile(join(given, id, 'cgroup.events'), 'utf8'), /^frozen 1$/m)
      assert.equal((await asUser('delete', '--force', id)).stderr, '')
      assert.ok(!existsSync(join(given, id)))
    } finally {
      await asUser('delete', '--force', id)
      await writeFile(join(CGROUPS, 'cgroup.procs'), String(process.pid))
      await rmdir(shell)
      await rmdir(given)
    }
  })

  const booted = existsSync('/run/systemd/system') ? 'here systemd would answer' : false
  it('is not made by whoever only says that he is systemd', { skip: booted }, async () => {
    const socket = join(bench.directory, 'bus')
    const start = Buffer.from(`l\x02\0\x01${'\0'.repeat(12)}`, 'latin1')
    const tooLong = Buffer.from(start)
    tooLong.writeUInt32LE(0xffff_ffff, 4)
    const cutOff = Buffer.from(start)
    cutOff.writeUInt32LE(64, 12)
    const answers: [string | Buffer, RegExp][] = [
      ['REJECTED EXTERNAL\r\n', /authenticate as user 0/],
      ['OK', /connection reset/],
      ['x'.repeat(5000), /an answer to AUTH that does not end/],
      [Buffer.concat([Buffer.from('OK 1\r\n'), tooLong]), /a message that is too long/],
      [Buffer.concat([Buffer.from('OK 1\r\n'), cutOff, Buffer.alloc(64, 0xff)]), /a message that ends early/],
      ['OK 1\r\nB'.padEnd(40, '\0'), /a message of another byte order/],
    ]
    for (const [answer, pattern] of answers) {
      await using server = createServer((client) =>
        client
          .on('error', () => {})
          .resume()
          .end(answer),
      )
      await once(server.listen(socket), 'listening')
      const bundle = await bench.bundle(dockerConfig('true'))
      const words = ['--root', bench.stateRoot, '--systemd-cgroup', 'run', '-b', bundle, bench.nextId()]
      const env = { DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${socket},guid=1` }
      const { code, stderr } = await runCommand(EXECUTABLE, words, 'ignore', env)
      assert.equal(code, 1)
      assert.match(stderr, /cannot reach the machine's systemd/)
      assert.match(stderr, pattern)
      assert.deepEqual(await bench.leftovers(), [])
    }
  })

  it('takes on the profile of AppArmor that it is given, and only one that is there', async () => {
    const config = dockerConfig('cat', '/proc/self/attr/apparmor/current')
    config.process['apparmorProfile'] = 'unconfined'
    const { stdout, stderr } = await run(config)
    assert.deepEqual([stdout, stderr], ['unconfined\n', ''])
    config.process['apparmorProfile'] = 'nosuch'
    const refused = await run(config)
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /apply process\.apparmorProfile "nosuch": no such file or directory \(no such profile/)
  })

  const parser = spawnSync('apparmor_parser', ['--version']).status === 0 ? false : 'there is no apparmor_parser'
  it('is confined by its profile of AppArmor, and so is what exec starts in it', { skip: parser }, async () => {
    const profile = join(bench.directory, 'profile')
    const rules = 'file, deny /etc/secret rw, deny /tmp/forbidden/** w,'
    await writeFile(profile, `profile gantry-test flags=(attach_disconnected,mediate_deleted) { ${rules} }\n`)
    const load = spawnSync('apparmor_parser', ['--skip-cache', '--replace', profile], { encoding: 'utf8' })
    assert.equal(load.status, 0, load.stderr)
    const acts = ['cat', '/etc/secret', '--', 'write', '/tmp/forbidden/x', 'y', '--', 'write', '/tmp/allowed', 'y']
    const words = ['cat', '/proc/self/attr/apparmor/current', '--', ...acts]
    const confined =
      'gantry-test (enforce)\ncat /etc/secret: Permission denied\nwrite /tmp/forbidden/x: Permission denied\nwrote /tmp/allowed\n'
    const config = dockerConfig(...words, '--', 'sleep', '60')
    config.process['apparmorProfile'] = 'gantry-test'
    const bundle = await bench.bundle(config, async (rootfs) => {
      await mkdir(join(rootfs, 'etc'))
      await mkdir(join(rootfs, 'tmp/forbidden'), { recursive: true })
      await writeFile(join(rootfs, 'etc/secret'), 'told')
    })
    const id = nextId()
    const { stdout, stderr } = await cli('run', '--detach', '-b', bundle, id)
    assert.equal(stderr, '')
    assert.ok(confined.startsWith(stdout), stdout) // as far as it has come
    assert.equal(await ok('exec', id, '/init', ...words), confined)
    const unconfined = await ok('exec', '--apparmor', 'unconfined', id, '/init', ...acts)
    assert.equal(unconfined, 'toldwrote /tmp/forbidden/x\nwrote /tmp/allowed\n')
  })
})
