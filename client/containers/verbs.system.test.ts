/** What is typed about containers that are there, by the command itself, on a busybox: effects, output and exit codes. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { run } from '../../conformance/support/commands.ts'
import { pullBusybox } from '../testing/busybox-image.ts'

const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))
const skip =
  process.getuid?.() !== 0
    ? 'containers need root'
    : existsSync('/bin/busybox')
      ? false
      : 'not installed: busybox-static'

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

  it('pauses, renames, updates, and tells what was changed', async () => {
    const id = await detached('--name', 'one', image, 'sh', '-c', 'echo x > /new; rm /etc/group; exec sleep 600')
    await says('pause', 'one')
    assert.match(await says('ps', '--format', '{{.Status}}'), /\(Paused\)$/)
    assert.equal(await codeOf('exec', 'one', 'true'), 1)
    await says('unpause', 'one')
    await says('rename', 'one', 'two')
    assert.equal(await says('ps', '-q', '--filter', 'name=two', '--no-trunc'), id)
    assert.equal(await says('update', '--pids-limit', '50', 'two'), 'two')
    assert.equal(await says('inspect', '-f', '{{.HostConfig.PidsLimit}}', 'two'), '50')
    assert.equal(await says('diff', 'two'), 'A /anonymous\nC /etc\nD /etc/group\nA /new')
    assert.match(await says('top', 'two', '-o', 'pid,args'), /sleep 600/)
    assert.equal(await says('rename', 'two', 'one'), '')
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
    await says('stop', '-t', '0', 'base')
    assert.equal(await codeOf('run', '--rm', '--network', 'container:base', image), 125)
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
    assert.equal(await completed('sta'), 'start')
    assert.equal(await completed('rm', 'comp'), 'completed')
    assert.equal(await completed('volume', 'inspect', 'st'), 'stored')
    assert.equal(await completed('run', '--cap-a'), '--cap-add')
    assert.equal(await completed('run', image.slice(0, 12)), image)
    await rm(folder, { recursive: true })
  })
})
