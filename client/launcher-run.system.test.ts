/** `gantry run` by the native launcher beside Node's: the same containers, the same output and exit codes, and as little left of them. */
import assert from 'node:assert/strict'
import type { ChildProcess, StdioOptions } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { lstat, mkdir, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { closed, type Finished, killGroup, run, startGroup, until } from '../conformance/support/commands.ts'
import { missing } from '../conformance/support/needs.ts'
import { Workspace } from '../conformance/support/workspace.ts'
import { readMonitorStatus } from '../native/monitor-status.ts'
import { openHouse } from './containers/house.ts'
import { busyboxLayer, pullMade } from './testing/busybox-image.ts'
import { type LauncherPackage, launcherPackage } from './testing/launcher-package.ts'

const COMMAND = fileURLToPath(new URL('gantry.mjs', import.meta.url))
const skip = process.getuid?.() === 0 ? await missing('busybox') : 'containers of root need root'
const SLEEP = ['sleep', '600']
const PATIENCE_MS = 30_000

describe('gantry run by the launcher', { skip }, () => {
  let workspace: Workspace
  let package_: LauncherPackage
  let image: string
  let env: NodeJS.ProcessEnv
  before(async () => {
    workspace = await Workspace.open()
    package_ = await launcherPackage(workspace.path('package'))
    env = { ...workspace.env, PATH: package_.path, GANTRY_ROOT: workspace.path('store') }
    image = await pullMade(workspace.path('store'), [await busyboxLayer()], {
      Env: ['PATH=/bin', 'KEPT=image', 'HOME=/srv'],
      Cmd: ['echo', 'the image'],
      Labels: { of: 'the image' },
    })
    await mkdir(workspace.path('bound'))
  })
  after(async () => {
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })
  afterEach(async () => {
    const names = await readdir(workspace.path('store', 'containers'))
    if (names.length > 0) await byNode('rm', '-f', ...names.map((name) => name.slice(-64)))
    for (const folder of ['containers', 'names']) assert.deepEqual(await readdir(workspace.path('store', folder)), [])
  })

  type Way = (...words: readonly string[]) => Promise<Finished>
  const byNode: Way = (...words) => run(process.execPath, [COMMAND, ...words], { env })
  const byLauncher: Way = (...words) => run(package_.launcher, words, { env })

  /** Has to be done without Node. */
  async function alone(...words: readonly string[]): Promise<Finished> {
    const before = await package_.nodes()
    const finished = await byLauncher(...words)
    assert.equal(await package_.nodes(), before, `${words.join(' ')} became Node: ${finished.stderr}`)
    return finished
  }

  /** Words that it has a recipe for from here on. */
  async function teach(...options: readonly string[]): Promise<void> {
    const { code, stdout, stderr } = await byLauncher('run', ...options, image, 'true')
    assert.equal(code, 0, stdout + stderr)
    await until('it to be cleared away', PATIENCE_MS, async () => {
      const ids = await readdir(workspace.path('store', 'containers'))
      if (ids.length > 0) await byNode('rm', '-f', ...ids.map((id) => id.slice(-64)))
      return ids.length === 0 ? true : undefined
    })
  }

  const folderOf = (id: string): string => workspace.path('store', 'containers', id)

  async function onlyId(): Promise<string | undefined> {
    const ids = await readdir(workspace.path('store', 'containers'))
    return ids.length === 1 ? ids[0] : undefined
  }

  const start = (command: string, words: readonly string[], stdio: StdioOptions = 'pipe'): ChildProcess =>
    startGroup(command, words, { env, stdio })

  const running = (): Promise<string> =>
    until('it to run', PATIENCE_MS, async () => {
      const id = await onlyId()
      const known = id === undefined ? undefined : await readMonitorStatus(folderOf(id))
      return known?.status.phase === 'running' ? id : undefined
    })

  const FILES = ['container.json', 'config.json', 'monitor.json', 'resolv.conf', 'hosts', 'hostname']

  /** All that is on disk of one that runs, but for what is its own. */
  async function likeness(id: string): Promise<Readonly<Record<string, unknown>>> {
    const folder = folderOf(id)
    const { name, created } = JSON.parse(await readFile(`${folder}/container.json`, 'utf8')) as Record<string, string>
    assert.match(created ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    const plain = (each: string): string =>
      each
        .replaceAll(id, 'ID')
        .replaceAll(id.slice(0, 12), 'SHORT')
        .replaceAll(`"${created}"`, '"CREATED"')
        .replaceAll(`"${name}"`, '"NAME"')
    const found: Record<string, unknown> = {}
    for (const file of FILES) {
      const content = plain(await readFile(`${folder}/${file}`, 'utf8'))
      found[file] = file.endsWith('.json') ? JSON.parse(content) : content
    }
    for (const file of await readdir(folder)) found[`mode of ${file}`] = (await lstat(`${folder}/${file}`)).mode
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
    found['mount'] = mounts
      .find((line) => line.includes(`${folder}/rootfs`))
      ?.replace(/^.* - /, '')
      .replaceAll(/fd\/\d+/g, 'fd')
    found['status'] = Object.keys((await readMonitorStatus(folder))?.status ?? {})
    return found
  }

  /** What becomes of these options. The container is gone afterwards. */
  async function made(command: string, first: readonly string[], options: readonly string[]) {
    const child = start(command, [...first, 'run', ...options, image, ...SLEEP], ['pipe', 'ignore', 'ignore'])
    const code = closed(child)
    const id = await running()
    const likely = await likeness(id)
    await byNode('rm', '-f', id)
    return { likely, code: await code }
  }

  const makesTheSame = async (...options: readonly string[]): Promise<void> => {
    await teach(...options)
    const expected = await made(process.execPath, [COMMAND], options)
    const before = await package_.nodes()
    assert.deepEqual(await made(package_.launcher, [], options), expected, options.join(' '))
    assert.equal(await package_.nodes(), before, `${options.join(' ')} became Node`)
  }

  const OPTIONS: Readonly<Record<string, readonly string[]>> = {
    'no options': [],
    'a detached one that goes when it ends': ['-d', '--rm'],
    'a name': ['--rm', '--name', 'mine'],
    'the host’s network': ['-d', '--network', 'host'],
    'variables, labels, a user, a directory': [
      ...[
        '-e',
        'KEPT=a "quoted"\n\\ value ß😀',
        '-e',
        'EMPTY=',
        '-e',
        'KEPT=again',
        '-l',
        'a=b',
        '-u',
        'www',
        '-w',
        '/srv',
      ],
    ],
    'input, an init, read-only, limits': ['-i', '--init', '--read-only', '-m', '64m', '--pids-limit', '99'],
    'another entrypoint and host': ['--entrypoint', '/bin/busybox', '--hostname', 'other', '--add-host', 'db:10.0.0.7'],
    rights: ['--cap-drop', 'ALL', '--cap-add', 'CHOWN', '--ulimit', 'nofile=99:100', '--stop-signal', 'INT'],
    'memory as a folder, health, restarts': [
      ...['--tmpfs', '/scratch:size=1m', '--health-cmd', 'true', '--restart', 'on-failure:3', '-d'],
    ],
  }
  for (const [what, options] of Object.entries(OPTIONS))
    it(`makes the same container of ${what}`, async () => {
      await makesTheSame(...options)
    })

  it('makes the same container of a folder of this machine', async () => {
    await makesTheSame('-v', `${workspace.path('bound')}:/bound:ro`)
  })

  it('makes the same container of any options together', async () => {
    const option = fc.constantFrom(
      ...[['-i'], ['--rm'], ['-d'], ['--read-only'], ['--init'], ['-u', '7:8'], ['--network', 'none']],
      ...[['-w', '/tmp'], ['--label=x=y'], ['-h', 'me'], ['--cap-add', 'ALL'], ['--shm-size', '1m'], ['--user=nobody']],
    )
    const variable = fc
      .string({ unit: 'grapheme', maxLength: 12 })
      .map((value) => ['-e', `V=${value.replaceAll('\0', '')}`])
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(option, variable), { maxLength: 6 }), async (chosen) => {
        await makesTheSame(...chosen.flat())
      }),
      { numRuns: 6, endOnFailure: true },
    )
  })

  const ENDINGS: readonly (readonly string[])[] = [
    ['true'],
    ['sh', '-c', 'echo out; echo errors >&2; exit 3'],
    ['sh', '-c', 'kill -TERM $$'],
    ['sh', '-c', 'printf %s "$KEPT $HOME"; exit 255'],
    ['no-such-program'],
    ['/etc'],
    ['/etc/passwd'],
    [''],
    [],
    ['echo', 'a "b"\n', '\\', 'ß😀', '--', '-d', '--name'],
    ['sh', '-c', 'seq 1 100000'],
  ]
  for (const command of ENDINGS)
    it(`ends as Node’s does: ${JSON.stringify(command)}`, async () => {
      for (const options of [['--rm'], ['--rm', '-i'], []]) {
        await byLauncher('run', ...options, image, ...command)
        const expected = await byNode('run', ...options, image, ...command)
        assert.deepEqual(await byLauncher('run', ...options, image, ...command), expected, options.join(' '))
      }
      if (command.length > 1) await alone('run', '--rm', image, ...command)
      const ids = await readdir(workspace.path('store', 'containers'))
      assert.equal(ids.length, command[0] === '' ? 0 : 3) // of those without --rm, whose failed starts leave one, too
    })

  it('gives a container’s program the same limits, signals, rights, groups, files and variables', async () => {
    await teach('--rm', '--hostname', 'same')
    const script =
      'ulimit -a; umask; env | sort; ls -l /proc/self/fd | sed "s/.*[0-9] ->/->/"; cat /proc/self/limits; cut -d" " -f2- /proc/self/mountinfo; ' +
      'grep -E "^(Sig|Shd|Cap|Groups|Uid|Gid|NoNew|Seccomp|Cpus|Mems)" /proc/self/status; cat /proc/self/oom_score_adj; nice; pwd'
    const words = ['run', '--rm', '--hostname', 'same', image, 'sh', '-c', script]
    const under = (...command: readonly string[]): Promise<Finished> =>
      run('sh', ['-c', 'ulimit -Sn 200; umask 027; trap "" HUP USR1; exec nice -n 3 "$@"', 'sh', ...command], { env })
    const plain = ({ stdout, ...rest }: Finished) => ({
      ...rest,
      stdout: stdout
        .replaceAll(/[0-9a-f]{64}/g, 'ID')
        .replaceAll(/fd\/\d+/g, 'fd')
        .replaceAll(/(pipe|socket):\[\d+\]/g, '$1')
        .replaceAll(/^\d+ \d+:\d+ /gm, ''),
    })
    const expected = plain(await under(process.execPath, COMMAND, ...words))
    assert.match(expected.stdout, /Seccomp/)
    const before = await package_.nodes()
    assert.deepEqual(plain(await under(package_.launcher, ...words)), expected)
    assert.equal(await package_.nodes(), before)
  })

  it('takes nothing that it has opened for a standard stream, where it was given none', async () => {
    await teach('--rm', '-i')
    const closedStreams = (...command: readonly string[]): Promise<Finished> =>
      run('sh', ['-c', 'exec "$@" <&- >&- 2>&-', 'sh', ...command], { env, timeoutMs: PATIENCE_MS })
    const before = await package_.nodes()
    const words = ['run', '--rm', '-i', image, 'sh', '-c', 'cat; echo out; echo errors >&2; exit 9']
    assert.equal((await closedStreams(package_.launcher, ...words)).code, 9)
    assert.equal(await package_.nodes(), before)
  })

  it('prints the id of a detached one, which goes on, and says why one cannot be started', async () => {
    await teach('-d')
    const { code, stdout, stderr } = await alone('run', '-d', image, ...SLEEP)
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(stdout, /^[0-9a-f]{64}\n$/)
    assert.equal((await readMonitorStatus(folderOf(stdout.trim())))?.status.phase, 'running')
    const [by, than] = [await byLauncher('run', '-d', image, 'nosuch'), await byNode('run', '-d', image, 'nosuch')]
    assert.deepEqual([by.code, by.stderr], [127, than.stderr])
    assert.match(by.stdout, /^[0-9a-f]{64}\n$/)
  })

  it('says so when the id of a detached one, which runs, cannot be written', async () => {
    await teach('-d')
    await using full = await open('/dev/full', 'w')
    const nodes = await package_.nodes()
    const child = start(package_.launcher, ['run', '-d', image, ...SLEEP], ['ignore', full.fd, 'pipe'])
    const code = closed(child)
    assert.ok(child.stderr)
    const said = await text(child.stderr)
    const id = await running()
    assert.equal(said, `gantry: cannot write the id of the container ${id}, which runs: No space left on device\n`)
    assert.equal(await code, 125)
    assert.equal(await package_.nodes(), nodes)
  })

  it('is cleared away by somebody else when it was detached and is to go', async () => {
    await teach('-d', '--rm')
    const { stdout } = await alone('run', '-d', '--rm', image, 'true')
    await until('it to go', PATIENCE_MS, () => (existsSync(folderOf(stdout.trim())) ? undefined : true))
  })

  it('is cleared away, too, when somebody holds it still while it ends', async () => {
    await teach('-d', '--rm')
    const id = (await alone('run', '-d', '--rm', image, 'sleep', '1')).stdout.trim()
    const { store } = await openHouse(workspace.path('store'))
    const lock = await store.lock(`container ${id}`, 'exclusive')
    const cleaning = `${workspace.path('store')}\0system\0clean-up`
    try {
      await until('who clears away', PATIENCE_MS, async () => {
        for (const pid of await readdir('/proc'))
          if ((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(cleaning)) return true
        return undefined
      })
    } finally {
      await lock.release()
    }
    await until('it to go', PATIENCE_MS, () => (existsSync(folderOf(id)) ? undefined : true))
  })

  it('passes input on to its end, and all output to a slow reader', async () => {
    await teach('--rm', '-i')
    const input = Buffer.alloc(3_000_000, 'all work and no play\n')
    const { code, stdout } = await run(package_.launcher, ['run', '--rm', '-i', image, 'sha256sum'], { env, input })
    assert.deepEqual([code, stdout.slice(0, 64)], [0, createHash('sha256').update(input).digest('hex')])
    const child = start(package_.launcher, ['run', '--rm', image, 'seq', '1', '300000'])
    const ended = closed(child)
    let lines = 0
    for await (const chunk of child.stdout ?? []) {
      lines += (chunk as Buffer).toString().split('\n').length - 1
      if (lines < 1000) await new Promise((resolve) => setTimeout(resolve, 20))
    }
    assert.deepEqual([await ended, lines], [0, 300_000])
  })

  it('leaves when nobody reads what it says any more, as docker does, and the container goes on', async () => {
    await teach('--rm')
    for (const [command, ...before] of [[package_.launcher], [process.execPath, COMMAND]] as const) {
      const child = start(command, [...before, 'run', '--rm', image, 'yes'], ['ignore', 'pipe', 'pipe'])
      const said = text(child.stderr as Readable)
      child.stdout?.once('data', () => child.stdout?.destroy())
      assert.equal(await closed(child), 1)
      const id = (await onlyId()) ?? assert.fail('it is not there')
      const short = id.slice(0, 12)
      assert.equal(
        await said,
        `gantry: nobody reads what the container ${short} says any more; it goes on: \`gantry logs ${short}\` shows it, \`gantry stop ${short}\` ends it\n`,
      )
      assert.equal((await readMonitorStatus(folderOf(id)))?.status.phase, 'running')
      assert.equal((await run(package_.launcher, ['rm', '-f', id], { env })).code, 0)
    }
  })

  it('passes signals on, also while nobody reads what it says', async () => {
    await teach('--rm')
    const script = 'trap "exit 5" TERM; trap "exit 6" INT; trap "exit 7" USR1; echo ready; while :; do sleep 0.05; done'
    for (const [signal, code] of [
      ['SIGTERM', 5],
      ['SIGINT', 6],
      ['SIGUSR1', 7],
    ] as const) {
      const child = start(package_.launcher, ['run', '--rm', image, 'sh', '-c', script], ['ignore', 'pipe', 'ignore'])
      const ended = closed(child)
      await new Promise((resolve) => child.stdout?.once('data', resolve))
      child.kill(signal)
      assert.equal(await ended, code, signal)
    }
    await teach('--rm', '--init') // the first process of all ignores a signal that it has no handler for
    const child = start(package_.launcher, ['run', '--rm', '--init', image, 'yes'], ['ignore', 'pipe', 'ignore'])
    const ended = closed(child)
    const id = await running()
    const { pid = 0 } = child
    await until('it to wait for its reader', PATIENCE_MS, async () => {
      const before = await readFile(`/proc/${pid}/io`, 'utf8')
      await new Promise((resolve) => setTimeout(resolve, 100))
      return (await readFile(`/proc/${pid}/io`, 'utf8')) === before ? true : undefined
    })
    const inside = (await readMonitorStatus(folderOf(id)))?.status.pid
    child.kill('SIGTERM')
    await until('its program to end', PATIENCE_MS, () => (existsSync(`/proc/${inside}`) ? undefined : true))
    child.stdout?.resume()
    assert.equal(await ended, 143)
  })

  it('may be killed: the container goes on, and can be removed', async () => {
    await teach('--rm')
    const child = start(package_.launcher, ['run', '--rm', image, ...SLEEP], 'ignore')
    const ended = closed(child)
    const id = await running()
    child.kill('SIGKILL')
    await ended
    assert.equal((await readMonitorStatus(folderOf(id)))?.status.phase, 'running')
    assert.equal((await byNode('rm', '-f', id)).code, 0)
  })

  it('gives a name to one of many who want it, and says so to the others', async () => {
    await teach('-d', '--name', 'wanted')
    const all = await Promise.all(
      Array.from({ length: 6 }, (_, i) =>
        (i % 3 === 2 ? byNode : byLauncher)('run', '-d', '--name', 'wanted', image, ...SLEEP),
      ),
    )
    const codes = all.map(({ code }) => code).toSorted()
    assert.deepEqual(codes, [0, 125, 125, 125, 125, 125], all.map(({ stderr }) => stderr).join(''))
    for (const { code, stderr } of all)
      if (code !== 0) assert.match(stderr, /^gantry: the name "wanted" is already in use by the container [0-9a-f]{12}/)
    assert.equal((await readdir(workspace.path('store', 'containers'))).length, 1)
  })

  it('makes many at once', async () => {
    await teach('-d')
    const before = await package_.nodes()
    const all = await Promise.all(Array.from({ length: 20 }, () => byLauncher('run', '-d', image, ...SLEEP)))
    assert.deepEqual(new Set(all.map(({ code }) => code)), new Set([0]))
    assert.equal((await readdir(workspace.path('store', 'names'))).length, 20)
    assert.equal(await package_.nodes(), before)
  })

  it('leaves to Node what a recipe does not hold for any more', async () => {
    const becomesNode = async (...words: readonly string[]): Promise<Finished> => {
      const before = await package_.nodes()
      const finished = await byLauncher(...words)
      assert.equal(await package_.nodes(), before + 1, words.join(' '))
      return finished
    }
    const options = ['--rm', '-v', `${workspace.path('bound')}:/bound`]
    await teach(...options)
    await alone('run', ...options, image, 'true')
    await rm(workspace.path('bound'), { recursive: true })
    await becomesNode('run', ...options, image, 'true') // which makes it
    assert.ok(existsSync(workspace.path('bound')))

    await teach('--rm')
    const [, path = ''] = [env['PATH'], env['PATH']]
    env['PATH'] = `${path}:/other`
    await becomesNode('run', '--rm', image, 'true')
    env['PATH'] = path
    await alone('run', '--rm', image, 'true')
    for (const words of [
      ['--rm', '-e', 'HOME', image, 'true'],
      ['--rm', '--env-file', '/dev/null', image, 'true'],
      ['--rm', '--pull=never', '--sig-proxy=true', image, 'true'],
      ['--rm', '-v', '/anonymous', image, 'true'],
      ['--rm', '--name', '/slash', image, 'true'],
      ['--rm', '--network', 'container:nobody', image, 'true'],
      ['--rm', '--nosuch', image, 'true'],
    ]) {
      await becomesNode('run', ...words)
      await becomesNode('run', ...words)
    }
    const other = await launcherPackage(workspace.path('other'), '1')
    await run(other.launcher, ['run', '--rm', image, 'true'], { env })
    assert.equal(await other.nodes(), 1, 'it took the recipe of another version')
    await run(other.launcher, ['run', '--rm', image, 'true'], { env })
    assert.equal(await other.nodes(), 1)

    const newer = await pullMade(workspace.path('store'), [await busyboxLayer()], { Cmd: ['echo', 'newer'] })
    const index = workspace.path('store', 'content', 'index.json')
    const entries = JSON.parse(await readFile(index, 'utf8')) as {
      manifests: { annotations: Record<string, string> }[]
    }
    const [old, fresh] = [image, newer].map((name) =>
      entries.manifests.find(({ annotations }) => Object.values(annotations).includes(name)),
    )
    const moved = JSON.stringify({ ...entries, manifests: [{ ...fresh, annotations: old?.annotations }, fresh] })
    const whole = await readFile(index)
    await writeFile(index, moved)
    assert.equal((await becomesNode('run', '--rm', image)).stdout, 'newer\n')
    assert.equal((await alone('run', '--rm', image)).stdout, 'newer\n')
    await writeFile(index, whole)
    assert.equal((await becomesNode('run', '--rm', image)).stdout, 'the image\n')
    assert.equal((await alone('run', '--rm', image)).stdout, 'the image\n')
    assert.equal((await byNode('rmi', newer)).code, 0)
  })

  it('keeps no value of a variable', async () => {
    await teach('--rm', '-e', 'PASSWORD=hunter-two')
    const folder = workspace.path('store', 'recipes')
    const texts = await Promise.all((await readdir(folder)).map((name) => readFile(`${folder}/${name}`, 'utf8')))
    assert.equal(texts.filter((each) => each.includes('PASSWORD')).length, 1)
    assert.equal(texts.filter((each) => each.includes('hunter')).length, 0)
    assert.equal(
      (await alone('run', '--rm', '-e', 'PASSWORD=other', image, 'sh', '-c', 'echo $PASSWORD')).stdout,
      'other\n',
    )
  })

  it('leaves to Node what somebody who was killed has left, so that it is cleared away', async () => {
    await teach('--rm')
    const id = 'ab'.repeat(32)
    for (const leave of [
      async () => {
        await mkdir(folderOf(id))
        await symlink(id, workspace.path('store', 'names', 'left'))
      },
      async () => await mkdir(workspace.path('store', 'containers', `.removed-${id}`)),
    ]) {
      await leave()
      const before = await package_.nodes()
      assert.equal((await byLauncher('run', '--rm', image, 'true')).code, 0)
      assert.equal(await package_.nodes(), before + 1)
      for (const folder of ['containers', 'names']) assert.deepEqual(await readdir(workspace.path('store', folder)), [])
      await alone('run', '--rm', image, 'true')
    }
  })

  it('believes no byte of a recipe that a disk has changed', async () => {
    await rm(workspace.path('store', 'recipes'), { recursive: true, force: true })
    await teach('--rm')
    const folder = workspace.path('store', 'recipes')
    const [key = ''] = await readdir(folder)
    const whole = await readFile(`${folder}/${key}`)
    const places = fc.nat(whole.length - 1)
    const changed = fc.oneof(
      places.map((at) => Buffer.concat([whole.subarray(0, at), whole.subarray(at + 1)])),
      places.map((at) => whole.map((byte, i) => (i === at ? byte ^ 1 : byte))),
      places.map((at) => whole.subarray(0, at)),
    )
    await fc.assert(
      fc.asyncProperty(changed, async (bytes) => {
        await writeFile(`${folder}/${key}`, bytes)
        const before = await package_.nodes()
        assert.deepEqual(await byLauncher('run', '--rm', image, 'echo', 'fine'), {
          code: 0,
          stdout: 'fine\n',
          stderr: '',
        })
        assert.equal(await package_.nodes(), before + 1)
        await alone('run', '--rm', image, 'true') // by a new one
      }),
      {
        numRuns: 10,
        endOnFailure: true,
        examples: [[whole.map((byte, i) => (i > 100 && byte === 0x5c ? 0x20 : byte))]],
      },
    )
  })

  it('fills no blank in what was typed', async () => {
    await rm(workspace.path('store', 'recipes'), { recursive: true, force: true })
    await teach('--rm', '-e', 'A=1', '-e', 'B=2')
    const folder = workspace.path('store', 'recipes')
    const texts = await Promise.all((await readdir(folder)).map((name) => readFile(`${folder}/${name}`, 'utf8')))
    const recipe = texts.map((each) => JSON.parse(each.slice(each.indexOf('\n'))) as { blanks: Record<string, string> })
    const blanks = recipe.flatMap(({ blanks: { id = '', name, created, command, values } }) => [
      ...[id, id.slice(0, 12), name, created, command],
      ...(values ?? ''),
    ])
    const words = ['run', '--rm', '-e', `A=${blanks.join()}`, '-e', 'B=2', image, 'sh', '-c', 'echo "$@" $A', 'sh']
    const { stdout } = await alone(...words, ...blanks.map(String))
    assert.equal(stdout, `${blanks.join(' ')} ${blanks.join()}\n`)
  })

  it('keeps no recipe for an id, which may become the beginning of two', async () => {
    const { stdout } = await byNode('images', '-q')
    const [id = ''] = stdout.split('\n')
    for (let times = 0; times < 3; times++) {
      const before = await package_.nodes()
      assert.equal((await byLauncher('run', '--rm', id, 'true')).code, 0)
      assert.equal(await package_.nodes(), before + 1)
    }
  })

  it('lets the container’s users in, whatever the umask', async () => {
    await teach('--rm', '-u', '1000')
    const words = ['run', '--rm', '-u', '1000', image, 'cat', '/etc/hostname', '/etc/hosts', '/etc/resolv.conf']
    for (const command of [[process.execPath, COMMAND], [package_.launcher]]) {
      const before = await package_.nodes()
      const { code, stderr } = await run('sh', ['-c', 'umask 077; exec "$@"', 'sh', ...command, ...words], { env })
      assert.deepEqual([code, stderr], [0, ''])
      assert.equal(await package_.nodes(), before)
    }
  })

  it('runs nothing twice, also when the monitor is killed before it has said that it runs', async () => {
    const options = ['--pid', 'host', '-v', `${workspace.path('bound')}:/bound`]
    await mkdir(workspace.path('bound'), { recursive: true })
    const count = workspace.path('bound', 'count')
    for (const how of ['--rm', '-d']) {
      await teach(how, ...options)
      for (let times = 0; times < 8; times++) {
        await writeFile(count, '')
        const before = await package_.nodes()
        const script = 'echo once >>/bound/count; kill -9 $PPID; sleep 600'
        const { stderr } = await byLauncher('run', how, ...options, image, 'sh', '-c', script)
        // Of a detached one it may have been said before.
        if (how === '--rm') assert.match(stderr, /^gantry: the monitor of the container was killed/)
        if (how === '-d') assert.equal(await package_.nodes(), before)
        await until('it to have run', PATIENCE_MS, async () =>
          (await readFile(count, 'utf8')) === '' ? undefined : true,
        )
        assert.equal(await readFile(count, 'utf8'), 'once\n')
        const ids = await readdir(workspace.path('store', 'containers'))
        if (ids.length > 0) await byNode('rm', '-f', ...ids.map((id) => id.slice(-64)))
      }
    }
  })

  it('says so when the monitor is killed', async () => {
    await teach('--rm')
    const child = start(package_.launcher, ['run', '--rm', image, ...SLEEP], ['ignore', 'ignore', 'pipe'])
    const said = text(child.stderr as NodeJS.ReadableStream)
    const ended = closed(child)
    const id = await running()
    process.kill((await readMonitorStatus(folderOf(id)))?.status.monitor.pid ?? 0, 'SIGKILL')
    assert.deepEqual(
      [await ended, await said],
      [125, 'gantry: the monitor of the container was killed, and the container with it\n'],
    )
    killGroup(child, 'SIGKILL')
  })
})
