/** Containers in a real pseudo-terminal: its size, keys, being left and joined again. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { run, until } from '../../conformance/support/commands.ts'
import { missing } from '../../conformance/support/needs.ts'
import { Terminal } from '../../conformance/support/terminal.ts'
import { Workspace } from '../../conformance/support/workspace.ts'
import { pullBusybox } from '../testing/busybox-image.ts'

const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))
const skip = await missing('python3', 'busybox')
const SIZE = { columns: 91, rows: 23 }
const CTRL_P = '\x10'
const CTRL_Q = '\x11'

describe('a container with a terminal', { skip }, () => {
  let workspace: Workspace
  let image: string
  before(async () => {
    workspace = await Workspace.open()
    image = await pullBusybox(workspace.path('store'), { Env: ['PS1=ready> '] })
  })
  after(async () => {
    await gantry('rm', '-f', 'left', 'host')
    await gantry('system', 'clean-up')
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })

  const words = (...more: readonly string[]) => [process.execPath, COMMAND, '--root', workspace.path('store'), ...more]
  const gantry = (...more: readonly string[]) => run(process.execPath, words(...more).slice(1), { env: workspace.env })
  const typing = (...more: readonly string[]) => new Terminal(words(...more), { ...SIZE, env: workspace.env })

  it('has the size of this one, also when that changes, and ends as its program does', async () => {
    await using terminal = typing('run', '--rm', '-ti', image)
    await terminal.expect(/ready> /)
    terminal.type('stty size\r')
    await terminal.expect(/23 91/)
    terminal.resize(101, 33)
    await until('the new size', 20_000, async () => {
      terminal.type('stty size\r')
      return await terminal.expect(/\d+ \d+\r/).then(([size]) => (/33 101/.test(size) ? true : undefined))
    })
    terminal.type('exit 6\r')
    assert.equal(await terminal.exited, 6)
  })

  it('is left by ctrl-p ctrl-q, goes on, and can be joined again, by two at once', async () => {
    await using first = typing('run', '-ti', '--name', 'left', image)
    await first.expect(/ready> /)
    first.type(`kept=42\r${CTRL_P}${CTRL_Q}`)
    assert.equal(await first.exited, 0)
    assert.equal((await gantry('ps', '--format', '{{.Names}} {{.State}}')).stdout, 'left running\n')
    await using second = typing('attach', 'left')
    await using third = typing('attach', '--detach-keys', 'ctrl-a,d', 'left')
    await until('both', 20_000, async () => {
      second.type('echo is $kept\r') // what is typed before the terminal is raw may be lost
      const seen = await Promise.all([second.shows(/is 42/), third.shows(/is 42/)])
      return seen.every(Boolean) || undefined
    })
    await until('the other to leave', 20_000, async () => {
      third.type('\x01d')
      return await Promise.race([third.exited.then((code) => code === 0), delay(500)])
    })
    second.type(`${CTRL_P}x`) // the beginning of the keys, and then something else, is what was typed
    second.type('\x15exit 3\r')
    assert.equal(await second.exited, 3)
    assert.equal((await gantry('wait', 'left')).stdout, '3\n')
    assert.match((await gantry('logs', 'left')).stdout, /is 42/)
    assert.equal((await gantry('rm', 'left')).code, 0)
  })

  it('is there for exec, too', async () => {
    assert.equal((await gantry('run', '-d', '--name', 'host', image, 'sleep', '600')).code, 0)
    await using terminal = typing('exec', '-ti', 'host', 'sh')
    await terminal.expect(/ready> /)
    terminal.type('stty size; tty\r')
    await terminal.expect(/23 91\r\n\/dev\/pts\/\d/)
    terminal.type('sleep 600; echo interrupted\r')
    await until('the end of sleep', 20_000, async () => {
      terminal.type('\x03') // it may come before sleep runs
      return (await terminal.shows(/\^C[\s\S]*ready> /)) || undefined
    })
    terminal.type('\x15exit 4\r')
    assert.equal(await terminal.exited, 4)
    assert.equal((await gantry('rm', '-f', 'host')).code, 0)
  })

  it('lets go of exec by the keys, too: what runs goes on, with its terminal, and ends with the container', async () => {
    assert.equal((await gantry('run', '-d', '--name', 'host', image, 'sleep', '600')).code, 0)
    const script =
      'trap "echo hung up > /hup" HUP; while ! test -e /go; do echo waits; sleep 0.1; done; tty > /done; sleep 600'
    await using terminal = typing('exec', '-ti', '--detach-keys', 'ctrl-a,d', 'host', 'sh', '-c', script)
    await terminal.expect(/waits/)
    terminal.type(`${CTRL_P}${CTRL_Q}\x01x`) // not these keys, and only the beginning of them
    await terminal.expect(/waits[\s\S]*waits/)
    terminal.type('\x01d')
    assert.equal(await terminal.exited, 0)
    assert.equal((await gantry('exec', 'host', 'touch', '/go')).code, 0)
    await until('it to go on', 20_000, async () => {
      const { stdout } = await gantry('exec', 'host', 'sh', '-c', 'cat /done /hup 2>/dev/null')
      return /^\/dev\/pts\/\d+\n$/.test(stdout) || undefined
    })
    const { stdout: id } = await gantry('ps', '-q', '--no-trunc')
    const files = await readdir(workspace.path('store', 'containers', id.trim()))
    assert.ok(files.includes('container.json'))
    assert.deepEqual(
      files.filter((name) => name.startsWith('exec-')),
      [],
    )
    assert.equal((await gantry('rm', '-f', 'host')).code, 0)
  })

  it('is there for exec in the background', async () => {
    assert.equal((await gantry('run', '-d', '--name', 'host', image, 'sleep', '600')).code, 0)
    assert.deepEqual(await gantry('exec', '-dti', 'host', 'sh', '-c', 'read line; tty > /done'), {
      code: 0,
      stdout: '',
      stderr: '',
    })
    assert.equal((await gantry('exec', 'host', 'sh', '-c', 'sleep 0.3; ls /done')).code, 1) // its input has no end
    assert.equal((await gantry('exec', '-dt', 'host', 'nosuch')).code, 127)
    assert.equal((await gantry('exec', '-dt', 'host', 'sh', '-c', 'tty > /done')).code, 0)
    await until('it to be done', 20_000, async () => {
      const { stdout } = await gantry('exec', 'host', 'cat', '/done')
      return /^\/dev\/pts\/\d+\n$/.test(stdout) || undefined
    })
    assert.equal((await gantry('rm', '-f', 'host')).code, 0)
  })

  it('is refused for input that is none', async () => {
    const { code, stderr } = await gantry('run', '--rm', '-ti', image)
    assert.deepEqual(
      [code, stderr],
      [1, 'gantry: the input device is not a TTY; leave -t out, or give it a terminal\n'],
    )
  })
})
