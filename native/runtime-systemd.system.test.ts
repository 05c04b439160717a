// Containers whose cgroups systemd makes, on a machine where it is process 1.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { Runtime } from './runtime.ts'
import { Bench, type BundleConfig, CAPABILITIES, dockerConfig } from './testing/bundle.ts'
import { type CliResult, EXECUTABLE, runCommand } from './testing/cli.ts'
import { commandLine } from './testing/command-line.ts'
import { belongingTo, withUserNamespace } from './testing/user-namespace.ts'

const CGROUPS = '/sys/fs/cgroup'
const RUNC = '/usr/sbin/runc'
const USER = 1000 // see conformance/runtime/systemd-root
const skip =
  process.getuid?.() !== 0
    ? 'containers need root'
    : existsSync('/run/systemd/system') && existsSync(join(CGROUPS, 'cgroup.controllers'))
      ? false
      : 'here is no systemd with cgroup version 2: conformance/runtime/systemd.test.ts boots a machine that has'

/** As a file of the cgroup and as a property of the unit; what the unit has no property for is for the kernel alone. */
const RESOURCES = {
  memory: { limit: 67108864, reservation: 33554432, swap: 100663296 },
  cpu: { shares: 512, quota: 50001, period: 200000, cpus: '0-1', mems: '0' },
  pids: { limit: 77 },
  blockIO: { weight: 500 },
  hugepageLimits: [{ pageSize: '2MB', limit: 4194304 }],
  unified: { 'memory.high': '50331648' },
}
const FILES = [
  ...['memory.max', 'memory.low', 'memory.high', 'memory.swap.max', 'cpu.weight', 'cpu.max', 'cpuset.cpus'],
  ...['cpuset.mems', 'pids.max', 'io.weight', 'hugetlb.2MB.max', 'cgroup.controllers', 'cgroup.subtree_control'],
]
const PROPERTIES = [
  ...['Slice', 'Delegate', 'MemoryMax', 'MemoryLow', 'MemoryHigh', 'MemorySwapMax', 'CPUQuotaPerSecUSec'],
  ...['CPUQuotaPeriodUSec', 'AllowedCPUs', 'AllowedMemoryNodes', 'TasksMax', 'DefaultDependencies'],
  ...['MemoryAccounting', 'CPUAccounting', 'TasksAccounting', 'IOAccounting'],
]

