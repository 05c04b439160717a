// The verbs that look at containers and hold them: pause, resume, list, ps, events, features, spec.
import assert from 'node:assert/strict'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { Bench, dockerConfig } from './testing/bundle.ts'
import { commandLine } from './testing/command-line.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'

describe('gantry-runtime', { skip }, () => {
  let bench: Bench
  const { cli, ok, fails, start, stateOf, end } = commandLine(() => bench)

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(end)
  after(async () => await bench.close())

  it('freezes a container and thaws it', async () => {
    const id = await start()
    await fails(1, /container not paused/, 'resume', id)
    await ok('pause', id)
    assert.equal((await stateOf(id)).status, 'paused')
    await fails(1, /container not running/, 'pause', id)
    const { code, stderr } = await cli('exec', id, '/init', 'true')
    assert.deepEqual([code, /cannot exec in a paused container/.test(stderr)], [255, true])
    await fails(1, /is not stopped/, 'delete', id)
    await ok('resume', id)
    assert.equal((await stateOf(id)).status, 'running')
    assert.equal((await cli('exec', id, '/init', 'exit', '4')).code, 4)
    await fails(1, /container does not exist/, 'pause', 'nosuch')
  })

  it('kills and deletes what is frozen', async () => {
    const killed = await start()
    await ok('pause', killed)
    await ok('kill', killed, 'KILL')
    while ((await stateOf(killed)).status !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 5))
    const deleted = await start()
    await ok('pause', deleted)
    await ok('delete', '--force', deleted)
  })

  it('lists containers for people and for programs', async () => {
    assert.equal(await ok('list', '--format', 'json'), '[]\n')
    const ids = [await start(), await start()].sort()
    await ok('pause', ids[1] ?? '')
    const listed = JSON.parse(await ok('list', '-f', 'json'))
    assert.deepEqual(
      listed.map(({ id, status }: { id: string; status: string }) => [id, status]),
      [
        [ids[0], 'running'],
        [ids[1], 'paused'],
      ],
    )
    assert.equal(await ok('list', '--quiet'), `${ids.join('\n')}\n`)
    const [header = '', first = ''] = (await ok('list')).split('\n')
    assert.match(header, /^ID +PID +STATUS +BUNDLE +CREATED +OWNER$/)
    assert.match(first, new RegExp(`^${ids[0]} +\\d+ +running +/`))
    await fails(1, /--format must be table or json/, 'list', '--format', 'xml')
  })

  it('shows the processes of a container and no others', async () => {
    const id = await start()
    const { pid } = await stateOf(id)
    await ok('exec', '-d', id, '/init', 'sleep', '61')
    const pids: number[] = JSON.parse(await ok('ps', '--format', 'json', id))
    assert.equal(pids.length, 2)
    assert.ok(pids.includes(pid))
    const table = (await ok('ps', id)).trim().split('\n')
    assert.equal(table.length, 3)
    assert.match(table[0] ?? '', /PID/)
    assert.match(table[1] ?? '', /\/init sleep 60/)
    assert.match(
      await ok('ps', id, '-o', 'pid,args'),
      /^ +PID COMMAND\n *\d+ \/init sleep 60\n *\d+ \/init sleep 61\n$/,
    )
  })

  it('says what a container uses', async () => {
    const id = await start()
    const event = JSON.parse(await ok('events', '--stats', id))
    assert.deepEqual([event.type, event.id], ['stats', id])
    assert.equal(event.data.pids.current, 1)
    assert.ok(event.data.cpu.usage.total > 0)
    assert.ok(event.data.memory.usage.usage > 0)
    await ok('kill', id, 'KILL')
    while ((await stateOf(id)).status !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 5))
    await fails(1, /container not running/, 'events', '--stats', id)
  })

  it('says what it can do, and nothing that it would refuse', async () => {
    const features = JSON.parse(await ok('features'))
    assert.deepEqual([features.ociVersionMin, features.ociVersionMax], ['1.0.0', '1.3.0'])
    assert.ok(['rro', 'rbind', 'nosymfollow', 'rprivate'].every((each) => features.mountOptions.includes(each)))
    const { seccomp, namespaces, capabilities } = features.linux
    assert.equal(capabilities.length, 41)
    assert.deepEqual(namespaces, ['cgroup', 'ipc', 'mount', 'network', 'pid', 'time', 'user', 'uts'])
    assert.equal(features.linux.mountExtensions.idmap.enabled, true)
    assert.ok(features.linux.memoryPolicy.modes.includes('MPOL_WEIGHTED_INTERLEAVE'))
    const { intelRdt, selinux, netDevices, cgroup } = features.linux
    assert.deepEqual(
      [intelRdt, selinux, netDevices].map(({ enabled }) => enabled),
      [false, false, false],
    )
    assert.deepEqual([cgroup.systemd, cgroup.systemdUser], [true, true])
    assert.ok(seccomp.actions.includes('SCMP_ACT_NOTIFY') && seccomp.operators.includes('SCMP_CMP_MASKED_EQ'))
    const flags = { seccomp: { defaultAction: 'SCMP_ACT_ALLOW', flags: seccomp.supportedFlags } }
    const config = dockerConfig('true')
    Object.assign(config.linux, flags)
    for (const option of features.mountOptions)
      config.mounts.push({ destination: '/t', type: 'tmpfs', source: 't', options: [option] })
    const kinds = ['mand', 'bind', 'rbind', 'idmap', 'ridmap'] // the first is no more in newer kernels, the others need a source
    config.mounts = config.mounts.filter(({ options }) => !kinds.includes(options[0] ?? ''))
    await ok('run', '-b', await bench.bundle(config), bench.nextId())
  })

  it('writes a configuration to begin with, and never over another', async () => {
    const bundle = await bench.bundle(dockerConfig('true'))
    await fails(1, /config\.json exists: remove it first/, 'spec', '--bundle', bundle)
    await rm(join(bundle, 'config.json'))
    await ok('spec', '--bundle', bundle)
    const config = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8'))
    assert.equal(config.process.args[0], 'sh')
    await fails(1, /cannot allocate tty/, 'run', '--detach', '-b', bundle, bench.nextId())
  })

  it('says of what it cannot do that it cannot', async () => {
    await fails(1, /checkpoint is not supported/, 'checkpoint', '--image-path', '/tmp', 'x')
    await fails(1, /restore is not supported/, 'restore', 'x')
    await fails(1, /unknown verb frobnicate/, 'frobnicate')
  })
})
