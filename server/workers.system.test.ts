import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { sha256, someBytes } from './testing/content.ts'
import { type GantryProcess, runGantry, serveGantry } from './testing/gantry-process.ts'
import { RawConnection } from './testing/raw-http.ts'

const PATIENCE_MS = 30_000

/** On a connection of its own, so that any worker may get it. */
const ask = (url: string, init: RequestInit = {}): Promise<Response> =>
  fetch(url, { ...init, headers: { Connection: 'close', ...init.headers } })

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + PATIENCE_MS
  while (!(await holds())) {
    assert.ok(Date.now() < end, `waited in vain until ${what}`)
    await delay(20)
  }
}

async function metric(gantry: GantryProcess, name: string): Promise<number | undefined> {
  const text = await (await ask(`${gantry.metricsUrl}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return line === undefined ? undefined : Number(line.split(' ')[1])
}

const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-workers-'))
})
after(() => rm(directory, { recursive: true, force: true }))

describe('gantry serve --workers', () => {
  it('says once that it is ready, then answers with each of its processes, on all of its addresses', async () => {
    const socket = join(directory, 'gantry.sock')
    await using gantry = await serveGantry({ args: ['--workers', '2'], listen: `127.0.0.1:0,unix:${socket}` })
    assert.match(gantry.ready, /^gantry: listening on \S+, unix:\S+ \(data in \S+, metrics on \S+, 2 workers\)\n$/)
    const seen = (): Set<unknown> => new Set(gantry.logged().map(({ worker }) => worker))
    await until('both workers have answered', async () => {
      await Promise.all(Array.from({ length: 8 }, () => ask(`${gantry.url}/v2/`)))
      return seen().has(1) && seen().has(2)
    })
    assert.equal((await ask(`${gantry.url}/readyz`)).status, 200)
    assert.equal((await ask(`${gantry.metricsUrl}/readyz`)).status, 200)
    await using local = new RawConnection(socket)
    local.write('GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n')
    await local.until(/^HTTP\/1\.1 200/)

    gantry.child.kill('SIGTERM')
    assert.deepEqual(await gantry.exit, [0, null])
    await assert.rejects(stat(socket), { code: 'ENOENT' })
  })

  it('adds the metrics of its processes up, and replaces one that died', async () => {
    await using gantry = await serveGantry({ args: ['--workers', '2'] })
    await Promise.all(Array.from({ length: 40 }, () => ask(`${gantry.url}/v2/`)))
    const name = 'gantry_http_requests_total{route="/v2/?",method="GET",status="2xx"}'
    await until('all are counted', async () => (await metric(gantry, name)) === 40)
    assert.equal(await metric(gantry, 'gantry_workers_listening'), 2)

    const [first = assert.fail()] = await gantry.workers()
    process.kill(first, 'SIGKILL')
    await until('its death is counted', async () => (await metric(gantry, 'gantry_worker_deaths_total')) === 1)
    await until('there are two again', async () => (await metric(gantry, 'gantry_workers_listening')) === 2)
    assert.equal(gantry.logged().find(({ msg }) => msg === 'a worker died')?.['why'], 'SIGKILL')
  })

  it('lets a push go on, with nothing lost that was acknowledged, after kill -9 of the worker it met and of all others', async () => {
    await using gantry = await serveGantry({ args: ['--workers', '2'] })
    const content = someBytes(64_000_000)
    const started = await ask(`${gantry.url}/v2/a/blobs/uploads/`, { method: 'POST' })
    const location = `${gantry.url}${started.headers.get('location')}`
    await using push = new RawConnection(gantry.url)
    push.write(`PATCH ${new URL(location).pathname} HTTP/1.1\r\nHost: a\r\nContent-Length: ${content.length}\r\n\r\n`)
    const rangeEnd = async (): Promise<number> => {
      const status = await ask(location).catch(() => undefined) // a worker may just be dying
      return Number(status?.headers.get('range')?.split('-')[1] ?? 0)
    }
    let sent = 0
    await until('some of it is acknowledged', async () => {
      // It is recorded once a second, while it comes.
      if (push.socket.writableLength === 0 && sent < 60_000_000) {
        push.write(content.subarray(sent, sent + 500_000))
        sent += 500_000
      }
      return (await rangeEnd()) > 10_000_000
    })
    const acknowledged = await rangeEnd()

    for (const worker of await gantry.workers()) process.kill(worker, 'SIGKILL')
    await push.closed
    await until('others serve', async () => (await rangeEnd()) > 0)
    const end = await rangeEnd()
    assert.ok(end >= acknowledged, `${end} is less than ${acknowledged}`)
    const rest = content.subarray(end + 1)
    const patched = await ask(location, {
      method: 'PATCH',
      body: rest,
      headers: { 'Content-Range': `${end + 1}-${content.length - 1}` },
    })
    assert.equal(patched.status, 202, await patched.text())
    const finished = `${gantry.url}${patched.headers.get('location')}?digest=${sha256(content)}`
    assert.equal((await ask(finished, { method: 'PUT' })).status, 201)
    const pulled = await ask(`${gantry.url}/v2/a/blobs/${sha256(content)}`)
    assert.equal(sha256(Buffer.from(await pulled.arrayBuffer())), sha256(content))
  })

  it('lets running answers finish when it is told to stop, and leaves no process', async () => {
    const content = someBytes(20_000_000)
    await using gantry = await serveGantry({ args: ['--workers', '2'] })
    await ask(`${gantry.url}/v2/a/blobs/uploads/?digest=${sha256(content)}`, { method: 'POST', body: content })
    const workers = await gantry.workers()
    await using pull = new RawConnection(gantry.url)
    pull.write(`GET /v2/a/blobs/${sha256(content)} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await pull.until(/^HTTP\/1\.1 200/)
    pull.socket.pause()
    gantry.child.kill('SIGTERM')
    await until('it is not ready any more', async () => {
      const answer = await ask(`${gantry.metricsUrl}/readyz`)
      return answer.status === 503 && (await answer.text()) === 'the registry is stopping\n'
    })
    pull.socket.resume()
    await pull.closed
    assert.equal(pull.received.length - pull.received.indexOf('\r\n\r\n') - 4, content.length)
    assert.deepEqual(await gantry.exit, [0, null])
    assert.deepEqual(
      workers.filter((pid) => !isGone(pid)),
      [],
    )
  })

  it('ends its workers when it is killed itself, or told twice to stop', async () => {
    for (const signals of [['SIGKILL'], ['SIGTERM', 'SIGTERM']] as const) {
      await using gantry = await serveGantry({ args: ['--workers', '2', '--stop-timeout', '600'] })
      const workers = await gantry.workers()
      assert.equal(workers.length, 2)
      await using stuck = new RawConnection(gantry.url)
      stuck.write('PUT /v2/a/manifests/b HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 9\r\n\r\n')
      await ask(`${gantry.url}/v2/`)
      for (const signal of signals) {
        gantry.child.kill(signal)
        await delay(100)
      }
      await gantry.exit
      await until('all are gone', async () => workers.every(isGone))
    }
  })

  it('limits the requests of a client at all of its processes together', async () => {
    await using gantry = await serveGantry({
      args: ['--workers', '2'],
      env: { GANTRY_RATE_LIMIT_REQUESTS: '0.001', GANTRY_RATE_LIMIT_BURST: '5' },
    })
    let passed = 0
    let refusedInARow = 0
    await until('every worker refuses', async () => {
      const { status } = await ask(`${gantry.url}/v2/`)
      if (status === 200) passed++
      refusedInARow = status === 429 ? refusedInARow + 1 : 0
      return refusedInARow === 20
    })
    assert.ok(passed >= 5 && passed <= 10, `${passed} passed`)
  })

  it('says why it cannot start, as one process does', async () => {
    await using first = await serveGantry()
    const taken = await runGantry([
      'serve',
      '--workers',
      '2',
      '--listen',
      new URL(first.url).host,
      '--data',
      first.data,
    ])
    assert.equal(taken.code, 1)
    assert.match(taken.stderr, /^gantry serve: cannot listen on 127\.0\.0\.1:\d+: the address is in use; .*--listen$/m)
    const nowhere = join(import.meta.filename, 'data')
    const noDirectory = await runGantry(['serve', '--workers', '2', '--listen', '127.0.0.1:0', '--data', nowhere])
    assert.equal(noDirectory.code, 1)
    assert.match(noDirectory.stderr, /^gantry serve: cannot keep data in \S+: .*not a directory$/m)
  })
})
