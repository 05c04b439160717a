// Containers from Node: many at once, created first, more processes in them, streams, terminals, and how they end.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { DEFAULT_EXECUTABLE, Runtime, RuntimeError } from './runtime.ts'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { DetachedBench } from './testing/detached.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'

describe('the library', { skip, timeout: 300_000 }, () => {
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

  const textOf = async (stream: Readable | undefined): Promise<string> => {
    let text = ''
    for await (const chunk of stream ?? []) text += chunk
    return text
  }
  const processOf = (...args: string[]): Record<string, unknown> => ({ ...dockerConfig(...args).process })
  const start = async (config: BundleConfig = dockerConfig('sleep', '60')) => {
    const id = bench.nextId()
    return { id, container: await runtime.run({ id, bundle: await bench.bundle(config), stdio: 'pipes' }) }
  }
  const withHook = (kind: string, script: string, config: BundleConfig = dockerConfig('true')): BundleConfig =>
    Object.assign(config, { hooks: { [kind]: [{ path: '/bin/sh', args: ['sh', '-c', script] }] } })

  it('runs more than a hundred containers at once, and makes no thread for them', async () => {
    const bundle = await bench.bundle(dockerConfig('copy'))
    const threads = async (): Promise<number> => (await readdir('/proc/self/task')).length
    const before = await threads()
    const containers = await Promise.all(
      Array.from({ length: 120 }, () => runtime.run({ id: bench.nextId(), bundle, stdio: 'pipes' })),
    )
    assert.equal(new Set(containers.map(({ pid }) => pid)).size, 120)
    assert.ok((await threads()) <= before, 'threads were made for containers')
    const outputs = await Promise.all(
      containers.map(async ({ stdin, stdout, exited }, index) => {
        stdin?.end(`container ${index}\n`)
        const text = await textOf(stdout)
        assert.deepEqual(await exited, { code: 0 })
        return text
      }),
    )
    assert.deepEqual(
      outputs,
      containers.map((_, index) => `container ${index}\n`),
    )
  })

  it('gives its output and errors apart', async () => {
    const { container } = await start(
      dockerConfig('echo', 'out', '--', 'write', '/dev/stderr', 'err', '--', 'exit', '3'),
    )
    const [output, errors] = await Promise.all([textOf(container.stdout), textOf(container.stderr)])
    assert.equal(output, 'out\nwrote /dev/stderr\n')
    assert.equal(errors, 'err')
    assert.deepEqual(await container.exited, { code: 3 })
  })

  it('lets any user of a container open its standard output again', async () => {
    const config = dockerConfig('write', '/dev/stdout', 'mine\n')
    config.process['user'] = { uid: 1000, gid: 1000 }
    const { container } = await start(config)
    assert.match(await textOf(container.stdout), /^mine\n/)
    assert.deepEqual(await container.exited, { code: 0 })
  })

  it('gives a terminal as a stream, with a size', async () => {
    const config = dockerConfig('copy', '--', 'size')
    config.process['terminal'] = true
    const id = bench.nextId()
    await using container = await runtime.run({ id, bundle: await bench.bundle(config), stdio: 'terminal-stream' })
    container.resize(132, 43)
    container.console?.write('hi\n\x04')
    assert.equal(await textOf(container.console), 'hi\r\nhi\r\nsize 43 132\r\n')
    assert.deepEqual(await container.exited, { code: 0 })
  })

  it('creates a container whose program waits for the start', async () => {
    const bundle = await bench.bundle(dockerConfig('exit', '5'))
    const created = await runtime.createContainer({ id: bench.nextId(), bundle, stdio: 'pipes' })
    assert.match(await readFile(`/proc/${created.pid}/cmdline`, 'utf8'), /gantry-runtime/)
    await created.start()
    assert.deepEqual(await created.exited, { code: 5 })
    await created.start() // which it was

    await using never = await runtime.createContainer({ id: bench.nextId(), bundle, stdio: 'pipes' })
    assert.ok(never.pid > 0) // and goes without ever running
  })

  it('tells at the creation what cannot be executed', async () => {
    const config = dockerConfig()
    config.process.args = ['/nosuch']
    const bundle = await bench.bundle(config)
    await assert.rejects(runtime.createContainer({ id: bench.nextId(), bundle, stdio: 'pipes' }), {
      code: 'ENOENT',
      step: 'exec',
    })
  })

  describe('with more processes in a container', () => {
    it('runs them with streams, and gives their exit codes', async () => {
      const { id, container } = await start()
      await using _ = container
      const member = await runtime.exec({
        id,
        process: processOf('copy', '--', 'pids', '--', 'exit', '9'),
        stdio: 'pipes',
      })
      member.stdin?.end('through\n')
      const output = await textOf(member.stdout)
      assert.match(output, /^through\npid 1\npid \d+\n$/)
      assert.deepEqual(await member.exited, { code: 9 })
    })

    it('runs them in a container that a monitor holds', async () => {
      const detached = new DetachedBench(bench)
      const folder = await detached.folder(dockerConfig('sleep', '60'))
      await detached.start(folder)
      const { id } = JSON.parse(await readFile(join(folder, 'monitor.json'), 'utf8')) as { id: string }
      const config = processOf('copy', '--', 'size')
      config['terminal'] = true
      const member = await runtime.exec({ id, process: config, stdio: 'terminal-stream' })
      member.resize(80, 25)
      member.console?.write('\x04')
      assert.match(await textOf(member.console), /size 25 80/)
      assert.deepEqual(await member.exited, { code: 0 })
      await detached.endAll()
    })

    it('tells what goes wrong, and takes what is long', async () => {
      const { id, container } = await start()
      await using _ = container
      const wrong = { ...processOf(), args: ['/nosuch'] }
      await assert.rejects(runtime.exec({ id, process: wrong, stdio: 'pipes' }), { code: 'ENOENT', step: 'exec' })
      await assert.rejects(runtime.exec({ id: 'nosuch', process: processOf('true'), stdio: 'pipes' }), /does not exist/)
      await assert.rejects(runtime.exec({ id, process: {}, stdio: 'pipes' }), /process\.args: must name a program/)
      const long = 'x'.repeat(100_000)
      const member = await runtime.exec({ id, process: processOf('echo', long), stdio: 'pipes' })
      assert.equal((await textOf(member.stdout)).length, long.length + 1)
      await assert.rejects(runtime.exec({ id, process: processOf('echo', long, long), stdio: 'pipes' }), {
        code: 'E2BIG',
      })
      await container[Symbol.asyncDispose]()
      await assert.rejects(runtime.exec({ id, process: processOf('true'), stdio: 'pipes' }), RuntimeError)
    })

    it('ends them with this process, but for those that were turned away from', async () => {
      const detached = new DetachedBench(bench)
      const folder = await detached.folder(dockerConfig('sleep', '60'))
      await detached.start(folder)
      const { id } = JSON.parse(await readFile(join(folder, 'monitor.json'), 'utf8')) as { id: string }
      const config = processOf('flood', '10000', '--', 'write', '/tmp/done', 'yes', '--', 'sleep', '61')
      config['terminal'] = true
      const script = `
        const { Runtime } = await import(${JSON.stringify(import.meta.resolve('./runtime.ts'))})
        const runtime = await Runtime.start({ stateRoot: ${JSON.stringify(bench.stateRoot)} })
        const stays = await runtime.exec({ id: ${JSON.stringify(id)}, process: ${JSON.stringify(config)}, stdio: 'terminal' })
        const goes = await runtime.exec({ id: ${JSON.stringify(id)}, process: ${JSON.stringify(processOf('sleep', '62'))}, stdio: 'pipes' })
        stays.detach()
        await runtime.close()
        console.log(stays.pid, goes.pid)
        process.exit()`
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [stays = '', goes = ''] = (await textOf(child.stdout)).trim().split(' ')
      for (let i = 0; i < 400; i += 1) {
        if ((await readFile(join(folder, 'rootfs/tmp/done'), 'utf8').catch(() => '')) === 'yes') break
        await delay(25)
      }
      assert.match(await readFile(`/proc/${stays}/cmdline`, 'utf8'), /61/)
      await assert.rejects(readFile(`/proc/${goes}/cmdline`, 'utf8').then((text) => assert.notEqual(text, ''))) // gone, or a zombie
      process.kill(Number(stays), 'SIGKILL')
      await detached.endAll()
    })
  })

  describe('with a signal to abort', () => {
    it('kills what runs, and gives up what is being started', async () => {
      const running = new AbortController()
      const bundle = await bench.bundle(dockerConfig('sleep', '60'))
      const container = await runtime.run({ id: bench.nextId(), bundle, stdio: 'pipes', signal: running.signal })
      running.abort()
      assert.deepEqual(await container.exited, { signal: 9 })

      const starting = new AbortController()
      const slow = await bench.bundle(withHook('prestart', 'sleep 60'))
      const started = runtime.run({ id: bench.nextId(), bundle: slow, stdio: 'pipes', signal: starting.signal })
      setTimeout(() => starting.abort(new Error('changed my mind')), 200)
      await assert.rejects(started, /changed my mind/)

      await assert.rejects(
        runtime.run({ id: bench.nextId(), bundle, stdio: 'pipes', signal: AbortSignal.abort(new Error('too late')) }),
        /too late/,
      )
    })
  })

  it('starts other containers while the hooks of one take their time', async () => {
    const gate = join(bench.directory, 'gate')
    const hook = `cat > /dev/null; while [ ! -e ${gate} ]; do sleep 0.05; done`
    const config = withHook('prestart', hook, dockerConfig('exit', '4'))
    let isSlowStarted = false
    const slow = bench
      .bundle(config)
      .then((bundle) => runtime.run({ id: bench.nextId(), bundle, stdio: 'pipes' }))
      .then((container) => {
        isSlowStarted = true
        return container
      })
    const { container } = await start(dockerConfig('exit', '3'))
    assert.deepEqual(await container.exited, { code: 3 })
    assert.equal(isSlowStarted, false)
    await writeFile(gate, '')
    assert.deepEqual(await (await slow).exited, { code: 4 })
  })

  it('ends a container with hooks that its helper was killed for', async () => {
    const { container } = await start(withHook('prestart', 'cat > /dev/null', dockerConfig('sleep', '60')))
    const status = await readFile(`/proc/${container.pid}/status`, 'utf8')
    process.kill(Number(/^PPid:\s+(\d+)$/m.exec(status)?.[1]), 'SIGKILL')
    await assert.rejects(container.exited, /its helper was killed/)
  })

  it('ends its helper in good order when this process dies with answers unread', () => {
    const script = join(import.meta.dirname, 'testing/helper-unread.py')
    const said = execFileSync('python3', [script, DEFAULT_EXECUTABLE, bench.stateRoot], { encoding: 'utf8' })
    assert.equal(said, 'helper: 0 \n')
  })

  it('takes everything along when it is closed', async () => {
    const own = await Runtime.start({ stateRoot: bench.stateRoot })
    const bundles = [dockerConfig('sleep', '60'), withHook('prestart', 'cat > /dev/null', dockerConfig('sleep', '60'))]
    for (const config of bundles)
      await own.run({ id: bench.nextId(), bundle: await bench.bundle(config), stdio: 'pipes' })
    await own.close()
    assert.deepEqual(await bench.leftovers(), [])
  })
})
