/** What an operator sees and does, with real processes: configuration, addresses, health, logs, metrics. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from '../conformance/support/free-port.ts'
import { runGantry, serveGantry } from './testing/gantry-process.ts'
import { RawConnection } from './testing/raw-http.ts'

const run = promisify(execFile)
const GET = 'GET /v2/ HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n'

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-operating-'))
})
after(() => rm(directory, { recursive: true, force: true }))

async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 20_000
  while (!(await holds())) {
    assert.ok(Date.now() < end, `waited in vain until ${what}`)
    await delay(20)
  }
}

const textOf = async (url: string): Promise<string> => {
  const response = await fetch(url, { headers: { Connection: 'close' } })
  return `${response.status} ${await response.text()}`
}

describe('gantry config', () => {
  it('checks: silent about nothing, and with exit code 2 about all that is wrong', async () => {
    const file = join(directory, 'wrong.yaml')
    await writeFile(file, 'listen: 5000\nworkrs: 2\n')
    const wrong = await runGantry(['config', 'check', '--config', file])
    assert.equal(wrong.code, 2)
    assert.deepEqual(wrong.stderr.match(/^gantry config check: \S+\.yaml:\d: \w+/gm)?.length, 2, wrong.stderr)
    assert.deepEqual(await runGantry(['config', 'check']), {
      code: 0,
      stdout: 'the configuration is valid\n',
      stderr: '',
    })
  })

  it('shows what is in force, in a form that serves as a file', async () => {
    const file = join(directory, 'shown.yaml')
    const shown = await runGantry(['config', 'show', '--readonly'], { GANTRY_LISTEN: '127.0.0.1:0', GANTRY_DATA: '/x' })
    assert.match(shown.stdout, /^data: \/x # GANTRY_DATA$/m)
    assert.match(shown.stdout, /^readonly: true # --readonly$/m)
    const several = await runGantry(['config', 'show', '--listen', '127.0.0.1:1', '--listen', 'unix:/x'])
    assert.match(several.stdout, /^listen: 127\.0\.0\.1:1,unix:\/x # --listen$/m)
    await writeFile(file, shown.stdout)
    assert.equal((await runGantry(['config', 'check', '--config', file])).code, 0)
  })

  it('prints the reference of all keys', async () => {
    const { stdout } = await runGantry(['config', 'docs'])
    assert.match(stdout, /^\| `rateLimit\.burst`<br>`GANTRY_RATE_LIMIT_BURST` \| `auto` \| /m)
  })
})

describe('addresses', () => {
  it('of metrics are told apart by themselves when two registries run with their defaults', async () => {
    await using first = await serveGantry({ listen: `127.0.0.1:${await freePort()}` })
    await using second = await serveGantry({ listen: `127.0.0.1:${await freePort()}` })
    assert.notEqual(first.metricsUrl, second.metricsUrl)
    for (const { metricsUrl } of [first, second]) assert.match(await textOf(`${metricsUrl}/metrics`), /^200 # HELP/)
  })

  it('of metrics are left out, or refused when taken, as configured', async () => {
    await using without = await serveGantry({ env: { GANTRY_METRICS_LISTEN: 'off' } })
    assert.doesNotMatch(without.ready, /metrics/)
    assert.match(await textOf(`${without.url}/livez`), /^200 ok/)
    assert.match(await textOf(`${without.url}/metrics`), /^404 /)
    const env = { GANTRY_METRICS_LISTEN: new URL(without.url).host, GANTRY_DATA: join(directory, 'other') }
    const taken = await runGantry(['serve', '--listen', '127.0.0.1:0'], env)
    assert.equal(taken.code, 1)
    assert.match(taken.stderr, /cannot listen on 127\.0\.0\.1:\d+: the address is in use/)
  })

  it('may be unix sockets: a live one is refused, what a dead process left is replaced, a stop takes it away', async () => {
    const socket = join(directory, 'registry.sock')
    const data = join(directory, 'data')
    const dead = await serveGantry({ listen: `unix:${socket}`, data })
    assert.ok(dead.ready.startsWith(`gantry: listening on unix:${socket} (`))
    const second = await runGantry(['serve', '--listen', `unix:${socket}`, '--data', data])
    assert.equal(second.code, 1)
    assert.match(second.stderr, /^gantry serve: cannot listen on unix:\S+: the address is in use/)
    dead.child.kill('SIGKILL')
    await dead.exit
    assert.ok((await stat(socket)).isSocket())

    await using gantry = await serveGantry({ listen: `unix:${socket}`, data })
    await using connection = new RawConnection(socket)
    connection.write(GET)
    await connection.closed
    assert.match(connection.received, /^HTTP\/1\.1 200 /)
    gantry.child.kill('SIGTERM')
    assert.deepEqual(await gantry.exit, [0, null])
    await assert.rejects(stat(socket), { code: 'ENOENT' })
  })

  it('that are one socket, of the longest path there can be, go to one of two that start at once', async () => {
    const folder = join(directory, 'x'.repeat(107 - directory.length - '/'.length - '/s'.length))
    await mkdir(folder)
    const options = { listen: `unix:${join(folder, 's')}`, data: join(directory, 'data') }
    const both = await Promise.allSettled([serveGantry(options), serveGantry(options)])
    const served = both.filter(({ status }) => status === 'fulfilled')
    for (const each of both) if (each.status === 'fulfilled') await each.value[Symbol.asyncDispose]()
    assert.equal(served.length, 1)
    const refused = both.find(({ status }) => status === 'rejected') as PromiseRejectedResult
    assert.match(String(refused.reason), /the address is in use/)
  })

  it('that are files of another kind, or sockets of another program, are left as they are', async () => {
    const file = join(directory, 'precious')
    await writeFile(file, 'precious')
    const refused = await runGantry(['serve', '--listen', `unix:${file}`, '--data', join(directory, 'data')])
    assert.match(refused.stderr, /there is a file that is no socket/)
    assert.equal(await readFile(file, 'utf8'), 'precious')

    const foreign = createServer().listen(join(directory, 'foreign.sock'))
    await once(foreign, 'listening')
    try {
      const live = await runGantry([
        'serve',
        '--listen',
        `unix:${join(directory, 'foreign.sock')}`,
        '--data',
        directory,
      ])
      assert.match(live.stderr, /the address is in use/)
      assert.ok((await stat(join(directory, 'foreign.sock'))).isSocket())
    } finally {
      foreign.close()
    }
  })
})

describe('health', () => {
  it('turns to 503 first when a stop is wanted, while requests are still served', async () => {
    await using gantry = await serveGantry({ env: { GANTRY_STOP_DELAY: '10m' } })
    assert.equal(await textOf(`${gantry.metricsUrl}/readyz`), '200 ok\n')
    gantry.child.kill('SIGTERM')
    await eventually('it is not ready', async () => (await textOf(`${gantry.url}/readyz`)).startsWith('503'))
    assert.equal(await textOf(`${gantry.metricsUrl}/readyz`), '503 the registry is stopping\n')
    assert.equal(await textOf(`${gantry.metricsUrl}/livez`), '200 ok\n')
    assert.match(await textOf(`${gantry.url}/v2/`), /^200 /)
  })

  it('says that the disk is full or read-only, and recovers with it', { skip: process.getuid?.() !== 0 }, async () => {
    const disk = join(directory, 'disk')
    await mkdir(disk)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'gantry-test', disk])
    try {
      await using gantry = await serveGantry({ data: join(disk, 'data') })
      const ready = (answer: string) => async (): Promise<boolean> => (await textOf(`${gantry.url}/readyz`)) === answer
      await eventually('it is ready', ready('200 ok\n'))
      await run('dd', ['if=/dev/zero', `of=${join(disk, 'filler')}`, 'bs=64k', 'count=100']).catch(() => {})
      await eventually('it says why', ready('503 storage does not work: no space is left\n'))
      await rm(join(disk, 'filler'))
      await eventually('it is ready again', ready('200 ok\n'))
      await run('mount', ['-o', 'remount,ro', disk])
      await eventually('it says why', ready('503 storage does not work: the filesystem is read-only\n'))
    } finally {
      await run('umount', ['-l', disk])
    }
  })
})

describe('a folder that takes no writes', () => {
  it('is served read-only as it is, and refused otherwise with the reason', {
    skip: process.getuid?.() !== 0,
  }, async () => {
    const disk = join(directory, 'snapshot')
    await mkdir(disk)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'gantry-test', disk])
    try {
      const before = await serveGantry({ data: join(disk, 'data') })
      await before[Symbol.asyncDispose]()
      await run('mount', ['-o', 'remount,ro', disk])
      await using gantry = await serveGantry({ data: join(disk, 'data'), args: ['--readonly'] })
      assert.match(await textOf(`${gantry.url}/v2/`), /^200 /)
      assert.equal(await textOf(`${gantry.url}/readyz`), '200 ok\n')
      for (const data of [join(disk, 'data'), join(disk, 'another')]) {
        const { stderr } = await runGantry(['serve', '--listen', '127.0.0.1:0', '--data', data])
        assert.match(stderr, /^gantry serve: cannot keep data in .*: the filesystem is read-only$/m)
      }
    } finally {
      await run('umount', ['-l', disk])
    }
  })

  it('because it is none of a disk is refused at once', async () => {
    const { code, stderr } = await runGantry(['serve', '--listen', '127.0.0.1:0', '--data', '/proc/gantry/data'])
    assert.equal(code, 1)
    assert.match(
      stderr,
      /^gantry serve: cannot keep data in \/proc\/gantry\/data: the folder \/proc\/gantry cannot be made/m,
    )
  })
})

describe('the access log', () => {
  it('can be a file, which SIGHUP opens anew, in every process', async () => {
    const log = join(directory, 'access.log')
    await using gantry = await serveGantry({ args: ['--workers', '2'], env: { GANTRY_ACCESS_LOG: log } })
    const lines = async (path: string): Promise<number> =>
      (await readFile(path, 'utf8').catch(() => '')).split('\n').filter((line) => line.includes('"msg":"request"'))
        .length
    await textOf(`${gantry.url}/v2/`)
    await eventually('the line is there', async () => (await lines(log)) === 1)
    await rename(log, `${log}.1`)
    gantry.child.kill('SIGHUP')
    await eventually('new lines are in a new file', async () => {
      await textOf(`${gantry.url}/v2/`)
      return (await lines(log)) > 5
    })
    assert.deepEqual(
      gantry.logged().filter(({ msg }) => msg === 'request'),
      [],
    )
  })

  it('can be off, and a file that cannot be written is said before anything is served', async () => {
    await using off = await serveGantry({ env: { GANTRY_ACCESS_LOG: 'off' } })
    await textOf(`${off.url}/v2/`)
    off.child.kill('SIGTERM')
    await off.exit
    assert.deepEqual(
      off.logged().map(({ msg }) => msg),
      ['stopping', 'stopped'],
    )
    const env = { GANTRY_ACCESS_LOG: '/nowhere/at/all.log' }
    const refused = await runGantry(['serve', '--listen', '127.0.0.1:0', '--data', directory], env)
    assert.deepEqual([refused.code, refused.stdout], [1, ''])
    assert.match(refused.stderr, /^gantry serve: cannot write the access log \/nowhere\/at\/all\.log: /)
  })
})
