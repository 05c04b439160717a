/**
 * `kill -9` at each step of what is done to containers: of the command, of the monitor, of what the runtime has cloned. Afterwards `ps` tells
 * the truth, the same names can be used, and further commands take down all that was left. Which steps is chance by a seed;
 * `GANTRY_KILL_STEPS=all` takes each of them.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Random } from '../../conformance/faults/random.ts'
import { type Finished, run, until } from '../../conformance/support/commands.ts'
import { missing } from '../../conformance/support/needs.ts'
import { Workspace } from '../../conformance/support/workspace.ts'
import { readMonitorStatus } from '../../native/monitor-status.ts'
import { busyboxLayer, pullBusybox, pullMade } from '../testing/busybox-image.ts'
import { type LauncherPackage, launcherPackage } from '../testing/launcher-package.ts'
import { killedAt, type Role } from '../testing/stepped-kill.ts'
import { STATE_ROOT } from './state-root.ts'

const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))
const skip = await missing('busybox', 'strace', 'mkfifo')
const ALL = process.env['GANTRY_KILL_STEPS'] === 'all'
const SEED = Number(process.env['GANTRY_KILL_SEED'] ?? Date.now() % 1_000_000)
const KILLS_EACH = 2
const SETTLE_MS = 10_000

interface Case {
  readonly words: readonly string[]
  readonly roles: readonly Role[]
  /** Commands before it, which are not killed. */
  readonly before?: readonly (readonly string[])[]
  /** By the native launcher, without Node. */
  readonly byLauncher?: boolean
}

/** In the environment of every container's processes, and of no others. */
const MARK = `GANTRY_KILL_MARK=${process.pid}`
const RUN = ['run', '-e', MARK, '--name', 'victim']
const COMMITTED = 'localhost/committed:1'
const SLEEP = ['sleep', '600']

const CASES: readonly Case[] = [
  { words: [...RUN, '-d', '-v', 'data:/srv', 'IMAGE', ...SLEEP], roles: ['command', 'monitor', 'child'] },
  { words: [...RUN, '--rm', 'IMAGE', 'true'], roles: ['command', 'monitor', 'child'] },
  { byLauncher: true, words: [...RUN, '-d', 'PLAIN', ...SLEEP], roles: ['command', 'monitor', 'child'] },
  { byLauncher: true, words: [...RUN, '-d', '--rm', 'PLAIN', 'true'], roles: ['command'] },
  { byLauncher: true, words: [...RUN, '--rm', 'PLAIN', 'true'], roles: ['command', 'monitor', 'child'] },
  { before: [[...RUN, '-d', 'IMAGE', ...SLEEP]], words: ['stop', '-t', '0', 'victim'], roles: ['command', 'monitor'] },
  { before: [[...RUN, '-d', 'IMAGE', ...SLEEP]], words: ['rm', '-fv', 'victim'], roles: ['command', 'monitor'] },
  ...[
    ['stop', '-t', '0', 'victim'],
    ['rm', '-f', 'victim'],
  ].map(
    (words): Case => ({
      byLauncher: true,
      before: [[...RUN, '-d', 'PLAIN', ...SLEEP]],
      words,
      roles: ['command', 'monitor'],
    }),
  ),
  { before: [[...RUN, '-d', 'IMAGE', 'true']], words: ['rm', '-v', 'victim'], roles: ['command'] },
  {
    before: [[...RUN, '-d', 'IMAGE', ...SLEEP]],
    words: ['restart', '-t', '0', 'victim'],
    roles: ['command', 'monitor', 'child'],
  },
  { before: [[...RUN, '-d', 'IMAGE', ...SLEEP]], words: ['pause', 'victim'], roles: ['command', 'monitor'] },
  { before: [[...RUN, '-d', 'IMAGE', ...SLEEP]], words: ['rename', 'victim', 'other'], roles: ['command'] },
  {
    before: [[...RUN, '-d', 'IMAGE', 'sh', '-c', 'echo new > /new; exec sleep 600']],
    words: ['commit', 'victim', COMMITTED],
    roles: ['command', 'monitor'],
  },
  { before: [[...RUN, '-d', 'IMAGE', ...SLEEP]], words: ['cp', 'FILE', 'victim:/tmp/file'], roles: ['command'] },
  { before: [['create', '--name', 'victim', 'IMAGE']], words: ['cp', 'victim:/bin', 'COPY'], roles: ['command'] },
  ...[[], ['-dt']].map(
    (flags): Case => ({
      before: [[...RUN, '-d', 'IMAGE', ...SLEEP]],
      words: ['exec', ...flags, 'victim', 'true'],
      roles: ['command', 'child'],
      byLauncher: true,
    }),
  ),
]

