// `gantry exec` by the native launcher beside Node's: the same output, exit codes, rights and variables, and what it is not sure of it leaves to Node.
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { closed, type Finished, run, startGroup, stopGroup, until } from '../conformance/support/commands.ts'
import { missing } from '../conformance/support/needs.ts'
import { Terminal } from '../conformance/support/terminal.ts'
import { Workspace } from '../conformance/support/workspace.ts'
import { readMonitorStatus } from '../native/monitor-status.ts'
import { resolveUser } from './containers/user.ts'
import { pullBusybox } from './testing/busybox-image.ts'

const BUILD = fileURLToPath(new URL('../native/build', import.meta.url))
const COMMAND = fileURLToPath(new URL('gantry.mjs', import.meta.url))
const skip = await missing('busybox', 'python3')
const LEFT_TO_NODE = /^gantry: gantry needs Node 24\.12 or newer, and there is no `node` in PATH/
const SLEEP = ['sh', '-c', 'trap exit TERM; while :; do sleep 1; done']

describe('gantry exec by the launcher', { skip }, () => {
  let workspace: Workspace
  let image: string
  /** A copy of it where there is no Node: what it does not do fails. */
  let alone: string
  let env: NodeJS.ProcessEnv

  before(async () => {
    workspace = await Workspace.open()
    image = await pullBusybox(workspace.path('store'), { Env: ['A=image', 'B=image', 'PATH=/bin'] })
    const package_ = workspace.path('deep/below/lib/gantry')
    for (const path of ['native/build', 'client']) await mkdir(join(package_, path), { recursive: true })
    for (const name of ['gantry', 'gantry-runtime'])
      await copyFile(join(BUILD, name), join(package_, 'native/build', name))
    await writeFile(join(package_, 'client/gantry.mjs'), '')
    alone = join(package_, 'native/build/gantry')
    env = { ...workspace.env, PATH: '/nonexistent', HERE: 'from here', EMPTY: '' }
    const user = ['--user', 'www', '--cap-add', 'NET_ADMIN', '--cap-drop', 'CHOWN', '--ulimit', 'nofile=77:99']
    for (const [name, flags] of [
      ['plain', []],
      ['strict', [...user, '-w', '/srv', '-e', 'HOME=/tmp', '-e', 'TERM=vt52', '--oom-score-adj', '123']],
      ['privileged', ['--privileged', '-h', 'host']],
    ] as const) {
      const { code, stderr } = await byNode('run', '-d', '--name', name, ...flags, image, ...SLEEP)
      assert.equal(code, 0, stderr)
    }
  })
  after(async () => {
    await byNode('rm', '-f', 'plain', 'strict', 'privileged', 'brief')
    await byNode('system', 'clean-up')
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })

  const store = () => ['--root', workspace.path('store')]
  const byNode = (...words: readonly string[]): Promise<Finished> =>
    run(process.execPath, [COMMAND, ...store(), ...words], { env: { ...env, PATH: workspace.env['PATH'] } })
  const byLauncher = (...words: readonly string[]): Promise<Finished> => run(alone, [...store(), ...words], { env })
  const idOf = (name: string): string => readlinkSync(workspace.path('store', 'names', name))
  const folderOf = (name: string): string => workspace.path('store', 'containers', idOf(name))
  const typing = (...words: readonly string[]) =>
    new Terminal([alone, ...store(), ...words], { columns: 91, rows: 23, env: { ...env, PATH: workspace.env['PATH'] } })
  const begun: ChildProcess[] = []
  const begin = (program: string, ...words: readonly string[]) => {
    const child = startGroup(program, words, { env, stdio: 'pipe' })
    begun.push(child)
    const ended = closed(child)
    ended.catch(() => {}) // whoever awaits it gets the rejection
    return { child, ended }
  }
  const beginExec = (...words: readonly string[]) => begin(alone, ...store(), 'exec', ...words)
  afterEach(async () => {
    for (const child of begun.splice(0)) await stopGroup(child)
  })

  const SHOW = [
    'id; pwd; hostname; env | sort; ulimit -n; cat /proc/self/oom_score_adj; ls /proc/self/fd',
    "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; readlink /proc/self/ns/*; umask; read x; echo $?",
  ].join('\n')
  const FLAGS: readonly (readonly string[])[] = [
    [],
    ['-i'],
    ['--interactive', '-w', '/tmp'],
    ['--workdir=/srv', '-e', 'A=asked'],
    ['-e', 'C=1', '-eB=2', '--env', 'C=3', '--env=D=', '-e', 'E=a=b'],
    ['-e', 'HERE', '-e', 'EMPTY', '-e', 'NOT_HERE', '-e', 'HOME=/own'],
    ['-e', 'A'],
    ['-u', '0'],
    ['-u', '5'],
    ['-u', '5:6'],
    ['--user', 'www'],
    ['--user=www:extra', '-ie', 'A=ß€😀'],
    ['-unobody'],
    ['-u', ':33'],
    ['-u', '33', '-w', '/', '-u', '65534'],
  ]
  for (const name of ['plain', 'strict', 'privileged'])
    it(`gives a program what Node gives it, in a container that is ${name}`, async () => {
      for (const flags of FLAGS) {
        const words = ['exec', ...flags, name, 'sh', '-c', SHOW]
        const own = await byLauncher(...words)
        assert.deepEqual(own, await byNode(...words), flags.join(' '))
        assert.equal(own.code, 0, own.stderr)
      }
    })

  it('runs once, and ends as the program does, where the caller ignores the end of children; with as many files as Node', async () => {
    const ignoring = (...words: readonly string[]): Promise<Finished> =>
      run('/usr/bin/env', ['--ignore-signal=CHLD', alone, ...store(), 'exec', ...words], { env })
    assert.equal((await ignoring('plain', 'sh', '-c', 'exit 7')).code, 7)
    for (const flag of ['-t', '-d']) {
      const { code } = await ignoring(flag, 'plain', 'sh', '-c', `echo once >>/tmp/count${flag}; exit 7`)
      assert.equal(code, flag === '-t' ? 7 : 0)
      const counted = await until('it to have run', 10_000, async () => {
        const { stdout } = await byLauncher('exec', 'plain', 'cat', `/tmp/count${flag}`)
        return stdout === '' ? undefined : stdout
      })
      assert.equal(counted, 'once\n', flag)
    }
    const limits = ['exec', 'plain', 'sh', '-c', 'ulimit -n; ulimit -Hn']
    const low = await run('/bin/sh', ['-c', 'ulimit -Sn 100; exec "$@"', 'sh', alone, ...store(), ...limits], { env })
    assert.deepEqual(low, await byNode(...limits))
  })

  it('ends as the program does, and says what could not be started, as Node', async () => {
    for (const words of [
      ['plain', 'sh', '-c', 'echo out; echo err >&2; exit 7'],
      ['plain', 'sh', '-c', 'kill -9 $$'],
      ['plain', 'sh', '-c', 'kill -TERM $$'],
      ['plain', 'sh', '-c', 'exit 255'],
      ['plain', 'nosuch'],
      ['plain', '/nosuch'],
      ['plain', '/etc'],
      ['plain', '/etc/passwd'],
      ['-w', '/nosuch', 'plain', 'true'],
      ['-w', '/bin/sh', 'plain', 'true'],
      ['-u', 'www', '-w', '/root', 'plain', 'ls'],
      ['-e', 'PATH=/nowhere', 'plain', 'true'],
      ['-d', 'plain', 'true'],
      ['plain', 'sh', '-c', 'echo $#', 'sh', '-e', '--', '--help', ''],
    ])
      assert.deepEqual(await byLauncher('exec', ...words), await byNode('exec', ...words), words.join(' '))
    const many = Array.from({ length: 3000 }, (_, i) => `${i}`.repeat(10)) // more than a pipe holds
    assert.deepEqual(await byLauncher('exec', 'plain', 'echo', ...many), {
      code: 0,
      stdout: `${many.join(' ')}\n`,
      stderr: '',
    })
  })

  it('finds a container as Node does, and leaves what it is not sure of to it, having done nothing', async () => {
    const id = idOf('plain')
    for (const name of ['plain', '/plain', id, id.slice(0, 12), id.slice(0, 4)])
      assert.equal((await byLauncher('exec', name, 'hostname')).stdout, `${id.slice(0, 12)}\n`, name)
    assert.equal((await byNode('run', '-d', '--name', 'brief', image, ...SLEEP)).code, 0)
    assert.equal((await byNode('pause', 'brief')).code, 0)
    await assertLeftToNode('brief', 'true')
    assert.equal((await byNode('unpause', 'brief')).code, 0)
    assert.equal((await byLauncher('exec', 'brief', 'true')).code, 0)
    assert.equal((await byNode('stop', '-t', '0', 'brief')).code, 0)
    await assertLeftToNode('brief', 'true')
    assert.equal((await byNode('rm', 'brief')).code, 0)
    await assertLeftToNode('brief', 'true')
    for (const words of [
      ['plain'],
      ['plain', ''],
      ['plain', '--', 'true'],
      ['--', 'plain', 'true'],
      ['-', 'true'],
      ['--privileged', 'plain', 'true'],
      ['--env-file', '/dev/null', 'plain', 'true'],
      ['--detach-keys', 'ctrl-a', '-t', 'plain', 'true'],
      ['--tty=false', 'plain', 'true'],
      ['--no-such', 'plain', 'true'],
      ['-x', 'plain', 'true'],
      ['-ti', 'plain', 'true'], // from no terminal
      ['-e', '=x', 'plain', 'true'],
      ['-e', '', 'plain', 'true'],
      ['-w', 'relative', 'plain', 'true'],
      ['-u', 'nosuch', 'plain', 'true'],
      ['-u', '0:nosuch', 'plain', 'true'],
      ['-u', '4294967296', 'plain', 'true'],
      ['-u', '+0', 'plain', 'true'],
      ['-u', 'a:b:c', 'plain', 'true'],
      ['-d', 'plain', 'nosuch'], // tried, and its words are Node's
      ['-w'],
      [],
    ])
      await assertLeftToNode(...words)
    const notUtf8 = ['-c', '"$@" "$(printf "\\377")"', 'sh', alone, ...store(), 'exec', 'plain', 'echo']
    assert.match((await run('/bin/sh', notUtf8, { env })).stderr, LEFT_TO_NODE)
  })
  async function assertLeftToNode(...words: readonly string[]): Promise<void> {
    const { code, stdout, stderr } = await byLauncher('exec', ...words)
    assert.deepEqual([code, stdout], [1, ''], words.join(' '))
    assert.match(stderr, LEFT_TO_NODE, words.join(' '))
  }

  it('resolves users as Node does, whatever the container’s files are, and follows no link out of it', async () => {
    const etc = join(await rootOf('plain'), 'etc')
    const field = fc.constantFrom(
      '',
      '0',
      '5',
      '07',
      '33',
      '2147483647',
      '2147483648',
      '-1',
      'x',
      'www',
      'root',
      ' 5 ',
      '#',
    )
    const line = fc
      .array(fc.oneof(field, fc.constantFrom('a,www', 'www,root,5')), { maxLength: 7 })
      .map((all) => all.join(':'))
    const text = fc.array(line, { maxLength: 6 }).map((lines) => lines.join('\n'))
    const wanted = fc
      .tuple(field, fc.option(field, { nil: undefined }))
      .map(([user, group]) => (group === undefined ? user : `${user}:${group}`))
      .filter((text) => text !== '')
    const kept = await Promise.all(['passwd', 'group'].map((name) => readFile(join(etc, name))))
    let resolved = 0
    await fc.assert(
      fc.asyncProperty(wanted, text, text, async (specification, passwd, group) => {
        await writeFile(join(etc, 'passwd'), passwd)
        await writeFile(join(etc, 'group'), group)
        const words = [
          '-u',
          specification,
          'plain',
          'sh',
          '-c',
          'grep -E "^(Uid|Gid|Groups)" /proc/self/status; echo "$HOME"',
        ]
        let user: ReturnType<typeof resolveUser> | undefined
        try {
          user = resolveUser(specification, { passwd, group })
        } catch {
          await assertLeftToNode(...words)
          return
        }
        resolved++
        const four = (id: number): string => Array(4).fill(id).join('\t')
        const groups = user.additionalGids.toSorted((a, b) => a - b).map((gid) => `${gid} `)
        assert.deepEqual(await byLauncher('exec', ...words), {
          code: 0,
          stdout: `Uid:\t${four(user.uid)}\nGid:\t${four(user.gid)}\nGroups:\t${groups.join('')}\n${user.home}\n`,
          stderr: '',
        })
      }),
      { numRuns: 150 },
    )
    assert.ok(resolved > 15, `${resolved} of 150`)
    await rm(join(etc, 'passwd'))
    await writeFile(join(etc, 'group'), kept[1] ?? '')
    assert.equal((await byLauncher('exec', 'plain', 'ln', '-s', '/../../../other', '/etc/passwd')).code, 0)
    await writeFile(join(etc, '../other'), 'inside:x:71:72::/home:/bin/sh\n')
    assert.match((await byLauncher('exec', '-u', 'inside', 'plain', 'id')).stdout, /^uid=71\(inside\) gid=72/)
    await rm(join(etc, 'passwd'))
    assert.equal((await byLauncher('exec', 'plain', 'mkfifo', '/etc/passwd')).code, 0)
    await assertLeftToNode('-u', '5', 'plain', 'true') // and waits for nobody to write into it
    await rm(join(etc, 'passwd'))
    await writeFile(join(etc, 'passwd'), kept[0] ?? '')
  })

  it('passes input on with its end, and none without -i', async () => {
    const input = 'x'.repeat(300_000)
    const exec = (...words: readonly string[]) => run(alone, [...store(), 'exec', ...words], { env, input })
    assert.equal((await exec('-i', 'plain', 'wc', '-c')).stdout, '300000\n')
    assert.equal((await exec('plain', 'wc', '-c')).stdout, '0\n')
    // Standard streams that are closed are nothing, and no descriptor of ours takes their place.
    const closedOnes = await run('/bin/sh', [
      '-c',
      '"$@" <&- 2>&-',
      'sh',
      alone,
      ...store(),
      'exec',
      '-i',
      'plain',
      'sh',
      '-c',
      'ls -l /proc/self/fd | sed "s/.* \\([012] -> .*\\)/\\1/"; cat',
    ])
    assert.match(closedOnes.stdout, /^0 -> \/dev\/null\n1 -> pipe:.*\n2 -> \/dev\/null\n/m)
    assert.doesNotMatch(closedOnes.stdout, /"args"/)
  })

  it('gives it as many descriptors as Node, and waits for it whatever who calls it ignores', async () => {
    const odd = (...command: readonly string[]) =>
      run('/bin/sh', ['-c', 'trap "" CHLD HUP; ulimit -Sn 64; exec "$@"', 'sh', ...command], { env })
    for (const flags of [[], ['-t'], ['-d']]) {
      const words = [...store(), 'exec', ...flags, 'plain', 'sh', '-c', 'ulimit -n; echo x >> /times; exit 3']
      const own = await odd(alone, ...words)
      assert.deepEqual(own, await odd(process.execPath, COMMAND, ...words), flags.join(' '))
      assert.equal(own.code, flags[0] === '-d' ? 0 : 3)
    }
    const times = async () => (await byLauncher('exec', 'plain', 'wc', '-l', '/times')).stdout
    await until('each of them', 20_000, async () => (await times()) === '6 /times\n' || undefined)
  })

  it('passes signals on to the program, once, and is stopped by Ctrl-Z like any job', async () => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGQUIT'] as const) {
      const script = `n=0; trap 'n=$((n + 1)); echo got $n' ${signal.slice(3)}; echo ready; while test $n = 0; do sleep 0.05; done; sleep 0.2; exit $n`
      const { child, ended } = beginExec('plain', 'sh', '-c', script)
      let said = ''
      child.stdout?.on('data', (data) => {
        said += data
      })
      await until('it to be ready', 20_000, async () => said.includes('ready') || undefined)
      child.kill(signal)
      assert.equal(await ended, 1, said)
      assert.equal(said, 'ready\ngot 1\n')
    }
    // A job of a shell: of a session that has nobody to let it go on again the kernel stops nobody.
    const asJob = 'import os, subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], preexec_fn=os.setpgrp).returncode)'
    const { ended } = begin('/usr/bin/python3', '-c', asJob, alone, ...store(), 'exec', 'plain', 'sleep', own(600))
    const program = await until('the program', 20_000, () => programs('sleep', own(600))[0])
    const job = Number(/\) \S (\d+)/.exec(procFile(program, 'stat'))?.[1])
    process.kill(job, 'SIGTSTP')
    await until('it to be stopped', 20_000, () => stateOf(job) === 'T' || undefined)
    assert.match(stateOf(Number(program)) ?? '', /S/) // as it would not notice anything of docker's
    process.kill(job, 'SIGCONT')
    process.kill(job, 'SIGTERM')
    await until('its end', 20_000, () => stateOf(job) === undefined || undefined)
    assert.equal(await ended, 143)
  })

  it('gives a program a terminal, of this one’s size, and ends as it does', async () => {
    await using terminal = typing('exec', '-ti', '-e', 'PS1=ready> ', 'plain', 'sh')
    await terminal.expect(/ready> /)
    terminal.type('stty size; tty; echo $TERM\r')
    await terminal.expect(/23 91\r\n\/dev\/pts\/\d\r\nxterm/)
    terminal.resize(101, 33)
    await until('the new size', 20_000, async () => {
      terminal.type('stty size\r')
      return await terminal.expect(/\d+ \d+\r/).then(([size]) => (/33 101/.test(size) ? true : undefined))
    })
    terminal.type(`sleep ${own(604)}\r`)
    await until('the program', 20_000, () => programs('sleep', own(604)).length > 0 || undefined)
    terminal.type('\x03')
    await terminal.expect(/\^C[\s\S]*ready> /)
    terminal.type('exit 4\r')
    assert.equal(await terminal.exited, 4)
    for (const words of [
      ['-t', 'plain', 'tty'],
      ['-t', 'plain', 'nosuch'],
      ['-dt', 'plain', 'true'],
    ])
      assert.deepEqual(await byLauncher('exec', ...words), await byNode('exec', ...words), words.join(' '))
    await assertLeftToNode('-dt', 'plain', 'nosuch')
    const { child, ended } = beginExec('-t', 'plain', 'sleep', own(605))
    await until('the program', 20_000, () => programs('sleep', own(605)).length > 0 || undefined)
    child.kill('SIGTERM')
    assert.equal(await ended, 143)
  })

  it('lets go of a terminal by the keys: what runs goes on, and ends with the container', async () => {
    assert.equal((await byNode('run', '-d', '--name', 'brief', image, ...SLEEP)).code, 0)
    const id = idOf('brief')
    await using terminal = typing('exec', '-ti', 'brief', 'sh', '-c', `echo begins; exec sleep ${own(606)}`)
    await terminal.expect(/begins/)
    terminal.type('\x10x\x10\x11')
    assert.equal(await terminal.exited, 0)
    assert.equal((await byLauncher('exec', '-dt', 'brief', 'sleep', own(607))).code, 0)
    assert.deepEqual(
      (await readdir(folderOf('brief'))).filter((name) => name.startsWith('exec')),
      [],
    )
    for (const n of [606, 607]) assert.equal(programs('sleep', own(n)).length, 1)
    assert.equal((await byNode('rm', '-f', 'brief')).code, 0)
    await until(
      'their end',
      20_000,
      () => programs('sleep', own(606)).length + programs('sleep', own(607)).length === 0 || undefined,
    )
    await until('the end of who held them', 20_000, () => held(id).length === 0 || undefined)
  })

  it('is killed, and the program goes on, as docker’s and podman’s do; nothing is left behind', async () => {
    const before_ = await readdir(folderOf('plain'))
    const { child } = beginExec('plain', 'sleep', own(601))
    const program = await until('the program', 20_000, async () => programs('sleep', own(601))[0])
    const exited = once(child, 'exit') // its streams stay open: they are the program's, too
    child.kill('SIGKILL')
    assert.deepEqual(await exited, [null, 'SIGKILL'])
    assert.deepEqual(await readdir(folderOf('plain')), before_)
    assert.equal((await byLauncher('exec', 'plain', 'true')).code, 0)
    assert.deepEqual(programs('sleep', own(601)), [program])
    process.kill(Number(program), 'SIGKILL')
  })

  it('leaves a program behind with -d, whose streams are nobody’s', async () => {
    const { code, stdout, stderr } = await byLauncher(
      'exec',
      '-di',
      'plain',
      'sh',
      '-c',
      `ls -l /proc/self/fd > /fds; exec sleep ${own(602)}`,
    )
    assert.deepEqual([code, stdout, stderr], [0, '', ''])
    await until('the program', 20_000, async () => programs('sleep', own(602)).length === 1 || undefined)
    assert.equal((await byLauncher('exec', 'plain', 'grep', '-c', '[02] -> /dev/null', '/fds')).stdout, '2\n')
    for (const pid of programs('sleep', own(602))) process.kill(Number(pid), 'SIGKILL')
  })

  it('is told when its container ends', async () => {
    assert.equal((await byNode('run', '-d', '--name', 'brief', image, ...SLEEP)).code, 0)
    const { ended } = beginExec('brief', 'sleep', own(603))
    await until('the program', 20_000, async () => programs('sleep', own(603)).length > 0 || undefined)
    assert.equal((await byNode('rm', '-f', 'brief')).code, 0)
    assert.equal(await ended, 137)
  })

  /** The container's own root, as its processes see it. */
  async function rootOf(name: string): Promise<string> {
    const known = await readMonitorStatus(folderOf(name))
    return `/proc/${known?.status.pid}/root`
  }
})

/** Seconds for which nobody else sleeps. */
const own = (n: number): string => `${process.pid}${n}`

/** Pids of those that were started with these words. */
const programs = (...words: readonly string[]): readonly string[] =>
  readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && procFile(pid, 'cmdline') === `${words.join('\0')}\0`)

/** Pids of runtimes that hold a terminal which somebody has left. */
const held = (id: string): readonly string[] =>
  readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && procFile(pid, 'cmdline').endsWith(`\0--detach-keys=1011\0${id}\0`),
  )

/** The letter of proc_pid_stat(5). */
const stateOf = (pid: number): string | undefined => /\) (\S)/.exec(procFile(`${pid}`, 'stat'))?.[1]

function procFile(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return '' // it has ended
  }
}
