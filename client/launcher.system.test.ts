// The native launcher beside Node's verbs: what it answers by itself is the same to the byte, and what it does not know it leaves to Node.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { thisBoot } from '../native/monitor-status.ts'
import { StoreFolders } from './store/store.ts'
import { logsVerb } from './verbs/verb-logs.ts'
import { psVerb } from './verbs/verb-ps.ts'

const LAUNCHER = fileURLToPath(new URL('../native/build/gantry', import.meta.url))
const NODES_LAUNCHER = fileURLToPath(new URL('gantry.mjs', import.meta.url))

interface Said {
  readonly stdout: string
  readonly stderr: string
}

const IMAGE_ID = `sha256:${'0'.repeat(64)}`

describe('the launcher', () => {
  let folder: string
  let root: string
  /** A copy of it where there is no Node: what it does not answer fails. */
  let alone: string

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gantry-launcher-'))
    root = join(folder, 'store')
    const package_ = join(folder, 'deep/below/lib/gantry') // nobody's bin/ is three folders above
    for (const path of ['native/build', 'client']) mkdirSync(join(package_, path), { recursive: true })
    alone = join(package_, 'native/build/gantry')
    copyFileSync(LAUNCHER, alone)
    writeFileSync(join(package_, 'client/gantry.mjs'), '')
    await StoreFolders.open(root)
  })
  beforeEach(() => {
    for (const each of ['containers', 'names']) {
      rmSync(join(root, each), { recursive: true, force: true })
      mkdirSync(join(root, each), { mode: 0o700 })
    }
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  /** `undefined`: it would leave it to Node. */
  function answered(words: readonly string[]): Said | undefined {
    const { status, stdout, stderr } = spawnSync(alone, words, {
      encoding: 'utf8',
      env: { PATH: '/nonexistent', GANTRY_ROOT: root, HOME: folder },
    })
    if (status === 0) return { stdout, stderr }
    assert.deepEqual([status, stdout], [1, ''])
    assert.match(stderr, /^gantry: gantry needs Node 24\.12 or newer, and there is no `node` in PATH/)
    return undefined
  }

  interface Made {
    readonly record?: object
    readonly status?: object | string
    readonly log?: readonly string[]
  }

  let made = 0
  /** A container as it is on disk; the id begins with the digits of `made`. */
  function make({ record = {}, status, log = [] }: Made): string {
    const id = (made++).toString(16).padStart(8, '0').padEnd(64, 'ab')
    const place = join(root, 'containers', id)
    const whole = {
      version: 1,
      id,
      name: `name-${made}`,
      created: '2026-01-02T03:04:05.678Z',
      image: 'localhost:5000/team/app:1',
      imageId: IMAGE_ID,
      architecture: 'amd64',
      process: { Cmd: ['sh'] },
      request: {},
      layers: [],
      mounts: [],
      endpoints: [],
      ...record,
    }
    mkdirSync(place)
    writeFileSync(join(place, 'container.json'), `${JSON.stringify(whole, null, 2)}\n`)
    if (status !== undefined)
      writeFileSync(join(place, 'status.json'), typeof status === 'string' ? status : JSON.stringify(status))
    for (const [i, text] of log.toReversed().entries())
      writeFileSync(join(place, `container.log${i === 0 ? '' : `.${i}`}`), text)
    symlinkSync(id, join(root, 'names', `${whole.name}`))
    return id
  }

  /** As a monitor writes it; this process is the monitor. */
  const statusOf = (phase: string, more: object = {}): object => ({
    bootId: thisBoot(),
    monitor: { pid: process.pid, startTime: startTime() },
    phase,
    pid: 1,
    startTime: 1,
    exitCode: 0,
    oomKilled: false,
    error: '',
    startedAt: '2026-01-02T03:04:06.123456789Z',
    finishedAt: phase === 'exited' || phase === 'restarting' ? '2026-01-02T03:05:06.123456789Z' : '',
    restartCount: 0,
    stoppedByUser: false,
    log: { lostBytes: 0, error: '' },
    ...more,
  })

  const PS_FLAGS = [[], ['-a'], ['-aq'], ['--all', '--no-trunc'], ['-q', '--no-trunc', '-a'], ['--quiet']] as const

  async function nodesPs(words: readonly string[]): Promise<string> {
    const has = (...names: readonly string[]): boolean => words.some((word) => names.includes(word))
    let text = ''
    const print = (line: string): void => {
      text += `${line}\n`
    }
    await psVerb(
      {
        root,
        filter: [],
        all: has('-a', '-aq', '--all'),
        quiet: has('-q', '-aq', '--quiet'),
        trunc: !has('--no-trunc'),
      },
      { line: print, note: print },
    )
    return text
  }

  /** True if it answered, and then as Node does; the clock may go on between two looks. */
  async function psIsTheSame(words: readonly string[]): Promise<boolean> {
    const earlier = await nodesPs(words).catch(() => undefined)
    const own = answered(['ps', ...words])
    const later = await nodesPs(words).catch(() => undefined)
    if (own === undefined) return false
    assert.equal(own.stderr, '')
    if (own.stdout !== earlier) assert.equal(own.stdout, later)
    return true
  }

  const OF_PS: Readonly<Record<string, Made>> = {
    'one that was never started': {},
    'one that runs': { status: statusOf('running') },
    'one that is frozen': { status: statusOf('paused') },
    'one that is about to start again': { status: statusOf('restarting', { exitCode: 3 }) },
    'one that has ended': { status: statusOf('exited', { exitCode: 137 }) },
    'one that could not be started': { status: statusOf('exited', { exitCode: 127, startedAt: '' }) },
    'one whose monitor was killed': { status: statusOf('running', { monitor: { pid: process.pid, startTime: 1 } }) },
    'one whose monitor was killed before it had started it': {
      status: statusOf('created', { monitor: { pid: 2 ** 22 + 1, startTime: 1 } }),
    },
    'one of an earlier boot': { status: statusOf('running', { bootId: 'another' }) },
    'one that is well': { status: statusOf('running', { health: { status: 'healthy', failingStreak: 0, log: [] } }) },
    'one that may become well': {
      status: statusOf('running', { health: { status: 'starting', failingStreak: 0, log: [] } }),
    },
    'one whose command is long, and quoted': {
      record: { request: { command: ['sh', '-c', 'echo "a\\b"\necho \'c\'', 'a word'] } },
    },
    'one whose command is not in English': {
      record: { request: { command: ['écho', 'großer Käse – 木 and more of it'] } },
    },
    'one with an entrypoint of its own': {
      record: { process: { Entrypoint: ['/entry', 'x'], Cmd: ['cmd'] }, request: { entrypoint: '/other' } },
    },
    'one with the image’s entrypoint': { record: { process: { Entrypoint: ['/entry'], Cmd: ['a b', 'c'] } } },
    'one without an entrypoint': {
      record: { process: { Entrypoint: ['/entry'], Cmd: null }, request: { entrypoint: '', command: ['x'] } },
    },
  }
  for (const [what, container] of Object.entries(OF_PS)) {
    it(`lists ${what} as Node does`, async () => {
      make(container)
      make({ record: { created: '2026-01-02T03:04:05.677Z', name: 'older' }, status: statusOf('running') })
      for (const words of PS_FLAGS) assert.ok(await psIsTheSame(words), `ps ${words.join(' ')} was left to Node`)
    })
  }

  it('says the time that has passed as Node does', async () => {
    for (const seconds of [0.2, 1.5, 30, 59.5, 70, 125, 3590, 5000, 8000, 100_000, 180_000, 2e6, 6e6, 4e7, 9e7]) {
      const then = new Date(Date.now() - seconds * 1000).toISOString()
      make({ record: { created: then }, status: statusOf('running', { startedAt: then.replace('Z', '999999Z') }) })
    }
    assert.ok(await psIsTheSame(['-a']))
  })

  it('leaves lists that it would not print exactly so to Node', async () => {
    const odd: readonly Made[] = [
      { record: { version: 2 } },
      { record: { name: 7 } },
      { record: { imageId: 'sha256:x' } },
      { record: { image: 'a\tb' } },
      { record: { created: 'yesterday' } },
      { record: { created: '2026-02-30T00:00:00.000Z' } },
      { record: { request: { command: [] }, process: {} } },
      { record: { request: { command: [7] } } },
      { record: { request: { command: ['a\u0001'] } } },
      { record: { request: { command: [`${'x'.repeat(18)}😀 and more`] } } },
      { status: 'half of {' },
      { status: statusOf('sleeping') },
      { status: statusOf('running', { startedAt: '' }) },
      { status: statusOf('exited', { exitCode: 1.5 }) },
      { status: { phase: 'running' } },
    ]
    for (const each of odd) {
      const id = make(each)
      assert.equal(answered(['ps', '-a']), undefined, JSON.stringify(each))
      rmSync(join(root, 'containers', id), { recursive: true })
    }
    make({})
    for (const words of [
      ['--format', 'json'],
      ['--json'],
      ['-n', '1'],
      ['-l'],
      ['-f', 'name=x'],
      ['-x'],
      ['--all=true'],
      ['more'],
      ['--'],
    ])
      assert.equal(answered(['ps', ...words]), undefined, words.join(' '))
    for (const words of [
      [],
      ['help', 'ps'],
      ['container', 'ls'],
      ['--root', '', 'ps'],
      ['--root', join(folder, 'none'), 'ps'],
    ])
      assert.equal(answered(words), undefined, words.join(' '))
  })

  it('never says anything else than Node, whatever the records are', async () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('', 'x', '/a b', 'ä'.repeat(30)))
    const time = fc.oneof(
      fc.date({ min: new Date(0), noInvalidDate: true }).map((date) => date.toISOString()),
      fc.constantFrom('', '2026-01-02T03:04:05Z', '2026-01-02T03:04:05.1Z', '2026-13-02T03:04:05.123456Z'),
    )
    const anything = fc.oneof(text, fc.constantFrom(null, 0, -1, 1.5, true), fc.array(text))
    const sometimes = <T>(usual: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
      fc.oneof({ weight: 8, arbitrary: usual }, { weight: 1, arbitrary: anything })
    const words = fc.array(text, { maxLength: 4 })
    const record = fc.record(
      {
        created: sometimes(time),
        image: sometimes(fc.constant('localhost:5000/x')),
        process: fc.record({ Entrypoint: sometimes(words), Cmd: sometimes(words) }, { requiredKeys: [] }),
        request: fc.record({ entrypoint: sometimes(text), command: sometimes(words) }, { requiredKeys: [] }),
        layers: sometimes(words),
        version: sometimes(fc.constant(1)),
      },
      { requiredKeys: [] },
    )
    const status = fc
      .tuple(
        fc.constantFrom('created', 'running', 'paused', 'restarting', 'exited', 'other'),
        fc.record(
          {
            startedAt: sometimes(time),
            finishedAt: sometimes(time),
            exitCode: sometimes(fc.nat(255)),
            bootId: fc.constantFrom(thisBoot(), 'another'),
            monitor: fc.record({
              pid: fc.constantFrom(process.pid, 2 ** 22 + 1),
              startTime: fc.constantFrom(startTime(), 7),
            }),
            health: sometimes(fc.record({ status: fc.constantFrom('healthy', 'starting', 'unhealthy') })),
          },
          { requiredKeys: [] },
        ),
      )
      .map(([phase, more]) => statusOf(phase, more))
    let answers = 0
    await fc.assert(
      fc.asyncProperty(
        record,
        fc.option(status, { nil: undefined }),
        fc.constantFrom(...PS_FLAGS),
        async (record, status, words) => {
          const id = make({ record, ...(status ? { status } : {}) })
          try {
            if (await psIsTheSame(words)) answers++
          } finally {
            rmSync(join(root, 'containers', id), { recursive: true })
          }
        },
      ),
      { numRuns: 300 },
    )
    assert.ok(answers > 50, `${answers} of 300`)
  })

  const entry = (text: string, stream = 'stdout', time = '2026-01-02T03:04:05.123456789Z'): string =>
    `${JSON.stringify({ log: text, stream, time })}\n`

  async function nodesLogs(name: string, tail: string, timestamps: boolean): Promise<Said> {
    const said = { stdout: '', stderr: '' }
    await logsVerb(name, { root, tail, timestamps }, async (stream, text) => {
      said[stream] += text
    })
    return said
  }

  /** True if it answered, and then as Node does. */
  async function logsAreTheSame(name: string): Promise<boolean> {
    let all = true
    for (const [words, tail, timestamps] of [
      [[], 'all', false],
      [['-t'], 'all', true],
      [['--tail', '2'], '2', false],
      [['--tail=0'], '0', false],
      [['-n', '1', '--timestamps'], '1', true],
      [['-n', '9999'], '9999', false],
    ] as const) {
      const own = answered(['logs', ...words, name])
      if (own) assert.deepEqual(own, await nodesLogs(name, tail, timestamps), words.join(' '))
      all &&= own !== undefined
    }
    return all
  }

  const started = { status: statusOf('running') }
  const OF_LOGS: Readonly<Record<string, Made>> = {
    'of one that has said nothing': started,
    'of one that was never started': {},
    'of lines on both streams': { ...started, log: [entry('a\n') + entry('b\n', 'stderr') + entry('c\n')] },
    'of a line in pieces': { ...started, log: [entry('x'.repeat(16384)) + entry('y\n') + entry('no end')] },
    'that is still being written': { ...started, log: [`${entry('a\n')}{"log":"b`] },
    'in several files': { ...started, log: [entry('1\n') + entry('2\n'), entry('3\n'), entry('4\n') + entry('5\n')] },
    'of many lines': {
      ...started,
      log: [Array.from({ length: 5000 }, (_, i) => entry(`line ${i} ß😀\u0007\n`)).join('')],
    },
    'that was rotated a moment ago': { ...started, log: [entry('1\n'), ''] },
  }
  for (const [what, container] of Object.entries(OF_LOGS)) {
    it(`prints a log ${what} as Node does`, async () => {
      const id = make(container)
      for (const name of [id, id.slice(0, 12), `name-${made}`, `/name-${made}`])
        assert.ok(await logsAreTheSame(name), 'it was left to Node')
    })
  }

  it('leaves a log with an entry that is none to Node, and what is nobody’s or not one container’s', async () => {
    for (const line of [
      '\n',
      '{}\n',
      'null\n',
      '{"log":"\\ud800","stream":"stdout","time":"x"}\n',
      entry('x', 'other'),
      '{"log":"x"\n',
    ]) {
      const id = make({ ...started, log: [entry('before\n') + line + entry('after\n')] })
      assert.equal(answered(['logs', id]), undefined, line)
    }
    make({ ...started, record: { request: { log: { driver: 'none' } }, name: 'none' } })
    for (const words of [
      ['none'],
      ['nosuch'],
      ['0000'],
      [],
      ['none', 'other'],
      ['-f', 'none'],
      ['--since', '1m', 'none'],
      ['-n', '-1', 'none'],
    ])
      assert.equal(answered(['logs', ...words]), undefined, words.join(' '))
  })

  it('prints the version of the package', () => {
    for (const word of ['--version', '-v'])
      assert.equal(
        execFileSync(LAUNCHER, [word], { encoding: 'utf8' }),
        execFileSync(process.execPath, [NODES_LAUNCHER, word], { encoding: 'utf8' }),
      )
  })

  it('goes on as Node with all words and through any link, with the Node of PATH, or the one that lies where packages are', () => {
    const link = join(folder, 'linked')
    const prefix = join(folder, 'prefix')
    const package_ = join(prefix, 'lib/node_modules/gantry')
    for (const path of ['dist/native/build', 'client']) mkdirSync(join(package_, path), { recursive: true })
    const installed = join(package_, 'dist/native/build/gantry')
    copyFileSync(LAUNCHER, installed)
    writeFileSync(
      join(package_, 'client/gantry.mjs'),
      'console.log(JSON.stringify([process.execPath, process.argv.slice(2)])); process.exitCode = 7',
    )
    symlinkSync(installed, link)
    mkdirSync(join(prefix, 'bin'))
    const words = ['run', '--rm', '--env-file', '/nosuch', '', 'a b', 'ü'] // Node has an --env-file, too
    const run = (PATH: string) => {
      const { status, stdout } = spawnSync(link, words, { encoding: 'utf8', env: { PATH } })
      return [status, JSON.parse(stdout || 'null')]
    }
    assert.deepEqual(run(`/nonexistent:${dirname(process.execPath)}`), [7, [process.execPath, words]])
    symlinkSync(process.execPath, join(prefix, 'bin/node'))
    assert.deepEqual(run('/nonexistent'), [7, [process.execPath, words]])
  })
})

/** When this process was started, in ticks since boot. */
function startTime(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
}
