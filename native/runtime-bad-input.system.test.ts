// What callers, bundles and machines do wrong: a clear error, and nothing left behind. And descriptors that are sent.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { EXECUTABLE, runCommand } from './testing/cli.ts'
import { commandLine } from './testing/command-line.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'
const SOCKET = fileURLToPath(new URL('./testing/descriptor-socket.py', import.meta.url))

describe('gantry-runtime, given what is wrong,', { skip }, () => {
  let bench: Bench
  const { cli, ok, nextId, start, end } = commandLine(() => bench)
  const withTerminal = (...args: string[]): BundleConfig => {
    const config = dockerConfig(...args)
    config.process['terminal'] = true
    return config
  }
  /** What it says when it has got something, and its end. */
  async function socket(kind: 'takes' | 'hangs' | 'datagram') {
    const path = join(bench.directory, `${bench.nextId()}.socket`)
    const child = spawn('python3', [SOCKET, path, kind], { stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000 })
    await once(child.stdout, 'readable')
    const said = text(child.stdout)
    return { path, said, [Symbol.dispose]: () => void child.kill('SIGKILL') }
  }

  before(async () => {
    bench = await Bench.open()
  })
  afterEach(end)
  after(async () => await bench.close())

  it('fails where the socket for a terminal is none, is not there, or is of another kind', async () => {
    const bundle = await bench.bundle(withTerminal('true'))
    using datagram = await socket('datagram')
    const file = join(bench.directory, 'file')
    await writeFile(file, '')
    for (const [path, reason] of [
      [datagram.path, /protocol wrong type for socket/],
      [file, /connection refused/],
      [join(bench.directory, 'nosuch'), /no such file or directory/],
      [`/${'x'.repeat(200)}`, /file name too long/],
    ] as const) {
      const { code, stderr } = await cli('create', '--console-socket', path, '-b', bundle, bench.nextId())
      assert.equal(code, 1)
      assert.match(stderr, /send the terminal to/)
      assert.match(stderr, reason)
      assert.deepEqual(await bench.leftovers(), [])
    }
  })

  it('does not wait for ever for a socket that hangs', { timeout: 60_000 }, async () => {
    using hangs = await socket('hangs')
    const bundle = await bench.bundle(withTerminal('true'))
    const { code, stderr } = await cli('create', '--console-socket', hangs.path, '-b', bundle, bench.nextId())
    assert.equal(code, 1)
    assert.match(stderr, /send the terminal to .*: resource temporarily unavailable/)
  })

  it('sends the terminal of exec, and the descriptor of each process, to whoever asked for them', async () => {
    const id = await start()
    using console = await socket('takes')
    await ok('exec', '--detach', '--tty', '--console-socket', console.path, id, '/init', 'tty')
    const [, terminal = '', shown = ''] = (await console.said).split('\n')
    assert.match(terminal, /^\/dev\/ptmx .*ptmx pid none$/)
    assert.match(shown, /^tty 1 1 1 controlling 1 name \/dev\/pts\/0/)

    for (const verb of ['exec', 'run', 'create']) {
      using receiver = await socket('takes')
      const pidFile = join(bench.directory, `${bench.nextId()}.pid`)
      const flags = ['--pidfd-socket', receiver.path, '--pid-file', pidFile]
      if (verb === 'exec') {
        await ok('exec', '--detach', ...flags, id, '/init', 'sleep', '60')
      } else {
        const detach = verb === 'run' ? ['--detach'] : []
        await ok(verb, ...detach, ...flags, '-b', await bench.bundle(dockerConfig('sleep', '60')), nextId())
      }
      const pid = await readFile(pidFile, 'utf8')
      assert.match(await receiver.said, new RegExp(`^pidfd .*pidfd.* pid ${pid}$`, 'm'), verb)
    }
  })

  it('gives exec the descriptors that are to be preserved and no others, and refuses what is not open', async () => {
    const id = await start()
    const file = openSync('/dev/null', 'r')
    try {
      const exec = ['--root', bench.stateRoot, 'exec', '--preserve-fds', '1', id, '/init', 'fds']
      const given = spawnSync(EXECUTABLE, exec, { stdio: ['ignore', 'pipe', 'pipe', file, file], encoding: 'utf8' })
      assert.equal(given.stdout, 'fd 0\nfd 1\nfd 2\nfd 3\n')
      const { code, stderr } = await cli('exec', '--preserve-fds', '9', id, '/init', 'fds')
      assert.equal(code, 255)
      assert.match(stderr, /preserve-fds/)
    } finally {
      closeSync(file)
    }
  })

  it('goes on with a container whose bundle is gone', async () => {
    const id = nextId()
    const bundle = await bench.bundle(dockerConfig('sleep', '60'))
    await ok('create', '-b', bundle, id)
    await rm(bundle, { recursive: true })
    assert.equal(JSON.parse(await ok('state', id)).status, 'created')
    const { code, stderr } = await cli('start', id) // its program went with it
    assert.equal(code, 1)
    assert.match(stderr, /no such file or directory/)
  })

  it('leaves no container where its state cannot be kept: too little room, too few files, nothing to be written', async () => {
    const bundle = await bench.bundle(dockerConfig('true'))
    const stateRoot = join(bench.directory, 'other-state')
    await mkdir(stateRoot)
    for (const [options, reason] of [
      ['size=4k', /no space left on device/],
      ['nr_inodes=2', /no space left on device/],
      ['nr_inodes=4', /no space left on device/],
      ['ro', /read-only file system/],
    ] as const) {
      const script = `mount -t tmpfs -o ${options} tmpfs ${stateRoot}; "$@"; code=$?; ls -A ${stateRoot} >&2; exit $code`
      const words = ['-m', 'sh', '-c', script, 'sh', EXECUTABLE, '--root', stateRoot]
      const { code, stderr } = await runCommand('unshare', [...words, 'run', '-b', bundle, bench.nextId()])
      assert.equal(code, 1, `${options}: ${stderr}`)
      assert.match(stderr, reason, options)
      assert.equal(stderr.trim().split('\n').length, 1, stderr) // nothing was listed
    }
  })

  it('stays whole where several callers work on one container at once', async () => {
    for (let round = 0; round < 5; ++round) {
      const id = nextId()
      await ok('create', '-b', await bench.bundle(dockerConfig('sleep', '60')), id)
      const verbs = [
        ['start', id],
        ['delete', '--force', id],
        ['state', id],
        ['kill', id, 'KILL'],
        ['delete', '--force', id],
      ]
      const results = await Promise.all(
        [...verbs, ['exec', id, '/init', 'true'], ['pause', id]].map((words) => cli(...words)),
      )
      for (const { code, stderr } of results) {
        assert.ok([0, 1, 137, 255].includes(code), stderr)
        if (code === 1 || code === 255) assert.notEqual(stderr, '', 'a refusal says why')
      }
      assert.equal((await cli('delete', '--force', id)).code, 0)
      assert.deepEqual(await bench.leftovers(), [])
    }
  })

  it('notices a container that dies at any step of its creation', async () => {
    const hook = join(bench.directory, 'kill.sh')
    await writeFile(hook, '#!/bin/sh\nkill -9 "$(sed -n \'s/.*"pid": \\([0-9]*\\).*/\\1/p\')"\n')
    await chmod(hook, 0o755)
    for (const kind of ['prestart', 'createRuntime']) {
      const config = Object.assign(dockerConfig('true'), { hooks: { [kind]: [{ path: hook }] } })
      for (const verb of ['run', 'create']) {
        const { code, stderr } = await cli(verb, '-b', await bench.bundle(config), bench.nextId())
        assert.equal(code, 1, `${verb}, ${kind}`)
        assert.match(stderr, /killed|ended|broken pipe/, kind)
        assert.deepEqual(await bench.leftovers(), [], kind)
      }
    }
    const created = nextId()
    await ok('create', '-b', await bench.bundle(dockerConfig('true')), created)
    process.kill(JSON.parse(await ok('state', created)).pid, 'SIGKILL')
    const { code, stderr } = await cli('start', created)
    assert.equal(code, 1)
    assert.match(stderr, /cannot start a container that has stopped/)
  })

  it('says what is too much: arguments, paths, descriptors', async () => {
    const change: readonly [RegExp, (config: BundleConfig) => unknown][] = [
      [/argument list too long/, (config) => config.process.args.push('x'.repeat(200_000))],
      [/destination: is too long/, (config) => config.mounts.push(tmpfs(`/${'x/'.repeat(3000)}`))],
      [/file name too long/, (config) => config.mounts.push(tmpfs(`/${'x'.repeat(300)}`))],
      [/cwd/, (config) => Object.assign(config.process, { cwd: `/${'x'.repeat(5000)}` })],
    ]
    for (const [reason, apply] of change) {
      const config = dockerConfig('true')
      apply(config)
      const { code, stderr } = await cli('run', '-b', await bench.bundle(config), bench.nextId())
      assert.equal(code, 1)
      assert.match(stderr, reason)
    }
  })

  const runc = spawnSync('runc', ['--version']).status === 0 ? false : 'there is no runc'
  it('ends with the codes that runc ends with', { skip: runc }, async () => {
    const bundle = await bench.bundle(dockerConfig('exit', '7'))
    const bad = await bench.bundle('{')
    const missing = await bench.bundle({ ...dockerConfig(), process: { ...dockerConfig().process, args: ['nosuch'] } })
    const cases: readonly (readonly string[])[] = [
      ...['state', 'start', 'kill', 'delete', 'pause', 'resume', 'ps'].map((verb) => [verb, 'nosuch']),
      ['delete', '--force', 'nosuch'],
      ['exec', 'nosuch', 'true'],
      ['exec', 'nosuch'],
      ['list'],
      ['run', '-b', '/nosuch', 'ID'],
      ['run', '-b', bad, 'ID'],
      ['run', '-b', missing, 'ID'],
      ['run', '-b', bundle, 'ID'],
      ['run', '-b', bundle, 'a/b'],
      ['create'],
      ['state'],
      ['--version'],
    ]
    for (const words of cases) {
      const theirs = await runCommand('runc', ['--root', join(bench.directory, 'runc'), ...words.map(named)])
      const ours = await cli(...words.map(named))
      assert.equal(ours.code, theirs.code, `${words.join(' ')}: ${ours.stderr}, but ${theirs.stderr}`)
    }
  })

  const named = (word: string): string => (word === 'ID' ? bench.nextId() : word)
  const tmpfs = (destination: string) => ({ destination, type: 'tmpfs', source: 'tmpfs', options: [] })
})
