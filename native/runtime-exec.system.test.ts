// exec as docker, containerd and podman use it, and namespaces that containers share.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, open, readFile, readlink, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Duplex, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, afterEach, before, describe, it } from 'node:test'
import { Bench, dockerConfig } from './testing/bundle.ts'
import { EXECUTABLE } from './testing/cli.ts'
import { commandLine } from './testing/command-line.ts'
import { systemCallNumbers } from './testing/system-call-numbers.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'
const NAMESPACES = ['pid', 'mnt', 'ipc', 'uts', 'net', 'cgroup']

describe('gantry-runtime exec', { skip }, () => {
  let bench: Bench
  const { cli, ok, fails, nextId, start, stateOf, end } = commandLine(() => bench)
  const processFile = async (process: object): Promise<string> => {
    const file = join(bench.directory, `process-${bench.nextId()}.json`)
    await writeFile(file, JSON.stringify({ cwd: '/', env: ['PATH=/'], user: { uid: 0, gid: 0 }, ...process }))
    return file
  }

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(end)
  after(async () => await bench.close())

  it('runs inside: in its namespaces, its cgroup, its files', async () => {
    const id = await start()
    const { pid } = await stateOf(id)
    const words = NAMESPACES.flatMap((kind) => ['readlink', `/proc/self/ns/${kind}`, '--'])
    const output = await ok('exec', id, '/init', ...words, 'cat', '/proc/self/cgroup', '--', 'pids', '--', 'cwd')
    for (const kind of NAMESPACES) assert.ok(output.includes(await readlink(`/proc/${pid}/ns/${kind}`)), kind)
    for (const line of output.match(/^\d+:.*$/gm) ?? []) assert.match(line, /:\/$/)
    assert.match(output, /^pid 1$/m)
    assert.equal(output.match(/^pid \d+$/gm)?.length, 2)
    assert.match(output, /^cwd \/$/m)
  })

  it('ends as the program does, and with 255 if there is none', async () => {
    const id = await start()
    assert.equal((await cli('exec', id, '/init', 'exit', '7')).code, 7)
    await fails(
      255,
      /exec failed: unable to start container process: exec: "nosuch": executable file not found in \$PATH/,
      'exec',
      id,
      'nosuch',
    )
    await fails(255, /exec: "\/etc": permission denied: it is a directory/, 'exec', id, '/etc')
    await fails(255, /container does not exist/, 'exec', 'nosuch', '/init')
    await fails(255, /needs the container's ID and a program/, 'exec', id)
  })

  it('leaves no terminal to nobody', async () => {
    const id = await start()
    await fails(255, /--detach-keys must be hexadecimal/, 'exec', '--detach-keys', '1g', id, '/init')
    await fails(255, /--detach-keys must be hexadecimal/, 'exec', '--detach-keys', '101', id, '/init')
    const words = ['exec', '--tty', '--detach', '--detach-keys=']
    await fails(255, /--detach-keys is for the library/, ...words, id, '/init', 'exit', '0') // nobody to tell it
  })

  it('hears from its starter what to run, and tells it what was not started, with docker’s exit code', async () => {
    const id = await start()
    const run = async (process: object, ...words: readonly string[]) => {
      const child = spawn(
        EXECUTABLE,
        ['--root', bench.stateRoot, '--log', '/dev/null', 'exec', '--starter', ...words, id],
        {
          stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
        },
      )
      const starter = child.stdio[3] as Duplex
      starter.end(JSON.stringify({ cwd: '/', env: ['PATH=/'], user: { uid: 0, gid: 0 }, ...process }))
      const [[code], said, output] = await Promise.all([
        once(child, 'exit'),
        text(starter),
        text(child.stdout as Readable),
      ])
      return { code: code as number, said, output }
    }
    assert.deepEqual(await run({ args: ['init', 'fds'] }), { code: 0, said: '', output: 'fd 0\nfd 1\nfd 2\n' })
    assert.deepEqual(await run({ args: ['/init', 'exit', '126'] }), { code: 126, said: '', output: '' })
    const failed = 'fexec failed: unable to start container process: '
    for (const [process, code, reason] of [
      [{ args: ['nosuch'] }, 127, `${failed}exec: "nosuch": executable file not found in $PATH`],
      [{ args: ['/etc'] }, 126, `${failed}exec: "/etc": permission denied: it is a directory`],
      [
        { args: ['/init'], cwd: '/nosuch' },
        126,
        `${failed}chdir to cwd ("/nosuch") set in config.json failed: no such file or directory`,
      ],
      [{}, 126, 'fprocess.args: must name a program'],
    ] as const) {
      const { said, ...rest } = await run(process)
      assert.deepEqual(rest, { code, output: '' })
      assert.ok(said.startsWith(reason), said)
    }
    assert.match((await run({ args: ['/init'] }, '--preserve-fds', '1')).said, /^f--starter contradicts --preserve-fds/)
    // A file is heard as well, and cannot be told anything.
    const file = await open(await processFile({ args: ['nosuch'] }))
    const child = spawn(EXECUTABLE, ['--root', bench.stateRoot, 'exec', '--starter', id], {
      stdio: ['ignore', 'ignore', 'pipe', file.fd],
    })
    const [[code], said] = await Promise.all([once(child, 'exit'), text(child.stderr as Readable)])
    await file.close()
    assert.equal(code, 127)
    assert.match(said, /^gantry-runtime exec: exec failed: .*executable file not found/)
  })

  it('takes its process from a file or from flags, and its rights from the container', async () => {
    const id = await start((config) => {
      config.process['rlimits'] = [{ type: 'RLIMIT_NOFILE', soft: 77, hard: 99 }]
      config.process['oomScoreAdj'] = 123
      config.linux['seccomp'] = {
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['getppid'], action: 'SCMP_ACT_ERRNO', errnoRet: 99 }],
      }
    })
    const flags = ['--cwd', '/tmp', '--user', '7:8', '--additional-gids', '9', '-e', 'A=b', '--env=PATH=/x:/']
    const output = await ok('exec', ...flags, id, 'init', 'cwd', '--', 'id', '--', 'env')
    assert.equal(output, 'cwd /tmp\nuid 7 gid 8 umask 022 groups 9\nenv A=b\nenv PATH=/x:/\n')
    const own = await ok('exec', id, '/init', 'cat', '/proc/self/limits', '--', 'cat', '/proc/self/oom_score_adj')
    assert.match(own, /Max open files\s+77\s+99/)
    assert.match(own, /^123$/m)
    const { getppid } = systemCallNumbers()
    const asked = ['cat', '/proc/self/status', '--', 'call', `${getppid}`]
    const status = await ok('exec', '--cap', 'CAP_SYS_PTRACE', id, '/init', ...asked)
    assert.match(status, /^CapEff:\s+00000000a00c25fb$/m)
    assert.match(status, /^CapInh:\s+0{16}$/m)
    assert.match(status, /^NoNewPrivs:\s+1$/m)
    assert.match(status, new RegExp(`^call ${getppid} errno 99$`, 'm'))

    const file = await processFile({
      args: ['init', 'id', '--', 'cat', '/proc/self/status'],
      user: { uid: 5, gid: 6, umask: 0o77 },
    })
    const described = await ok('exec', '--process', file, id)
    assert.match(described, /^uid 5 gid 6 umask 077 groups\n/)
    assert.match(described, /^CapBnd:\s+0{16}$/m)
    assert.match(described, /^Seccomp:\s+2$/m)
  })

  it('runs in a cgroup below the container’s where --cgroup says so, and in none beside it', async () => {
    const id = await start()
    const { pid } = await stateOf(id)
    const cgroups = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).match(/(?<=^\d+:)[a-z_,=]*:.*$/gm) ?? []
    const made: string[] = []
    for (const line of cgroups) {
      const [, controllers = '', path = ''] = /^(?:name=)?([^:]*):(.*)$/.exec(line) ?? []
      const hierarchy = ['', controllers, 'unified'].find((each) => existsSync(join('/sys/fs/cgroup', each, path)))
      if (hierarchy === undefined || !path.includes(id)) continue
      made.push(join('/sys/fs/cgroup', hierarchy, path, 'below'))
      await mkdir(made.at(-1) ?? '')
      for (const name of ['cpuset.cpus', 'cpuset.mems']) {
        const parent = await readFile(join('/sys/fs/cgroup', hierarchy, path, name), 'utf8').catch(() => '')
        if (parent.trim() !== '') await writeFile(join(made.at(-1) ?? '', name), parent) // version 1 begins with none
      }
    }
    assert.notEqual(made.length, 0)
    const inside = async (...words: string[]): Promise<string> =>
      await ok('exec', '--cgroup', ...words, id, '/init', 'cat', '/proc/self/cgroup')
    assert.equal((await inside('below')).match(/:\/below$/gm)?.length, made.length)
    assert.equal((await inside('/../../below')).match(/:\/below$/gm)?.length, made.length)
    assert.doesNotMatch(await inside('/'), /below/)
    await fails(255, /open the cgroup .*nosuch: no such file or directory/, 'exec', '--cgroup', 'nosuch', id, '/init')
    const none = ['exec', '--cgroup', 'nosuch:below', id, '/init']
    await fails(255, /the container has no cgroup of the controller "nosuch"/, ...none)
    if (cgroups.some((line) => line.startsWith('pids:'))) {
      assert.deepEqual(
        (await inside('pids:below')).match(/^.*:\/below$/gm)?.map((line) => line.split(':')[1]),
        ['pids'],
      )
    }
  })

  it('refuses labels of SELinux, and a profile where there is no AppArmor', async () => {
    const id = await start()
    await fails(255, /--process-label is refused: SELinux/, 'exec', '--process-label', 'x', id, '/init')
    const enabled = await readFile('/sys/module/apparmor/parameters/enabled', 'utf8').catch(() => '')
    const reason = enabled.startsWith('Y') ? /no such profile is loaded/ : /AppArmor is not enabled on this host/
    await fails(255, reason, 'exec', '--apparmor', 'nosuch', id, '/init')
  })

  it('leaves a detached process behind, with its pid in a file', async () => {
    const id = await start()
    const pidFile = join(bench.directory, 'exec.pid')
    await ok('exec', '--detach', '--pid-file', pidFile, id, '/init', 'sleep', '60')
    const command = await readFile(`/proc/${await readFile(pidFile, 'utf8')}/cmdline`, 'utf8')
    assert.equal(command, '/init\0sleep\x0060\0')
  })

  it('passes signals on, and ends with the caller', async () => {
    const id = await start()
    const child = spawn(EXECUTABLE, ['--root', bench.stateRoot, 'exec', id, '/init', 'await-signal', '--', 'exit', '5'])
    let output = ''
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString()
      if (output === 'ready\n') child.kill('SIGUSR1')
    })
    const [code] = await once(child, 'close')
    assert.deepEqual([output, code], ['ready\nsignal 10\n', 5])

    const other = spawn(EXECUTABLE, ['--root', bench.stateRoot, 'exec', id, '/init', 'await-signal'])
    await once(other.stdout, 'data')
    other.kill('SIGKILL')
    await once(other, 'close')
    let pids: readonly string[] = []
    do pids = (await ok('exec', id, '/init', 'pids')).match(/pid \d+/g) ?? []
    while (pids.length > 2)
  })

  it('has a terminal of the container’s own', async () => {
    const id = await start()
    const command = `stty rows 12 cols 34; ${EXECUTABLE} --root ${bench.stateRoot} exec -t ${id} /init tty -- size -- exit 6`
    const child = spawn('/usr/bin/script', ['--quiet', '--return', '--command', command, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: 20_000,
    })
    let output = ''
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString()
    })
    const [code] = await once(child, 'close')
    assert.match(output, /tty 1 1 1 controlling 1 name \/dev\/pts\/0\r\nsize 12 34\r\n/)
    assert.equal(code, 6)
    await fails(255, /cannot allocate tty/, 'exec', '-d', '-t', id, '/init', 'true')
  })

  it('is refused where nothing runs any more, or yet', async () => {
    const id = nextId()
    await ok('create', '-b', await bench.bundle(dockerConfig('true')), id)
    assert.equal((await cli('exec', id, '/init', 'exit', '3')).code, 3) // runc lets one in before start, too
    await ok('start', id)
    while ((await stateOf(id)).status !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 5))
    await fails(255, /cannot exec in a stopped container/, 'exec', id, '/init', 'true')
  })

  it('finds neither the runtime’s descriptors nor a way out (CVE-2016-9962, CVE-2024-21626)', async () => {
    const id = await start()
    assert.equal(await ok('exec', id, '/init', 'fds'), 'fd 0\nfd 1\nfd 2\n')
    for (let fd = 3; fd < 16; ++fd)
      await fails(255, /chdir to cwd/, 'exec', '--cwd', `/proc/self/fd/${fd}`, id, '/init', 'ls', '../../..')
  })

  it('on the runtime’s own executable changes nothing of it (CVE-2019-5736)', async () => {
    const before = await readFile(EXECUTABLE)
    const id = await start(
      (_) => {},
      (rootfs) => symlink('/proc/self/exe', join(rootfs, 'sh')),
    )
    const { code } = await cli('exec', id, '/sh', '--version')
    assert.equal(code, 0) // it was the runtime that ran, from its read-only clone
    assert.ok(before.equals(await readFile(EXECUTABLE)))
  })

  it('takes no terminal from a /dev/pts that is none (CVE-2025-52565)', async () => {
    const id = await start(
      (config) => {
        config.mounts = config.mounts.filter(({ destination }) => destination !== '/dev/pts' && destination !== '/dev')
      },
      async (rootfs) => await symlink('/tmp', join(rootfs, 'dev')),
    ).catch(() => undefined)
    assert.equal(id, undefined) // a /dev that is a link is refused before
    const bare = await start((config) => {
      config.mounts = config.mounts.filter(({ destination }) => destination !== '/dev/pts')
    })
    await fails(255, /open \/dev\/pts of the container/, 'exec', '-t', bare, '/init', 'true')
  })

  describe('a container that joins namespaces', () => {
    const path = (pid: number, kind: string): string => `/proc/${pid}/ns/${kind}`

    it('is in those that it names, and in its own', async () => {
      const first = await stateOf(await start())
      const joined = [
        ['network', 'net'],
        ['pid', 'pid'],
        ['ipc', 'ipc'],
        ['uts', 'uts'],
      ]
      const second = await start((config) => {
        Object.assign(config, { hostname: '' })
        config.linux['namespaces'] = [
          { type: 'mount' },
          { type: 'cgroup' },
          ...joined.map(([type, kind = '']) => ({ type, path: path(first.pid, kind) })),
        ]
      })
      const { pid } = await stateOf(second)
      for (const [, kind = ''] of joined) {
        assert.equal(await readlink(path(pid, kind)), await readlink(path(first.pid, kind)), kind)
      }
      for (const kind of ['mnt', 'cgroup']) {
        assert.notEqual(await readlink(path(pid, kind)), await readlink(path(first.pid, kind)), kind)
      }
      assert.match(await ok('exec', second, '/init', 'pids', '--', 'names'), /^pid 1\npid \d+\npid \d+\nhost inside /)
    })

    it('is refused what is no namespace, another one, or the host’s to change', async () => {
      const { pid } = await stateOf(await start())
      const refusedWith = async (namespace: object, pattern: RegExp, more: object = {}): Promise<void> => {
        const config = dockerConfig('true')
        Object.assign(config, { hostname: '' }, more)
        config.linux['namespaces'] = [{ type: 'mount' }, { type: 'ipc' }, { type: 'cgroup' }, namespace]
        await fails(1, pattern, 'run', '-b', await bench.bundle(config), bench.nextId())
      }
      await refusedWith(
        { type: 'network', path: '/etc/passwd' },
        /namespaces\[3\]\.path: \/etc\/passwd is no namespace/,
      )
      await refusedWith({ type: 'network', path: path(pid, 'uts') }, /is a namespace of another type/)
      await refusedWith({ type: 'network', path: 'x' }, /must be an absolute path/)
      await refusedWith({ type: 'uts', path: '/proc/self/ns/uts' }, /is the host's own/, { hostname: 'x' })
    })

    it('shares with the host what it does not list', async () => {
      const { stdout } = await cli(
        'run',
        '-b',
        await bench.bundle({
          ...dockerConfig(
            'readlink',
            '/proc/self/ns/net',
            '--',
            'readlink',
            '/proc/self/ns/cgroup',
            '--',
            'ls',
            '/sys/fs/cgroup',
          ),
          hostname: '',
          linux: { namespaces: [{ type: 'mount' }, { type: 'ipc' }, { type: 'pid' }] },
        }),
        bench.nextId(),
      )
      assert.ok(stdout.includes(await readlink('/proc/self/ns/net')))
      assert.ok(stdout.includes(await readlink('/proc/self/ns/cgroup')))
      assert.match(stdout, /cgroup/)
    })
  })
})
