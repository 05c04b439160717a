// Attacks on the runtime, each named after what it was; what an image or a configuration tries must fail, or stay inside.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { Bench, type BundleConfig, CAPABILITIES, dockerConfig } from './testing/bundle.ts'
import { type CliResult, EXECUTABLE, runCli } from './testing/cli.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'

describe('an attack', { skip }, () => {
  let bench: Bench
  const cli = (...args: string[]): Promise<CliResult> => runCli(bench.stateRoot, args)
  const run = async (config: BundleConfig, prepare?: (rootfs: string) => Promise<void>): Promise<CliResult> =>
    cli('run', '-b', await bench.bundle(config, prepare), bench.nextId())

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(async () => assert.deepEqual(await bench.leftovers(), []))
  after(async () => await bench.close())

  it('from a working directory outside the root fails (CVE-2024-21626)', async () => {
    for (let fd = 3; fd < 16; ++fd) {
      const config = dockerConfig('cwd', '--', 'ls', '../../..')
      config.process['cwd'] = `/proc/self/fd/${fd}`
      const { code, stderr } = await run(config)
      assert.equal(code, 1)
      assert.match(stderr, /chdir to cwd/)
    }
  })

  it('on the runtime’s own executable fails (CVE-2019-5736)', async () => {
    const digest = async (): Promise<string> =>
      createHash('sha256')
        .update(await readFile(EXECUTABLE))
        .digest('hex')
    const untouched = await digest()
    const config = dockerConfig()
    config.process.args = ['/proc/self/exe', 'state', 'nosuch']
    const { code, stderr } = await run(config)
    assert.equal(code, 1)
    assert.match(stderr, /container does not exist/) // it really was the runtime that ran inside
    assert.equal(await digest(), untouched)
  })

  it('with a /dev or /proc that is a symlink fails (CVE-2026-41579)', async () => {
    const victim = await mkdtemp(join(bench.directory, 'victim-'))
    for (const name of ['dev', 'proc', 'sys']) {
      for (const target of [victim, '/tmp', '/etc']) {
        const { code, stderr } = await run(dockerConfig('true'), (rootfs) => symlink(target, join(rootfs, name)))
        assert.equal(code, 1)
        assert.match(stderr, /too many levels of symbolic links/)
      }
    }
    assert.deepEqual(await readdir(victim), [])
  })

  it('with a mount target that leads into /proc through a symlink fails (CVE-2019-19921)', async () => {
    const config = dockerConfig('true')
    config.mounts.push({ destination: '/innocent', type: 'tmpfs', source: 't', options: [] })
    const { code, stderr } = await run(config, (rootfs) => symlink('/proc/sys', join(rootfs, 'innocent')))
    assert.equal(code, 1)
    assert.match(stderr, /refuse to mount inside \/proc/)
  })

  it('with a mount target that is a symlink to the host stays inside (CVE-2021-30465)', async () => {
    const victim = await mkdtemp(join(bench.directory, 'victim-'))
    const config = dockerConfig('true')
    config.mounts.push({ destination: '/way/out/new', type: 'tmpfs', source: 't', options: [] })
    await run(config, async (rootfs) => {
      await mkdir(join(rootfs, 'way'))
      await symlink(`../../../../../../../../../..${victim}`, join(rootfs, 'way/out'))
    })
    assert.deepEqual(await readdir(victim), [])
  })

  it('with a mount target that is a dangling symlink has it made where the link leads, inside', async () => {
    const config = dockerConfig('cat', '/etc/resolv.conf')
    config.mounts.push({ destination: '/etc/resolv.conf', type: 'bind', source: 'own', options: ['bind'] })
    const bundle = await bench.bundle(config, async (rootfs) => {
      await mkdir(join(rootfs, 'etc'))
      await symlink('../../../run/systemd/../deep/stub.conf', join(rootfs, 'etc/resolv.conf'))
      await symlink('/var/run', join(rootfs, 'run'))
      await writeFile(join(rootfs, '../own'), 'found')
    })
    const { code, stdout, stderr } = await cli('run', '-b', bundle, bench.nextId())
    assert.deepEqual([code, stdout, stderr], [0, 'found', ''])
    assert.deepEqual(await readdir(join(bundle, 'rootfs/var/run')), ['deep', 'systemd'])
  })

  it('with a mount target that is a symlink to itself fails', async () => {
    const config = dockerConfig('true')
    config.mounts.push({ destination: '/loop/x', type: 'tmpfs', source: 't', options: [] })
    const { code, stderr } = await run(config, (rootfs) => symlink('loop', join(rootfs, 'loop')))
    assert.equal(code, 1)
    assert.match(stderr, /open the target of mounts\[\d+\] \(\/loop\/x\): too many levels of symbolic links/)
  })

  it('with a /dev/null that is a symlink masks all the same (CVE-2025-31133)', async () => {
    const config = dockerConfig('cat', '/proc/keys', '--', 'cat', '/etc/hidden', '--', 'stat', '/etc/hidden')
    config.mounts = config.mounts.filter((mount) => !mount.destination.startsWith('/dev'))
    config.linux['maskedPaths'] = ['/proc/keys', '/etc/hidden']
    const { code, stderr } = await run(config, async (rootfs) => {
      await mkdir(join(rootfs, 'dev'))
      await mkdir(join(rootfs, 'etc'))
      await writeFile(join(rootfs, 'etc/hidden'), 'secret')
      await symlink('/proc/sys/kernel/core_pattern', join(rootfs, 'dev/null'))
    })
    assert.equal(code, 1) // a /dev/null that is none is refused: nothing was bound from it
    assert.match(stderr, /make the device.*file exists/)
  })

  it('with a console that is a symlink fails (CVE-2025-52565)', async () => {
    const config = dockerConfig('true')
    config.process['terminal'] = true
    config.mounts = config.mounts.filter((mount) => !/^\/dev(\/shm|\/mqueue)?$/.test(mount.destination))
    const { code, stderr } = await run(config, async (rootfs) => {
      await mkdir(join(rootfs, 'dev'))
      await symlink('/etc/passwd', join(rootfs, 'dev/console'))
    })
    assert.equal(code, 1)
    assert.match(stderr, /mount the console/)
  })

  it('through inheritable capabilities finds none (CVE-2022-29162)', async () => {
    const { stdout } = await run(dockerConfig('cat', '/proc/self/status'))
    assert.match(stdout, /^CapInh:\s+0{16}$/m)
    assert.ok(!CAPABILITIES.some((name) => name === ('CAP_MKNOD' as string)))
  })
})
