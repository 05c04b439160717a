// User namespaces, made and joined, through both faces of the runtime; and containers of an ordinary user.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { chmod, copyFile, lchown, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Runtime } from './runtime.ts'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { type CliResult, EXECUTABLE, runCli, runCommand } from './testing/cli.ts'
import { belongingTo, ORDINARY_USER as USER, withUserNamespace } from './testing/user-namespace.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'

const ID_MAPPED_MOUNT = fileURLToPath(new URL('./testing/id-mapped-mount.py', import.meta.url))
const FIRST = 100_000 // of the host's ids, what the containers' root is

const mapped = (...args: string[]): BundleConfig =>
  withUserNamespace([{ containerID: 0, hostID: FIRST, size: 65_536 }], ...args)

describe('a container in a user namespace', { skip }, () => {
  let bench: Bench
  let runtime: Runtime
  const cli = (...args: string[]): Promise<CliResult> => runCli(bench.stateRoot, args)

  before(async () => {
    bench = await Bench.open()
    runtime = await Runtime.start({ stateRoot: bench.stateRoot })
  })
  afterEach(async () => assert.deepEqual(await bench.leftovers(), []))
  after(async () => {
    await runtime.close()
    await bench.close()
  })

  const faces = {
    library: async (bundle: string): Promise<string> => {
      const input = openSync('/dev/null', 'r')
      const output = openSync(join(bundle, 'output'), 'w')
      try {
        await (await runtime.run({ id: bench.nextId(), bundle, stdio: [input, output, output] })).exited
      } catch (error) {
        return String(error)
      } finally {
        closeSync(input)
        closeSync(output)
      }
      return readFileSync(join(bundle, 'output'), 'utf8')
    },
    'command line': async (bundle: string): Promise<string> => {
      const { stdout, stderr } = await cli('run', '-b', bundle, bench.nextId())
      return stdout + stderr
    },
  }

  for (const [face, run] of Object.entries(faces)) {
    describe(`through the ${face}`, () => {
      it('is root of its own, and nobody outside', async () => {
        const config = mapped('id', '--', 'cat', '/proc/self/uid_map', '--', 'write', '/made', 'x', '--', 'pids')
        const bundle = await bench.bundle(config, belongingTo(FIRST))
        const output = await run(bundle)
        assert.match(output, /^uid 0 gid 0 umask 022 groups$/m)
        assert.match(output, /^\s+0\s+100000\s+65536$/m)
        assert.deepEqual(output.match(/^pid .*$/gm), ['pid 1'])
        const made = await stat(join(bundle, 'rootfs/made'))
        assert.deepEqual([made.uid, made.gid], [FIRST, FIRST])
      })

      it('has the capabilities that it was given, also one that the runtime itself lacks', async () => {
        const config = mapped('cat', '/proc/self/status')
        const own = { bounding: ['CAP_SYS_RESOURCE'], effective: ['CAP_SYS_RESOURCE'], permitted: ['CAP_SYS_RESOURCE'] }
        config.process['capabilities'] = own
        assert.match(await run(await bench.bundle(config, belongingTo(FIRST))), /^CapEff:\s+0000000001000000$/m)
      })

      it('begins a tmpfs with what its root has there, with its owners', async () => {
        const config = mapped('cat', '/full/file', '--', 'stat', '/full/file', '--', 'write', '/full/file', 'x')
        config.mounts.push({ destination: '/full', type: 'tmpfs', source: 'tmpfs', options: ['tmpcopyup', 'ro'] })
        const bundle = await bench.bundle(
          config,
          belongingTo(FIRST, async (rootfs) => {
            await mkdir(join(rootfs, 'full'))
            await writeFile(join(rootfs, 'full/file'), 'held', { mode: 0o640 })
            await lchown(join(rootfs, 'full/file'), FIRST + 7, FIRST + 8)
          }),
        )
        const output = await run(bundle)
        assert.match(output, /^held\/full\/file mode 100640 device 0:0 uid 7$/m)
        assert.match(output, /^write \/full\/file: Read-only file system$/m)
      })

      it('has the devices of the host, since it cannot make any', async () => {
        const config = mapped(
          'stat',
          '/dev/null',
          '--',
          'stat',
          '/dev/tty',
          '--',
          'write',
          '/dev/null',
          'x',
          '--',
          'stat',
          '/dev/fuse',
        )
        config.linux['devices'] = [{ path: '/dev/fuse', type: 'c', major: 10, minor: 229 }]
        const output = await run(await bench.bundle(config, belongingTo(FIRST)))
        assert.match(output, /null mode 20666 device 1:3/)
        assert.match(output, /tty mode 20666 device 5:0/)
        assert.match(output, /fuse mode 20\d+ device 10:229/)
        config.linux['devices'] = [{ path: '/dev/fuse', type: 'c', major: 1, minor: 1 }]
        assert.match(
          await run(await bench.bundle(config, belongingTo(FIRST))),
          /make the device \/dev\/fuse: no such device/,
        )
      })

      it('sees the files of an id-mapped bind as its own, and those of another one as nobody’s', async () => {
        const config = mapped('stat', '/mapped/file', '--', 'stat', '/plain/file', '--', 'stat', '/shifted/file')
        const bundle = await bench.bundle(config, belongingTo(FIRST))
        await mkdir(join(bundle, 'data'))
        await writeFile(join(bundle, 'data/file'), '')
        const bind = (destination: string, option: string) => ({
          destination,
          type: 'bind',
          source: 'data',
          options: ['bind', option],
        })
        const shift = [{ containerID: 0, hostID: FIRST + 7, size: 1 }]
        config.mounts.push(bind('/mapped', 'idmap'), bind('/plain', 'ro'))
        config.mounts.push({ ...bind('/shifted', 'rw'), uidMappings: shift, gidMappings: shift } as never)
        await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
        const output = await run(bundle)
        assert.match(output, /^\/mapped\/file .* uid 0$/m)
        assert.match(output, /^\/plain\/file .* uid 65534$/m)
        assert.match(output, /^\/shifted\/file .* uid 7$/m)
      })

      it('has a root whose mount is id-mapped: what is root’s on the disk is its root’s', async () => {
        const config = mapped('stat', '/init', '--', 'write', '/made', 'x', '--', 'stat', '/made')
        const bundle = await bench.bundle(config)
        const root = join(bundle, 'rootfs')
        // As it is, it belongs to nobody in the container, who can then make nothing in it.
        assert.match(await run(bundle), /permission denied|value too large|\/init .* uid 65534/i)
        execFileSync('python3', [ID_MAPPED_MOUNT, root, root, String(FIRST), '65536'])
        try {
          assert.equal(
            await run(bundle),
            '/init mode 100755 device 0:0 uid 0\nwrote /made\n/made mode 100644 device 0:0 uid 0\n',
          )
          assert.equal((await stat(join(root, 'made'))).uid, FIRST)
        } finally {
          execFileSync('umount', [root])
        }
        assert.equal((await stat(join(root, 'made'))).uid, 0)
      })

      it('is refused with what is wrong about its mappings', async () => {
        const refusal = async (change: (config: BundleConfig) => void): Promise<string> => {
          const config = mapped('true')
          change(config)
          return run(await bench.bundle(config, belongingTo(FIRST)))
        }
        const cases: [RegExp, (config: BundleConfig) => void][] = [
          [/linux\.gidMappings: must be given if the other is/, (config) => delete config.linux['gidMappings']],
          [
            /linux\.uidMappings: is required for a new user namespace/,
            (config) => {
              delete config.linux['uidMappings']
              delete config.linux['gidMappings']
            },
          ],
          [
            /must map the container's root, containerID 0/,
            (config) => {
              config.linux['uidMappings'] = [{ containerID: 1, hostID: FIRST, size: 5 }]
            },
          ],
          [
            /uidMappings\[1\]\.hostID: maps ids that are mapped already/,
            (config) => {
              config.linux['uidMappings'] = [
                { containerID: 0, hostID: 5, size: 5 },
                { containerID: 9, hostID: 9, size: 1 },
              ]
            },
          ],
          [
            /leads beyond the last id/,
            (config) => {
              config.linux['uidMappings'] = [{ containerID: 0, hostID: 5, size: 4_294_967_295 }]
            },
          ],
          [
            /process\.user\.uid: is not among linux\.uidMappings/,
            (config) => {
              config.process['user'] = { uid: 70_000, gid: 0 }
            },
          ],
          [
            /uidMappings: needs a user namespace/,
            (config) => {
              config.linux['namespaces'] = (config.linux['namespaces'] as { type: string }[]).filter(
                ({ type }) => type !== 'user',
              )
            },
          ],
        ]
        for (const [pattern, change] of cases) assert.match(await refusal(change), pattern)
      })
    })
  }

  it('is joined by another one and by exec, which have its ids and its processes', async () => {
    const first = bench.nextId()
    const started = await cli('run', '-d', '-b', await bench.bundle(mapped('sleep', '30'), belongingTo(FIRST)), first)
    assert.equal(started.stderr, '')
    const { pid } = JSON.parse((await cli('state', first)).stdout)
    const executed = await cli(
      'exec',
      '--user',
      '5:6',
      first,
      '/init',
      'id',
      '--',
      'pids',
      '--',
      'cat',
      '/proc/self/uid_map',
    )
    assert.match(executed.stdout, /^uid 5 gid 6 /m)
    assert.match(executed.stdout, /^pid 1$/m)
    assert.match(executed.stdout, /\s100000\s/)
    const config = dockerConfig(
      'id',
      '--',
      'cat',
      '/proc/self/uid_map',
      '--',
      'readlink',
      '/proc/self/ns/net',
      '--',
      'pids',
    )
    config.linux['namespaces'] = ['mount', 'uts', 'ipc', 'cgroup']
      .map((type): object => ({ type }))
      .concat(
        ['user', 'network', 'pid'].map((type) => ({
          type,
          path: `/proc/${pid}/ns/${type === 'network' ? 'net' : type}`,
        })),
      )
    const joined = await cli('run', '-b', await bench.bundle(config, belongingTo(FIRST)), bench.nextId())
    assert.equal(joined.stderr, '')
    assert.match(joined.stdout, /\s100000\s/)
    assert.match(joined.stdout, /^pid 1$/m)
    assert.match(joined.stdout, /net:\[\d+\]/)
    await cli('delete', '-f', first)
  })

  it('has a terminal of its own devpts, which is its user’s', async () => {
    const config = mapped('tty', '--', 'stat', '/dev/pts/0')
    config.process['terminal'] = true
    config.process['user'] = { uid: 3, gid: 3 }
    const bundle = await bench.bundle(config, belongingTo(FIRST))
    const container = await runtime.run({ id: bench.nextId(), bundle, stdio: 'terminal' })
    assert.ok(container.terminal !== undefined)
    await container.exited
    const bytes = Buffer.alloc(4096)
    const text = bytes.toString('utf8', 0, readSync(container.terminal, bytes))
    closeSync(container.terminal)
    assert.match(text, /^tty 1 1 1 controlling 1 /)
    assert.match(text, /\/dev\/pts\/0 mode 20\d+ device 136:0 uid 3/)
  })
})