describe('a container in a scope of systemd’s', { skip }, () => {
  let bench: Bench
  const { cli, ok, fails, nextId, stateOf, end } = commandLine(() => bench)

  const systemctl = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await runCommand('/bin/systemctl', args)
    assert.equal(code, 0, stderr)
    return stdout
  }
  const unitOf = (id: string): string => `docker-${id}.scope`
  const configure = (id: string, resources: object = {}, ...args: string[]): BundleConfig => {
    const config = dockerConfig(...(args.length > 0 ? args : ['sleep', '60']))
    Object.assign(config.linux, { cgroupsPath: `gantry-tests.slice:docker:${id}`, resources })
    return config
  }
  const run = async (config: BundleConfig, id: string, ...flags: string[]): Promise<CliResult> =>
    await cli('--systemd-cgroup', 'run', ...flags, '-b', await bench.bundle(config), id)
  const start = async (resources: object = {}, change: (config: BundleConfig) => unknown = () => {}) => {
    const id = nextId()
    const config = configure(id, resources)
    change(config)
    const { code, stderr } = await run(config, id, '--detach')
    assert.deepEqual([code, stderr], [0, ''])
    return id
  }
  const cgroupOf = async (pid: number): Promise<string> =>
    join(CGROUPS, (await readFile(`/proc/${pid}/cgroup`, 'utf8')).slice('0::'.length).trim())
  const valuesOf = async (pid: number, files: readonly string[] = FILES): Promise<Record<string, string>> => {
    const cgroup = await cgroupOf(pid)
    const values = files.map(async (name) => [name, (await readFile(join(cgroup, name), 'utf8')).trim()])
    return Object.fromEntries(await Promise.all(values))
  }
  const propertiesOf = async (unit: string, names: readonly string[] = PROPERTIES): Promise<Record<string, string>> => {
    const lines = (await systemctl('show', `--property=${names.join(',')}`, unit)).trim().split('\n')
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
  }

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(async () => {
    await end()
    const units = await systemctl('list-units', '--all', '--no-legend', `*test-${process.pid}-*`)
    assert.equal(units, '', 'units are left')
  })
  after(async () => await bench.close())

  it('is in it, under the slice that is named, from its birth to its end', async () => {
    const id = await start()
    const { pid } = await stateOf(id)
    const cgroup = join(CGROUPS, 'gantry.slice/gantry-tests.slice', unitOf(id))
    assert.equal(await cgroupOf(pid), cgroup)
    assert.equal(await readFile(join(cgroup, 'cgroup.procs'), 'utf8'), `${pid}\n`)
    assert.equal(await ok('exec', id, '/init', 'cat', '/proc/self/cgroup'), '0::/\n')
    await ok('pause', id)
    assert.match(await readFile(join(cgroup, 'cgroup.events'), 'utf8'), /^frozen 1$/m)
    await ok('resume', id)
    await ok('delete', '--force', id)
    assert.ok(!existsSync(cgroup))
  })

  it('has a scope of the runtime’s own name where the configuration says nothing', async () => {
    const id = nextId()
    const config = dockerConfig('sleep', '60')
    const { code, stderr } = await run(config, id, '--detach')
    assert.deepEqual([code, stderr], [0, ''])
    assert.equal(await cgroupOf((await stateOf(id)).pid), join(CGROUPS, 'system.slice', `gantry-${id}.scope`))
  })

  it('sees its scope among the host’s cgroups where it has no cgroup namespace', async () => {
    const id = nextId()
    const config = configure(id, {}, 'cat', '/proc/self/cgroup', '--', 'cat', '/sys/fs/cgroup/cgroup.procs')
    config.linux['namespaces'] = (config.linux['namespaces'] as { type: string }[]).filter(
      ({ type }) => type !== 'cgroup',
    )
    const { stdout, stderr } = await run(config, id)
    assert.equal(stdout, `0::/gantry.slice/gantry-tests.slice/${unitOf(id)}\n1\n`, stderr)
  })

  it('is limited as it would be in a cgroup of the runtime’s, and as by runc', async () => {
    const scoped = await start(RESOURCES)
    const own = nextId()
    const config = dockerConfig('sleep', '60')
    Object.assign(config.linux, { resources: RESOURCES })
    await ok('run', '--detach', '-b', await bench.bundle(config), own)
    const values = await valuesOf((await stateOf(scoped)).pid)
    assert.deepEqual(values, await valuesOf((await stateOf(own)).pid))
    assert.equal(values['cpu.max'], '50001 200000')
    const properties = await propertiesOf(unitOf(scoped))

    const theirs = `runc-${nextId()}`
    const bundle = await bench.bundle(configure(theirs, RESOURCES))
    const flags = ['--root', join(bench.directory, 'runc'), '--systemd-cgroup']
    const runc = await runCommand(RUNC, [...flags, 'run', '--detach', '--bundle', bundle, theirs])
    try {
      assert.equal(runc.code, 0, runc.stderr)
      const { pid } = JSON.parse((await runCommand(RUNC, [...flags, 'state', theirs])).stdout) as { pid: number }
      // Shares become a weight by another curve than this old runc's, and it knows no reservation of huge pages.
      assert.deepEqual(await valuesOf(pid), { ...values, 'cpu.weight': '20', 'hugetlb.2MB.max': '4194304' })
      // What is asked for by the name of a file is nothing that it tells systemd of.
      assert.deepEqual(await propertiesOf(unitOf(theirs)), { ...properties, MemoryHigh: properties['MemoryHigh'] })
    } finally {
      await runCommand(RUNC, [...flags, 'delete', '--force', theirs])
    }
  })

  it('keeps its limits when systemd reads its units anew, and those of an update', async () => {
    const id = await start(RESOURCES)
    const { pid } = await stateOf(id)
    const values = await valuesOf(pid)
    await systemctl('daemon-reload')
    await systemctl('set-property', '--runtime', unitOf(id), 'MemoryMin=4096')
    const kept = await valuesOf(pid)
    // It rounds a quota up to a hundredth of a second in each, and writes again what it has rounded.
    assert.deepEqual(kept, { ...values, 'cpu.max': '52000 200000' })
    const update = join(bench.directory, 'update.json')
    await writeFile(
      update,
      JSON.stringify({ memory: { limit: 83886080 }, cpu: { period: 100000 }, pids: { limit: -1 } }),
    )
    await ok('update', '--resources', update, id)
    const changed = { 'memory.max': '83886080', 'cpu.max': '52000 100000', 'pids.max': 'max' }
    assert.deepEqual(await valuesOf(pid, Object.keys(changed)), changed)
    assert.deepEqual(await propertiesOf(unitOf(id), ['MemoryMax', 'CPUQuotaPerSecUSec', 'TasksMax']), {
      MemoryMax: '83886080',
      CPUQuotaPerSecUSec: '520ms',
      TasksMax: 'infinity',
    })
  })

  it('opens the devices that its rules allow, also after systemd has read its units anew', async () => {
    const id = await start(
      { devices: [{ allow: false }, { allow: true, type: 'c', major: 1, minor: 8, access: 'r' }] },
      (config) => {
        const all = [...CAPABILITIES, 'CAP_MKNOD', 'CAP_SYS_RAWIO']
        Object.assign(config.process, { capabilities: { bounding: all, effective: all, permitted: all } })
        Object.assign(config.linux, { devices: [{ path: '/dev/mem1', type: 'c', major: 1, minor: 1 }] })
      },
    )
    for (let i = 0; i < 2; ++i) {
      assert.match((await cli('exec', id, '/init', 'open', 'r', '/dev/mem1')).stdout, /Operation not permitted/)
      assert.match((await cli('exec', id, '/init', 'open', 'r', '/dev/random')).stdout, /opened/)
      await systemctl('daemon-reload')
    }
  })

  it('may be allowed a single process', async () => {
    const id = await start({ pids: { limit: 1 } })
    assert.deepEqual(await valuesOf((await stateOf(id)).pid, ['pids.max', 'pids.current']), {
      'pids.max': '1',
      'pids.current': '1',
    })
  })

  it('leaves no failed unit when its memory was not enough', async () => {
    const id = nextId()
    const config = configure(id, { memory: { limit: 16777216, swap: 16777216 } }, 'use', '64')
    const { code } = await run(config, id)
    assert.equal(code, 128 + 9)
  })

  it('is gone with the runtime that was killed, and so is its scope', async () => {
    const id = nextId()
    const bundle = await bench.bundle(configure(id))
    const child = spawn(EXECUTABLE, ['--root', bench.stateRoot, 'run', '-b', bundle, id], { stdio: 'ignore' })
    while (!(await cli('state', id)).stdout.includes('"running"')) await new Promise((done) => setTimeout(done, 20))
    child.kill('SIGKILL')
    await once(child, 'exit')
    while ((await systemctl('list-units', '--all', '--no-legend', unitOf(id))) !== '') {
      await new Promise((done) => setTimeout(done, 20)) // bounded by the runner's time for a test
    }
  })

  it('has the properties that its annotations ask for', async () => {
    const id = await start({}, (config) => {
      Object.assign(config, {
        annotations: {
          'org.systemd.property.TimeoutStopSec': '7.5',
          'org.systemd.property.Documentation': '[\'man:one(1)\', "man:two(2)"]',
          'org.systemd.property.CPUWeight': 'uint64 77',
          'org.systemd.property.Description': "'said so'",
        },
      })
    })
    assert.deepEqual(await propertiesOf(unitOf(id), ['TimeoutStopUSec', 'Documentation', 'CPUWeight', 'Description']), {
      TimeoutStopUSec: '7.500000s',
      Documentation: '"man:one(1)" "man:two(2)"',
      CPUWeight: '77',
      Description: 'said so',
    })
  })

  it('is the library’s, too, which needs no flag', async () => {
    const runtime = await Runtime.start({ stateRoot: bench.stateRoot })
    const id = nextId()
    const config = configure(id, {}, 'cat', '/proc/self/cgroup')
    config.linux['namespaces'] = (config.linux['namespaces'] as { type: string }[]).filter(
      ({ type }) => type !== 'cgroup',
    )
    const bundle = await bench.bundle(config)
    const input = openSync('/dev/null', 'r')
    const output = openSync(join(bundle, 'output'), 'w')
    try {
      await (await runtime.run({ id, bundle, stdio: [input, output, output] })).exited
    } finally {
      closeSync(input)
      closeSync(output)
      await runtime.close()
    }
    assert.equal(readFileSync(join(bundle, 'output'), 'utf8'), `0::/gantry.slice/gantry-tests.slice/${unitOf(id)}\n`)
  })

  /** As the user whose own systemd runs here. */
  const asUser = async (environment: NodeJS.ProcessEnv, ...args: string[]): Promise<CliResult> => {
    const root = join(bench.directory, 'user')
    return await runCommand(EXECUTABLE, ['--root', root, '--systemd-cgroup', ...args], 'ignore', environment, USER)
  }
  const ofUser = async (id: string, resources: object): Promise<string> => {
    const config = withUserNamespace([{ containerID: 0, hostID: USER, size: 1 }], 'sleep', '60')
    for (const mount of config.mounts) mount.options = mount.options.filter((option) => option !== 'gid=5')
    const devices = [{ allow: false, access: 'rwm' }]
    Object.assign(config.linux, { cgroupsPath: `user.slice:libpod:${id}`, resources: { ...resources, devices } })
    const bundle = await bench.bundle(config, belongingTo(USER))
    await chmod(bench.directory, 0o755)
    await chmod(bundle, 0o755)
    await mkdir(join(bench.directory, 'user'), { recursive: true })
    await chown(join(bench.directory, 'user'), USER, USER)
    return bundle
  }

  for (const [which, environment] of [
    ['where his session says it is', { XDG_RUNTIME_DIR: `/run/user/${USER}` }],
    ['where it always is', {}],
  ] as const) {
    it(`is an ordinary user’s, limited by his own systemd, ${which}`, async () => {
      const id = bench.nextId()
      const bundle = await ofUser(id, {
        memory: { limit: 33554432 },
        cpu: { quota: 50000, period: 100000 },
        pids: { limit: 3 },
      })
      const { code, stderr } = await asUser(environment, 'run', '--detach', '-b', bundle, id)
      try {
        assert.deepEqual([code, stderr], [0, ''])
        const { pid } = JSON.parse((await asUser(environment, 'state', id)).stdout) as { pid: number }
        const cgroup = await cgroupOf(pid)
        const own = `user.slice/user-${USER}.slice/user@${USER}.service/user.slice/libpod-${id}.scope`
        assert.equal(cgroup, join(CGROUPS, own))
        const limits = { 'memory.max': '33554432', 'cpu.max': '50000 100000', 'pids.max': '3' }
        assert.deepEqual(await valuesOf(pid, Object.keys(limits)), limits)
        const { stdout, stderr: said } = await asUser(environment, 'exec', id, '/init', 'cat', '/proc/self/cgroup')
        assert.deepEqual([stdout, said], ['0::/\n', ''])
        assert.equal((await asUser(environment, 'update', '--pids-limit', '7', id)).stderr, '')
        assert.deepEqual(await valuesOf(pid, ['pids.max']), { 'pids.max': '7' })
        assert.equal((await asUser(environment, 'pause', id)).stderr, '')
        assert.match(await readFile(join(cgroup, 'cgroup.events'), 'utf8'), /^frozen 1$/m)
        assert.equal((await asUser(environment, 'delete', '--force', id)).stderr, '')
        assert.ok(!existsSync(cgroup))
      } finally {
        await asUser(environment, 'delete', '--force', id)
      }
    })
  }

  it('is an ordinary user’s also where he is root in a user namespace, as all of Gantry’s commands are', async () => {
    const id = bench.nextId()
    const bundle = await ofUser(id, { memory: { limit: 33554432 }, pids: { limit: 3 } })
    const config = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8')) as BundleConfig
    const namespaces = config.linux['namespaces'] as { type: string }[]
    const { uidMappings: _uids, gidMappings: _gids, resources, ...rest } = config.linux
    const linux = { ...rest, resources: { ...(resources as object), devices: [] } }
    Object.assign(config, { linux: { ...linux, namespaces: namespaces.filter(({ type }) => type !== 'user') } })
    await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
    const folder = join(bench.directory, 'user')
    const within = (...args: string[]): Promise<CliResult> => {
      const ids = [`--uids=0:${USER}:1`, `--gids=0:${USER}:1`]
      const words = [EXECUTABLE, '--root', folder, '--systemd-cgroup', ...args]
      return asUser({}, 'namespace', '--folder', folder, ...ids, ...words)
    }
    const { code, stderr } = await within('run', '--detach', '-b', bundle, id)
    try {
      assert.deepEqual([code, stderr], [0, ''])
      const { pid } = JSON.parse((await within('state', id)).stdout) as { pid: number }
      assert.match(await cgroupOf(pid), new RegExp(`/user@${USER}\\.service/user\\.slice/libpod-${id}\\.scope$`))
      assert.deepEqual(await valuesOf(pid, ['memory.max', 'pids.max']), { 'memory.max': '33554432', 'pids.max': '3' })
      const exec = await within('exec', id, '/init', 'cat', '/proc/self/cgroup')
      assert.deepEqual(exec, { stdout: '0::/\n', stderr: '', code: 0 })
    } finally {
      assert.equal((await within('delete', '--force', id)).stderr, '')
    }
  })

  /** With files of the host hidden from the runtime. */
  const runHidden = async (hidden: readonly string[], id: string): Promise<CliResult> => {
    const bundle = await bench.bundle(configure(id, {}, 'id'))
    const words = [EXECUTABLE, '--root', bench.stateRoot, '--systemd-cgroup', 'run', '-b', bundle, id]
    const hide = hidden.map((path) => `mount --bind /dev/null ${path} && `).join('')
    return await runCommand('unshare', ['-m', 'sh', '-c', `${hide}exec "$@"`, 'sh', ...words])
  }

  it('is asked for over the bus where systemd’s own socket is not to be had', async () => {
    const { code, stderr } = await runHidden(['/run/systemd/private'], nextId())
    assert.deepEqual([code, stderr], [0, ''])
  })

  it('is not made where systemd cannot be reached, whose sockets are named', async () => {
    const { code, stderr } = await runHidden(['/run/systemd/private', '/run/dbus/system_bus_socket'], nextId())
    assert.equal(code, 1)
    assert.match(
      stderr,
      /cannot reach the machine's systemd \(\/run\/systemd\/private: connect: .*; \/run\/dbus\/system_bus_socket: connect: /,
    )
    assert.match(stderr, /use the cgroupfs driver \(docker: /)
  })

  it('is not made where the name or a property makes no sense, or the unit is somebody’s already', async () => {
    const refused: [(config: BundleConfig, id: string) => unknown, RegExp][] = [
      [
        (config) => Object.assign(config.linux, { cgroupsPath: '/somewhere' }),
        /linux\.cgroupsPath: must be of the form slice:prefix:name/,
      ],
      [
        (config) => Object.assign(config.linux, { cgroupsPath: 'a:b:c:d/e' }),
        /linux\.cgroupsPath: must be of the form/,
      ],
      [
        (config) => Object.assign(config.linux, { cgroupsPath: 'system:docker:x' }),
        /must begin with the name of a slice/,
      ],
      [
        (config) => Object.assign(config.linux, { cgroupsPath: 'a--b.slice:docker:x' }),
        /systemd does not start docker-x\.scope: /,
      ],
      [(config) => Object.assign(config.linux, { cgroupsPath: 'a.slice:docker:' }), /must make the name of a unit/],
      [(config) => Object.assign(config.linux, { cgroupsPath: 'a.slice:do cker:x' }), /must make the name of a unit/],
      [
        (config) => Object.assign(config, { annotations: { 'org.systemd.property.Slice': "'a.slice'" } }),
        /Slice: is set by the runtime/,
      ],
      [
        (config) => Object.assign(config, { annotations: { 'org.systemd.property.CPUWeight': 'five' } }),
        /CPUWeight: must be a value in GVariant's text format/,
      ],
      [
        (config) => Object.assign(config, { annotations: { 'org.systemd.property.NoSuchThing': 'true' } }),
        /systemd does not start docker-.*NoSuchThing/,
      ],
      [(config) => Object.assign(config.linux, { resources: { cpu: { cpus: 'all' } } }), /cpu\.cpus: must be numbers/],
      [
        (config) => Object.assign(config.linux, { resources: { unified: { 'no.such': '1' } } }),
        /unified: no controller/,
      ],
    ]
    for (const [change, pattern] of refused) {
      const id = nextId()
      const config = configure(id)
      change(config, id)
      const { code, stderr } = await run(config, id)
      assert.equal(code, 1, stderr)
      assert.match(stderr, pattern)
      assert.deepEqual(await bench.leftovers(), [])
    }
    const first = await start()
    const config = configure(first)
    await fails(
      1,
      new RegExp(`systemd does not start ${unitOf(first)}: `),
      '--systemd-cgroup',
      'run',
      '-b',
      await bench.bundle(config),
      nextId(),
    )
    assert.equal((await stateOf(first)).status, 'running')
  })
})
