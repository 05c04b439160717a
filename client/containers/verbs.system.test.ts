/** What is typed about containers that are there, by the command itself, on a busybox: effects, output and exit codes. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { closed, run, startGroup, stopGroup, until } from '../../conformance/support/commands.ts'
import { missing } from '../../conformance/support/needs.ts'
import { pullBusybox } from '../testing/busybox-image.ts'

const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))
const skip = await missing('busybox')

describe('gantry', { skip }, () => {
  let root: string
  let image: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-verbs-'))
    image = await pullBusybox(root, { Volumes: { '/anonymous': {} } })
  })
  after(async () => await rm(root, { recursive: true, force: true }))
  afterEach(async () => {
    const { stdout } = await gantry('ps', '-aq')
    if (stdout !== '') await gantry('rm', '-fv', ...stdout.trim().split('\n'))
    await gantry('volume', 'prune', '-af')
    for (const folder of ['containers', 'names', 'volumes'])
      assert.deepEqual(await readdir(join(root, folder)), [], folder)
  })

  const gantry = (...words: readonly string[]) => run(process.execPath, [COMMAND, '--root', root, ...words])
  const says = async (...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await gantry(...words)
    assert.equal(code, 0, `${words.join(' ')}: ${stdout}${stderr}`)
    return stdout.trimEnd()
  }
  const codeOf = async (...words: readonly string[]): Promise<number> => (await gantry(...words)).code
  const detached = (...words: readonly string[]): Promise<string> => says('run', '-d', ...words)

  it('runs an image by its id, whole or in short, and looks for no id in a registry', async () => {
    const [{ id = '' } = {}] = JSON.parse(await says('images', '--json')) as { id?: string }[]
    for (const each of [id, id.slice('sha256:'.length, 'sha256:'.length + 12)])
      assert.equal(await says('run', '--rm', each, 'echo', 'it'), 'it')
    const { code, stderr } = await gantry('run', '--rm', `sha256:${'0'.repeat(64)}`, 'true')
    assert.equal(code, 125)
    assert.match(stderr, /no image of the id sha256:0+ is here; `gantry images` lists them/)
  })

  it('lists the others beside one whose record is damaged, keeps what that may use, and removes it by force', async () => {
    const [id, other] = [await detached('--name', 'hurt', image, 'sleep', '1d'), await says('create', image)]
    await writeFile(join(root, 'containers', id, 'container.json'), '{')
    const { code, stdout, stderr } = await gantry('ps', '-a', '--no-trunc', '--format', '{{.ID}}')
    assert.deepEqual([code, stdout], [0, `${other}\n`])
    const short = id.slice(0, 12)
    assert.match(
      stderr,
      new RegExp(`the record of the container ${short} cannot be read.*remove it with .gantry rm -f ${short}`),
    )
    const pruned = await gantry('volume', 'prune', '-af')
    assert.equal(pruned.code, 1)
    assert.match(pruned.stderr, /cannot be read/)
    assert.equal(await codeOf('rm', short), 1)
    assert.equal(await says('rm', '-f', short), short)
    assert.equal(await says('ps', '-aq', '--no-trunc'), other)
    assert.equal(await says('run', '--rm', '--name', 'hurt', image, 'echo', 'again'), 'again')
  })

  it('keeps a detached container: listed, logged, entered, stopped, started again, removed', async () => {
    const id = await detached(
      '--name',
      'web',
      image,
      'sh',
      '-c',
      'echo out; echo err >&2; trap "exit 5" TERM; while :; do sleep 0.1; done',
    )
    assert.match(id, /^[0-9a-f]{64}$/)
    assert.equal(await says('ps', '--format', '{{.ID}} {{.Names}} {{.State}}'), `${id.slice(0, 12)} web running`)
    assert.equal(await says('exec', 'web', 'hostname'), id.slice(0, 12))
    const logs = await gantry('logs', 'web')
    assert.deepEqual([logs.stdout, logs.stderr], ['out\n', 'err\n'])
    assert.equal(await codeOf('rm', 'web'), 1)
    assert.equal(await says('stop', 'web'), 'web')
    assert.equal(
      await says('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}', 'web'),
      'exited 5 false',
    )
    assert.match(await says('ps', '-a', '--format', '{{.Status}}'), /^Exited \(5\) .* ago$/)
    assert.equal(await says('start', id.slice(0, 8)), id.slice(0, 8))
    assert.equal(await says('ps', '-q', '--no-trunc'), id)
    assert.equal(await says('rm', '-f', 'web'), 'web')
    assert.equal(await codeOf('inspect', 'web'), 1)
  })

  it('waits for the end and tells how it was', async () => {
    const id = await detached(image, 'sh', '-c', 'sleep 0.3; exit 42')
    assert.equal(await says('wait', id), '42')
    assert.equal(await says('wait', id), '42')
  })

  it('ends with the codes of docker where something is wrong', async () => {
    await detached('--name', 'up', image, 'sleep', '600')
    const codes = await Promise.all([
      codeOf('exec', 'up', 'sh', '-c', 'exit 9'),
      codeOf('exec', 'up', 'nosuch'),
      codeOf('exec', 'up', '/etc'),
      codeOf('exec', 'nosuch', 'true'),
      codeOf('run', '--name', 'up', image),
      codeOf('run', '--rm', image, 'nosuch'),
      codeOf('stop', 'nosuch'),
      codeOf('rm', 'up'),
      codeOf('pause', 'nosuch'),
      codeOf('unpause', 'up'),
      codeOf('kill', '-s', 'NOSUCH', 'up'),
      codeOf('logs', 'nosuch'),
      codeOf('rename', 'up', 'up'),
      codeOf('volume', 'rm', 'nosuch'),
      codeOf('cp', 'up:/nosuch', root),
    ])
    assert.deepEqual(codes, [9, 127, 126, 1, 125, 127, 1, 1, 1, 1, 1, 1, 1, 1, 1])
  })

  it('shows a volume to one container after another, and seeds it from the image with its owners', async () => {
    await says('run', '--rm', '-v', 'hello:/world', image, 'sh', '-c', 'echo greeting > /world/file')
    assert.equal(await says('run', '--rm', '-v', 'hello:/world:ro', image, 'cat', '/world/file'), 'greeting')
    assert.match(await says('run', '--rm', '-v', 'seeded:/srv', image, 'ls', '-ln', '/srv'), / 33 +33 .* seed\.txt$/)
    assert.match(await says('run', '--rm', '-v', 'seeded:/srv', image, 'ls', '-ldn', '/srv'), /^drwxr-x--- .* 33 +33 /)
    assert.equal(await says('run', '--rm', '-v', 'empty:/srv:nocopy', image, 'ls', '/srv'), '')
    const user = await says('create', '-v', 'hello:/x', image)
    assert.equal(await codeOf('volume', 'rm', 'hello'), 1)
    await says('rm', user)
    assert.equal(await says('volume', 'rm', 'hello'), 'hello')
  })

  it('says what is wrong where a file is to be mounted on a folder', async () => {
    const { code, stderr } = await gantry('run', '--rm', '-v', `${COMMAND}:/srv`, image, 'true')
    assert.equal(code, 125)
    assert.match(stderr, /\/srv\): .*a folder is mounted on a folder, a file on a file: is .*gantry\.mjs what/)
  })

  it('takes the volumes without a name away with their container, where that was asked', async () => {
    await says('run', '--rm', image, 'true')
    assert.equal(await codeOf('create', '-v', '/one', '--mount', 'type=bind,source=/no/such,target=/two', image), 1)
    assert.equal(await says('volume', 'ls', '-q'), '')
    const id = await says('create', image)
    const [name = ''] = (await says('volume', 'ls', '-q')).split('\n')
    assert.match(name, /^[0-9a-f]{64}$/)
    await says('rm', id)
    assert.equal(await says('volume', 'ls', '-q', '-f', 'dangling=true'), name)
    const other = await says('create', '--volumes-from', await says('create', '-v', 'shared:/s', image), image)
    assert.match(await says('inspect', '-f', '{{range .Mounts}}{{.Name}} {{end}}', other), /shared/)
  })

  it('copies files in and out, also of one that is stopped, and into volumes', async () => {
    const folder = join(root, 'copies')
    await mkdir(join(folder, 'tree', 'sub'), { recursive: true })
    await writeFile(join(folder, 'tree', 'sub', 'file'), 'text')
    const id = await says('create', '-v', 'vol:/vol', image, 'sleep', '600')
    await says('cp', join(folder, 'tree'), `${id}:/tmp`)
    await says('cp', `${folder}/tree/.`, `${id}:/vol`)
    await says('start', id)
    assert.equal(await says('exec', id, 'cat', '/tmp/tree/sub/file', '/vol/sub/file'), 'texttext')
    await says('cp', `${id}:/vol/sub`, join(folder, 'out'))
    assert.equal(await readFile(join(folder, 'out', 'file'), 'utf8'), 'text')
    await symlink('/etc', join(folder, 'tree', 'link'))
    await says('exec', id, 'ln', '-s', '/../../../../../../etc/passwd', '/tmp/escape')
    await says('cp', '-L', `${id}:/tmp/escape`, join(folder, 'passwd'))
    assert.match(await readFile(join(folder, 'passwd'), 'utf8'), /^root:x:0:0:root:\/root:\/bin\/sh\nnobody/) // the container's, not the host's
    await rm(folder, { recursive: true })
  })

  it('copies a volume out as a folder of its name, whether its container runs or not', async () => {
    const id = await says('create', '-v', 'kept:/srv', image, 'sleep', '600')
    const folder = join(root, 'out')
    for (const [end, target] of [
      ['', 'made'],
      ['/', 'running'],
    ] as const) {
      await mkdir(join(folder, target), { recursive: true })
      await says('cp', `${id}:/srv${end}`, join(folder, target))
      assert.deepEqual(await readdir(join(folder, target)), ['srv'])
      assert.deepEqual(await readdir(join(folder, target, 'srv')), ['seed.txt'])
      await says('start', id)
    }
    await rm(folder, { recursive: true })
  })

  it('shows with -a the streams that it names, each where it belongs, and waits for the others', async () => {
    const both = ['sh', '-c', 'echo out; echo err >&2; sleep 0.2; exit 3']
    for (const [streams, stdout, stderr] of [
      [['stdout'], 'out\n', ''],
      [['stderr'], '', 'err\n'],
      [['stdin'], '', ''],
      [['stdout', 'stderr'], 'out\n', 'err\n'],
    ] as const) {
      const flags = streams.flatMap((stream) => ['-a', stream])
      assert.deepEqual(await gantry('run', '--rm', ...flags, image, ...both), { code: 3, stdout, stderr }, `${streams}`)
    }
  })

  it('copies as a tar, out of a container and into another, with owners, links and modes', async () => {
    const [from, to] = [await says('create', image), await detached(image, 'sleep', '600')]
    const folder = join(root, 'tars')
    await mkdir(folder)
    const shell = (script: string) =>
      run('sh', ['-c', script], { env: { ...process.env, gantry: `${process.execPath} ${COMMAND} --root ${root}` } })
    assert.deepEqual(await shell(`$gantry cp ${from}:/srv - > ${folder}/a.tar`), { code: 0, stdout: '', stderr: '' })
    assert.match(
      (await run('tar', ['-tvf', `${folder}/a.tar`])).stdout,
      /^drwxr-x--- 33\/33 .* srv\/\n-rw-r--r-- 33\/33 .* srv\/seed.txt\n$/,
    )
    assert.equal((await shell(`gzip -c ${folder}/a.tar | $gantry cp - ${to}:/tmp`)).code, 0)
    assert.match(await says('exec', to, 'ls', '-ln', '/tmp/srv'), / 33 +33 .* seed\.txt$/)
    assert.equal((await shell(`$gantry cp ${from}:/bin - | $gantry cp - ${to}:/tmp`)).code, 0)
    assert.equal(await says('exec', to, '/tmp/bin/echo', 'linked'), 'linked')
    assert.equal(await says('exec', to, 'readlink', '/tmp/bin/sh'), 'busybox')
    const noTar = await shell(`head -c 3000 /dev/urandom | $gantry cp - ${to}:/tmp`)
    assert.deepEqual([noTar.code, /is no tar that can be unpacked/.test(noTar.stderr)], [1, true])
    await rm(folder, { recursive: true })
  })

  it('exports the root filesystem, of one that runs and of one that does not, without volumes', async () => {
    const up = await detached('--name', 'up', '-v', 'vol:/vol', image, 'sleep', '600')
    await says('exec', up, 'sh', '-c', 'touch /vol/x /new; rm /srv/seed.txt')
    const made = await says('create', image)
    const folder = join(root, 'tars')
    await mkdir(folder)
    await says('export', '-o', join(folder, 'up.tar'), 'up')
    await says('container', 'export', '--output', join(folder, 'made.tar'), made)
    assert.deepEqual((await readdir(folder)).toSorted(), ['made.tar', 'up.tar'])
    const paths = async (file: string) => (await run('tar', ['-tf', join(folder, file)])).stdout.split('\n')
    const [ofUp, ofMade] = [await paths('up.tar'), await paths('made.tar')]
    for (const [path, isInUp, isInMade] of [
      ['bin/busybox', true, true],
      ['new', true, false],
      ['srv/seed.txt', false, true],
      ['vol/x', false, false],
      ['proc/1/', false, false],
    ] as const)
      assert.deepEqual([ofUp.includes(path), ofMade.includes(path)], [isInUp, isInMade], path)
    assert.match((await run('tar', ['-tvf', join(folder, 'made.tar')])).stdout, /^drwxr-x--- 33\/33 .* srv\/$/m)
    await says('import', join(folder, 'up.tar'), 'localhost/flat:1', '-c', 'ENV PATH=/bin')
    assert.equal(await says('run', '--rm', 'localhost/flat:1', 'ls', '/new'), '/new')
    await says('rmi', 'localhost/flat:1')
    const nosuch = await gantry('export', '-o', join(folder, 'none.tar'), 'nosuch')
    assert.equal(nosuch.code, 1)
    assert.deepEqual((await readdir(folder)).toSorted(), ['made.tar', 'up.tar'])
    await rm(folder, { recursive: true })
  })

  it('has /etc/mtab, as docker’s containers, unless the image has it, and folders to mount on: no changes of the container', async () => {
    const id = await detached(image, 'sleep', '600')
    assert.equal(await says('exec', id, 'readlink', '/etc/mtab'), '/proc/mounts')
    assert.equal(await says('exec', id, 'sh', '-c', 'stat -c %a /etc; grep -c " / overlay " /etc/mtab'), '755\n1')
    assert.doesNotMatch(await says('diff', id), /mtab/)
    await says('exec', id, 'sh', '-c', 'rm /etc/mtab; echo own > /etc/mtab')
    await says('commit', id, 'localhost/own:1')
    assert.equal(await says('run', '--rm', 'localhost/own:1', 'cat', '/etc/mtab'), 'own')
    await says('rmi', 'localhost/own:1')
    const bare = join(root, 'bare.tar')
    assert.equal((await run('tar', ['-C', '/bin', '-cf', bare, 'busybox'])).code, 0)
    await says('import', bare, 'localhost/bare:1')
    const bareId = await detached('localhost/bare:1', '/busybox', 'sleep', '600')
    assert.equal(await says('diff', bareId), '')
    await says('rm', '-f', bareId)
    await says('rmi', 'localhost/bare:1')
    await rm(bare)
    await says('system', 'prune', '-f')
    assert.equal(await says('run', '--rm', image, 'readlink', '/etc/mtab'), '/proc/mounts')
  })

  it('pauses, renames, updates, and tells what was changed', async () => {
    const id = await detached('--name', 'one', image, 'sh', '-c', 'echo x > /new; rm /etc/group; exec sleep 600')
    await says('pause', 'one')
    assert.match(await says('ps', '--format', '{{.Status}}'), /\(Paused\)$/)
    assert.equal(await codeOf('exec', 'one', 'true'), 1)
    await says('unpause', 'one')
    await says('rename', 'one', 'two')
    assert.equal(await says('ps', '-q', '--filter', 'name=two', '--no-trunc'), id)
    await says('rename', 'two', 'three')
    await says('rename', 'three', 'two')
    assert.deepEqual(await readdir(join(root, 'names')), ['two'])
    assert.equal(await says('update', '--pids-limit', '50', 'two'), 'two')
    assert.equal(await says('inspect', '-f', '{{.HostConfig.PidsLimit}}', 'two'), '50')
    assert.equal(await says('diff', 'two'), 'A /anonymous\nC /etc\nD /etc/group\nA /new')
    assert.match(await says('top', 'two', '-o', 'pid,args'), /sleep 600/)
    assert.equal(await says('rename', 'two', 'one'), '')
  })

  it('shows a log to who stops reading, and says nothing of it', async () => {
    await detached('--name', 'talker', image, 'seq', '1', '100000')
    await says('wait', 'talker')
    for (const flags of ['', '-f --since 1h'])
      assert.deepEqual(
        await run(
          'sh',
          ['-c', `"$@" --root "$ROOT" logs ${flags} talker | head -n 1`, 'sh', process.execPath, COMMAND],
          {
            env: { ...process.env, ROOT: root },
          },
        ),
        { code: 0, stdout: '1\n', stderr: '' },
      )
  })

  it('that would go on for ever ends when nobody reads it any more', async () => {
    await detached('--name', 'chatter', image, 'sh', '-c', 'while :; do echo word; sleep 0.1; done')
    const firstOf = (words: string) =>
      run(
        'bash',
        [
          '-c',
          `"$@" --root "$ROOT" ${words} | head -n 1 >&2; exit \${PIPESTATUS[0]}`,
          'bash',
          process.execPath,
          COMMAND,
        ],
        {
          env: { ...process.env, ROOT: root },
        },
      )
    const [stats, attached] = await Promise.all([firstOf('stats'), firstOf('attach --no-stdin chatter')])
    assert.deepEqual([stats.code, stats.stderr.split(' ')[0]], [0, 'CONTAINER'])
    assert.equal(attached.code, 1)
    assert.match(attached.stderr, /^word$/m)
    assert.match(attached.stderr, /nobody reads .* it goes on/)
    assert.equal(await says('inspect', '-f', '{{.State.Status}}', 'chatter'), 'running')
    const events = firstOf('events')
    let isOver = false
    void events.finally(() => {
      isOver = true
    })
    while (!isOver) await says('restart', '-t', '0', 'chatter')
    assert.deepEqual([(await events).code, / container /.test((await events).stderr)], [0, true])
    await says('rm', '-f', 'chatter')
  })

  it('starts again what fails, as often as was said', async () => {
    await detached('--name', 'failing', '--restart', 'on-failure:2', image, 'sh', '-c', 'echo run; exit 3')
    assert.equal(await says('wait', 'failing'), '3')
    assert.equal(await says('inspect', '-f', '{{.RestartCount}}', 'failing'), '2')
    assert.equal(await says('logs', 'failing'), 'run\nrun\nrun')
    assert.equal(await says('logs', '--tail', '1', 'failing'), 'run')
  })

  it('joins the namespaces of another', async () => {
    await detached('--name', 'base', '--ipc', 'shareable', image, 'sleep', '600')
    const own = await says('exec', 'base', 'readlink', '/proc/self/ns/net')
    assert.equal(await says('run', '--rm', '--network', 'container:base', image, 'readlink', '/proc/self/ns/net'), own)
    assert.match(await says('run', '--rm', '--pid', 'container:base', image, 'ps'), /sleep 600/)
    assert.equal(await codeOf('run', '--rm', '--network', 'container:base', '--dns', '9.9.9.9', image, 'true'), 125)
    assert.equal(await codeOf('run', '--rm', '--ipc', 'container:base', image, 'true'), 0)
    await detached('--name', 'closed', image, 'sleep', '600')
    assert.equal(await codeOf('run', '--rm', '--ipc', 'container:closed', image, 'true'), 125)
    await says('stop', '-t', '0', 'base')
    assert.equal(await codeOf('run', '--rm', '--network', 'container:base', image), 125)
  })

  it('keeps its network while it is started again, also for those who joined it, and has another one after a stop', async () => {
    const script = 'readlink /proc/self/ns/net; test -e /go && exec sleep 600; sleep 0.2; exit 1'
    await detached('--name', 'base', '--restart', 'on-failure', image, 'sh', '-c', script)
    const network = await says('run', '--rm', '--network', 'container:base', image, 'readlink', '/proc/self/ns/net')
    await detached('--name', 'joined', '--network', 'container:base', image, 'sleep', '600')
    await until('it to be started again', 60_000, async () =>
      Number(await says('inspect', '-f', '{{.RestartCount}}', 'base')) > 1 ? true : undefined,
    )
    await says('cp', COMMAND, 'base:/go')
    assert.deepEqual([...new Set((await says('logs', 'base')).split('\n'))], [network])
    const inside = await says('inspect', '-f', '{{.NetworkSettings.SandboxKey}}', 'base')
    assert.equal(await readlink(inside), network)
    assert.equal(await says('exec', 'joined', 'readlink', '/proc/self/ns/net'), network)
    assert.equal(await says('inspect', '-f', '{{.NetworkSettings.SandboxKey}}', 'joined'), '')
    await says('stop', '-t', '0', 'base')
    await until('it to be gone', 60_000, () =>
      readlink(inside).then(
        () => undefined,
        () => true,
      ),
    )
    await says('start', 'base')
    assert.notEqual(await says('exec', 'base', 'readlink', '/proc/self/ns/net'), network)
    assert.equal(await says('exec', 'joined', 'readlink', '/proc/self/ns/net'), network) // its own as long as it runs
  })

  it('tells what containers use, those that do not run with -a', async () => {
    await detached('--name', 'busy', '-m', '64m', image, 'sh', '-c', 'while :; do :; done')
    await says('create', '--name', 'idle', image)
    const format = ['--no-stream', '--format', '{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}} {{.NetIO}}']
    const line = await says('stats', ...format)
    const [, share = ''] = /^busy (\d+\.\d\d)% \d+(?:\.\d+)?[KM]iB \/ 64MiB 1 0B \/ 0B$/.exec(line) ?? []
    assert.ok(Number(share) > 0, line)
    assert.match(await says('stats', '-a', ...format), /^idle 0\.00% 0B \/ 0B 0 0B \/ 0B$/m)
    assert.match(await says('stats', '--no-stream', 'busy'), /^CONTAINER ID +NAME +CPU % +MEM USAGE \/ LIMIT .* PIDS\n/)
    assert.equal(await codeOf('stats', '--no-stream', 'nosuch'), 1)
  })

  it('tells about the store and the machine', async () => {
    await detached('--name', 'up', image, 'sleep', '600')
    await says('create', image)
    const format = '{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}} {{.DockerRootDir}}'
    assert.equal(await says('info', '--format', format), `2 1 1 1 ${root}`)
    assert.match(await says('system', 'info'), /\n Containers: 2\n {2}Running: 1\n[\s\S]*\n Name: /)
    assert.match(await says('version'), /^gantry +\d/)
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))
    assert.equal(await says('version', '-f', '{{.Client.Version}} {{.Server.Os}}'), `${version} linux`)
    assert.equal(await says('info', '-f', '{{json .SecurityOptions}}'), '["name=seccomp,profile=default"]')
  })

  it('makes volumes as docker does of its own driver, and says what there is instead of options', async () => {
    assert.equal(await says('volume', 'create', '-d', 'local', '--label', 'a=b', 'by-driver'), 'by-driver')
    assert.equal(await says('volume', 'create', '--name', 'by-flag'), 'by-flag')
    assert.equal(await codeOf('volume', 'create', '-d', 'nfs', 'other'), 125)
    const { code, stderr } = await gantry('volume', 'create', '-o', 'type=tmpfs', 'other')
    assert.deepEqual([code, /for memory use --tmpfs/.test(stderr)], [1, true])
    assert.equal(await says('volume', 'ls', '-q'), 'by-driver\nby-flag')
  })

  it('makes room, and leaves alone what runs, images with a name, and volumes unless they are asked for', async () => {
    const up = await detached(image, 'sleep', '600')
    const ended = await detached(image, 'dd', 'if=/dev/zero', 'of=/big', 'bs=1M', 'count=3')
    await says('wait', ended)
    await says('run', '--rm', '-v', 'kept:/v', image, 'true')
    const anonymous = (await says('volume', 'ls', '-q')).split('\n').filter((name) => name !== 'kept')
    assert.equal(anonymous.length, 2)
    assert.match(await says('system', 'prune', '-f'), new RegExp(`^${ended}\nTotal reclaimed space: 3\\.\\d+MB$`))
    assert.equal(await says('ps', '-aq', '--no-trunc'), up)
    assert.equal((await says('volume', 'ls', '-q')).split('\n').length, 3)
    await says('system', 'prune', '-f', '--volumes')
    assert.equal((await says('volume', 'ls', '-q')).split('\n').length, 2) // the one with a name, and the one in use
    assert.match(await says('images', '-q'), /^[0-9a-f]{12}$/)
  })

  it('removes of images only those that the filters of a prune mean', async () => {
    const made = await says('create', image)
    await says('commit', '-c', 'LABEL keep=yes', made, 'localhost/labelled:1')
    await says('commit', '-c', 'ENV A=1', made, 'localhost/plain:1')
    const names = async () => (await says('images', '-a', '--format', '{{.Repository}}')).split('\n').toSorted()
    const all = await names()
    assert.equal(all.length, 3)
    for (const filter of ['label=nosuch', 'until=1h']) {
      assert.match(await says('system', 'prune', '-af', '--filter', filter), /^Total reclaimed space: 0B$/)
      assert.match(await says('image', 'prune', '-af', '--filter', filter), /^Total reclaimed space: 0B$/)
      assert.deepEqual(await names(), all)
    }
    for (const filter of ['nosuch=1', 'until=nosuch']) {
      assert.equal(await codeOf('system', 'prune', '-af', '--filter', filter), 1)
      assert.equal(await codeOf('image', 'prune', '-af', '--filter', filter), 1)
    }
    assert.equal(await codeOf('system', 'prune', '-af', '--volumes', '--filter', 'until=1h'), 1)
    assert.match(await says('image', 'prune', '-af', '--filter', 'label!=keep'), /^Untagged: localhost\/plain:1\n/)
    assert.match(
      await says('image', 'prune', '-af', '--filter', 'label=keep=yes'),
      /^Untagged: localhost\/labelled:1\n/,
    )
    assert.equal((await names()).length, 1)
  })

  it('removes an image by force although a container that does not run was made from it, which can still be started', async () => {
    const made = await says('commit', await says('create', image), 'localhost/made:1')
    const id = await says('create', 'localhost/made:1', 'sleep', '600')
    const { code, stderr } = await gantry('rmi', 'localhost/made:1')
    assert.equal(code, 1)
    assert.match(stderr, /is in use by the container .*; remove that one first, or this by force \(-f\)/)
    await says('start', id)
    assert.equal(await codeOf('rmi', '-f', 'localhost/made:1'), 1)
    await says('stop', '-t', '0', id)
    const gone = await gantry('rmi', '--force', 'localhost/made:1', 'localhost/nosuch:1')
    assert.deepEqual([gone.code, gone.stdout], [0, 'Untagged: localhost/made:1\n'])
    assert.match(gone.stderr, /no image localhost\/nosuch:1 is here/)
    assert.match(made, /^sha256:/)
    await says('start', id)
    assert.equal(await says('inspect', '-f', '{{.State.Status}}', id), 'running')
  })

  it('tells what happens to containers, while it is asked', async () => {
    await says('create', '--name', 'probe-0', image)
    const words = [COMMAND, '--root', root, 'events', '--filter', 'type=container']
    const child = startGroup(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    try {
      for (let i = 0; said === ''; i++) await says('rename', `probe-${i}`, `probe-${i + 1}`) // until it looks
      assert.equal(await codeOf('run', '--name', 'web', image, 'sh', '-c', 'exit 3'), 3)
      const told = (action: string) =>
        until(`the event ${action}`, 60_000, () => new RegExp(` ${action} .*name=web\\)`).test(said) || undefined)
      await told('die')
      await says('rm', 'web')
      await told('destroy')
      const seen = [...said.matchAll(/^\S+Z container (\S+) [0-9a-f]{64} \((?:exitCode=(\d+), )?image=.*name=web\)$/gm)]
      assert.deepEqual(
        seen.map(([, action, code]) => [action, code]),
        [
          ['create', undefined],
          ['start', undefined],
          ['die', '3'],
          ['destroy', undefined],
        ],
      )
    } finally {
      await stopGroup(child)
    }
    assert.equal(await codeOf('events', '--since', '1h'), 1)
    assert.equal(await says('events', '--until', '1s'), '')
  })

  it('joins with `start -a` one that runs already, until it ends', async () => {
    const script = 'while ! test -e /go; do echo waits; sleep 0.1; done; echo done; exit 7'
    const id = await detached('--name', 'busy', image, 'sh', '-c', script)
    const child = startGroup(process.execPath, [COMMAND, '--root', root, 'start', '-a', 'busy'], { stdio: 'pipe' })
    let said = ''
    child.stdout?.on('data', (bytes: Buffer) => {
      said += bytes.toString()
    })
    const code = closed(child)
    try {
      await until('it to be joined', 60_000, () => said.includes('waits') || child.exitCode !== null || undefined)
      await says('exec', 'busy', 'touch', '/go')
      assert.equal(await code, 7)
    } finally {
      await stopGroup(child)
    }
    assert.match(said, /waits\n(waits\n)*done\n$/)
    assert.equal(await says('inspect', '-f', '{{.Id}} {{.State.ExitCode}}', 'busy'), `${id} 7`)
  })

  it('knows after a boot that nothing runs, and starts what should', async () => {
    const [always = '', never = ''] = [
      await detached('--restart', 'always', image, 'sleep', '600'),
      await detached(image, 'sleep', '600'),
    ]
    for (const id of [always, never]) {
      const file = join(root, 'containers', id, 'status.json')
      const status = JSON.parse(await readFile(file, 'utf8')) as { readonly monitor: { readonly pid: number } }
      process.kill(status.monitor.pid, 'SIGKILL') // as the power does
      await writeFile(file, JSON.stringify({ ...status, bootId: randomUUID() }))
    }
    assert.equal(await says('ps', '-q'), '')
    assert.match(await says('ps', '-a', '--format', '{{.Status}}'), /^Exited \(137\) .*\nExited \(137\) .*$/)
    assert.equal(await says('system', 'start-all'), always)
    assert.equal(await says('ps', '-q', '--no-trunc'), always)
    assert.equal(await says('exec', always, 'echo', 'up'), 'up')
    assert.equal(await says('start', never), never)
  })

  it('teaches bash the names of what is there', async () => {
    await says('create', '--name', 'completed', image)
    await says('volume', 'create', 'stored')
    const folder = join(root, 'bin')
    await mkdir(folder)
    await writeFile(
      join(folder, 'gantry'),
      `#!/bin/sh\nexec '${process.execPath}' '${COMMAND}' --root '${root}' "$@"\n`,
      { mode: 0o755 },
    )
    const completed = async (...words: readonly string[]): Promise<string> => {
      const typed = ['gantry', ...words].map((word) => `'${word}'`).join(' ')
      const script = `source <(gantry completion bash); COMP_WORDS=(${typed}); COMP_CWORD=${words.length}; _gantry; echo "\${COMPREPLY[@]}"`
      const env = { ...process.env, PATH: `${folder}:${process.env['PATH']}` }
      return (await run('bash', ['-c', script], { env })).stdout.trimEnd()
    }
    assert.equal(await completed('star'), 'start')
    assert.equal(await completed('rm', 'comp'), 'completed')
    assert.equal(await completed('volume', 'inspect', 'st'), 'stored')
    assert.equal(await completed('run', '--cap-a'), '--cap-add')
    assert.equal(await completed('run', image.slice(0, 12)), image)
    await rm(folder, { recursive: true })
  })
})
