// Attacks that somebody has published, each named after it and performed for real: on the runtime, through both of its
// faces, where it must fail; and on the same runtime less the defence against it, where it must succeed: a test that
// would pass there, too, would show nothing.
import assert from 'node:assert/strict'
import { copyFile, mkdir, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { ATTACKS, type Attack, HOST_MARK, type Prepare } from './testing/attacks.ts'
import { Bench, type BundleConfig, buildPayload, CAPABILITIES, dockerConfig } from './testing/bundle.ts'
import { type CliResult, EXECUTABLE, runCli, runCommand } from './testing/cli.ts'
import { FACES, type FaceName, openFace, type Started } from './testing/faces.ts'
import { runtimeWithout } from './testing/without.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'

describe('an attack', { skip }, () => {
  let bench: Bench

  before(async () => {
    bench = await Bench.open()
    await writeFile(join(bench.directory, HOST_MARK), '')
  })
  afterEach(async () => assert.deepEqual(await bench.leftovers(), []))
  after(async () => await bench.close())

  const succeeds = async (attack: Attack, name: FaceName, executable: string, tries: number): Promise<boolean> => {
    const copy = join(bench.directory, `runtime-${bench.nextId()}`) // what it may destroy is nobody's
    await copyFile(executable, copy)
    await using face = await openFace(name, bench, copy)
    const start = async (config: BundleConfig, prepare?: Prepare): Promise<Started> =>
      face.start(await bench.bundle(config, prepare), { terminal: config.process['terminal'] === true })
    return await attack.perform({
      face,
      bench,
      start,
      tries,
      run: async (config, prepare) => (await start(config, prepare)).ended,
      victim: () => mkdtemp(join(bench.directory, 'victim-')),
    })
  }

  for (const attack of ATTACKS) {
    for (const face of attack.faces ?? FACES) {
      it(`fails by ${attack.what}, through the ${face} (${attack.cves})`, async () => {
        const without = await runtimeWithout(attack.without)
        assert.equal(await succeeds(attack, face, EXECUTABLE, 25), false)
        assert.equal(await succeeds(attack, face, without, 500), true, attack.without)
      })
    }
  }
})

describe('what holds attacks off without a line of the runtime to leave out', { skip }, () => {
  let bench: Bench
  const run = async (config: BundleConfig, prepare?: Prepare, ...flags: string[]): Promise<CliResult> =>
    runCli(bench.stateRoot, ['run', ...flags, '-b', await bench.bundle(config, prepare), bench.nextId()])

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(async () => assert.deepEqual(await bench.leftovers(), []))
  after(async () => await bench.close())

  it('nothing is written to files of an image, by whatever name another runtime does so (CVE-2025-24965)', async () => {
    const victim = await mkdtemp(join(bench.directory, 'victim-'))
    const names = ['.krun_config.json', '.krun_vm.json', 'etc/passwd', 'etc/hostname', 'etc/hosts', 'etc/mtab']
    const config = dockerConfig('true')
    Object.assign(config, { annotations: { 'run.oci.handler': 'krun', 'krun.cpus': '1' } })
    const { code } = await run(config, async (rootfs) => {
      await mkdir(join(rootfs, 'etc'))
      for (const name of names) await symlink(join(victim, name.replace('/', '-')), join(rootfs, name))
    })
    assert.equal(code, 0)
    assert.deepEqual(await readdir(victim), [])
  })

  it('nothing listens on an abstract socket, which a container in the host’s network could reach (CVE-2020-15257)', async () => {
    const abstract = async (): Promise<Set<string>> =>
      new Set((await readFile('/proc/net/unix', 'utf8')).match(/@\S+$/gm))
    const before = await abstract()
    for (const name of FACES) {
      await using face = await openFace(name, bench)
      const config = dockerConfig('sleep', '60')
      const container = face.start(await bench.bundle(config))
      const owners = [String(await container.pid)]
      const mine = new RegExp(`gantry|${owners.join('|')}`)
      const made = [...(await abstract())].filter((each) => !before.has(each) && mine.test(each))
      await container.kill()
      await container.ended
      assert.deepEqual(made, [])
    }
  })

  it('keys of whoever starts a container are out of its reach, unless he says --no-new-keyring', async () => {
    const key = bench.nextId()
    const found = async (...flags: string[]): Promise<string> => {
      const words = ['run', ...flags, '-b', await bench.bundle(dockerConfig('find-key', key)), bench.nextId()]
      const runtime = [EXECUTABLE, '--root', bench.stateRoot, ...words]
      return (await runCommand(await buildPayload(), ['with-key', key, ...runtime])).stdout
    }
    assert.match(await found(), /^find .*: Required key not available$/m)
    assert.equal(await found('--no-new-keyring'), `found ${key}\n`)
  })

  it('the release agent of a cgroup cannot be set by who may not administrate the host (CVE-2022-0492)', async () => {
    const [controller] = (await readFile('/proc/self/cgroup', 'utf8')).match(/(?<=^\d+:)[a-z]+(?=:)/m) ?? []
    if (controller === undefined) return // version 2 has none
    const attempt = (config: BundleConfig): Promise<CliResult> => run(Object.assign(config, { hostname: '' }))
    const plain = dockerConfig('release-agent', controller)
    assert.match((await attempt(plain)).stdout, /^(mount cgroup|open release_agent): /m)
    const administrator = dockerConfig('release-agent', controller)
    const all = [...CAPABILITIES, 'CAP_SYS_ADMIN']
    administrator.process['capabilities'] = { bounding: all, effective: all, permitted: all }
    administrator.linux['namespaces'] = (administrator.linux['namespaces'] as { type: string }[]).filter(
      ({ type }) => type !== 'cgroup',
    )
    assert.match((await attempt(administrator)).stdout, /could write release_agent/)
  })

  it('a bundle with a /dev or /proc that is a symlink fails (CVE-2026-41579)', async () => {
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

  it('a bundle with a mount target that is a dangling symlink has it made where the link leads, inside', async () => {
    const config = dockerConfig('cat', '/etc/resolv.conf')
    config.mounts.push({ destination: '/etc/resolv.conf', type: 'bind', source: 'own', options: ['bind'] })
    const bundle = await bench.bundle(config, async (rootfs) => {
      await mkdir(join(rootfs, 'etc'))
      await symlink('../../../run/systemd/../deep/stub.conf', join(rootfs, 'etc/resolv.conf'))
      await symlink('/var/run', join(rootfs, 'run'))
      await writeFile(join(rootfs, '../own'), 'found')
    })
    const { code, stdout, stderr } = await runCli(bench.stateRoot, ['run', '-b', bundle, bench.nextId()])
    assert.deepEqual([code, stdout, stderr], [0, 'found', ''])
    assert.deepEqual(await readdir(join(bundle, 'rootfs/var/run')), ['deep', 'systemd'])
  })

  it('a bundle with a mount target that is a symlink to itself fails', async () => {
    const config = dockerConfig('true')
    config.mounts.push({ destination: '/loop/x', type: 'tmpfs', source: 't', options: [] })
    const { code, stderr } = await run(config, (rootfs) => symlink('loop', join(rootfs, 'loop')))
    assert.equal(code, 1)
    assert.match(stderr, /open the target of mounts\[\d+\] \(\/loop\/x\): too many levels of symbolic links/)
  })
})