describe('the containers of an ordinary user', { skip }, () => {
  let bench: Bench
  let runtime: string // an executable that he can reach, as the checkout may not be
  const own = [{ containerID: 0, hostID: USER, size: 1 }]

  before(async () => {
    bench = await Bench.open()
    await chmod(bench.directory, 0o755)
    runtime = join(bench.directory, 'gantry-runtime')
    await copyFile(EXECUTABLE, runtime)
    await mkdir(bench.stateRoot)
    await lchown(bench.stateRoot, USER, USER)
    // What newuidmap asks: who the user is, and which ids are his. For processes in a mount namespace of their own.
    await writeFile(join(bench.directory, 'passwd'), `root:x:0:0::/:/bin/sh\nordinary:x:${USER}:${USER}::/:/bin/sh\n`)
    await writeFile(join(bench.directory, 'subid'), `ordinary:${FIRST}:65536\n`)
    await writeFile(join(bench.directory, 'none'), '')
  })
  afterEach(async () => assert.deepEqual(await bench.leftovers(), []))
  after(async () => await bench.close())

  function asUser(args: readonly string[], { subids = 'none', xdg = '' } = {}): Promise<CliResult> {
    const script = `
      for each in passwd subuid subgid; do [ -e /etc/$each ] || continue
        [ $each = passwd ] && mine=passwd || mine=${subids}
        mount --bind ${bench.directory}/$mine /etc/$each; done
      exec setpriv --reuid=${USER} --regid=${USER} --clear-groups --inh-caps=-all -- "$@"`
    const words = [
      '-m',
      'sh',
      '-ec',
      script,
      'sh',
      runtime,
      ...(xdg === '' ? ['--root', bench.stateRoot] : []),
      ...args,
    ]
    const env = { PATH: process.env['PATH'], ...(xdg === '' ? {} : { XDG_RUNTIME_DIR: xdg }) }
    return runCommand('unshare', words, 'ignore', env)
  }
  const bundleOf = async (config: BundleConfig): Promise<string> => {
    const bundle = await bench.bundle(config, belongingTo(USER))
    await chmod(bundle, 0o755)
    return bundle
  }

  it('are root with his one id, and keep everything that isolates', async () => {
    const config = withUserNamespace(
      own,
      'id',
      '--',
      'pids',
      '--',
      'interfaces',
      '--',
      'stat',
      '/dev/null',
      '--',
      'cat',
      '/proc/keys',
      '--',
      'write',
      '/made',
      'x',
    )
    const bundle = await bundleOf(config)
    const { stdout, code } = await asUser(['run', '-b', bundle, bench.nextId()])
    assert.equal(code, 0)
    assert.match(stdout, /^uid 0 gid 0 /m)
    assert.deepEqual(stdout.match(/^pid .*$/gm), ['pid 1'])
    assert.deepEqual(stdout.match(/^interface .*$/gm), ['interface lo'])
    assert.match(stdout, /null mode 20666 device 1:3/)
    assert.equal((await stat(join(bundle, 'rootfs/made'))).uid, USER)
  })

  it('have the ids that /etc/subuid gives him, and are told what to do where it gives none', async () => {
    const config = withUserNamespace(
      [...own, { containerID: 1, hostID: FIRST, size: 65_536 }],
      'id',
      '--',
      'write',
      '/tmp/made',
      'x',
    )
    config.process['user'] = { uid: 0, gid: 0, additionalGids: [8] }
    const bundle = await bundleOf(config)
    const { stdout, stderr, code } = await asUser(['run', '-b', bundle, bench.nextId()], { subids: 'subid' })
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(stdout, /^uid 0 gid 0 umask 022 groups 8$/m)
    const refused = await asUser(['run', '-b', bundle, bench.nextId()])
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /newuidmap refuses: \/etc\/subuid must give these ids to the user 54321/)
  })

  it('are created, started, entered and deleted', async () => {
    const id = bench.nextId()
    const bundle = await bundleOf(withUserNamespace(own, 'sleep', '30'))
    for (const words of [
      ['create', '-b', bundle, id],
      ['start', id],
    ]) {
      const { code, stderr } = await asUser(words)
      assert.deepEqual([code, stderr.replace(/^warning: .*\n/gm, '')], [0, ''])
    }
    const executed = await asUser(['exec', id, '/init', 'id', '--', 'pids'])
    assert.match(executed.stdout, /^uid 0 gid 0 /m)
    assert.match(executed.stdout, /^pid 1$/m)
    assert.equal((await asUser(['delete', '-f', id])).code, 0)
  })

  it('bind what he can read, with the options that they ask for', async () => {
    const config = withUserNamespace(own, 'cat', '/data/file', '--', 'write', '/data/new', 'x')
    const bundle = await bundleOf(config)
    await mkdir(join(bundle, 'data'))
    await writeFile(join(bundle, 'data/file'), 'found\n')
    config.mounts.push({ destination: '/data', type: 'bind', source: 'data', options: ['rbind', 'ro'] })
    await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
    const { stdout } = await asUser(['run', '-b', bundle, bench.nextId()])
    assert.match(stdout, /^found$/m)
    assert.match(stdout, /write \/data\/new: Read-only file system/)
    config.mounts.at(-1)?.options.push('idmap')
    await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
    assert.match((await asUser(['run', '-b', bundle, bench.nextId()])).stderr, /can only be made by root/)
  })

  it('in the network of the host see its /sys read-only, as no fresh one can be mounted', async () => {
    const config = withUserNamespace(own, 'ls', '/sys/class/net', '--', 'cat', '/proc/self/mountinfo')
    config.linux['namespaces'] = (config.linux['namespaces'] as { type: string }[]).filter(
      ({ type }) => type !== 'network',
    )
    config.mounts = config.mounts.filter(({ type }) => type !== 'cgroup')
    config.linux['maskedPaths'] = []
    const { stdout } = await asUser(['run', '-b', await bundleOf(config), bench.nextId()])
    assert.match(stdout, / \/sys ro,[^\n]* - sysfs /)
    assert.doesNotMatch(stdout, / \/sys[^ ]* rw,/)
  })

  it('need a user namespace, and a place for their state', async () => {
    const config = dockerConfig('true')
    const refused = await asUser(['run', '-b', await bundleOf(config), bench.nextId()])
    assert.match(refused.stderr, /linux\.namespaces: a user namespace is needed by whoever is not root/)
    const runtimeDirectory = join(bench.directory, 'xdg')
    await mkdir(runtimeDirectory)
    await lchown(runtimeDirectory, USER, USER)
    const id = bench.nextId()
    const created = await asUser(['create', '-b', await bundleOf(withUserNamespace(own, 'true')), id], {
      xdg: runtimeDirectory,
    })
    assert.equal(created.code, 0)
    assert.match(await readFile(join(runtimeDirectory, 'gantry-runtime', id, 'state.json'), 'utf8'), /"pid"/)
    assert.equal((await asUser(['delete', '-f', id], { xdg: runtimeDirectory })).code, 0)
  })

  it('begin with a configuration that spec writes for him', async () => {
    const bundle = await bundleOf('{}' as never)
    await rm(join(bundle, 'config.json'))
    await lchown(bundle, USER, USER)
    assert.deepEqual(await asUser(['spec', '--rootless', '-b', bundle]), { stdout: '', stderr: '', code: 0 })
    const config = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8'))
    config.process.args = ['/init', 'id']
    config.process.terminal = false
    await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
    assert.match((await asUser(['run', '-b', bundle, bench.nextId()])).stdout, /^uid 0 gid 0 /m)
  })
})