describe(`kill -9 at steps (GANTRY_KILL_SEED=${SEED})`, { skip }, () => {
  const random = new Random(SEED)
  let workspace: Workspace
  let image: string
  let plain: string
  let package_: LauncherPackage
  before(async () => {
    workspace = await Workspace.open()
    image = await pullBusybox(workspace.path('store'), { Volumes: { '/anonymous': {} } })
    plain = await pullMade(workspace.path('store'), [await busyboxLayer()], { Cmd: ['true'] })
    package_ = await launcherPackage(workspace.path('package'))
    workspace.env['PATH'] = package_.path
    await writeFile(workspace.path('file'), 'text')
  })
  after(async () => {
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })

  afterEach(async () => await removeAll())

  /** Those that go when they end may be faster. */
  async function removeAll(): Promise<void> {
    const ids = (await says('ps', '-aq')).split('\n').filter(Boolean)
    const { code, stderr } = ids.length > 0 ? await gantry('rm', '-fv', ...ids) : { code: 0, stderr: '' }
    assert.ok(code === 0 || /^gantry: no such container: [0-9a-f]+[^\n]*\n$/.test(stderr), stderr)
  }

  const command = (words: readonly string[], byLauncher = false): readonly string[] => [
    ...(byLauncher ? [package_.launcher] : [process.execPath, COMMAND]),
    '--root',
    workspace.path('store'),
    ...words.map((word) =>
      word
        .replace('IMAGE', image)
        .replace('PLAIN', plain)
        .replace('FILE', workspace.path('file'))
        .replace('COPY', workspace.path('copy')),
    ),
  ]
  const carriedOut = ([program = '', ...rest]: readonly string[]): Promise<Finished> =>
    run(program, rest, { env: workspace.env })
  /** Who carries out what is not killed: both have to cope with whatever is left. */
  let byLauncher = true
  const gantry = (...words: readonly string[]): Promise<Finished> => carriedOut(command(words, byLauncher))
  const says = async (...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await gantry(...words)
    assert.equal(code, 0, `${words.join(' ')}: ${stdout}${stderr}`)
    return stdout.trimEnd()
  }

  for (const each of CASES)
    for (const role of each.roles)
      it(`of the ${role}: ${each.byLauncher ? 'the launcher’s' : 'gantry'} ${each.words.join(' ').replace(MARK, 'MARK')}`, async (t) => {
        byLauncher = true
        if (each.byLauncher && each.words[0] === 'run') await teach(each.words)
        const total = await episode(each, role, 0, () => {})
        assert.ok(total > 0, 'it makes no steps')
        const chosen = ALL
          ? Array.from({ length: total }, (_, i) => i + 1)
          : Array.from({ length: KILLS_EACH }, () => 1 + random.below(total))
        for (const step of chosen) {
          byLauncher = !byLauncher
          await episode(each, role, step, (text) => t.diagnostic(text))
        }
      })

  /** From here on the launcher needs no Node for it. */
  async function teach(words: readonly string[]): Promise<void> {
    for (let tries = 0; tries < 2; tries++) {
      const before = await package_.nodes()
      const { code, stderr } = await carriedOut(command(words, true))
      assert.equal(code, 0, stderr)
      if (tries > 0) assert.equal(await package_.nodes(), before)
      await untilAllHaveGone()
    }
  }

  const untilAllHaveGone = (): Promise<true> =>
    until('all to go', SETTLE_MS, async () => {
      await removeAll()
      return (await readdir(workspace.path('store', 'containers'))).length === 0 ? true : undefined
    })

  /** Resolves to the steps that were made; where nobody is killed nothing else is asked. */
  async function episode(each: Case, role: Role, at: number, tell: (text: string) => void): Promise<number> {
    for (const words of each.before ?? []) await says(...words)
    const monitor = role === 'monitor' && each.before ? await monitorOf('victim') : undefined
    await using stepped = await killedAt(workspace, command(each.words, each.byLauncher), {
      role,
      at,
      ...(monitor === undefined ? {} : { monitor }),
    })
    if (at === 0) {
      await untilAllHaveGone()
      return stepped.steps
    }
    const where = `${at}: ${stepped.last}`
    if (stepped.killed) tell(where)
    try {
      await demandTruth()
      await demandThatItGoesOn(each)
    } catch (cause) {
      throw new Error(`killed at step ${where}: ${(cause as Error).message}`, { cause })
    }
    return stepped.steps
  }

  async function monitorOf(name: string): Promise<number | undefined> {
    const id = await says('inspect', '-f', '{{.Id}}', name)
    const known = await readMonitorStatus(workspace.path('store', 'containers', id))
    return known?.status.phase === 'running' ? known.status.monitor.pid : undefined
  }

  /** What `ps` says runs, runs, and nothing else does: once what was killed has had time to end. */
  async function demandTruth(): Promise<void> {
    for (const deadline = Date.now() + SETTLE_MS; ; await delay(100)) {
      const lines = (await says('ps', '-a', '--no-trunc', '--format', '{{.ID}} {{.State}}')).split('\n').filter(Boolean)
      const said = lines.filter((line) => !/ (created|exited)$/.test(line)).map((line) => line.split(' ')[0] ?? '')
      const looks = await Promise.all(said.map((id) => gantry('inspect', '-f', '{{.State.Pid}}', id)))
      const hasGone = looks.some(({ code, stderr }) => code === 1 && stderr.includes('no such object')) // it was to go when it ends
      if (hasGone && Date.now() < deadline) continue
      const pids = looks.map(({ code, stdout, stderr }) => {
        assert.equal(code, 0, stderr)
        return stdout.trimEnd()
      })
      const running = await marked()
      const lies = [
        ...pids.filter((pid) => pid !== '0' && !existsSync(`/proc/${pid}`)).map((pid) => `ps says that ${pid} runs`),
        ...(said.length === 0 && running.length > 0 ? [`ps does not say that ${running} run`] : []),
      ]
      if (lies.length === 0) return
      if (Date.now() > deadline) assert.deepEqual(lies, [], lines.join('\n'))
    }
  }

  /** Pids of the containers' processes. */
  async function marked(): Promise<readonly string[]> {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
    const environments = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')))
    return pids.filter((_, i) => `\0${environments[i]}`.includes(`\0${MARK}\0`))
  }

  /** The names are free or somebody's who is listed, everything can be removed, and then nothing is left. */
  async function demandThatItGoesOn(each: Case): Promise<void> {
    const ids = (await readdir(workspace.path('store', 'containers'))).map((name) => name.slice(-64))
    const listed = (await says('ps', '-a', '--format', '{{.Names}}')).split('\n').filter(Boolean)
    for (const name of listed) {
      const { code, stderr } = await gantry('start', name)
      assert.ok(code === 0 || /paused|no such container/.test(stderr), `start ${name}: ${stderr}`) // one with --rm may be gone
    }
    await removeAll()
    await says(...RUN, '--rm', '-v', 'data:/data', image, 'true')
    if (each.words[0] === 'commit') {
      await says('commit', await says('create', '--name', 'victim', image), COMMITTED)
      assert.equal(
        await says('run', '--rm', COMMITTED, 'cat', '/etc/group'),
        await says('run', '--rm', image, 'cat', '/etc/group'),
      )
      await says('rm', '-v', 'victim')
      await says('rmi', COMMITTED)
    }
    await says('volume', 'prune', '-af')
    for (const folder of ['containers', 'names', 'volumes'])
      assert.deepEqual(await readdir(workspace.path('store', folder)), [], folder)
    const hierarchies = ['.', ...(await readdir('/sys/fs/cgroup'))].map((name) =>
      join('/sys/fs/cgroup', name, 'gantry'),
    )
    const left = [STATE_ROOT, ...hierarchies].flatMap((folder) => ids.map((id) => join(folder, id))).filter(existsSync)
    assert.deepEqual(left, [])
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
    assert.deepEqual(
      mounts.filter((line) => line.includes(workspace.path('store'))),
      [],
    )
    await until('nothing to be left', SETTLE_MS, async () => ((await marked()).length === 0 ? true : undefined))
  }
})
