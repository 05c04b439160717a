/** `gantry commit`, as it is typed and from a program, on a busybox. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { run, until } from '../../conformance/support/commands.ts'
import { missing } from '../../conformance/support/needs.ts'
import { containers, inspect, NoSuchImage, Store } from '../library.ts'
import { pullBusybox } from '../testing/busybox-image.ts'

const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))
const skip = await missing('busybox')

describe('gantry commit', { skip }, () => {
  let root: string
  let image: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-commit-'))
    image = await pullBusybox(root)
  })
  after(async () => await rm(root, { recursive: true, force: true }))
  afterEach(async () => {
    const { stdout } = await gantry('ps', '-aq')
    if (stdout !== '') await gantry('rm', '-fv', ...stdout.trim().split('\n'))
    const { whole } = await (await Store.open(root)).images()
    for (const { name } of whole) if (name !== image) await gantry('rmi', name)
  })

  const gantry = (...words: readonly string[]) => run(process.execPath, [COMMAND, '--root', root, ...words])
  const says = async (...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await gantry(...words)
    assert.equal(code, 0, `${words.join(' ')}: ${stdout}${stderr}`)
    return stdout.trimEnd()
  }

  it('makes an image of what a container has written, hidden and been told', async () => {
    const script = 'echo new > /srv/new; rm /srv/seed.txt; rm -r /root; mkdir /root; echo own > /root/own; rm /bin/vi'
    await says('run', '--name', 'made', '-e', 'A=1', '-w', '/srv', '-l', 'tier=front', image, 'sh', '-c', script)
    const id = await says(
      'commit',
      '-a',
      'Ada',
      '-m',
      'with changes',
      '-c',
      'CMD ["ls", "-A", "/srv", "/root"]',
      '-c',
      'ENV B=2',
      'made',
      'localhost/made:1',
    )
    assert.match(id, /^sha256:[0-9a-f]{64}$/)
    assert.equal(await says('run', '--rm', 'localhost/made:1'), '/root:\nown\n\n/srv:\nnew')
    assert.equal(await says('run', '--rm', 'localhost/made:1', 'sh', '-c', 'echo $A$B; pwd'), '12\n/srv')
    assert.equal((await gantry('run', '--rm', 'localhost/made:1', 'ls', '/bin/vi')).code, 1)
    const { config, manifest } = await inspect('localhost/made:1', { root })
    assert.equal(manifest.layers.length, 2)
    assert.equal(config['author'], 'Ada')
    assert.deepEqual((config['config'] as { Labels: object }).Labels, { tier: 'front' })
    assert.match(await says('history', 'localhost/made:1'), /with changes/)
    // The same once more, from a container of the image that was made.
    await says('run', '--name', 'again', 'localhost/made:1', 'sh', '-c', 'echo more > /srv/more')
    await says('commit', 'again', 'localhost/made:2')
    assert.equal(await says('run', '--rm', 'localhost/made:2', 'ls', '/srv'), 'more\nnew')
  })

  it('freezes one that runs, lets it go on, and leaves no files of ours in the image', async () => {
    await says('run', '-d', '--name', 'busy', image, 'sh', '-c', 'while :; do echo >> /a; echo >> /b; done')
    await says('exec', 'busy', 'sh', '-c', 'while ! test -s /b; do sleep 0.1; done')
    await says('commit', 'busy', 'localhost/busy:1')
    assert.equal(await says('inspect', '--format', '{{.State.Status}}', 'busy'), 'running')
    const sizes = await says('run', '--rm', 'localhost/busy:1', 'stat', '-c', '%s', '/a', '/b')
    const [a, b] = sizes.split('\n').map(Number) as [number, number]
    assert.ok(b > 0 && (a === b || a === b + 1), sizes) // of one moment
    await says('create', '--name', 'looked-at', 'localhost/busy:1')
    assert.equal(await says('diff', 'looked-at'), '')
    const layers = (await inspect('localhost/busy:1', { root })).manifest.layers
    const layer = join(root, 'content', 'blobs', 'sha256', (layers.at(-1)?.digest ?? '').slice('sha256:'.length))
    const { stdout: names } = await run('tar', ['-tzf', layer])
    assert.match(names, /^a\nb\n/)
    assert.doesNotMatch(names, /^etc\/./m)
    await says('pause', 'busy')
    await says('commit', 'busy', 'localhost/busy:2')
    assert.equal(await says('inspect', '--format', '{{.State.Status}}', 'busy'), 'paused')
    await says('unpause', 'busy')
    await says('commit', '--pause=false', 'busy', 'localhost/busy:3')
  })

  it('keeps what the container was told of volumes and of its health', async () => {
    const flags = [
      '--health-cmd',
      'test -e /ok',
      '--health-interval',
      '5s',
      '--health-retries',
      '2',
      '-v',
      '/anonymous',
    ]
    await says('create', '--name', 'told', ...flags, '-v', 'named:/named', image)
    await says('commit', 'told', 'localhost/told:1')
    const { config } = await inspect('localhost/told:1', { root })
    const { Healthcheck, Volumes } = config['config'] as { Healthcheck: object; Volumes: object }
    assert.deepEqual(Healthcheck, { Test: ['CMD-SHELL', 'test -e /ok'], Interval: 5e9, Retries: 2 })
    assert.deepEqual(Volumes, { '/anonymous': {} })
    await says('create', '--name', 'unwell', '--no-healthcheck', 'localhost/told:1')
    await says('commit', 'unwell', 'localhost/told:2')
    const second = (await inspect('localhost/told:2', { root })).config['config'] as { Healthcheck: object }
    assert.deepEqual(second.Healthcheck, { Test: ['NONE'] })
    await says('rm', '-v', 'told', 'unwell')
    await says('volume', 'rm', 'named')
  })

  it('that is killed lets the container go on with the next command, and one that its user has paused stays so', async () => {
    const state = () => says('inspect', '--format', '{{.State.Status}}', 'big')
    await says('run', '-d', '--name', 'big', image, 'sh', '-c', 'head -c 300m /dev/urandom > /big; exec sleep 1000')
    await says('exec', 'big', 'sh', '-c', 'while test $(stat -c %s /big) -lt 314572800; do sleep 0.1; done')
    const commit = spawn(process.execPath, [COMMAND, '--root', root, 'commit', 'big', 'localhost/big:1'])
    await until('it to be frozen', 60_000, async () => ((await state()) === 'paused' ? true : undefined))
    commit.kill('SIGKILL')
    await once(commit, 'exit')
    assert.equal(await state(), 'paused')
    await says('system', 'clean-up')
    assert.equal(await state(), 'running')
    await says('pause', 'big')
    await says('system', 'clean-up')
    assert.equal(await state(), 'paused')
  })

  it('without a name is there by its id, and can be named', async () => {
    await says('run', '--name', 'nameless', image, 'touch', '/here')
    const id = await says('commit', 'nameless')
    await says('tag', id, 'localhost/named:1')
    assert.equal(await says('run', '--rm', 'localhost/named:1', 'ls', '/here'), '/here')
    assert.match(await says('images'), /localhost\/committed +<none>/)
  })

  it('of a container whose image has gone, or with what no layer can hold, makes nothing', async () => {
    await says('run', '--name', 'strange', image, 'touch', '/.wh.bin')
    const before = (await readdir(join(root, 'content', 'blobs', 'sha256'))).sort()
    const refused = await gantry('commit', 'strange', 'localhost/strange:1')
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /\.wh\.bin.*hides another file/)
    assert.deepEqual((await readdir(join(root, 'content', 'blobs', 'sha256'))).sort(), before)
    assert.equal((await gantry('commit', 'nosuch')).code, 1)
    assert.match((await gantry('commit', '-c', 'RUN x', 'strange')).stderr, /must be one of CMD/)
    const aborted = containers({ root }).commit('strange', 'localhost/strange:1', { signal: AbortSignal.abort() })
    await assert.rejects(aborted, { name: 'AbortError' })

    const base = await says('run', '--name', 'first', image, 'touch', '/x').then(() =>
      says('commit', 'first', 'localhost/base:1'),
    )
    await says('run', '--name', 'orphan', 'localhost/base:1', 'touch', '/y')
    await says('tag', image, 'localhost/base:1') // the name moves on, and the image that had it goes
    await assert.rejects(containers({ root }).commit('orphan'), (error) => {
      assert.ok(error instanceof NoSuchImage)
      assert.match(error.message, new RegExp(`localhost/base:1, ${base}\\) is not here any more`))
      return true
    })
  })
})
