/** From what is typed to the OCI configuration: options of `run`, and what they become. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { ContainerRequest } from '../containers/request.ts'
import { containerSpec } from '../containers/spec.ts'
import { Command } from './cli-commander.ts'
import { booleansByValue } from './cli-context.ts'
import { describing } from './cli-run.ts'
import { type CreateFlags, requestOf } from './run-request.ts'

async function typed(...words: readonly string[]): Promise<ContainerRequest> {
  const command = booleansByValue(describing(new Command('run').argument('<image>').argument('[command...]')))
  command
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .enablePositionalOptions()
  command.action(() => {})
  await command.parseAsync([...words], { from: 'user' })
  return await requestOf(command.args.slice(1), command.opts<CreateFlags>())
}

interface Spec {
  readonly hostname?: string
  readonly root: object
  readonly process: Readonly<Record<string, unknown>> & {
    readonly capabilities: { readonly bounding: readonly string[] }
  }
  readonly mounts: readonly {
    readonly destination: string
    readonly type: string
    readonly options: readonly string[]
  }[]
  readonly linux: Readonly<Record<string, unknown>> & {
    readonly namespaces: readonly { readonly type: string }[]
    readonly resources?: Readonly<Record<string, unknown>>
  }
}

async function specOf(...words: readonly string[]): Promise<Spec> {
  const request = await typed(...words, 'localhost:5000/x', 'true')
  const spec = containerSpec({
    image: {},
    request,
    user: { uid: 0, gid: 0, additionalGids: [0], home: '/root' },
    hostname: 'abc',
    seccomp: undefined,
    files: [{ source: '/store/hosts', destination: '/etc/hosts' }],
    mounts: (request.mounts ?? []).flatMap((mount) => (mount.type === 'volume' ? [] : [mount])),
  })
  return JSON.parse(JSON.stringify(spec)) as Spec
}

const MEBIBYTE = 2 ** 20

describe('the options of run become', () => {
  const resources: readonly (readonly [readonly string[], object | undefined])[] = [
    [[], undefined],
    [['-m', '64m'], { memory: { limit: 64 * MEBIBYTE, swap: 128 * MEBIBYTE } }],
    [['--memory=1g', '--memory-swap=-1'], { memory: { limit: 1024 * MEBIBYTE, swap: -1 } }],
    [['--memory', '64m', '--memory-swap', '64m'], { memory: { limit: 64 * MEBIBYTE, swap: 64 * MEBIBYTE } }],
    [['--cpus', '0.5'], { cpu: { period: 100_000, quota: 50_000 } }],
    [['-c', '512', '--cpuset-cpus', '0-1', '--cpuset-mems=0'], { cpu: { shares: 512, cpus: '0-1', mems: '0' } }],
    [['--cpu-period', '50000', '--cpu-quota', '25000'], { cpu: { period: 50_000, quota: 25_000 } }],
    [['--pids-limit', '7'], { pids: { limit: 7 } }],
    [['--pids-limit', '-1'], undefined],
    [['--privileged'], { devices: [{ allow: true, access: 'rwm' }] }],
  ]
  for (const [words, expected] of resources)
    it(`limits: ${words.join(' ') || '(none)'}`, async () =>
      assert.deepEqual((await specOf(...words)).linux.resources, expected))

  const capabilities: readonly (readonly [readonly string[], (names: readonly string[]) => boolean])[] = [
    [['--cap-drop', 'ALL'], (names) => names.length === 0],
    [['--cap-drop', 'all', '--cap-add', 'net_admin'], (names) => names.join() === 'CAP_NET_ADMIN'],
    [['--cap-drop', 'CHOWN'], (names) => !names.includes('CAP_CHOWN') && names.length === 12],
    [['--cap-add', 'CAP_SYS_PTRACE'], (names) => names.includes('CAP_SYS_PTRACE') && names.length === 14],
    [
      ['--cap-add', 'ALL', '--cap-drop', 'SYS_ADMIN'],
      (names) => names.length === 40 && !names.includes('CAP_SYS_ADMIN'),
    ],
    [['--privileged'], (names) => names.length === 41],
  ]
  for (const [words, holds] of capabilities)
    it(`rights: ${words.join(' ')}`, async () =>
      assert.ok(holds((await specOf(...words)).process.capabilities.bounding), JSON.stringify(words)))

  const namespaces: readonly (readonly [readonly string[], string])[] = [
    [[], 'pid mount ipc uts network cgroup'],
    [['--network', 'host'], 'pid mount ipc uts cgroup'],
    [['--net=host', '--pid=host', '--ipc=host', '--uts=host', '--cgroupns=host'], 'mount'],
  ]
  for (const [words, expected] of namespaces)
    it(`namespaces: ${words.join(' ') || '(none)'}`, async () =>
      assert.equal((await specOf(...words)).linux.namespaces.map(({ type }) => type).join(' '), expected))

  it('mounts, in an order in which none covers another', async () => {
    const { mounts } = await specOf(
      '--mount',
      'type=bind,source=/a,target=/x/deep/er,readonly',
      '--tmpfs',
      '/x:size=1m,exec',
      '-v',
      '/b:/x/deep:rslave',
    )
    assert.deepEqual(
      mounts.slice(-3).map(({ destination, type, options }) => [destination, type, options.join()]),
      [
        ['/x', 'tmpfs', 'noexec,nosuid,nodev,size=1m,exec'],
        ['/x/deep', 'bind', 'rbind,rslave'],
        ['/x/deep/er', 'bind', 'rbind,rprivate,ro'],
      ],
    )
  })

  it('a root that is read-only, with what is in it', async () => {
    const { root, mounts } = await specOf('--read-only')
    assert.deepEqual(root, { path: 'rootfs', readonly: true })
    const writable = mounts.filter(({ options }) => !options.includes('ro')).map(({ destination }) => destination)
    assert.deepEqual(writable, ['/proc', '/dev', '/dev/pts', '/dev/mqueue', '/dev/shm'])
  })

  it('a mount of the user’s in place of one of the system’s', async () => {
    const { mounts } = await specOf('--tmpfs', '/dev/shm', '-v', '/a:/etc/hosts')
    assert.equal(mounts.filter(({ destination }) => destination === '/dev/shm').length, 1)
    assert.equal(mounts.filter(({ destination }) => destination === '/etc/hosts').length, 1)
  })

  it('limits without a limit, in the 64 bits of the kernel', async () => {
    const request = await typed('--ulimit', 'core=-1', '--ulimit', 'nofile=10:20', 'localhost:5000/x', 'true')
    const spec = containerSpec({
      image: {},
      request,
      user: { uid: 0, gid: 0, additionalGids: [], home: '/' },
      hostname: 'a',
      seccomp: undefined,
      files: [],
    })
    assert.match(JSON.stringify(spec), /"type":"RLIMIT_CORE","soft":18446744073709551615,"hard":18446744073709551615/)
    assert.match(JSON.stringify(spec), /"type":"RLIMIT_NOFILE","soft":10,"hard":20/)
  })

  it('switches with a value, and options right before the image', async () => {
    const request = await typed(
      '--rm=false',
      '--tty=true',
      '--init=1',
      '-eA=1',
      '-e',
      'B=2',
      'localhost:5000/x',
      'prog',
      '--rm=false',
      '-v',
    )
    assert.deepEqual(request, {
      command: ['prog', '--rm=false', '-v'],
      environment: ['A=1', 'B=2'],
      terminal: true,
      init: true,
    })
  })

  for (const [words, expected] of [
    [['-w=/tmp'], { workingDirectory: '/tmp' }],
    [['-e=A=1', '-u=www'], { environment: ['A=1'], user: 'www' }],
    [['-iw=/tmp'], { interactive: true, workingDirectory: '/tmp' }],
    [['-it=true'], { interactive: true, terminal: true }],
    [['-it=false'], { interactive: true }],
    [['-i=false', '-t=1'], { terminal: true }],
    [['-l', 'a=b', '-ec=d'], { labels: { a: 'b' }, environment: ['c=d'] }],
    [['-e', '-w=/x'], { environment: ['-w=/x'] }],
    [
      ['--mount', 'type=volume,source=data,target=/d,volume-driver=local'],
      { mounts: [{ type: 'volume', name: 'data', target: '/d', readOnly: false, noCopy: false }] },
    ],
  ] as const)
    it(`what docker takes ${words.join(' ')} for`, async () =>
      assert.deepEqual(await typed(...words, 'localhost:5000/x'), expected))
  it('no switch of what is neither true nor false', async () =>
    await assert.rejects(typed('-it=perhaps', 'localhost:5000/x'), /invalid value perhaps for -t/))

  it('no name, as a script may have none, and host names with what docker takes', async () => {
    assert.equal((await typed('--name', '', 'localhost:5000/x')).name, undefined)
    assert.equal((await typed('-h', 'build_host-1.lan', 'localhost:5000/x')).hostname, 'build_host-1.lan')
  })
  it('a health check, a restart policy and a log', async () => {
    const request = await typed(
      '--health-cmd',
      'test -f /ok',
      '--health-interval=1m30s',
      '--health-retries',
      '2',
      '--restart',
      'on-failure:3',
      '--log-opt',
      'max-size=10k',
      '--log-opt',
      'max-file=3',
      'localhost:5000/x',
    )
    assert.deepEqual(request.health, { command: 'test -f /ok', intervalMs: 90_000, retries: 2 })
    assert.deepEqual(request.restart, { policy: 'on-failure', maximumRetries: 3 })
    assert.deepEqual(request.log, { driver: 'json-file', maxSizeBytes: 10_240, maxFiles: 3 })
  })

  describe('variables', () => {
    let folder: string
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'gantry-env-'))
    })
    after(async () => await rm(folder, { recursive: true, force: true }))
    it('of files, then of options, and of this process', async () => {
      const file = join(folder, 'env')
      await writeFile(file, '# comment\nA=of file\n\nHOME\nNOT_SET_HERE\n')
      const { environment } = await typed('--env-file', file, '-e', 'B=2', '-e', 'NOT_SET_HERE', 'localhost:5000/x')
      assert.deepEqual(environment, ['A=of file', `HOME=${process.env['HOME']}`, 'B=2', 'NOT_SET_HERE'])
      await assert.rejects(
        typed('--env-file', join(folder, 'missing'), 'localhost:5000/x'),
        /cannot read .* \(ENOENT\)/,
      )
      await writeFile(file, 'A B=1\n')
      await assert.rejects(typed('--env-file', file, 'localhost:5000/x'), /invalid variable "A B" in .*env/)
      await writeFile(file, '=1\n')
      await assert.rejects(typed('--env-file', file, 'localhost:5000/x'), /invalid variable "" in .*env/)
    })
  })
})

describe('an option that cannot be meant is refused with what would be right', () => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [['-m', '5m'], /the least memory limit allowed is 6m/],
    [['-m', '-1'], /invalid size "-1" for --memory: leave it out/],
    [['-m', 'lots'], /invalid size "lots" for --memory: write a number with b, k, m or g/],
    [['--memory-swap', '1g'], /needs --memory/],
    [['-m', '64m', '--memory-swap', '32m'], /must not be less than --memory/],
    [['--cpus', '1000'], /between 0.01 and \d+/],
    [['--cpus', '1', '--cpu-quota', '1000'], /--cpus contradicts/],
    [['--oom-score-adj', '2000'], /between -1000 and 1000/],
    [['--cap-add', 'FLY'], /unknown capability "FLY"/],
    [['--security-opt', 'selinux=1'], /invalid --security-opt/],
    [['--ulimit', 'nofile=5:3'], /the soft limit must be less/],
    [['--ulimit', 'wings=5'], /the types are as, core/],
    [['-v', 'relative/path:/x'], /no name for a volume/],
    [['-v', '/a:/x:sideways'], /invalid mode "sideways"/],
    [['-v', '/a:relative'], /must be an absolute path/],
    [['-v', '/a:/'], /over the container's root/],
    [['--tmpfs', '/x:colour=red'], /invalid tmpfs option/],
    [['--mount', 'type=bind,target=/x'], /needs source=/],
    [['--mount', 'type=cloud,target=/x'], /it is bind, volume or tmpfs/],
    [['--mount', 'type=volume,volume-driver=nfs,target=/x'], /no volume-driver nfs, only local/],
    [['--mount', 'type=volume,tmpfs-size=1m,target=/x'], /tmpfs-size is not for a mount of type volume/],
    [['--device', 'null'], /write SOURCE/],
    [['--device-cgroup-rule', 'c 1:3'], /write TYPE MAJOR:MINOR ACCESS/],
    [['--network', 'bridge'], /there are no bridge networks yet/],
    [['--pid', 'sideways'], /it is host, container:NAME/],
    [['--restart', 'sometimes'], /it must be no, always, unless-stopped/],
    [['--restart', 'always:3'], /takes no number of retries/],
    [['--health-interval', '5'], /invalid duration/],
    [['--log-opt', 'colour=red'], /unknown log option/],
    [['--hostname', '-x-'], /invalid host name/],
    [['-l', '=x'], /write KEY=VALUE/],
    [['--userns', 'keep-id'], /it is host/],
    [['-p', '80:80'], /ports cannot be published yet: there is no bridge network/],
    [['-P'], /ports cannot be published yet/],
    [['--rm=perhaps'], /it is true or false/],
  ]
  for (const [words, message] of cases)
    it(words.join(' '), async () => {
      await assert.rejects(specOf(...words), message)
    })
})
