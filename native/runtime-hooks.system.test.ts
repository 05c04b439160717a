// Hooks: where, when and with what they run, and what becomes of the container when one fails.
import assert from 'node:assert/strict'
import { chmod, readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { Runtime } from './runtime.ts'
import { Bench, type BundleConfig, dockerConfig } from './testing/bundle.ts'
import { type CliResult, runCli } from './testing/cli.ts'

const skip = process.getuid?.() === 0 ? false : 'containers need root'
const KINDS = ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'] as const
type Kind = (typeof KINDS)[number]

describe('hooks', { skip }, () => {
  let bench: Bench
  let log: string
  const cli = (...args: string[]): Promise<CliResult> => runCli(bench.stateRoot, args)

  before(async () => {
    bench = await Bench.open()
  })
  beforeEach(async () => {
    log = join(bench.directory, `${bench.nextId()}.log`)
    await writeFile(log, '')
  })
  afterEach(async () => assert.deepEqual(await bench.leftovers(), []))
  after(async () => await bench.close())

  /** A hook of the host that notes what it was given; inside of the container only what is there can be run. */
  const script = async (text: string): Promise<string> => {
    const path = join(bench.directory, `${bench.nextId()}.sh`)
    await writeFile(path, `#!/bin/sh\n${text}\n`)
    await chmod(path, 0o755)
    return path
  }
  const note = async (kind: string, more = ''): Promise<object> => ({
    path: await script(`printf '%s %s %s\\n' ${kind} "$1" "$(tr -d '\\n ')" >> ${log}\n${more}`),
    args: ['name', 'argument'],
    env: ['PATH=/usr/bin:/bin'],
  })
  const config = (change: Partial<Record<Kind, object[]>>, ...args: string[]): BundleConfig => {
    const config = dockerConfig(...(args.length > 0 ? args : ['echo', 'ran']))
    return Object.assign(config, { hooks: change, annotations: { 'a b': 'c' } })
  }
  const noted = async (): Promise<string[]> => (await readFile(log, 'utf8')).split('\n').filter((line) => line !== '')
  const host = ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop'] as const

  it('run in order, each with the state as it then is', async () => {
    const started = config({})
    for (const kind of host)
      Object.assign(started, {
        hooks: { ...Object(Reflect.get(started, 'hooks')), [kind]: [await note(kind), await note(`${kind}-2`)] },
      })
    Object.assign(Reflect.get(started, 'hooks') as object, {
      startContainer: [{ path: '/init', args: ['init', 'write', '/proof', 'startContainer'], env: [] }],
    })
    const id = bench.nextId()
    const bundle = await bench.bundle(started)
    const { code, stdout, stderr } = await cli('run', '-b', bundle, id)
    assert.deepEqual([code, stdout, stderr], [0, 'ran\n', ''])
    const lines = await noted()
    assert.deepEqual(
      lines.map((line) => line.split(' ')[0]),
      host.flatMap((kind) => [kind, `${kind}-2`]),
    )
    const statuses = {
      prestart: 'creating',
      createRuntime: 'creating',
      createContainer: 'creating',
      poststart: 'running',
      poststop: 'stopped',
    }
    for (const line of lines) {
      const [kind = '', argument, document = ''] = line.split(' ')
      const state = JSON.parse(document)
      assert.equal(argument, 'argument')
      assert.equal(state.status, Reflect.get(statuses, kind.replace('-2', '')), kind)
      assert.deepEqual([state.id, state.bundle, state.annotations], [id, bundle, { ab: 'c' }]) // the script drops spaces
      assert.equal(state.pid > 0, !kind.startsWith('poststop'))
    }
    assert.equal(await readFile(join(bundle, 'rootfs/proof'), 'utf8'), 'startContainer')
  })

  it('of create run at create, those of start at start, that of delete at delete, through both faces', async () => {
    const all = config({})
    const hooks: Record<string, object[]> = {}
    for (const kind of host) hooks[kind] = [await note(kind)]
    Object.assign(all, { hooks })
    const kinds = async (): Promise<string[]> => (await noted()).map((line) => line.split(' ')[0] ?? '')
    const bundle = await bench.bundle(all)
    const id = bench.nextId()
    assert.equal((await cli('create', '-b', bundle, id)).code, 0)
    assert.deepEqual(await kinds(), ['prestart', 'createRuntime', 'createContainer'])
    assert.equal((await cli('start', id)).code, 0)
    assert.deepEqual((await kinds()).slice(3), ['poststart'])
    assert.equal((await cli('delete', '--force', id)).code, 0)
    assert.deepEqual((await kinds()).slice(4), ['poststop'])

    await writeFile(log, '')
    await using runtime = await Runtime.start({ stateRoot: bench.stateRoot })
    const container = await runtime.run({ id: bench.nextId(), bundle, stdio: [0, 1, 2] })
    await container.exited
    assert.deepEqual(await kinds(), [...host])
  })

  it('of the host run in its namespaces, createContainer in the container’s with the host’s files, startContainer inside', async () => {
    const look = async (kind: string): Promise<object> =>
      note(
        kind,
        `printf '%s' "$(readlink /proc/self/ns/net) $(readlink /proc/self/ns/uts) $(readlink /proc/self/ns/mnt)" > ${log}.${kind}`,
      )
    const given = config(
      {
        createRuntime: [await look('createRuntime')],
        createContainer: [await look('createContainer')],
        startContainer: [{ path: '/init', args: ['x', 'fds', '--', 'id', '--', 'names', '--', 'exit', '9'] }],
      },
      'true',
    )
    Object.assign(given.process, { user: { uid: 7, gid: 8 } })
    const { code, stderr } = await cli('run', '-b', await bench.bundle(given), bench.nextId())
    assert.equal(code, 1)
    assert.match(
      stderr,
      /error running startContainer hook #0 \(\/init\): exit status 9, output: "fd 0\\nfd 1\\nfd 2\\nuid 7 gid 8 .*host inside/,
    )
    const own = await Promise.all(['net', 'uts', 'mnt'].map((kind) => readlink(`/proc/self/ns/${kind}`)))
    assert.equal(await readFile(`${log}.createRuntime`, 'utf8'), own.join(' '))
    const inside = (await readFile(`${log}.createContainer`, 'utf8')).split(' ')
    for (const [i, each] of inside.entries()) assert.notEqual(each, own[i])
  })

  it('of the inside are in the container’s cgroups', async () => {
    const look = { path: '/init', args: ['x', 'cat', '/proc/self/cgroup', '--', 'exit', '9'] }
    const { stderr } = await cli('run', '-b', await bench.bundle(config({ startContainer: [look] })), bench.nextId())
    const lines =
      /output: "(.*)"/
        .exec(stderr)?.[1]
        ?.split('\\n')
        .filter((each) => each !== '') ?? assert.fail(stderr)
    assert.notEqual(lines.length, 0)
    for (const line of lines) assert.match(line, /^\d+:[^:]*:\/$/)
  })

  it('that fail undo the container, and poststop still runs', async () => {
    for (const kind of ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart'] as const) {
      const failing =
        kind === 'startContainer'
          ? { path: '/init', args: ['x', 'exit', '3'] }
          : { path: await script('cat; echo oh no >&2; exit 3') }
      await writeFile(log, '')
      const given = config({ [kind]: [failing] }, 'sleep', '60')
      Object.assign(Reflect.get(given, 'hooks') as object, { poststop: [await note('poststop')] })
      const { code, stderr } = await cli('run', '-b', await bench.bundle(given), bench.nextId())
      assert.equal(code, 1)
      assert.match(stderr, new RegExp(`error running ${kind} hook #0 .*: exit status 3`))
      if (kind !== 'startContainer') assert.match(stderr, /oh no/)
      assert.deepEqual(
        (await noted()).map((line) => line.split(' ')[0]),
        ['poststop'],
      )
      assert.deepEqual(await bench.leftovers(), [])
    }
  })

  it('that do not end are ended, with what they started', async () => {
    const given = config({ prestart: [{ path: await script('sleep 1234 & sleep 1234'), timeout: 1 }] })
    const { code, stderr } = await cli('run', '-b', await bench.bundle(given), bench.nextId())
    assert.equal(code, 1)
    assert.match(stderr, /error running prestart hook #0 .*: timed out after 1 s/)
  })

  it('may leave their input unread, however much it is, and say more than anybody reads', async () => {
    const given = config({
      prestart: [
        { path: await script('exec /bin/true') },
        { path: await script('head -c 1000000 /dev/zero | tr "\\0" x') },
      ],
    })
    Object.assign(given, { annotations: { large: 'x'.repeat(1_000_000) } })
    const { code, stdout } = await cli('run', '-b', await bench.bundle(given), bench.nextId())
    assert.deepEqual([code, stdout], [0, 'ran\n'])
  })

  it('are told of when the one after the end fails, and nothing else happens', async () => {
    const given = config({ poststop: [{ path: '/nosuch/hook' }, await note('poststop')] })
    const { code, stdout, stderr } = await cli('run', '-b', await bench.bundle(given), bench.nextId())
    assert.deepEqual([code, stdout], [0, 'ran\n'])
    assert.match(stderr, /^warning: poststop hook #0 \(\/nosuch\/hook\): exit status 127, output: "No such file/)
    assert.equal((await noted()).length, 1)
  })

  it('that cannot be read any more keep no container from being deleted', async () => {
    const id = bench.nextId()
    await cli('create', '-b', await bench.bundle(config({})), id)
    await writeFile(join(bench.stateRoot, id, 'config.json'), '{')
    const { code, stderr } = await cli('delete', '--force', id)
    assert.equal(code, 0)
    assert.match(stderr, /^warning: the hooks of .* are not run: line 1/)
  })

  it('are refused when they are no absolute path, or have no time', async () => {
    for (const [hook, pattern] of [
      [{ path: 'x' }, /hooks\.prestart\[0\]\.path: must be an absolute path/],
      [{ path: '/x', timeout: 0 }, /hooks\.prestart\[0\]\.timeout: must be an integer from 1/],
    ] as const) {
      const { code, stderr } = await cli('run', '-b', await bench.bundle(config({ prestart: [hook] })), bench.nextId())
      assert.equal(code, 1)
      assert.match(stderr, pattern)
    }
  })
})
