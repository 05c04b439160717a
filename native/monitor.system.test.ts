// Detached containers: what their monitor does with the real thing.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { until } from '../conformance/support/commands.ts'
import { readContainerLog } from './container-log.ts'
import { MonitorGone, recoverMonitor, startMonitor } from './monitor.ts'
import { OWN_NETWORK, writeMonitorPlan } from './monitor-plan.ts'
import { type MonitorStatus, readMonitorStatus } from './monitor-status.ts'
import { RuntimeError } from './runtime.ts'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { collect, DetachedBench, logOf, processSizesKb, statusOf, statusWhen } from './testing/detached.ts'

const execute = promisify(execFile)
const skip = process.getuid?.() === 0 ? false : 'containers need root'

describe('a monitor', { skip, timeout: 300_000 }, () => {
  let bench: Bench
  let detached: DetachedBench

  before(async () => {
    bench = await Bench.open()
    detached = new DetachedBench(bench)
  })
  afterEach(async () => {
    await detached.endAll()
    assert.deepEqual(await bench.leftovers(), [])
  })
  after(async () => await bench.close())

  it('runs a container to its end: output, log, exit code, status', async () => {
    const words = ['echo', 'hello', '--', 'write', '/dev/stderr', 'oops\n', '--', 'exit', '7']
    const folder = await detached.folder(dockerConfig(...words))
    const { connection, attached } = await detached.startAttached(folder)
    const ended = await connection.ended()
    assert.equal(ended.exitCode, 7)
    await once(attached.stdout, 'end')
    assert.equal(attached.output(), 'hello\nwrote /dev/stderr\n')
    assert.equal(attached.errors(), 'oops\n')
    assert.deepEqual(
      (await logOf(folder)).sort((a, b) => (a.text < b.text ? -1 : 1)),
      [
        { stream: 'stdout', text: 'hello\n' },
        { stream: 'stderr', text: 'oops\n' },
        { stream: 'stdout', text: 'wrote /dev/stderr\n' },
      ],
    )
    const status = await statusOf(folder)
    assert.deepEqual(status, ended)
    assert.equal(status.phase, 'exited')
    assert.equal(status.pid, 0)
    assert.ok(status.startedAt < status.finishedAt)
  })

  it('is small while its container idles, and keeps nothing of whoever started it', async () => {
    const folder = await detached.folder(dockerConfig('sleep', '60'))
    const connection = await detached.start(folder)
    const { monitor, pid } = await connection.status()
    assert.equal(await readlink(`/proc/${monitor.pid}/cwd`), '/')
    const descriptors = await Promise.all(
      (await readdir(`/proc/${monitor.pid}/fd`)).map((fd) => readlink(`/proc/${monitor.pid}/fd/${fd}`)),
    )
    for (const each of descriptors)
      assert.match(each, /^(\/dev\/null|socket:|pipe:|anon_inode:|.*\/monitor\.lock|.*\/bundle-[^/]*|.*oom_control)/)
    const [, , , parent, , session] = (await readFile(`/proc/${monitor.pid}/stat`, 'utf8')).split(' ')
    assert.equal(Number(session), monitor.pid)
    assert.notEqual(Number(parent), process.pid)
    assert.equal(await readlink(`/proc/${pid}/fd/0`), '/dev/null')
    // It lets go of what the start and this request took once it has been idle for a while.
    let resident = Number.POSITIVE_INFINITY
    for (let i = 0; i < 100 && resident >= 1536; i += 1) {
      await delay(100)
      resident = (await processSizesKb(monitor.pid)).get('VmRSS') ?? 0
    }
    assert.ok(resident > 0 && resident < 1536, `${resident} kB are resident`)
  })

  it('outlives whoever started it', async () => {
    const folder = await detached.folder(dockerConfig('await-signal'))
    const script = `
      const { startMonitor } = await import(${JSON.stringify(new URL('./monitor.ts', import.meta.url).href)})
      await (await startMonitor(${JSON.stringify(folder)})).start()
      process.kill(process.pid, 'SIGKILL')`
    const starter = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' })
    await once(starter, 'exit')
    const connection = await detached.connect(folder)
    for await (const { text } of readContainerLog(folder, { follow: connection.ended() })) if (text === 'ready\n') break
    assert.equal((await connection.stop()).exitCode, 0)
    assert.deepEqual(await logOf(folder), [
      { stream: 'stdout', text: 'ready\n' },
      { stream: 'stdout', text: 'signal 15\n' },
    ])
  })

  it('tells why a container cannot be started: step, errno, and the status', async () => {
    for (const { program, errno, exitCode } of [
      { program: '/nosuch', errno: 2, exitCode: 127 },
      { program: '/etc', errno: 21, exitCode: 126 },
    ]) {
      const config = dockerConfig()
      config.process.args = [program]
      const folder = await detached.folder(config)
      await using connection = await startMonitor(folder)
      await assert.rejects(connection.start(), (error) => {
        assert.ok(error instanceof RuntimeError)
        assert.equal(error.step, 'exec')
        assert.equal(error.errno, errno)
        return true
      })
      const status = await statusOf(folder)
      assert.equal(status.exitCode, exitCode)
      assert.match(status.error, /unable to start container process/)
    }
  })

  it('refuses a plan that it does not understand, and a second monitor', async () => {
    const folder = await detached.folder(dockerConfig('sleep', '60'))
    const plan = JSON.parse(await readFile(join(folder, 'monitor.json'), 'utf8'))
    for (const { change, message } of [
      { change: { extra: 1 }, message: /monitor\.json: extra: is not known/ },
      { change: { version: 2 }, message: /monitor\.json: version: must be 1/ },
      { change: { lasting: 'maybe' }, message: /lasting: must be/ },
      { change: { stdin: 'maybe' }, message: /stdin: must be one of none, open, once, not "maybe"/ },
      { change: { log: { driver: 'json-file', maxSizeBytes: 0 } }, message: /log\.maxFiles: is required/ },
      { change: { onExit: { args: ['true'], env: [] } }, message: /onExit\.args\[0\]: must be an absolute path/ },
      { change: { terminal: true }, message: /terminal: must be what process\.terminal/ },
    ]) {
      await writeFile(join(folder, 'monitor.json'), JSON.stringify({ ...plan, ...change }))
      await using connection = await startMonitor(folder)
      await assert.rejects(connection.start(), message)
    }
    await writeFile(join(folder, 'monitor.json'), JSON.stringify(plan))
    await detached.start(folder)
    await using second = await startMonitor(folder)
    await assert.rejects(second.start(), /the container has a monitor already/)
    await assert.rejects(recoverMonitor(folder), /the container has a monitor/)
  })

  it('leaves nothing when its starter goes before the start', async () => {
    const folder = await detached.folder(dockerConfig('sleep', '60'))
    const connection = await startMonitor(folder)
    await connection[Symbol.asyncDispose]()
    await assert.rejects(
      detached.connect(folder).then((late) => late.status()),
      MonitorGone,
    )
    assert.equal(await readMonitorStatus(folder), undefined)
  })

  it('takes its container along when it is killed, and whoever comes next cleans up', async () => {
    const folder = await detached.folder(dockerConfig('sleep', '60'), {
      restart: { policy: 'always', maximumRetries: 0 },
    })
    const connection = await detached.start(folder)
    const { monitor } = await connection.status()
    const ended = connection.ended()
    process.kill(monitor.pid, 'SIGKILL')
    await assert.rejects(ended, MonitorGone)
    const known = await readMonitorStatus(folder)
    assert.equal(known?.holds, false)
    assert.equal(known?.status.phase, 'running')
    await recoverMonitor(folder)
    const status = await statusOf(folder)
    assert.equal(status.phase, 'exited')
    assert.equal(status.exitCode, 137)
    assert.deepEqual(await bench.leftovers(), [])
    const again = await detached.start(folder)
    process.kill((await again.status()).monitor.pid, 'SIGKILL')
    await assert.rejects(again.status(), MonitorGone)
    await detached.start(folder) // nobody cleaned up: it does
  })

  it('leaves nothing frozen when it is killed, although nobody cleans up', async () => {
    const folder = await detached.folder(dockerConfig('sleep', '60'))
    const connection = await detached.start(folder)
    await connection.pause()
    const { pid, monitor } = await connection.status()
    process.kill(monitor.pid, 'SIGKILL')
    await until('the container to end', 60_000, () => (existsSync(`/proc/${pid}`) ? undefined : true))
    await recoverMonitor(folder)
  })

  it('has nobody stand by for a container that is not frozen any more', async () => {
    const connection = await detached.start(await detached.folder(dockerConfig('sleep', '60')))
    const { pid, monitor } = await connection.status()
    const children = async (): Promise<readonly string[]> =>
      (await readFile(`/proc/${monitor.pid}/task/${monitor.pid}/children`, 'utf8')).trim().split(' ')
    await connection.pause()
    await connection.resume()
    assert.deepEqual(await children(), [`${pid}`])
  })

  it('knows a status of another boot', async () => {
    const folder = await detached.folder(dockerConfig('true'))
    await (await detached.start(folder)).ended()
    const file = join(folder, 'status.json')
    const text = await readFile(file, 'utf8')
    const status = JSON.parse(text) as MonitorStatus
    await writeFile(file, JSON.stringify({ ...status, phase: 'running', bootId: 'another' }))
    assert.equal((await readMonitorStatus(folder))?.holds, false)
    await writeFile(file, '{"phase": "runn')
    assert.equal(await readMonitorStatus(folder), undefined)
    await recoverMonitor(folder)
    assert.equal((await statusOf(folder)).exitCode, 137)
  })

  describe('that restarts', () => {
    const restarting = (
      policy: 'on-failure' | 'always' | 'unless-stopped',
      maximumRetries: number,
      ...args: string[]
    ) => detached.folder(dockerConfig(...args), { restart: { policy, maximumRetries } })

    it('starts again what failed, as often as it may', async () => {
      const folder = await restarting('on-failure', 2, 'echo', 'run', '--', 'exit', '3')
      const { connection, attached } = await detached.startAttached(folder)
      const status = await connection.ended()
      assert.equal(status.restartCount, 2)
      assert.equal(status.exitCode, 3)
      await once(attached.stdout, 'end')
      assert.equal(attached.output(), 'run\n'.repeat(3))
      assert.equal((await logOf(folder)).length, 3)
    })

    it('leaves what ended well, where only failures count', async () => {
      const connection = await detached.start(await restarting('on-failure', 0, 'exit', '0'))
      assert.equal((await connection.ended()).restartCount, 0)
    })

    it('stops for good while it waits for the next start, and while it runs', async () => {
      const waiting = await detached.start(await restarting('always', 0, 'exit', '0'))
      await statusWhen(waiting, ({ restartCount, phase }) => restartCount > 2 && phase === 'restarting')
      const status = await waiting.stop()
      assert.equal(status.phase, 'exited')
      assert.ok(status.stoppedByUser)
      const running = await detached.start(await restarting('unless-stopped', 0, 'await-signal'))
      assert.equal((await running.stop()).restartCount, 0)
    })

    it('starts again what a signal ended, unless that is to be its end', async () => {
      const connection = await detached.start(await restarting('always', 0, 'sleep', '60'))
      await connection.signal(9)
      const again = await statusWhen(connection, ({ restartCount, phase }) => restartCount === 1 && phase === 'running')
      assert.ok(again.pid > 0)
      const ended = connection.ended()
      await connection.signal(9, { noRestart: true })
      assert.equal((await ended).exitCode, 137)
    })

    it('does as it is told later', async () => {
      const connection = await detached.start(await restarting('always', 0, 'sleep', '60'))
      await connection.setRestartPolicy({ policy: 'no', maximumRetries: 0 })
      const ended = connection.ended()
      await connection.signal(9)
      assert.equal((await ended).restartCount, 0)
    })
  })

  it('kills what does not stop in time, also what is paused', async () => {
    for (const paused of [false, true]) {
      const connection = await detached.start(await detached.folder(dockerConfig('sleep', '60')))
      if (paused) await connection.pause()
      assert.equal((await connection.stop({ timeoutMs: 50 })).exitCode, 137)
    }
  })

  it('stops its container when it is asked to end, as at a shutdown, and says that no user did', async () => {
    const folder = await detached.folder(dockerConfig('await-signal'), {
      restart: { policy: 'always', maximumRetries: 0 },
    })
    const { connection, attached } = await detached.startAttached(folder)
    await attached.until(/ready/)
    const ended = connection.ended()
    process.kill((await connection.status()).monitor.pid, 'SIGTERM')
    const status = await ended
    assert.equal(status.exitCode, 0)
    assert.equal(status.stoppedByUser, false)
  })

  it('makes a network namespace before the container, keeps it through restarts, and lets it go at the end', async () => {
    const config = dockerConfig('readlink', '/proc/self/ns/net', '--', 'interfaces', '--', 'exit', '1')
    const namespaces = config.linux['namespaces'] as readonly { readonly type: string }[]
    config.linux['namespaces'] = namespaces.map((each) =>
      each.type === 'network' ? { ...each, path: OWN_NETWORK } : each,
    )
    const folder = await detached.folder(config, {
      ownNetwork: true,
      restart: { policy: 'on-failure', maximumRetries: 2 },
    })
    await using connection = await startMonitor(folder)
    const attached = collect(await connection.attach({ input: false, whenSlow: 'wait' }))
    const { networkNamespace } = await connection.status()
    const made = await readlink(networkNamespace)
    assert.notEqual(made, await readlink('/proc/self/ns/net'))
    await connection.start()
    const { restartCount, networkNamespace: afterwards } = await connection.ended()
    assert.deepEqual([restartCount, afterwards], [2, ''])
    assert.deepEqual(attached.output().match(/net:\[\d+\]/g), [made, made, made])
    assert.deepEqual(attached.output().match(/^interface.*$/gm), Array(3).fill('interface lo'))
    await once(attached.stdout, 'end')
    await assert.rejects(readlink(networkNamespace), { code: 'ENOENT' }) // although we are still connected
  })

  it('pauses and resumes', async () => {
    const connection = await detached.start(await detached.folder(dockerConfig('sleep', '60')))
    await connection.pause()
    assert.equal((await connection.status()).phase, 'paused')
    await assert.rejects(connection.pause(), /paused already/)
    await connection.resume()
    assert.equal((await connection.status()).phase, 'running')
    await assert.rejects(connection.resume(), /not paused/)
  })

  it('notices what was killed for want of memory', async () => {
    const config = dockerConfig('use', '64')
    config.linux['resources'] = { memory: { limit: 16 << 20, swap: 16 << 20 } }
    const connection = await detached.start(await detached.folder(config))
    const status = await connection.ended()
    assert.equal(status.exitCode, 137)
    assert.ok(status.oomKilled)
  })

  describe('that checks health', () => {
    const health = { command: ['/init', 'cat', '/healthy'], intervalMs: 50, timeoutMs: 5_000, startPeriodMs: 0 }

    it('tells healthy and unhealthy, and keeps the last results', async () => {
      const folder = await detached.folder(dockerConfig('sleep', '60'), {
        health: { ...health, startIntervalMs: 50, retries: 2 },
      })
      const connection = await detached.start(folder)
      const unhealthy = await statusWhen(connection, (status) => status.health?.status === 'unhealthy')
      assert.equal(unhealthy.health?.failingStreak, 2)
      assert.deepEqual(
        unhealthy.health?.log.map(({ exitCode, output }) => ({ exitCode, output })),
        Array(2).fill({ exitCode: 1, output: 'cat /healthy: No such file or directory\n' }),
      )
      await writeFile(join(folder, 'rootfs/healthy'), 'fine\n')
      const healthy = await statusWhen(connection, (status) => status.health?.status === 'healthy')
      assert.equal(healthy.health?.failingStreak, 0)
      assert.equal(healthy.health?.log.at(-1)?.output, 'fine\n')
      const many = await statusWhen(
        connection,
        (status) => status.health?.log.every((each) => each.exitCode === 0) ?? false,
      )
      assert.equal(many.health?.log.length, 5)
      await rm(join(folder, 'rootfs/healthy'))
      await statusWhen(connection, (status) => status.health?.status === 'unhealthy')
    })

    it('ends a check that takes too long, or cannot be run, and counts it as failed', async () => {
      for (const { command, output } of [
        { command: ['/init', 'sleep', '60'], output: /exceeded timeout/ },
        { command: ['/nosuch'], output: /exec: "\/nosuch": no such file or directory/ },
      ]) {
        const folder = await detached.folder(dockerConfig('sleep', '60'), {
          health: { ...health, command, timeoutMs: 200, startIntervalMs: 50, retries: 1 },
        })
        const connection = await detached.start(folder)
        const { health: known } = await statusWhen(connection, (status) => status.health?.status === 'unhealthy')
        assert.equal(known?.log[0]?.exitCode, -1)
        assert.match(known?.log[0]?.output ?? '', output)
        await connection.stop({ timeoutMs: 0 })
      }
    })
  })

  it('goes on when the disk is full, and says what the log has lost', async () => {
    const lines = 20_000
    const bundle = await detached.folder(dockerConfig('flood', String(lines), '--', 'exit', '5'))
    const folder = join(bundle, 'small')
    await mkdir(folder)
    await execute('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'small', folder])
    try {
      const config = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8')) as BundleConfig
      config.root.path = join(bundle, 'rootfs')
      await writeFile(join(folder, 'config.json'), JSON.stringify(config))
      await copyFile(join(bundle, 'monitor.json'), join(folder, 'monitor.json'))
      const status = await (await detached.start(folder)).ended()
      assert.equal(status.exitCode, 5)
      assert.match(status.log.error, /write the log: no space left on device/)
      assert.ok(status.log.lostBytes > 0)
      const kept = await logOf(folder)
      assert.ok(kept.length > 100)
      for (const { text } of kept) assert.match(text, /^\d{63}\n$/)
    } finally {
      await execute('umount', ['--lazy', folder])
    }
  })

  it('runs what is to be run at the end', async () => {
    const folder = await detached.folder(dockerConfig('true'), {
      onExit: { args: ['/bin/sh', '-c', 'echo "$WHO" > "$1/ended"', 'sh', bench.directory], env: ['WHO=me'] },
    })
    await (await detached.start(folder)).ended()
    for (let i = 0; i < 200; i += 1) {
      const text = await readFile(join(bench.directory, 'ended'), 'utf8').catch(() => '')
      if (text === 'me\n') return
      await delay(25)
    }
    assert.fail('it was not run')
  })

  it('reads its plan from a file that is replaced as a whole', async () => {
    const folder = await detached.folder(dockerConfig('true'))
    const plan = JSON.parse(await readFile(join(folder, 'monitor.json'), 'utf8'))
    delete plan.version
    writeMonitorPlan(folder, plan)
    assert.deepEqual((await readdir(folder)).sort(), ['config.json', 'monitor.json', 'rootfs'])
  })
})
