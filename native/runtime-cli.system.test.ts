// The command line as docker, containerd and podman use it, and the configuration it is given.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { chown, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { type CliResult, EXECUTABLE, runCli } from './testing/cli.ts'
import { commandLine } from './testing/command-line.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'

describe('gantry-runtime', { skip }, () => {
  let bench: Bench
  const { cli, ok, fails, end } = commandLine(() => bench)
  const run = async (config: BundleConfig | string, prepare?: (rootfs: string) => Promise<void>): Promise<CliResult> =>
    cli('run', '-b', await bench.bundle(config, prepare), bench.nextId())
  const statusOf = async (id: string): Promise<string> => JSON.parse(await ok('state', id)).status

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(end)
  after(async () => await bench.close())

  describe('the life of a container', () => {
    it('goes from created over running to stopped, and each verb keeps its contract', async () => {
      const id = bench.nextId()
      const bundle = await bench.bundle(dockerConfig('sleep', '30'))
      const pidFile = join(bundle, 'pid')
      await ok('create', '--bundle', bundle, '--pid-file', pidFile, id)
      const state = JSON.parse(await ok('state', id))
      assert.equal(state.status, 'created')
      assert.deepEqual([state.id, state.bundle, state.rootfs], [id, bundle, join(bundle, 'rootfs')])
      assert.equal(String(state.pid), await readFile(pidFile, 'utf8'))
      assert.match(state.created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/)
      await fails(1, /container with given ID already exists/, 'create', '-b', bundle, id)

      await ok('start', id)
      assert.equal(await statusOf(id), 'running')
      await fails(1, /cannot start an already running container/, 'start', id)
      await fails(1, /is not stopped: running/, 'delete', id)
      await ok('kill', id, 'SIGKILL')
      while ((await statusOf(id)) !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 5))
      assert.equal(JSON.parse(await ok('state', id)).pid, 0)
      await fails(1, /container not running/, 'kill', id, '9')
      await ok('kill', '--all', id, 'KILL')
      await fails(1, /cannot start a container that has stopped/, 'start', id)
      await ok('delete', id)
      for (const verb of ['state', 'start', 'kill', 'delete']) await fails(1, /container does not exist/, verb, id)
      await ok('delete', '--force', id)
    })

    it('deletes a created container, and with --force a running one', async () => {
      const bundle = await bench.bundle(dockerConfig('sleep', '30'))
      const [created, running] = [bench.nextId(), bench.nextId()]
      await ok('create', '-b', bundle, created)
      await ok('delete', created)
      await ok('run', '--detach', '-b', bundle, running)
      await ok('delete', '-f', running)
    })

    it('is kept when it has ended, where --keep says so', async () => {
      const id = bench.nextId()
      const { code } = await cli('run', '--keep', '-b', await bench.bundle(dockerConfig('exit', '3')), id)
      assert.equal(code, 3)
      assert.equal(await statusOf(id), 'stopped')
      await ok('delete', id)
    })

    it('works from the configuration as it was when the container was created', async () => {
      const id = bench.nextId()
      const bundle = await bench.bundle(dockerConfig('write', '/proof', 'first'))
      await ok('create', '-b', bundle, id)
      await writeFile(join(bundle, 'config.json'), '{}')
      await ok('start', id)
      while ((await statusOf(id)) !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 5))
      assert.equal(await readFile(join(bundle, 'rootfs/proof'), 'utf8'), 'first')
      await ok('delete', id)
    })

    it('tells at create that there is no such program', async () => {
      const config = dockerConfig()
      config.process.args = ['nosuch']
      const bundle = await bench.bundle(config)
      await fails(1, /exec: "nosuch": executable file not found in \$PATH/, 'create', '-b', bundle, bench.nextId())
    })

    it('tells at start that the program cannot be executed', async () => {
      const config = dockerConfig()
      config.process.args = ['/broken']
      const id = bench.nextId()
      const bundle = await bench.bundle(config, (rootfs) => writeFile(join(rootfs, 'broken'), 'x', { mode: 0o755 }))
      await ok('create', '-b', bundle, id)
      await fails(1, /exec format error/, 'start', id)
      await ok('delete', '--force', id)
    })

    it('is one caller’s when two create the same id', async () => {
      const id = bench.nextId()
      const bundle = await bench.bundle(dockerConfig('true'))
      const results = await Promise.all([1, 2, 3].map(() => cli('create', '-b', bundle, id)))
      assert.deepEqual(results.map((result) => result.code).sort(), [0, 1, 1])
      await ok('delete', '-f', id)
    })

    it('starts beside others that come and go, from one root without a /dev of its own', async () => {
      const config = dockerConfig('true')
      config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith('/dev'))
      const bundle = await bench.bundle(config)
      const inTurn = async (): Promise<void> => {
        for (let turn = 0; turn < 25; turn += 1) await ok('run', '-b', bundle, bench.nextId())
      }
      await Promise.all([inTurn(), inTurn(), inTurn()])
    })

    it('passes signals on in the foreground and ends as the program does', async () => {
      const bundle = await bench.bundle(dockerConfig('await-signal', '--', 'exit', '5'))
      const child = spawn(EXECUTABLE, ['--root', bench.stateRoot, 'run', '-b', bundle, bench.nextId()])
      let output = ''
      child.stdout.on('data', (text: Buffer) => {
        output += text.toString()
        if (output === 'ready\n') child.kill('SIGUSR1')
      })
      const code = await new Promise((resolve) => child.on('close', resolve))
      assert.equal(output, 'ready\nsignal 10\n')
      assert.equal(code, 5)
    })

    it('relays its terminal to the caller’s', async () => {
      const config = dockerConfig('tty', '--', 'size', '--', 'exit', '6')
      config.process['terminal'] = true
      const bundle = await bench.bundle(config)
      const command = `stty rows 12 cols 34; ${EXECUTABLE} --root ${bench.stateRoot} run -b ${bundle} ${bench.nextId()}`
      const child = spawn('/usr/bin/script', ['--quiet', '--return', '--command', command, '/dev/null'], {
        stdio: ['pipe', 'pipe', 'inherit'], // open until the end: script types an end of its own input into the terminal
        timeout: 20_000,
      })
      let output = ''
      child.stdout.on('data', (text: Buffer) => {
        output += text.toString()
      })
      const code = await new Promise((resolve) => child.on('close', resolve))
      assert.match(output, /tty 1 1 1 controlling 1 name \/dev\/pts\/0\r\nsize 12 34\r\n/)
      assert.equal(code, 6)
    })

    it('has the devices that are listed, a score for the OOM killer and its own kernel settings', async () => {
      const config = dockerConfig(
        ...[
          'stat',
          '/dev/extra',
          '--',
          'cat',
          '/proc/self/oom_score_adj',
          '--',
          'cat',
          '/proc/sys/net/ipv4/ip_forward',
        ],
      )
      Object.assign(config.process, { oomScoreAdj: 321 })
      Object.assign(config.linux, {
        devices: [{ path: '/dev/extra', type: 'c', major: 1, minor: 5, fileMode: 0o640, uid: 7 }],
        sysctl: { 'net.ipv4.ip_forward': '1' },
      })
      const { stdout } = await run(config)
      assert.equal(stdout, '/dev/extra mode 20640 device 1:5 uid 7\n321\n1\n')
    })

    it('ends with a foreground parent that is killed; delete then clears what is known of it', async () => {
      const id = bench.nextId()
      const bundle = await bench.bundle(dockerConfig('sleep', '60'))
      const child = spawn(EXECUTABLE, ['--root', bench.stateRoot, 'run', '-b', bundle, id], { stdio: 'ignore' })
      while ((await cli('state', id)).code !== 0) await new Promise((resolve) => setTimeout(resolve, 5))
      child.kill('SIGKILL')
      while ((await statusOf(id)) !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 5))
      await ok('delete', id)
    })
  })

  describe('the command line', () => {
    it('clears what a runtime that was killed had half-written', async () => {
      const id = bench.nextId()
      await mkdir(join(bench.stateRoot, id), { recursive: true })
      await writeFile(join(bench.stateRoot, id, '.state.json.4711'), '{"ociVer')
      await ok('delete', '--force', id)
    })

    it('keeps no id when its state cannot be written', async () => {
      const full = join(bench.directory, 'full')
      await mkdir(full)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', full])
      try {
        await writeFile(join(full, 'filling'), Buffer.alloc(4096))
        const bundle = await bench.bundle(dockerConfig('true'))
        const { code, stderr } = await runCli(full, ['run', '-b', bundle, bench.nextId()])
        assert.equal(code, 1)
        assert.match(stderr, /write config\.json: no space left on device/)
        assert.deepEqual(await readdir(full), ['filling'])
      } finally {
        execFileSync('umount', [full])
      }
    })

    it('says its version the way docker reads it', async () => {
      assert.match(await ok('--version'), /^gantry-runtime version \S+\ncommit: \S+\nspec: 1\.\d+\.\d+\n$/)
    })

    it('leaves exactly one error line in the log', async () => {
      const log = join(bench.directory, 'log.json')
      await fails(1, /does not exist/, '--log', log, '--log-format', 'json', 'state', 'nosuch')
      const entry = JSON.parse(await readFile(log, 'utf8'))
      assert.deepEqual(Object.keys(entry), ['level', 'msg', 'time'])
      assert.deepEqual([entry.level, entry.msg], ['error', 'container does not exist'])
    })

    it('tells its warnings to the log as well, but for its only line where it fails', async () => {
      const warned = join(bench.directory, 'warned.json')
      const config = dockerConfig('true')
      Object.assign(config.process['capabilities'] as object, { bounding: ['CAP_CHOWN', 'CAP_NOSUCH'] })
      await ok('--log', warned, '--log-format', 'json', 'run', '-b', await bench.bundle(config), bench.nextId())
      const entry = JSON.parse(await readFile(warned, 'utf8'))
      assert.equal(entry.level, 'warning')
      assert.match(entry.msg, /CAP_NOSUCH/)

      const failed = join(bench.directory, 'failed.json')
      config.process.args = ['nosuch']
      const bundle = await bench.bundle(config)
      await fails(1, /CAP_NOSUCH/, '--log', failed, '--log-format', 'json', 'create', '-b', bundle, bench.nextId())
      const { level, msg } = JSON.parse(await readFile(failed, 'utf8'))
      assert.equal(level, 'error')
      assert.match(msg, /executable file not found/)
    })

    it('fills a tmpfs with what it covers: files, links, modes, owners; a read-only one, too', async () => {
      const config = dockerConfig(
        'cat',
        '/full/a/b/file',
        '--',
        'stat',
        '/full/a/b/file',
        '--',
        'readlink',
        '/full/link',
      )
      config.process.args.push('--', 'stat', '/full/pipe', '--', 'write', '/full/a/b/file', 'x')
      const options = ['tmpcopyup', 'nosuid', 'ro']
      config.mounts.push({ destination: '/full', type: 'tmpfs', source: 'tmpfs', options })
      const bundle = await bench.bundle(config, async (rootfs) => {
        await mkdir(join(rootfs, 'full/a/b'), { recursive: true, mode: 0o711 })
        await writeFile(join(rootfs, 'full/a/b/file'), 'held', { mode: 0o640 })
        await chown(join(rootfs, 'full/a/b/file'), 7, 8)
        await symlink('../etc', join(rootfs, 'full/link'))
        execFileSync('/usr/bin/mkfifo', ['-m', '604', join(rootfs, 'full/pipe')])
      })
      const { stdout } = await cli('run', '-b', bundle, bench.nextId())
      assert.equal(
        stdout,
        [
          'held/full/a/b/file mode 100640 device 0:0 uid 7',
          '/full/link -> ../etc',
          '/full/pipe mode 10604 device 0:0 uid 0',
          'write /full/a/b/file: Read-only file system\n',
        ].join('\n'),
      )
      assert.equal(await readFile(join(bundle, 'rootfs/full/a/b/file'), 'utf8'), 'held')
    })

    it('refuses ids that are paths', async () => {
      const bundle = await bench.bundle(dockerConfig('true'))
      for (const id of ['../escape', 'a/b', '.', '..', '', 'a b', 'ü', 'x'.repeat(300)]) {
        await fails(1, /invalid container ID format/, 'run', '-b', bundle, id)
      }
    })

    it('refuses what it does not know, and a root that stays within reach', async () => {
      const bundle = await bench.bundle(dockerConfig('true'))
      await fails(1, /unknown verb frobnicate/, 'frobnicate')
      await fails(1, /unknown option --frobnicate/, 'run', '--frobnicate', 'x')
      await fails(1, /--no-pivot is refused/, 'run', '--no-pivot', '-b', bundle, 'x')
      await fails(1, /--cgroup-manager must be cgroupfs, systemd or disabled/, '--cgroup-manager', 'none', 'run', 'x')
      await fails(1, /needs exactly one argument/, 'run', '-b', bundle)
    })

    it('wants a socket for the terminal of a container that it leaves', async () => {
      const config = dockerConfig('true')
      config.process['terminal'] = true
      const bundle = await bench.bundle(config)
      await fails(1, /cannot allocate tty/, 'create', '-b', bundle, bench.nextId())
    })
  })

  describe('config.json', () => {
    const refused: [string, (config: BundleConfig) => unknown, RegExp][] = [
      [
        'seccomp',
        (c) => Object.assign(c.linux, { seccomp: { defaultAction: 'ALLOW' } }),
        /linux\.seccomp\.defaultAction/,
      ],
      ['resources', (c) => Object.assign(c.linux, { resources: { pids: { limit: 'x' } } }), /linux\.resources\.pids/],
      ['an unknown namespace', (c) => Object.assign(c.linux, { namespaces: [{ type: 'x' }] }), /namespaces\[0\]\.type/],
      [
        'a relative path of a namespace',
        (c) => Object.assign(c.linux, { namespaces: [{ type: 'pid', path: 'x' }] }),
        /\[0\]\.path/,
      ],

      ['AppArmor', (c) => Object.assign(c.process, { apparmorProfile: 'x' }), /process\.apparmorProfile/],
      ['a sysctl of the host', (c) => Object.assign(c.linux, { sysctl: { 'kernel.panic': '1' } }), /kernel\.panic/],
      ['a sysctl that is a path', (c) => Object.assign(c.linux, { sysctl: { 'net.../x': '1' } }), /no sysctl name/],
      [
        'an id that wraps to root',
        (c) => Object.assign(c.process, { user: { uid: 4294967296 } }),
        /process\.user\.uid/,
      ],
      ['a relative cwd', (c) => Object.assign(c.process, { cwd: 'x' }), /process\.cwd: must be an absolute path/],
      [
        'a limit twice',
        (c) => Object.assign(c.process, { rlimits: [1, 1].map(() => ({ type: 'RLIMIT_CORE', soft: 0, hard: 0 })) }),
        /given twice/,
      ],
      [
        'a mount inside /proc',
        (c) => c.mounts.push({ destination: '/proc/sys/../self', type: 'tmpfs', source: '', options: [] }),
        /inside \/proc/,
      ],
      ['a NUL in a path', (c) => Object.assign(c.root, { path: 'a\0b' }), /root\.path: must not contain a NUL/],
      ['a cgroup outside', (c) => Object.assign(c.linux, { cgroupsPath: '/../..' }), /cgroupsPath/],
    ]
    for (const [what, change, pattern] of refused) {
      it(`is refused for ${what}, with the path of the property`, async () => {
        const config = dockerConfig('true')
        change(config)
        const { code, stderr } = await run(config)
        assert.equal(code, 1)
        assert.match(stderr, /config\.json: /)
        assert.match(stderr, pattern)
      })
    }

    it('is refused when it is too deep, too large, not UTF-8 or ambiguous', async () => {
      const texts: [string, RegExp][] = [
        ['['.repeat(100_000), /nested deeper than 64/],
        [`{"a":${'1'.repeat(5 << 20)}}`, /file too large/],
        ['{"root":{"path":"a"},"root":{"path":"b"}}', /duplicate property "root"/],
        ['{"a":"\\ud800"}', /surrogate/],
        ['{} {}', /unexpected text after the document/],
        ['', /expected a value/],
      ]
      for (const [text, pattern] of texts) assert.match((await run(text)).stderr, pattern)
    })

    it('is read as JSON.parse reads it', async () => {
      // The annotations come back in the state document, so every string and key makes the round trip.
      const text = fc.string({ unit: 'binary', maxLength: 20 }).filter((s) => !s.includes('\0') && s.isWellFormed())
      const key = text.filter((s) => s !== '' && s !== '__proto__')
      await fc.assert(
        fc.asyncProperty(
          fc.dictionary(key, text, { noNullPrototype: true }),
          fc.json(),
          async (annotations, ignored) => {
            const id = bench.nextId()
            const config = { ...dockerConfig('true'), annotations, unknown: JSON.parse(ignored) }
            const bundle = await bench.bundle(JSON.stringify(config))
            await ok('create', '-b', bundle, id)
            try {
              assert.deepEqual(JSON.parse(await ok('state', id)).annotations ?? {}, annotations)
            } finally {
              await ok('delete', '-f', id)
              await rm(bundle, { recursive: true })
            }
          },
        ),
        { numRuns: 15 },
      )
    })

    it('never crashes the reader, whatever the bytes', async () => {
      const bundle = await bench.bundle('')
      const valid = JSON.stringify(dockerConfig('true'))
      const spoiled = fc
        .tuple(fc.nat(valid.length), fc.nat(20), fc.string({ unit: 'binary', maxLength: 8 }))
        .map(([at, cut, put]) => valid.slice(0, at) + put + valid.slice(at + cut))
      await fc.assert(
        fc.asyncProperty(spoiled, async (text) => {
          await writeFile(join(bundle, 'config.json'), text)
          const { code } = await cli('run', '-b', bundle, bench.nextId())
          // 2 is the program's: the spoiled word was its argument
          assert.ok(code === 0 || code === 1 || code === 2, `ended with ${code}`)
        }),
        { numRuns: 60 },
      )
    })
  })

  it('leaves nothing behind, whichever step fails', async () => {
    const changes: ((config: BundleConfig) => unknown)[] = [
      (c) => Object.assign(c.root, { path: 'nosuch' }),
      (c) => c.mounts.push({ destination: '/x', type: 'nosuchfs', source: '', options: [] }),
      (c) => c.mounts.push({ destination: '/init/x', type: 'tmpfs', source: '', options: [] }),
      (c) => c.mounts.push({ destination: '/x', type: 'bind', source: '/nosuch', options: [] }),
      (c) => Object.assign(c.linux, { sysctl: { 'net.nosuch': '1' } }),
      (c) => Object.assign(c.linux, { devices: [{ path: '/init/x', type: 'c', major: 1, minor: 3 }] }),
      (c) => Object.assign(c.process, { cwd: '/init' }),
      (c) => Object.assign(c.process, { rlimits: [{ type: 'RLIMIT_NICE', soft: 39, hard: 39 }] }),
      (c) => Object.assign(c.process, { args: ['/nosuch'] }),
    ]
    for (const [index, change] of changes.entries()) {
      const config = dockerConfig('true')
      change(config)
      const { code, stderr } = await run(config)
      if (index !== 7) assert.equal(code, 1, `step ${index}`) // whoever has CAP_SYS_RESOURCE may raise the limit
      if (code !== 0) assert.notEqual(stderr, '')
      assert.deepEqual(await bench.leftovers(), [], `step ${index}`)
    }
  })
})
