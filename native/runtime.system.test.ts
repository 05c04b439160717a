// What a container sees and how it ends, through both faces of the runtime: the command line and the library.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { mkdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { Runtime, RuntimeError, setTerminalSize } from './runtime.ts'
import { Bench, type BundleConfig, CAPABILITIES, dockerConfig } from './testing/bundle.ts'
import { runCli } from './testing/cli.ts'

interface Outcome {
  readonly output: string
  /** 128 + signal, as a shell has it. */
  readonly code: number
}

const skip = process.getuid?.() === 0 ? false : 'containers need root'

describe('a container', { skip }, () => {
  let bench: Bench
  let runtime: Runtime

  before(async () => {
    bench = await Bench.open()
    runtime = await Runtime.start({ stateRoot: bench.stateRoot })
  })
  afterEach(async () => assert.deepEqual(await bench.leftovers(), []))
  after(async () => {
    await runtime.close()
    await bench.close()
  })

  async function throughLibrary(bundle: string): Promise<Outcome> {
    const file = join(bundle, 'output')
    const input = openSync('/dev/null', 'r')
    const output = openSync(file, 'w')
    try {
      const container = await runtime.run({ id: bench.nextId(), bundle, stdio: [input, output, output] })
      const status = await container.exited
      return { output: readFileSync(file, 'utf8'), code: 'code' in status ? status.code : 128 + status.signal }
    } finally {
      closeSync(input)
      closeSync(output)
    }
  }

  async function throughCli(bundle: string): Promise<Outcome> {
    const { stdout, stderr, code } = await runCli(bench.stateRoot, ['run', '-b', bundle, bench.nextId()])
    return { output: stdout + stderr, code }
  }

  const faces = { library: throughLibrary, 'command line': throughCli }

  for (const [face, run] of Object.entries(faces)) {
    describe(`through the ${face}`, () => {
      const inside = async (config: BundleConfig, prepare?: (rootfs: string) => Promise<void>): Promise<Outcome> =>
        run(await bench.bundle(config, prepare))

      it('gives back the exit code', async () => {
        for (const code of [0, 1, 7, 255]) {
          assert.equal((await inside(dockerConfig('exit', String(code)))).code, code)
        }
      })

      it('has its own processes, interfaces, names and control groups', async () => {
        const { output } = await inside(
          dockerConfig('pids', '--', 'interfaces', '--', 'names', '--', 'cat', '/proc/self/cgroup'),
        )
        assert.deepEqual(output.match(/^pid .*$/gm), ['pid 1'])
        assert.deepEqual(output.match(/^interface .*$/gm), ['interface lo'])
        assert.match(output, /^host inside /m)
        assert.doesNotMatch(output, new RegExp(`host ${hostname()} `))
        for (const line of output.match(/^\d+:.*$/gm) ?? []) assert.match(line, /:\/$/)
      })

      it('shares no namespace with the host', async () => {
        const kinds = ['pid', 'mnt', 'ipc', 'uts', 'net', 'cgroup']
        const { output } = await inside(
          dockerConfig(...kinds.flatMap((kind) => ['readlink', `/proc/self/ns/${kind}`, '--'])),
        )
        for (const kind of kinds) {
          assert.match(output, new RegExp(`${kind}:\\[`))
          assert.ok(!output.includes(await readlink(`/proc/self/ns/${kind}`)), kind)
        }
      })

      it('runs with the environment, directory, user and mask it was given, and nothing else', async () => {
        const config = dockerConfig('env', '--', 'cwd', '--', 'id')
        config.process.env = ['PATH=/', 'A=b c']
        config.process['cwd'] = '/made/for/it'
        config.process['user'] = { uid: 1000, gid: 1001, umask: 0o27, additionalGids: [5, 6] }
        const { output } = await inside(config)
        assert.deepEqual(output.trim().split('\n'), [
          'env PATH=/',
          'env A=b c',
          'cwd /made/for/it',
          'uid 1000 gid 1001 umask 027 groups 5 6',
        ])
      })

      it('finds no signal ignored or blocked', async () => {
        const { output } = await inside(dockerConfig('cat', '/proc/self/status'))
        for (const name of ['SigBlk', 'SigIgn']) assert.match(output, new RegExp(`^${name}:\\s+0{16}$`, 'm'))
      })

      it('has exactly the capabilities it was given, and cannot gain any', async () => {
        const { output } = await inside(dockerConfig('cat', '/proc/self/status'))
        const set = (name: string): string | undefined => output.match(new RegExp(`^${name}:\\s+(\\S+)$`, 'm'))?.[1]
        const docker = '00000000a00425fb' // docker's default, less bit 27: CAP_MKNOD
        assert.equal(CAPABILITIES.length, 13)
        for (const name of ['CapPrm', 'CapEff', 'CapBnd']) assert.equal(set(name), docker)
        for (const name of ['CapInh', 'CapAmb']) assert.equal(set(name), '0000000000000000')
        assert.equal(set('NoNewPrivs'), '1')
      })

      it('holds no descriptor but its standard three', async () => {
        const leaked = openSync('/', 'r')
        try {
          const { output } = await inside(dockerConfig('fds'))
          assert.equal(output, 'fd 0\nfd 1\nfd 2\n')
        } finally {
          closeSync(leaked)
        }
      })

      it('sees masked paths empty and read-only paths unwritable', async () => {
        const { output } = await inside(
          dockerConfig(
            ...['cat', '/proc/keys', '--', 'cat', '/proc/timer_list', '--', 'ls', '/sys/firmware'],
            ...['--', 'write', '/proc/sys/kernel/domainname', 'x', '--', 'write', '/proc/sys/vm/swappiness', 'x'],
          ),
        )
        assert.equal(
          output,
          'write /proc/sys/kernel/domainname: Read-only file system\nwrite /proc/sys/vm/swappiness: Read-only file system\n',
        )
      })

      it('cannot write to a root that is read-only, but to the tmpfs in it', async () => {
        const config = dockerConfig('write', '/etc/x', 'y', '--', 'write', '/dev/shm/x', 'y')
        config.root.readonly = true
        const { output } = await inside(config)
        assert.equal(output, 'write /etc/x: Read-only file system\nwrote /dev/shm/x\n')
      })

      it('has the default devices and links', async () => {
        const names = ['null', 'zero', 'full', 'random', 'urandom', 'tty']
        const links = ['fd', 'stdin', 'stdout', 'stderr', 'ptmx']
        const { output } = await inside(
          dockerConfig(
            ...names.flatMap((name) => ['stat', `/dev/${name}`, '--']),
            ...links.flatMap((name) => ['readlink', `/dev/${name}`, '--']),
          ),
        )
        const numbers = ['1:3', '1:5', '1:7', '1:8', '1:9', '5:0']
        const devices = names.map((name, i) => `/dev/${name} mode 20666 device ${numbers[i]} uid 0`)
        const targets = ['/proc/self/fd', '/proc/self/fd/0', '/proc/self/fd/1', '/proc/self/fd/2', 'pts/ptmx']
        assert.deepEqual(output.trim().split('\n'), [
          ...devices,
          ...links.map((name, i) => `/dev/${name} -> ${targets[i]}`),
        ])
      })

      it('sees binds of files and directories, read-only where asked', async () => {
        const config = dockerConfig('cat', '/a/file', '--', 'write', '/a/file', 'x', '--', 'write', '/b/c/new', 'x')
        const source = await bench.bundle(dockerConfig('true'))
        await writeFile(join(source, 'text'), 'from outside\n')
        await mkdir(join(source, 'folder'))
        config.mounts.push(
          { destination: '/a/file', type: 'bind', source: join(source, 'text'), options: ['rbind', 'ro'] },
          { destination: '/b/c', type: 'bind', source: join(source, 'folder'), options: ['rbind', 'rprivate'] },
        )
        const { output } = await inside(config)
        assert.equal(output, 'from outside\nwrite /a/file: Read-only file system\nwrote /b/c/new\n')
        assert.equal(await readFile(join(source, 'folder/new'), 'utf8'), 'x')
      })

      it('finds its program in the PATH of the container', async () => {
        const config = dockerConfig()
        config.process.args = ['init', 'echo', 'found']
        assert.equal((await inside(config)).output, 'found\n')
      })
    })
  }

  it('cannot reach the disk of the host through mknod', async () => {
    const withIt = [...CAPABILITIES, 'CAP_MKNOD']
    const without = await throughLibrary(await bench.bundle(dockerConfig('mknod', '/disk', '254', '0')))
    assert.equal(without.output, 'mknod /disk: Operation not permitted\n')
    const config = dockerConfig('mknod', '/disk', '254', '0')
    config.process['capabilities'] = { bounding: withIt, effective: withIt, permitted: withIt }
    const nodev = await throughLibrary(await bench.bundle(config))
    assert.equal(nodev.output, 'open /disk: Permission denied\n')
  })

  describe('with a terminal', () => {
    async function readUntil(fd: number, pattern: RegExp): Promise<string> {
      let text = ''
      const buffer = Buffer.alloc(4096)
      while (!pattern.test(text)) {
        try {
          const got = readSync(fd, buffer)
          if (got === 0) break
          text += buffer.toString('utf8', 0, got)
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'EIO') break // every program has closed its end
          throw error
        }
      }
      return text.replaceAll('\r\n', '\n')
    }

    it('has it as standard input and output, as its controlling terminal and as /dev/console', async () => {
      const config = dockerConfig('tty', '--', 'size', '--', 'stat', '/dev/console')
      config.process['terminal'] = true
      config.process['consoleSize'] = { height: 11, width: 22 }
      const bundle = await bench.bundle(config)
      const container = await runtime.run({ id: bench.nextId(), bundle, stdio: 'terminal' })
      assert.ok(container.terminal !== undefined)
      const text = await readUntil(container.terminal, /console mode.*\n/)
      assert.deepEqual(await container.exited, { code: 0 })
      closeSync(container.terminal)
      assert.match(
        text,
        /^tty 1 1 1 controlling 1 name \/dev\/pts\/0\nsize 11 22\n\/dev\/console mode 20\d+ device 136:0/,
      )
    })

    it('is told when the size changes', async () => {
      const config = dockerConfig('await-signal', '--', 'size')
      config.process['terminal'] = true
      const bundle = await bench.bundle(config)
      const container = await runtime.run({ id: bench.nextId(), bundle, stdio: 'terminal' })
      assert.ok(container.terminal !== undefined)
      await readUntil(container.terminal, /ready/)
      setTerminalSize(container.terminal, 100, 40)
      assert.match(await readUntil(container.terminal, /size \d+ \d+/), /signal 28\nsize 40 100/)
      assert.deepEqual(await container.exited, { code: 0 })
      closeSync(container.terminal)
    })
  })

  describe('through the library', () => {
    it('passes signals in and reports the signal that ended it', async () => {
      const bundle = await bench.bundle(dockerConfig('sleep', '30'))
      const container = await runtime.run({ id: bench.nextId(), bundle, stdio: [0, 1, 2] })
      container.kill(9)
      assert.deepEqual(await container.exited, { signal: 9 })
      container.kill(9) // it has ended: nothing happens
    })

    it('says at which step and why a container could not start', async () => {
      const failing = async (change: (config: BundleConfig) => unknown): Promise<RuntimeError> => {
        const config = dockerConfig('true')
        change(config)
        const bundle = await bench.bundle(config, (rootfs) => writeFile(join(rootfs, 'plain'), 'text', { mode: 0o644 }))
        const failure = await runtime.run({ id: bench.nextId(), bundle, stdio: [0, 1, 2] }).then(
          () => assert.fail('it started'),
          (error: unknown) => error,
        )
        assert.ok(failure instanceof RuntimeError)
        return failure
      }
      const args = (...words: string[]) => failing((config) => Object.assign(config.process, { args: words }))
      const missing = await args('nosuch')
      assert.deepEqual([missing.step, missing.code], ['exec', 'ENOENT'])
      assert.match(missing.message, /exec: "nosuch": executable file not found in \$PATH$/)
      assert.match((await args('/nosuch')).message, /exec: "\/nosuch": no such file or directory$/)
      assert.match((await args('/plain')).message, /exec: "\/plain": permission denied$/)
      assert.match((await args('/etc')).message, /exec: "\/etc": permission denied: it is a directory$/)
      const sourceless = await failing((config) =>
        config.mounts.push({ destination: '/x', type: 'bind', source: '/nosuch', options: [] }),
      )
      assert.match(sourceless.message, /mounts\[7\]: open the source \/nosuch: no such file or directory/)
      const wrong = await failing((config) =>
        config.mounts.push({ destination: '/x', type: 'tmpfs', source: 't', options: ['nosuchoption'] }),
      )
      assert.match(wrong.message, /mounts\[7\].*invalid argument/)
    })

    it('runs many at once', async () => {
      const bundle = await bench.bundle(dockerConfig('exit', '3'))
      const ends = await Promise.all(
        Array.from({ length: 16 }, async () => {
          const container = await runtime.run({ id: bench.nextId(), bundle, stdio: [0, 1, 2] })
          return container.exited
        }),
      )
      assert.deepEqual(new Set(ends.map((end) => JSON.stringify(end))), new Set(['{"code":3}']))
    })

    it('lets exactly one of two callers have an id', async () => {
      const bundle = await bench.bundle(dockerConfig('exit', '0'))
      const id = bench.nextId()
      const settled = await Promise.allSettled([1, 2].map(() => runtime.run({ id, bundle, stdio: [0, 1, 2] })))
      const won = settled.filter((result) => result.status === 'fulfilled')
      const lost = settled.filter((result) => result.status === 'rejected')
      assert.equal(won.length, 1)
      assert.match(String(lost[0]?.reason), /container with given ID already exists/)
      await won[0]?.value.exited
    })

    it('ends with its parent, even one that is killed', { timeout: 20_000 }, async () => {
      const bundle = await bench.bundle(dockerConfig('sleep', '60'))
      const script = `
        const { Runtime } = await import(${JSON.stringify(import.meta.resolve('./runtime.ts'))})
        const runtime = await Runtime.start({ stateRoot: ${JSON.stringify(bench.stateRoot)} })
        await runtime.run({ id: ${JSON.stringify(bench.nextId())}, bundle: ${JSON.stringify(bundle)}, stdio: [0, 1, 2] })
        console.log('running')`
      const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      await new Promise((resolve) => parent.stdout.once('data', resolve))
      assert.notDeepEqual(await bench.present(), [])
      parent.kill('SIGKILL')
      while ((await bench.present()).length > 0) await new Promise((resolve) => setTimeout(resolve, 20))
    })

    it('closing kills what still runs', async () => {
      const own = await Runtime.start({ stateRoot: bench.stateRoot })
      const bundle = await bench.bundle(dockerConfig('sleep', '60'))
      const container = await own.run({ id: bench.nextId(), bundle, stdio: [0, 1, 2] })
      await own.close()
      await assert.rejects(container.exited, RuntimeError)
      await assert.rejects(own.run({ id: bench.nextId(), bundle, stdio: [0, 1, 2] }), RuntimeError)
    })
  })

  it('refuses an executable that is not there', async () => {
    await assert.rejects(Runtime.start({ executable: '/nosuch' }), { name: 'RuntimeError', code: 'ENOENT' })
  })

  it('mounts nothing through a symlink that leads out of the root (CVE-2021-30465)', async () => {
    const outside = await bench.bundle(dockerConfig('true'))
    const config = dockerConfig('write', '/link/x', 'y')
    config.mounts.push({ destination: '/link', type: 'tmpfs', source: 't', options: ['nosuid'] })
    const { output } = await throughLibrary(
      await bench.bundle(config, async (rootfs) => {
        await symlink(outside, join(rootfs, 'link')).catch(() => {})
        await mkdir(join(rootfs, outside), { recursive: true })
      }),
    )
    assert.equal(output, 'wrote /link/x\n')
    await assert.rejects(readFile(join(outside, 'x')), { code: 'ENOENT' })
  })
})
