/** `gantry stop`, `rm` and `system clean-up` by the native launcher beside Node's. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { closed, type Finished, run, startGroup, until } from '../conformance/support/commands.ts'
import { missing } from '../conformance/support/needs.ts'
import { Workspace } from '../conformance/support/workspace.ts'
import { pullBusybox } from './testing/busybox-image.ts'
import { type LauncherPackage, launcherPackage } from './testing/launcher-package.ts'

const COMMAND = fileURLToPath(new URL('gantry.mjs', import.meta.url))
const skip = process.getuid?.() === 0 ? await missing('busybox', 'python3') : 'containers of root need root'
const ENDS = ['sh', '-c', 'trap "exit 5" TERM; trap "exit 6" INT; while :; do sleep 0.05; done']
const PATIENCE_MS = 30_000
const STAYS = ['sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done']

describe('the launcher', { skip }, () => {
  let workspace: Workspace
  let package_: LauncherPackage
  let image: string
  let env: NodeJS.ProcessEnv
  before(async () => {
    workspace = await Workspace.open()
    package_ = await launcherPackage(workspace.path('package'))
    env = { ...workspace.env, PATH: package_.path, GANTRY_ROOT: workspace.path('store') }
    image = await pullBusybox(workspace.path('store'))
  })
  after(async () => {
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })
  afterEach(async () => {
    const ids = await inStore('containers')
    if (ids.length > 0) await byNode('rm', '-fv', ...ids.map((name) => name.slice(-64)))
    for (const folder of ['containers', 'names', 'volumes']) assert.deepEqual(await inStore(folder), [])
  })

  const inStore = (folder: string): Promise<string[]> => readdir(workspace.path('store', folder))
  const byNode = (...words: readonly string[]): Promise<Finished> => run(process.execPath, [COMMAND, ...words], { env })
  const byLauncher = (...words: readonly string[]): Promise<Finished> => run(package_.launcher, words, { env })
  const says = async (...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await byNode(...words)
    assert.equal(code, 0, stderr)
    return stdout.trimEnd()
  }
  const counted = async (...words: readonly string[]): Promise<Finished & { readonly nodes: number }> => {
    const before = await package_.nodes()
    const finished = await byLauncher(...words)
    return { ...finished, nodes: (await package_.nodes()) - before }
  }
  const alone = async (...words: readonly string[]): Promise<string> => {
    const { nodes, ...finished } = await counted(...words)
    assert.deepEqual({ ...finished, stdout: '' }, { code: 0, stdout: '', stderr: '' })
    assert.equal(nodes, 0, `${words.join(' ')} became Node`)
    return finished.stdout
  }
  const made = (name: string, words: readonly string[], ...options: readonly string[]): Promise<string> =>
    says('run', '-d', '--name', name, ...options, image, ...words)
  const exitCodeOf = (name: string): Promise<string> =>
    says('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', name)
  /** As who has started Node in this very moment: a signal may come before it has its handlers. */
  const settled = (name: string): Promise<string> =>
    says(
      'exec',
      name,
      'sh',
      '-c',
      'while ! grep -q "^SigCgt:.*[1-9a-f]" /proc/1/status && ! grep -q "^SigIgn:.*[1-9a-f]" /proc/1/status; do sleep 0.02; done',
    )

  it('stops many at once, as they want to be stopped, and those that are to go are gone then', async () => {
    await made('ends', ENDS)
    await made('asked', ENDS, '--stop-signal', 'INT')
    await made('stays', STAYS, '--stop-timeout', '0')
    const goes = await made('goes', ENDS, '--rm')
    await made('over', ['true'])
    await says('create', '--name', 'made', image)
    for (const name of ['ends', 'asked', 'stays', 'goes']) await settled(name)
    const names = ['ends', 'asked', 'stays', 'goes', 'over', 'made']
    assert.equal(await alone('stop', ...names), `${names.join('\n')}\n`)
    assert.ok(!existsSync(workspace.path('store', 'containers', goes)))
    const codes = await Promise.all(['ends', 'asked', 'stays', 'over', 'made'].map(exitCodeOf))
    assert.deepEqual(codes, ['exited 5', 'exited 6', 'exited 137', 'exited 0', 'created 0'])
    assert.equal(await says('inspect', '-f', '{{.State.Status}}', 'stays'), 'exited')
  })

  it('kills what does not end in time', async () => {
    await made('stays', STAYS)
    await settled('stays')
    await alone('stop', '-t', '0', 'stays')
    assert.equal(await exitCodeOf('stays'), 'exited 137')
  })

  it('removes many at once and leaves nothing, by name, id and the beginning of one', async () => {
    await made('over', ['sh', '-c', 'echo written > /file'])
    await says('wait', 'over')
    const id = await says('create', image)
    const other = await says('create', image)
    const words = ['over', id, other.slice(0, 9)]
    assert.equal(await alone('rm', ...words), `${words.join('\n')}\n`)
    for (const folder of ['containers', 'names']) assert.deepEqual(await inStore(folder), [])
  })

  it('removes several for who ignores that his children end', async () => {
    for (const name of ['one', 'two']) await says('create', '--name', name, image)
    const before = await package_.nodes()
    const ignoring = [
      '-c',
      'import os,signal,sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])',
    ]
    const finished = await run('python3', [...ignoring, package_.launcher, 'rm', 'one', 'two'], { env })
    assert.deepEqual(finished, { code: 0, stdout: 'one\ntwo\n', stderr: '' })
    assert.equal(await package_.nodes(), before)
  })

  it('kills what runs if it is to, and leaves volumes that have a name', async () => {
    await made('runs', STAYS, '-v', 'data:/data')
    await made('too', STAYS)
    assert.equal(await alone('rm', '-f', 'runs', 'too'), 'runs\ntoo\n')
    assert.deepEqual(await inStore('containers'), [])
    assert.equal(await says('volume', 'rm', 'data'), 'data')
  })

  it('leaves to Node what it cannot do, or say', async () => {
    await made('runs', STAYS, '-v', '/anonymous')
    await made('over', ['true'])
    await says('wait', 'over')
    for (const [words, message] of [
      [['rm', 'over', 'runs'], /^gantry: cannot remove the running container runs: stop it first/],
      [['rm', 'nosuch'], /^gantry: no such container: nosuch/],
      [['stop', 'nosuch'], /^gantry: no such container: nosuch/],
      [['stop', '-t', 'soon', 'runs'], /--time/],
    ] as const) {
      const { code, stderr, nodes } = await counted(...words)
      assert.deepEqual([code, nodes], [1, 1], words.join(' '))
      assert.match(stderr, message)
    }
    assert.equal((await inStore('containers')).length, 1)
    await says('pause', 'runs')
    assert.equal((await counted('stop', '-t', '0', 'runs')).nodes, 1)
    assert.equal(await exitCodeOf('runs'), 'exited 137')
    assert.equal((await inStore('volumes')).length, 1)
    const { nodes, stdout } = await counted('rm', '-v', 'runs')
    assert.deepEqual([nodes, stdout], [1, 'runs\n'])
    assert.deepEqual(await inStore('volumes'), [])
  })

  it('waits for who works on a container, and says of one that goes meanwhile that there is none', async () => {
    await made('over', ['true'])
    await says('wait', 'over')
    const words = Array.from({ length: 4 }, () => ['rm', 'over'])
    const all = await Promise.all(words.map((each) => byLauncher(...each)))
    assert.deepEqual(all.map(({ code }) => code).toSorted(), [0, 1, 1, 1])
    for (const { code, stderr } of all) if (code !== 0) assert.match(stderr, /^gantry: no such container: over/)
  })

  it('clears away one that was to go, and nothing else', async () => {
    await made('stays', STAYS)
    await made('over', ['true'])
    await says('wait', 'over')
    assert.equal(await alone('system', 'clean-up'), '')
    const child = startGroup(process.execPath, [COMMAND, 'run', '--rm', '--name', 'left', image, 'sleep', '600'], {
      env,
      stdio: 'ignore',
    })
    const ended = closed(child)
    await until('it to run', PATIENCE_MS, async () => {
      const { code, stdout } = await byNode('inspect', '-f', '{{.State.Status}}', 'left')
      return code === 0 && stdout === 'running\n' ? true : undefined
    })
    process.kill(child.pid ?? 0, 'SIGKILL')
    await ended
    await says('kill', 'left')
    await says('wait', 'left')
    assert.equal((await inStore('containers')).length, 3)
    await alone('system', 'clean-up')
    assert.equal((await inStore('containers')).length, 2)
    await mkdir(workspace.path('store', 'volumes', '.tmp-left'))
    await writeFile(workspace.path('store', 'volumes', '.tmp-left', 'volume.json'), '')
    assert.equal((await counted('system', 'clean-up')).nodes, 1)
    assert.deepEqual(await inStore('volumes'), [])
  })
})
