/** Gantry as an ordinary user types it, with ids of others to give to his containers and without: two users of this machine, made for the test. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { run, until } from '../conformance/support/commands.ts'
import { missing } from '../conformance/support/needs.ts'
import type { Terminal } from '../conformance/support/terminal.ts'
import { Workspace } from '../conformance/support/workspace.ts'
import { busyboxLayer } from './testing/busybox-image.ts'
import { type OrdinaryUser, ordinaryUser } from './testing/ordinary-user.ts'

const COMMAND = fileURLToPath(new URL('gantry.mjs', import.meta.url))
const IMAGE = 'localhost/busybox:latest'
const skip = await missing('busybox', 'newuidmap', 'python3')
const CTRL_P = '\x10'
const CTRL_Q = '\x11'

// Both at once, since most of their time is a wait for the end of the namespace.
describe('an ordinary user', { skip, concurrency: 2 }, () => {
  for (const [index, subordinates] of [true, false].entries()) {
    const whose = subordinates ? 'with ids of others' : 'without'
    describe(whose, { concurrency: 1 }, () => {
      let user: OrdinaryUser
      let warned: string
      before(async () => {
        user = await ordinaryUser({ uid: 612_300 + index, subordinates })
        await writeFile(join(user.home, 'layer.tar'), await busyboxLayer(), { mode: 0o644 })
        const words = ['import', 'layer.tar', IMAGE, '-c', 'CMD ["sh"]', '-c', 'ENV PATH=/bin']
        const { code, stdout, stderr } = await user.gantry(...words)
        assert.equal(code, 0, stderr)
        assert.match(stdout, /busybox/)
        warned = stderr
      })
      after(async () => await user?.[Symbol.asyncDispose]())
      afterEach(async () => {
        const all = await user.gantry('ps', '-aq')
        if (all.stdout !== '') await user.gantry('rm', '-fv', ...all.stdout.trim().split('\n'))
      })

      const says = async (...words: readonly string[]): Promise<string> => {
        const { code, stdout, stderr } = await user.gantry(...words)
        assert.equal(code, 0, `${words.join(' ')}: ${stdout}${stderr}`)
        return stdout.trimEnd()
      }
      const refused = async (...words: readonly string[]): Promise<string> => {
        const { code, stderr } = await user.gantry(...words)
        assert.notEqual(code, 0, words.join(' '))
        return stderr
      }
      it('keeps everything in folders of his own, and is told once what is missing', async () => {
        const { uid, mode } = await stat(user.store)
        assert.deepEqual([uid, mode & 0o777], [user.uid, 0o700])
        if (subordinates) assert.equal(warned, '')
        else assert.match(warned, /no ids but your own.*--add-subuids/)
        assert.equal((await user.gantry('run', '--rm', IMAGE)).stderr, '')
      })

      it('runs programs in containers whose files belong to whom the image says, as far as he is there', async () => {
        const script = 'id -u; touch /own; stat -c %u /own /srv/seed.txt; echo > /dev/null; hostname'
        assert.equal(
          await says('run', '--rm', '-h', 'box', IMAGE, 'sh', '-c', script),
          `0\n0\n${subordinates ? 33 : 0}\nbox`,
        )
        if (subordinates) assert.equal(await says('run', '--rm', '-u', 'www', IMAGE, 'id', '-un'), 'www')
        else assert.match(await refused('run', '--rm', '-u', 'www', IMAGE, 'id'), /user 33:33 does not exist.*-u 0/)
      })

      it('has containers that stay, and every other command finds them', async () => {
        await says('run', '-d', '--name', 'web', IMAGE, 'sh', '-c', 'echo started; exec sleep 1000')
        assert.equal(await says('ps', '--format', '{{.Names}} {{.State}}'), 'web running')
        assert.equal(await says('exec', 'web', 'sh', '-c', 'touch /made; stat -c %u /made'), '0')
        assert.equal(await says('logs', 'web'), 'started')
        assert.match(await says('top', 'web'), /sleep 1000/)
        await says('kill', '-s', 'KILL', 'web')
        assert.equal(await says('wait', 'web'), '137')
        await says('start', 'web')
        assert.equal(await says('exec', 'web', 'ls', '/made'), '/made')
        await says('stop', '-t', '0', 'web')
        await says('rm', 'web')
        assert.equal(await says('ps', '-aq'), '')
        await says('run', '-d', '--rm', IMAGE, 'true')
        const folders = join(user.store, 'containers')
        await until('it is removed', 60_000, async () => ((await readdir(folders)).length === 0 ? true : undefined))
      })

      it('copies files in and out, which are his outside', async () => {
        await says('create', '--name', 'files', IMAGE)
        await says('cp', 'files:/srv', 'out')
        assert.equal((await stat(join(user.home, 'out', 'seed.txt'))).uid, user.uid)
        await says('cp', 'out/seed.txt', 'files:/copied')
        await says('run', '-d', '--name', 'running', IMAGE, 'sleep', '1000')
        await says('cp', 'out', 'running:/out')
        assert.equal(await says('exec', 'running', 'cat', '/out/seed.txt'), 'seeded')
      })

      it('makes images of containers, in which files belong to whom they did', async () => {
        const script = 'chmod 600 /srv/seed.txt; rm /bin/vi; rm -r /root; mkdir /root; echo mine > /root/mine'
        await says('run', '--name', 'made', IMAGE, 'sh', '-c', script)
        assert.deepEqual((await says('diff', 'made')).split('\n'), [
          'C /bin',
          'D /bin/vi',
          'C /root',
          'A /root/mine',
          'C /srv',
          'C /srv/seed.txt',
        ])
        await says('commit', 'made', 'localhost/made:1')
        assert.equal(
          await says('run', '--rm', 'localhost/made:1', 'sh', '-c', 'ls -A /root; ls /bin/vi || true'),
          'mine',
        )
        await says('save', '-o', 'made.tar', 'localhost/made:1')
        await says('rmi', 'localhost/made:1')
        const unpacked = join(user.home, 'unpacked')
        await mkdir(unpacked)
        await run('tar', ['-C', unpacked, '-xf', join(user.home, 'made.tar')])
        const [{ Layers }] = JSON.parse(await readFile(join(unpacked, 'manifest.json'), 'utf8')) as [
          { readonly Layers: readonly string[] },
        ]
        const listed = await run('tar', ['--numeric-owner', '-tvf', join(unpacked, Layers.at(-1) ?? '')])
        assert.match(listed.stdout, /-rw-------\s+33\/33\s.*srv\/seed\.txt/)
        assert.match(listed.stdout, /\sroot\/\.wh\.\.wh\.\.opq/)
        assert.match(listed.stdout, /\sbin\/\.wh\.vi/)
      })

      it('has volumes that begin with what the image has there, and folders of his own', async () => {
        await says('run', '--rm', '-v', 'data:/srv', IMAGE, 'sh', '-c', 'echo kept > /srv/kept')
        assert.equal(
          await says('run', '--rm', '-v', 'data:/world', IMAGE, 'cat', '/world/kept', '/world/seed.txt'),
          'kept\nseeded',
        )
        await user.command('mkdir', 'bound')
        await says('run', '--rm', '-v', `${user.home}/bound:/bound`, IMAGE, 'sh', '-c', 'echo x > /bound/made')
        assert.equal((await stat(join(user.home, 'bound', 'made'))).uid, user.uid)
        await says('volume', 'rm', 'data')
      })

      it('removes what belongs to ids of others, too', async () => {
        await says('tag', IMAGE, 'localhost/other:1')
        if (subordinates)
          await says('run', '-u', 'www', '--name', 'theirs', '-v', '/anonymous', IMAGE, 'touch', '/tmp/theirs')
        else await says('run', '--name', 'theirs', '-v', '/anonymous', IMAGE, 'touch', '/tmp/theirs')
        await says('rm', '-v', 'theirs')
        assert.deepEqual(await Promise.all(['containers', 'volumes'].map((each) => readdir(join(user.store, each)))), [
          [],
          [],
        ])
      })

      it('may show a container the machine’s own namespaces', async () => {
        const flags = ['--network', 'host', '--pid', 'host', '--ipc', 'host', '--uts', 'host']
        const script = `test -d /proc/${process.pid} && test -d /sys/class/net/lo && id -u`
        assert.equal(await says('run', '--rm', ...flags, IMAGE, 'sh', '-c', script), '0')
        assert.match(await says('run', '--rm', '--privileged', IMAGE, 'sh', '-c', 'ls /dev'), /^zero$/m)
      })

      it('has containers that share a network of their own', async () => {
        await says('run', '-d', '--name', 'base', IMAGE, 'sh', '-c', 'nc -l -p 80 -e echo heard & exec sleep 1000')
        const script = 'until nc 127.0.0.1 80 2>/dev/null; do sleep 0.1; done; readlink /proc/self/ns/net'
        const said = await says('run', '--rm', '--network', 'container:base', IMAGE, 'sh', '-c', script)
        assert.equal(said, `heard\n${await says('exec', 'base', 'readlink', '/proc/self/ns/net')}`)
        assert.notEqual(said, `heard\n${await readlink('/proc/self/ns/net')}`)
      })

      it('has containers in a real terminal: its size, also when that changes; left by keys and joined again', async () => {
        const sizeShown = async (terminal: Terminal, wanted: RegExp): Promise<void> => {
          await until('the size', 60_000, async () => {
            terminal.type('stty size\r')
            return await terminal.expect(/\d+ \d+\r/).then(([size]) => (wanted.test(size) ? true : undefined))
          })
        }
        await using first = user.typing('run', '-it', '--name', 'term', '-e', 'PS1=ready> ', IMAGE)
        await first.expect(/ready> /)
        await sizeShown(first, /^23 91/)
        first.resize(101, 33)
        await sizeShown(first, /^33 101/)
        first.type(`kept=42\r${CTRL_P}${CTRL_Q}`)
        assert.equal(await first.exited, 0)
        assert.equal(await says('ps', '--format', '{{.Names}} {{.State}}'), 'term running')
        await using second = user.typing('attach', 'term')
        await until('it to be joined', 60_000, async () => {
          second.type('echo is $kept\r') // what is typed before the terminal is raw may be lost
          return (await second.shows(/is 42/)) || undefined
        })
        await using beside = user.typing('exec', '-it', 'term', 'sh')
        await beside.expect(/ready> /)
        beside.type('tty; exit 4\r')
        await beside.expect(/\/dev\/pts\/\d/)
        assert.equal(await beside.exited, 4)
        second.type('\x15exit 3\r')
        assert.equal(await second.exited, 3)
        assert.equal(await says('wait', 'term'), '3')
      })

      it('runs containers beside those of root, whose control groups are closed to him', async () => {
        await using workspace = await Workspace.open()
        const root = async (...words: readonly string[]): Promise<void> => {
          const command = [process.execPath, COMMAND, '--root', workspace.path('store'), ...words]
          const { code, stderr } = await run('sh', ['-c', 'umask 077; exec "$@"', 'sh', ...command], {
            env: workspace.env,
          })
          assert.equal(code, 0, stderr)
        }
        await root('import', join(user.home, 'layer.tar'), IMAGE, '-c', 'ENV PATH=/bin')
        await root('run', '-d', '--name', 'theirs', IMAGE, 'sleep', '1000')
        try {
          assert.equal(await says('run', '--rm', IMAGE, 'echo', 'ran'), 'ran')
        } finally {
          await root('rm', '-f', 'theirs')
        }
      })

      it('is told which limits are not in force, and `inspect` tells it too', async () => {
        const limits = ['-m', '64m', '--cpus', '0.5', '--pids-limit', '50']
        const { code, stdout, stderr } = await user.gantry('run', '--rm', ...limits, IMAGE, 'echo', 'ran')
        assert.deepEqual([code, stdout], [0, 'ran\n'])
        assert.match(
          stderr,
          /^gantry: the container runs without --memory, --cpus and --pids-limit: .*own systemd.*\n$/,
        )
        const inForce = (...words: readonly string[]) =>
          says(
            'inspect',
            '-f',
            '{{.HostConfig.Memory}} {{.HostConfig.CpuShares}} {{.State.LimitsNotInForce}}',
            ...words,
          )
        await says('create', '--name', 'limited', '-m', '64m', IMAGE, 'sleep', '1000')
        assert.equal(await inForce('limited'), `${64 * 2 ** 20} 0 []`)
        assert.match((await user.gantry('start', 'limited')).stderr, /runs without --memory:/)
        assert.equal(await inForce('limited'), `${64 * 2 ** 20} 0 [Memory]`)
        const updated = await user.gantry('update', '--cpu-shares', '100', 'limited')
        assert.deepEqual([updated.code, updated.stdout], [0, 'limited\n'])
        assert.match(updated.stderr, /runs without --memory and --cpu-shares:/)
        assert.equal(await inForce('limited'), `${64 * 2 ** 20} 100 [Memory CpuShares]`)
        assert.match(
          (await user.gantry('restart', '-t', '0', 'limited')).stderr,
          /runs without --memory and --cpu-shares:/,
        )
        assert.equal((await user.gantry('update', '--restart', 'always', 'limited')).stderr, '')
        await says('update', '-m', '0', '--cpu-shares', '0', 'limited')
        assert.equal(await inForce('limited'), '0 0 []')
      })

      it('is told what only root could give him', async () => {
        assert.match(await refused('run', '--rm', '--device-cgroup-rule', 'c 1:3 rwm', IMAGE), /needs root/)
        await says('run', '-d', '--name', 'runs', IMAGE, 'sleep', '1000')
        const { code, stderr } = await user.gantry('commit', 'runs', 'localhost/runs:1')
        assert.equal(code, 0)
        assert.match(stderr, /runs on while it is read/)
        await says('rmi', 'localhost/runs:1')
      })

      it('sees with `unshare` what containers see', async () => {
        const layer = (await readdir(join(user.store, 'layers'))).find((name) => name.startsWith('sha256')) ?? ''
        const seed = join(user.store, 'layers', layer, 'srv', 'seed.txt')
        assert.equal(await says('unshare', 'stat', '-c', '%u %g', seed), subordinates ? '33 33' : '0 0')
        assert.equal((await user.gantry('unshare', 'sh', '-c', 'exit 7')).code, 7)
      })

      it('leaves no process behind but one, which goes when it has been alone', async () => {
        await says('run', '-d', '--name', 'last', IMAGE, 'sleep', '1000')
        const holder = await user.holder()
        assert.ok(holder !== undefined && existsSync(`/proc/${holder}`))
        await says('rm', '-f', 'last')
        await until('it to go', 120_000, () => (existsSync(`/proc/${holder}`) ? undefined : true))
        assert.equal(await user.holder(), undefined)
        assert.equal(await says('run', '--rm', IMAGE, 'echo', 'again'), 'again')
      })
    })
  }
})

describe('an ordinary user whose store is where no overlay can be mounted', { skip }, () => {
  let user: OrdinaryUser
  before(async () => {
    const setUp = `mkdir -p lower upper work store
      mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work store
      chown 612302:612302 store`
    user = await ordinaryUser({ uid: 612_302, subordinates: true, setUp })
    await writeFile(join(user.home, 'layer.tar'), await busyboxLayer(), { mode: 0o644 })
    await says('import', 'layer.tar', IMAGE, '-c', 'CMD ["sh"]', '-c', 'ENV PATH=/bin')
  })
  after(async () => await user?.[Symbol.asyncDispose]())

  const says = async (verb: string, ...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await user.gantry(verb, '--root', join(user.home, 'store'), ...words)
    assert.equal(code, 0, `${verb} ${words.join(' ')}: ${stdout}${stderr}`)
    return stdout.trimEnd()
  }

  it('has containers that are whole copies, hidden files left out, and keep what they write', async () => {
    const root = ['--root', join(user.home, 'store')]
    const words = ['--name', 'one', IMAGE, 'sh', '-c', 'echo kept > /srv/kept; stat -c %u /srv/seed.txt']
    const ran = await user.gantry('run', ...root, ...words)
    assert.deepEqual([ran.code, ran.stdout], [0, '33\n'])
    assert.match(ran.stderr, /whole copy of its image, because no overlay could be mounted \(.*overlay: .+\)/)
    await says('start', '-a', 'one')
    await says('cp', 'one:/srv/kept', 'kept')
    assert.equal(await readFile(join(user.home, 'kept'), 'utf8'), 'kept\n')
    const { code, stderr } = await user.gantry('diff', ...root, 'one')
    assert.equal(code, 1)
    assert.match(stderr, /no overlay could be mounted here \(.*overlay: .+\)/)
    await says('rm', 'one')
  })
})
