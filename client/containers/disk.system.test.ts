/** A store whose disk is full, or read-only by now, in every phase of a container's life: a small disk in a mount namespace of the test's own. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { after, before, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { closed, type Finished, killGroup, run, startGroup, until } from '../../conformance/support/commands.ts'
import { missing } from '../../conformance/support/needs.ts'
import { Workspace } from '../../conformance/support/workspace.ts'
import { launcherPackage } from '../testing/launcher-package.ts'

const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))
const PULL = fileURLToPath(new URL('../testing/pull-busybox.ts', import.meta.url))
const skip = await missing('busybox', 'unshare', 'nsenter')
const FULL = /no space left on device|no room for/i
const READ_ONLY = /read-only/i

describe('a disk that', { skip }, () => {
  let workspace: Workspace
  let world: ChildProcess
  let image: string
  let launcher: string
  before(async () => {
    workspace = await Workspace.open()
    const script =
      'mount --make-rprivate / && mkdir "$0" && mount -t tmpfs -o size=48m small "$0" && echo ready && exec sleep infinity'
    world = startGroup('unshare', ['--mount', 'sh', '-c', script, workspace.path('disk')], {
      env: workspace.env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let said = ''
    world.stdout?.on('data', (bytes: Buffer) => {
      said += bytes.toString()
    })
    await until('the disk', 20_000, () => /ready/.test(said) || undefined)
    image = (await there(process.execPath, PULL, workspace.path('disk', 'store'))).stdout.trim()
    assert.notEqual(image, '')
    const made = await launcherPackage(workspace.path('package'))
    launcher = made.launcher
    workspace.env['PATH'] = made.path
    for (const words of [['--rm'], ['-d', '--rm']])
      assert.equal((await byLauncher('run', ...words, image, 'true')).code, 0) // from here on it needs no Node for these
  })
  after(async () => {
    const ended = closed(world)
    killGroup(world, 'SIGKILL')
    await ended
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })

  const there = (...words: readonly string[]): Promise<Finished> =>
    run('nsenter', ['--target', `${world.pid}`, '--mount', '--', ...words], { env: workspace.env })
  const gantry = (...words: readonly string[]): Promise<Finished> =>
    there(process.execPath, COMMAND, '--root', workspace.path('disk', 'store'), ...words)
  const byLauncher: typeof gantry = (...words) => there(launcher, '--root', workspace.path('disk', 'store'), ...words)
  const says = async (...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await gantry(...words)
    assert.equal(code, 0, `${words.join(' ')}: ${stdout}${stderr}`)
    return stdout.trimEnd()
  }
  const refused = async (code: number, message: RegExp, ...words: readonly string[]): Promise<void> => {
    for (const way of words[0] === 'run' ? [gantry, byLauncher] : [gantry]) {
      const finished = await way(...words)
      assert.equal(finished.code, code, `${words.join(' ')}: ${finished.stdout}${finished.stderr}`)
      assert.match(finished.stderr, message, words.join(' '))
    }
  }
  const statuses = async (): Promise<readonly string[]> =>
    (await says('ps', '-a', '--format', '{{.Names}} {{.State}}')).split('\n').toSorted()
  const names = async (folder: string): Promise<readonly string[]> =>
    (await there('ls', '-A', workspace.path('disk', 'store', folder))).stdout.split('\n').filter(Boolean)

  beforeEach(async () => {
    await says('create', '--name', 'made', image, 'true')
    await says('run', '--name', 'done', '-v', '/anonymous', image, 'sh', '-c', 'echo new > /new; exit 3').catch(
      () => '',
    )
    await says('run', '-d', '--name', 'up', '-v', 'data:/srv', image, 'sleep', '600')
    await says('run', '-d', '--name', 'ends', image, 'sh', '-c', 'trap "exit 5" TERM; while :; do sleep 0.1; done')
  })

  /** Whatever happened before: everything that was there can be used, and removed, and nothing else is there. */
  async function demandThatItGoesOn(): Promise<void> {
    for (const name of ['made', 'up', 'ends']) await says('start', name)
    await says('rm', '-fv', 'made', 'done', 'up', 'ends')
    assert.equal(await says('run', '--rm', '-v', 'data:/srv', image, 'cat', '/srv/seed.txt'), 'seeded')
    await says('volume', 'rm', 'data')
    for (const folder of ['containers', 'names', 'volumes']) assert.deepEqual(await names(folder), [], folder)
    assert.equal((await says('images', '-q')).split('\n').length, 1)
    assert.equal((await names('layers')).filter((name) => name.startsWith('sha256')).length, 1)
  }

  it('is full: what is refused leaves nothing, what needs no room works, and ps tells the truth', async () => {
    const before = await Promise.all(['containers', 'names', 'volumes', 'layers'].map(names))
    await there('dd', 'if=/dev/zero', `of=${workspace.path('disk', 'filler')}`, 'bs=4k')
    await refused(125, FULL, 'run', '--rm', image, 'true')
    await refused(125, FULL, 'run', '-d', '--rm', image, 'true')
    await refused(125, FULL, 'run', '-d', '--name', 'new', '-v', 'other:/srv', image, 'true')
    await refused(1, FULL, 'create', '--cidfile', workspace.path('disk', 'cid'), image)
    await refused(1, FULL, 'start', 'made')
    await refused(1, FULL, 'start', '-a', 'done')
    await refused(1, FULL, 'rename', 'up', 'renamed')
    await refused(1, FULL, 'cp', COMMAND, 'up:/tmp/file')
    await refused(1, FULL, 'commit', 'done', 'localhost/committed:1')
    await refused(1, FULL, 'commit', 'up', 'localhost/committed:1')
    await refused(1, FULL, 'volume', 'create', 'other')
    await refused(1, FULL, 'tag', image, 'localhost/other:1')
    assert.deepEqual(await Promise.all(['containers', 'names', 'volumes', 'layers'].map(names)), before)
    assert.deepEqual(await statuses(), ['done exited', 'ends running', 'made created', 'up running'])
    assert.equal(await says('exec', 'up', 'cat', '/srv/seed.txt'), 'seeded')
    for (let i = 0; i < 3; i++) {
      await says('pause', 'up') // each change of its state is written down
      assert.ok((await statuses()).includes('up paused'))
      await says('unpause', 'up')
    }
    await says('cp', 'up:/srv/seed.txt', workspace.path('seed'))
    await says('stop', 'ends')
    assert.equal(await says('inspect', '-f', '{{.State.ExitCode}}', 'ends'), '5')
    await refused(1, FULL, 'restart', '-t', '0', 'up')
    assert.deepEqual(await statuses(), ['done exited', 'ends exited', 'made created', 'up exited'])
    await says('rm', '-v', 'done')
    await there('rm', workspace.path('disk', 'filler'))
    await says('create', '--name', 'done', image)
    await demandThatItGoesOn()
  })

  it('is read-only: what only looks works, all else says why, and goes on afterwards', async () => {
    await says('stop', '-t', '0', 'up', 'ends') // else the kernel refuses: it is written to
    const remount = async (how: string): Promise<void> =>
      assert.equal((await there('mount', '-o', `remount,${how}`, workspace.path('disk'))).code, 0)
    await remount('ro')
    try {
      await refused(125, READ_ONLY, 'run', '--rm', image, 'true')
      await refused(125, READ_ONLY, 'run', '-d', '--rm', image, 'true')
      for (const words of [
        ['create', image],
        ['start', 'made'],
        ['restart', 'up'],
        ['rename', 'up', 'renamed'],
        ['cp', COMMAND, 'made:/tmp/file'],
        ['commit', 'done', 'localhost/committed:1'],
        ['update', '--pids-limit', '10', 'up'],
        ['rm', '-v', 'done'],
        ['volume', 'create', 'other'],
        ['tag', image, 'localhost/other:1'],
        ['system', 'prune', '-f'],
      ])
        await refused(1, READ_ONLY, ...words)
      assert.deepEqual(await statuses(), ['done exited', 'ends exited', 'made created', 'up exited'])
      assert.match(await says('diff', 'done'), /^A \/new$/m)
      assert.equal(await says('inspect', '-f', '{{.State.ExitCode}}', 'done'), '3')
      assert.equal(await says('logs', 'done'), '')
      assert.equal((await says('volume', 'ls', '-q', '-f', 'name=data')).trim(), 'data')
      await says('stop', 'up')
      await says('info')
    } finally {
      await remount('rw')
    }
    await demandThatItGoesOn()
  })
})
