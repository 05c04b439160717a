import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import { sha256, someBytes } from './testing/content.ts'
import { runGantry, serveGantry, startGantry } from './testing/gantry-process.ts'
import { RawConnection } from './testing/raw-http.ts'

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-cli-'))
})
after(() => rm(directory, { recursive: true, force: true }))

describe('gantry serve', () => {
  it('teaches its use with --help', async () => {
    const { code, stdout } = await runGantry(['serve', '--help'])
    assert.equal(code, 0)
    for (const word of [
      '--listen',
      '--data',
      'GANTRY_LISTEN',
      'docker push',
      'SIGTERM',
      '127.0.0.1:5000',
      '--config',
      'gantry config docs',
    ])
      assert.ok(stdout.includes(word), word)
  })

  it('names what is wrong with its arguments, and exits with 2', async () => {
    for (const [args, message] of [
      [['serve', '--listen', 'nonsense'], /^gantry serve: --listen: found "nonsense", expected HOST:PORT/m],
      [['serve', '--port', '1'], /unknown option '--port'/],
      [['serve', 'extra'], /too many arguments/],
    ] as const) {
      const { code, stdout, stderr } = await runGantry(args)
      assert.match(stderr, message)
      assert.deepEqual([code, stdout], [2, ''])
    }
  })

  it('takes no offence at a reader who has enough, as `head` has', async () => {
    const { child, exit } = startGantry(['config', 'docs'])
    child.stdout?.destroy()
    const [stderr, [code]] = await Promise.all([text(child.stderr ?? assert.fail()), exit])
    assert.deepEqual([stderr, code], ['', 0])
  })

  it('says in one line why it cannot start, and exits with 1', async () => {
    const file = join(directory, 'file')
    await writeFile(file, '')
    const noDirectory = await runGantry(['serve', '--listen', '127.0.0.1:0', '--data', join(file, 'data')])
    assert.equal(noDirectory.code, 1)
    assert.match(noDirectory.stderr, /^gantry serve: cannot keep data in \S+: .*not a directory\n$/)

    await using first = await serveGantry()
    const taken = await runGantry(['serve', '--listen', new URL(first.url).host, '--data', join(directory, 'other')])
    assert.equal(taken.code, 1)
    assert.match(taken.stderr, /^gantry serve: cannot listen on 127\.0\.0\.1:\d+: the address is in use; .*--listen\n$/)
  })

  it('announces its real port and its data directory on standard output', async () => {
    await using gantry = await serveGantry()
    assert.match(
      gantry.ready,
      new RegExp(
        `^gantry: listening on ${gantry.url} \\(data in ${gantry.data}, metrics on http://127\\.0\\.0\\.1:\\d+\\)\n$`,
      ),
    )
    assert.equal((await fetch(`${gantry.url}/v2/`)).status, 200)
  })

  it('stops on SIGTERM when the running answers are out, and keeps what an upload sent', async () => {
    const content = someBytes(2_000_000)
    await using gantry = await serveGantry({ args: ['--stop-timeout', '2'] })
    const pushed = await fetch(`${gantry.url}/v2/a/blobs/uploads/?digest=${sha256(content)}`, {
      method: 'POST',
      body: content,
    })
    assert.equal(pushed.status, 201)
    const session = await fetch(`${gantry.url}/v2/a/blobs/uploads/`, { method: 'POST' })
    const location = session.headers.get('location') ?? ''

    await using pull = new RawConnection(gantry.url)
    pull.write(`GET /v2/a/blobs/${sha256(content)} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await pull.until(/^HTTP\/1\.1 200/)
    pull.socket.pause()
    await using push = new RawConnection(gantry.url)
    push.write(`PATCH ${location} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n`)
    push.write(content.subarray(0, 500_000))
    // A second request on another connection is answered only after the server has taken what came before it.
    await new Promise((resolve) => (push.socket.writableLength === 0 ? resolve(0) : push.socket.once('drain', resolve)))
    await fetch(`${gantry.url}/v2/`)

    gantry.child.kill('SIGTERM')
    pull.socket.resume()
    await pull.closed
    assert.equal(pull.received.length - pull.received.indexOf('\r\n\r\n') - 4, content.length)
    assert.deepEqual(await gantry.exit, [0, null])

    await using again = await serveGantry({ data: gantry.data })
    const status = await fetch(`${again.url}${location}`)
    assert.equal(status.headers.get('range'), '0-499999')
  })

  it('ends at once on a second signal', async () => {
    await using gantry = await serveGantry({ args: ['--stop-timeout', '600'] })
    const session = await fetch(`${gantry.url}/v2/a/blobs/uploads/`, { method: 'POST' })
    await using push = new RawConnection(gantry.url)
    push.write(`PATCH ${session.headers.get('location')} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc`)
    await fetch(`${gantry.url}/v2/`)
    gantry.child.kill('SIGTERM')
    const refused = async (): Promise<boolean> =>
      fetch(`${gantry.url}/v2/`).then(
        () => false,
        () => true,
      )
    while (!(await refused())) {} // the first signal has arrived
    gantry.child.kill('SIGTERM')
    assert.deepEqual(await gantry.exit, [143, null])
  })
})
