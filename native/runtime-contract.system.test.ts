// What the specification and its callers ask of a runtime in so many words, where no other suite is about it.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { type CliResult, EXECUTABLE, runCommand } from './testing/cli.ts'
import { commandLine } from './testing/command-line.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'
const CGROUPS = '/sys/fs/cgroup'
const V2_ALONE = existsSync(join(CGROUPS, 'cgroup.controllers'))
/** Where version 1 counts processes; version 2 has no folder of that name. */
const pids = existsSync(join(CGROUPS, 'pids')) ? 'pids' : ''

describe('gantry-runtime, by the letter,', { skip }, () => {
  let bench: Bench
  const { cli, ok, fails, nextId, start, stateOf, end } = commandLine(() => bench)
  const run = async (config: BundleConfig, prepare?: (rootfs: string) => Promise<unknown>): Promise<CliResult> =>
    cli('run', '-b', await bench.bundle(config, prepare), nextId())
  const changed = (change: (config: BundleConfig) => unknown, ...args: string[]): BundleConfig => {
    const config = dockerConfig(...args)
    change(config)
    return config
  }
  const withMount = (destination: string, type: string, source: string, ...options: string[]): BundleConfig =>
    changed(({ mounts }) => mounts.push({ destination, type, source, options }), 'cat', '/proc/self/mountinfo')

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(end)
  after(async () => await bench.close())

  describe('config.json', () => {
    it('is of version 1 of the specification, and of no other', async () => {
      const of = (ociVersion: unknown) => run(changed((config) => Object.assign(config, { ociVersion }), 'true'))
      for (const version of ['1.0.0', '1.3.0', '1.99.12', '1.2.0-rc.1', '1.0.2+dev']) {
        assert.deepEqual(await of(version), { code: 0, stdout: '', stderr: '' })
      }
      for (const version of ['2.0.0', '0.9.0', '1', '1.0', '1.0.', '1.01.0', '1.0.0x', 'v1.0.0', '', undefined]) {
        const { code, stderr } = await of(version)
        assert.equal(code, 1, String(version))
        assert.match(stderr, /ociVersion: (must be a version 1\.x\.y of the specification|is required)/)
      }
    })

    it('may have no process: the container is created, and cannot be started', async () => {
      const config = changed((each) => Object.assign(each, { process: undefined }))
      const id = nextId()
      await ok('create', '-b', await bench.bundle(config), id)
      assert.equal((await stateOf(id)).status, 'created')
      await fails(1, /process: is required to start a container/, 'start', id)
      assert.equal((await stateOf(id)).status, 'created')
      const { code, stderr } = await run(config)
      assert.deepEqual([code, /process: is required to start a container/.test(stderr)], [1, true])
    })

    const refused: readonly (readonly [string, (config: BundleConfig) => unknown, RegExp])[] = [
      [
        'a virtual machine',
        (c) => Object.assign(c, { vm: { kernel: { path: '/x' } } }),
        /vm: a virtual machine is not supp/,
      ],
      [
        'Intel RDT',
        (c) => Object.assign(c.linux, { intelRdt: { closID: 'x' } }),
        /linux\.intelRdt: Intel RDT is not supp/,
      ],
      [
        'a label of SELinux',
        (c) => Object.assign(c.process, { selinuxLabel: 'x' }),
        /process\.selinuxLabel: SELinux is not/,
      ],
      [
        'a label for mounts',
        (c) => Object.assign(c.linux, { mountLabel: 'x' }),
        /linux\.mountLabel: SELinux is not supported/,
      ],
      [
        'devices of the network',
        (c) => Object.assign(c.linux, { netDevices: { x: {} } }),
        /linux\.netDevices: moving network/,
      ],
      [
        'a mount namespace to join',
        (c) => Object.assign(c.linux, { namespaces: [{ type: 'mount', path: '/proc/self/ns/mnt' }] }),
        /can only be made/,
      ],
      [
        'no mount namespace',
        (c) => Object.assign(c.linux, { namespaces: [{ type: 'pid' }] }),
        /must list a mount namespace/,
      ],
      ['a namespace twice', (c) => (c.linux['namespaces'] as object[]).push({ type: 'pid' }), /"pid" is listed twice/],
      [
        'a host name without a namespace for it',
        (c) => Object.assign(c.linux, { namespaces: [{ type: 'mount' }] }),
        /hostname: needs a uts/,
      ],
      [
        'an annotation without a name',
        (c) => Object.assign(c, { annotations: { '': 'x' } }),
        /annotations: a key must not be empty/,
      ],
      [
        'an annotation that is no text',
        (c) => Object.assign(c, { annotations: { a: 1 } }),
        /annotations\.a: must be a string/,
      ],
      [
        'a limit that Linux has not',
        (c) => Object.assign(c.process, { rlimits: [{ type: 'RLIMIT_X', soft: 1, hard: 1 }] }),
        /is no resource limit/,
      ],
      ['no program', (c) => Object.assign(c.process, { args: [] }), /process\.args: must name a program/],
      ['no working directory', (c) => Object.assign(c.process, { cwd: undefined }), /process\.cwd: is required/],
      [
        'a kind of device that there is not',
        (c) => Object.assign(c.linux, { devices: [{ path: '/dev/x', type: 'q' }] }),
        /devices\[0\]\.type/,
      ],
      [
        'mappings of users alone',
        (c) => Object.assign(c.linux, { uidMappings: [{ containerID: 0, hostID: 1, size: 1 }] }),
        /gidMappings: must be given if the other is/,
      ],
      [
        'a cgroup of systemd’s that cannot be had',
        (c) => Object.assign(c.linux, { cgroupsPath: V2_ALONE ? 'a:b:c' : 'a.slice:b:c' }),
        V2_ALONE ? /must begin with the name of a slice/ : /systemd's driver takes a host with cgroup version 2 alone/,
      ],
      [
        'a propagation that there is not',
        (c) => Object.assign(c.linux, { rootfsPropagation: 'x' }),
        /rootfsPropagation: must be shared/,
      ],
      [
        'a root that is no folder',
        (c) => Object.assign(c.root, { path: 'rootfs/init' }),
        /open the root file system .*not a directory/,
      ],
      ['no root', (c) => Object.assign(c, { root: undefined }), /root\.path: is required/],
      ...['remount', 'iversion', 'copy-symlink', 'src-nofollow', 'dest-nofollow'].map(
        (option) =>
          [
            `the mount option ${option}`,
            (c: BundleConfig) => c.mounts.push({ destination: '/x', type: 'tmpfs', source: 't', options: [option] }),
            new RegExp(`mounts\\[7\\]\\.options\\[0\\]: ${option} is not supported`),
          ] as const,
      ),
    ]
    for (const [what, change, reason] of refused) {
      it(`is refused with ${what}`, async () => {
        const { code, stderr } = await run(changed(change, 'true'))
        assert.equal(code, 1)
        assert.match(stderr, reason)
      })
    }

    it('may say a size for a terminal that there is not', async () => {
      const config = changed(
        ({ process }) => Object.assign(process, { consoleSize: { height: 1, width: 2 } }),
        'exit',
        '4',
      )
      assert.equal((await run(config)).code, 4)
    })

    it('gives the container a domain name, and a network whose loopback is up', async () => {
      const config = dockerConfig('names', '--', 'cat', '/sys/class/net/lo/flags')
      const { stdout } = await run(Object.assign(config, { domainname: 'domain.example' }))
      assert.equal(stdout, 'host inside domain domain.example\n0x9\n')
    })

    it('may list devices of any kind, but none where something else is', async () => {
      const listing = (...devices: object[]): BundleConfig =>
        changed(
          ({ linux }) => Object.assign(linux, { devices }),
          ...['c', 'b', 'p', 'z'].flatMap((each) => ['stat', `/dev/${each}`, '--']),
        )
      const many = listing(
        { path: '/dev/c', type: 'u', major: 1, minor: 3 },
        { path: '/dev/b', type: 'b', major: 7, minor: 0, fileMode: 0o600, uid: 3, gid: 4 },
        { path: '/dev/p', type: 'p', fileMode: 0o640 },
        { path: '/dev/zero', type: 'c', major: 1, minor: 5 }, // there already, and the same
      )
      assert.match(
        (await run(many)).stdout,
        /^\/dev\/c mode 20666 device 1:3 uid 0\n\/dev\/b mode 60600 device 7:0 uid 3\n\/dev\/p mode 10640 /,
      )
      const other = await run(listing({ path: '/dev/zero', type: 'c', major: 1, minor: 3 }))
      assert.equal(other.code, 1)
      assert.match(other.stderr, /make the device \/dev\/zero: file exists/)
    })
  })

  describe('mounts', () => {
    const flagsOf = (output: string, destination: string): string | undefined =>
      output
        .split('\n')
        .find((line) => line.split(' ')[4] === destination)
        ?.split(' ')
        .slice(5)
        .join(' ')

    it('have the options that are asked for, whichever of the specification’s', async () => {
      const expected: readonly (readonly [string, RegExp])[] = [
        ['ro', /^ro,/],
        ['rw', /^rw,/],
        ['nosuid', /^rw,nosuid,/],
        ['nodev', /^rw,nodev,/],
        ['noexec', /^rw,noexec,/],
        ['noatime', /^rw,noatime /],
        ['nodiratime', /nodiratime/],
        ['relatime', /^rw,relatime /],
        ['strictatime', /^rw /],
        ['norelatime', /^rw /],
        ['nosymfollow', /nosymfollow/],
        ['sync', / rw,sync/],
        ['dirsync', / rw,dirsync/],
        ['lazytime', / rw,lazytime/],
        ['rro', /^ro,/],
        ['rnosuid', /^rw,nosuid,/],
        ...[
          ...['async', 'atime', 'defaults', 'dev', 'diratime', 'exec', 'loud', 'noiversion', 'nolazytime', 'silent'],
          ...['nostrictatime', 'suid', 'symfollow', 'rrw', 'rdev', 'rexec', 'rsuid', 'ratime', 'rsymfollow'],
        ].map((option) => [option, /^rw,relatime /] as const),
      ]
      const config = dockerConfig('cat', '/proc/self/mountinfo')
      for (const [option] of expected) {
        config.mounts.push({ destination: `/m/${option}`, type: 'tmpfs', source: 't', options: [option] })
      }
      const { stdout, stderr } = await run(config)
      for (const [option, flags] of expected) {
        assert.match(flagsOf(stdout, `/m/${option}`) ?? stderr, flags, option)
      }
    })

    it('that are binds change the mount itself, or by the recursive options all below it, too', async () => {
      const source = join(bench.directory, 'source')
      await mkdir(join(source, 'inner'), { recursive: true })
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', source])
      await mkdir(join(source, 'inner'))
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(source, 'inner')])
      try {
        const flags = async (...options: string[]): Promise<(string | undefined)[]> => {
          const { stdout } = await run(withMount('/b', 'bind', source, ...options))
          return ['/b', '/b/inner'].map((path) => flagsOf(stdout, path)?.split(' ')[0])
        }
        assert.deepEqual(await flags('bind', 'ro', 'nosuid'), ['ro,nosuid,relatime', undefined])
        assert.deepEqual(await flags('rbind', 'ro', 'nodev'), ['ro,nodev,relatime', 'rw,relatime'])
        assert.deepEqual(await flags('rbind', 'rro', 'rnoexec'), ['ro,noexec,relatime', 'ro,noexec,relatime'])
        assert.deepEqual(await flags('rbind', 'rro', 'rw'), ['rw,relatime', 'ro,relatime'])
        assert.deepEqual(await flags('rbind', 'rnoatime', 'rnosymfollow'), Array(2).fill('rw,noatime,nosymfollow'))
      } finally {
        execFileSync('umount', ['-R', source])
      }
    })

    it('travel between host and container only where that is asked for', async () => {
      const source = join(bench.directory, 'shared')
      await mkdir(source)
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', source])
      execFileSync('mount', ['--make-shared', source])
      try {
        for (const [option, fields] of [
          ['rprivate', /^rw,relatime - /],
          ['private', /^rw,relatime - /],
          ['bind', /^rw,relatime - /],
          ['rslave', /^rw,relatime master:\d+ - /],
          ['slave', /^rw,relatime master:\d+ - /],
          ['rshared', /^rw,relatime shared:\d+ - /],
          ['shared', /^rw,relatime shared:\d+ - /],
          ['unbindable', /^rw,relatime unbindable - /],
          ['runbindable', /^rw,relatime unbindable - /],
        ] as const) {
          const { stdout } = await run(withMount('/s', 'bind', source, 'rbind', option))
          assert.match(flagsOf(stdout, '/s') ?? '', fields, option)
        }
      } finally {
        execFileSync('umount', [source])
      }
    })

    it('of the root travel as rootfsPropagation says', async () => {
      for (const [propagation, fields] of [
        ['private', /^\S+ - /],
        ['shared', /^\S+ shared:\d+ - /],
        ['unbindable', /^\S+ unbindable - /],
        ['slave', /^\S+ (master:\d+ )?- /],
      ] as const) {
        const config = changed(
          ({ linux }) => Object.assign(linux, { rootfsPropagation: propagation }),
          'cat',
          '/proc/self/mountinfo',
        )
        assert.match(flagsOf((await run(config)).stdout, '/') ?? '', fields, propagation)
      }
    })

    it('are made in the order in which they are listed, and a relative destination is below the root', async () => {
      const config = dockerConfig('cat', '/a/b/file', '--', 'ls', '/a')
      const source = await bench.bundle(dockerConfig('true'))
      await writeFile(join(source, 'file'), 'found')
      const tmpfs = { destination: 'a', type: 'tmpfs', source: 't', options: [] }
      config.mounts.push(tmpfs, {
        destination: 'a/b/file',
        type: 'bind',
        source: join(source, 'file'),
        options: ['bind'],
      })
      assert.equal((await run(config)).stdout, 'foundb\n')
      config.mounts.push({ ...tmpfs, destination: '/a/b' })
      assert.equal((await run(config)).stdout, 'cat /a/b/file: No such file or directory\nb\n')
    })
  })

  describe('a process', () => {
    it('belongs to whoever called, once the runtime has gone', async () => {
      const bundle = await bench.bundle(dockerConfig('exit', '9'))
      const id = nextId()
      const pidFile = join(bundle, 'pid')
      const script = `
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
runtime, root, bundle, pid_file, id = sys.argv[1:]
subprocess.run([runtime, '--root', root, 'create', '-b', bundle, '--pid-file', pid_file, id], check=True)
pid = int(open(pid_file).read())
parent = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[1]
subprocess.run([runtime, '--root', root, 'start', id], check=True)
print(int(parent) == os.getpid(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`
      const words = ['-c', script, EXECUTABLE, bench.stateRoot, bundle, pidFile, id]
      const { stdout, stderr } = await runCommand('python3', words)
      assert.equal(stdout, 'True 9\n', stderr)
    })

    it('is sent a signal by its number, its name, or its name in full', async () => {
      for (const signal of ['9', 'KILL', 'SIGKILL', 'sigkill']) {
        const id = await start()
        await ok('kill', id, signal)
        while ((await stateOf(id)).status !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 5))
      }
      await fails(1, /unknown signal nosuch/, 'kill', await start(), 'nosuch')
    })

    it('may keep the limits and the score that there are without the right to raise any', async () => {
      const hard = Number((await readFile('/proc/self/limits', 'utf8')).match(/Max open files\s+\d+\s+(\d+)/)?.[1])
      const without = async (process: object): Promise<CliResult> => {
        const config = changed((each) => Object.assign(each.process, process), 'exit', '3')
        const runtime = [EXECUTABLE, '--root', bench.stateRoot, 'run', '-b', await bench.bundle(config), nextId()]
        return runCommand('setpriv', ['--bounding-set=-sys_resource', '--inh-caps=-all', ...runtime])
      }
      const limit = (value: number) => ({ rlimits: [{ type: 'RLIMIT_NOFILE', soft: value, hard: value }] })
      assert.equal((await without(limit(hard))).code, 3)
      const raised = await without(limit(hard + 1))
      assert.deepEqual(
        [raised.code, /set process\.rlimits\[0\]: operation not permitted/.test(raised.stderr)],
        [1, true],
      )
      const scored = await without({ oomScoreAdj: -999 })
      assert.deepEqual([scored.code, /set process\.oomScoreAdj: permission denied/.test(scored.stderr)], [1, true])
    })

    it('is given the sockets that systemd opened for the runtime, before those to be preserved', async () => {
      const file = openSync('/dev/null', 'r')
      try {
        const bundle = await bench.bundle(dockerConfig('fds', '--', 'env'))
        const words = `LISTEN_FDS=2 LISTEN_PID=$$ exec "$0" --root ${bench.stateRoot} run --preserve-fds 1 -b ${bundle} ${nextId()}`
        const stdio = ['ignore', 'pipe', 'inherit', file, file, file, file] as const
        const { stdout } = spawnSync('sh', ['-c', words, EXECUTABLE], { stdio: [...stdio], encoding: 'utf8' })
        assert.equal(
          stdout,
          'fd 0\nfd 1\nfd 2\nfd 3\nfd 4\nfd 5\nenv PATH=/bin:/\nenv LISTEN_FDS=2\nenv LISTEN_PID=1\n',
        )
        const others = words.replace('LISTEN_PID=$$', 'LISTEN_PID=1').replace('--preserve-fds 1', '')
        const none = spawnSync('sh', ['-c', others, EXECUTABLE], { stdio: [...stdio], encoding: 'utf8' })
        assert.equal(none.stdout, 'fd 0\nfd 1\nfd 2\nenv PATH=/bin:/\n')
      } finally {
        closeSync(file)
      }
    })
  })

  describe('a cgroup that is there already', () => {
    const freezer = existsSync(join(CGROUPS, 'freezer')) ? 'freezer' : ''

    it('is taken over where it is empty, and refused where it has members or is frozen', async () => {
      const name = bench.nextId()
      const config = changed(({ linux }) => Object.assign(linux, { cgroupsPath: `/gantry/${name}` }), 'sleep', '60')
      const directories = [...new Set([pids, freezer])].map((each) => join(CGROUPS, each, 'gantry', name))
      const make = async (): Promise<void> => {
        for (const each of directories) await mkdir(each, { recursive: true })
      }
      await make()
      const first = nextId()
      const bundle = await bench.bundle(config)
      await ok('run', '--detach', '-b', bundle, first)
      await fails(1, /linux\.cgroupsPath: the cgroup .* has members already/, 'run', '-b', bundle, nextId())
      await ok('delete', '--force', first)

      await make()
      const frozen = directories.at(-1) ?? ''
      const [file, stop, go] = freezer === '' ? ['cgroup.freeze', '1', '0'] : ['freezer.state', 'FROZEN', 'THAWED']
      await writeFile(join(frozen, file), stop)
      try {
        await fails(1, /linux\.cgroupsPath: the cgroup .* is frozen: thaw it first/, 'run', '-b', bundle, nextId())
      } finally {
        await writeFile(join(frozen, file), go)
        for (const each of directories) await rmdir(each)
        for (const each of directories) await rmdir(join(each, '..')).catch(() => {}) // another test may be using it
      }
    })
  })

  describe('the command line', () => {
    it('takes limits from standard input', async () => {
      const id = await start()
      const input = JSON.stringify({ pids: { limit: 55 } })
      const words = ['--root', bench.stateRoot, 'update', '--resources', '-', id]
      const { status, stderr } = spawnSync(EXECUTABLE, words, { input, encoding: 'utf8' })
      assert.equal(status, 0, stderr)
      const { pid } = await stateOf(id)
      const own = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).match(/^(\d+:pids|0:):(.*)$/m)?.[2] ?? ''
      assert.equal(await readFile(join(CGROUPS, pids, own, 'pids.max'), 'utf8'), '55\n')
    })

    it('takes what others’ callers say, and says what is only theirs', async () => {
      await ok('--debug', '--rootless', 'false', '--cgroup-manager', 'cgroupfs', '--log-format', 'text', 'list')
      const bundle = await bench.bundle(dockerConfig('true'))
      await ok('run', '--no-subreaper', '--no-new-keyring', '-b', bundle, nextId())
      await fails(1, /unknown option --config of create/, 'create', '--config', 'x', nextId())
      await fails(1, /--rootless must be true, false or auto/, '--rootless', 'x', 'list')
      await fails(1, /--cgroup-manager must be cgroupfs, systemd or disabled/, '--cgroup-manager', 'x', 'list')
    })

    it('says of a kernel that is too old which it needs', async () => {
      const bundle = await bench.bundle(dockerConfig('true'))
      const words = ['--uname-2.6', EXECUTABLE, '--root', bench.stateRoot, 'run', '-b', bundle, nextId()]
      const { code, stderr } = await runCommand('setarch', words)
      assert.equal(code, 1)
      assert.match(stderr, /Linux 5\.14 or newer is needed, this is 2\.6/)
    })
  })
})
