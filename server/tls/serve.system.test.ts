/** `gantry serve` with TLS, as an operator starts it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../../conformance/support/free-port.ts'
import { runGantry, serveGantry } from '../testing/gantry-process.ts'
import { secureConnection, type TestTls, testTls } from '../testing/tls.ts'

const PATIENCE_MS = 30_000

let tls: TestTls
const at = (name: string): string => join(tls.directory, name)
before(async () => {
  tls = await testTls()
})
after(() => tls[Symbol.asyncDispose]())

/** Of the certificate that a new connection gets. */
async function nameAt(url: string, ca = tls.authority.certificate): Promise<string> {
  const socket = await secureConnection(url, { ca, servername: 'localhost' })
  const { CN } = socket.getPeerCertificate().subject
  socket.destroy()
  return String(CN)
}

async function statusAt(url: string, ca = tls.authority.certificate): Promise<string> {
  const socket = await secureConnection(url, { ca, servername: 'localhost' })
  socket.write('GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  let answer = ''
  for await (const chunk of socket) answer += String(chunk)
  return answer.slice(0, 'HTTP/1.1 200'.length)
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + PATIENCE_MS
  while (!(await holds())) {
    assert.ok(Date.now() < end, `waited in vain until ${what}`)
    await delay(50)
  }
}

/** Written beside it and renamed, one after the other. */
async function install(name: string): Promise<void> {
  const { certificate, key } = tls.authority.issue('server', { subject: { commonName: name } })
  for (const [file, text] of [
    ['certificate', certificate],
    ['key', key],
  ] as const) {
    await writeFile(at('new'), text)
    await rename(at('new'), at(file))
  }
}

const files = (): string[] => ['--tls-certificate', at('certificate'), '--tls-key', at('key')]

describe('gantry serve with TLS', () => {
  it('gives new connections a new certificate in all of its workers, the next ones included, and says when it expires', async () => {
    await using gantry = await serveGantry({ args: [...files(), '--workers', '2'] })
    assert.match(gantry.ready, /^gantry: listening on https:\/\/127\.0\.0\.1:\d+ \(data in \S+, metrics on http:/)
    assert.equal(await statusAt(gantry.url), 'HTTP/1.1 200')
    await install('renewed')
    const said = (): number =>
      gantry.logged().filter(({ msg }) => msg === 'new TLS certificate, for new connections').length
    await until('both workers have it', async () => said() === 2)
    for (let turn = 0; turn < 8; turn++) assert.equal(await nameAt(gantry.url), 'renewed')
    await install('again')
    gantry.child.kill('SIGHUP')
    await until('both workers have the next one', async () => said() >= 4)
    for (let turn = 0; turn < 8; turn++) assert.equal(await nameAt(gantry.url), 'again')
    for (const pid of await gantry.workers()) process.kill(pid, 'SIGKILL')
    await until('other workers serve it', async () => (await nameAt(gantry.url).catch(() => '')) === 'again')

    const metrics = await (await fetch(`${gantry.metricsUrl}/metrics`)).text()
    const [, expiry] = /^gantry_tls_certificate_expiry_timestamp_seconds (\d+)$/m.exec(metrics) ?? []
    const left = Number(expiry) - Date.now() / 1_000
    assert.ok(left > 0 && left <= 3_600, 'it is not added up')
  })

  it('makes a certificate for itself, says how to trust it, and has the same at the next start', async () => {
    await using first = await serveGantry({ args: ['--tls-self-signed'] })
    let said = first.ready
    first.child.stdout?.on('data', (more: string) => {
      said += more
    })
    await until('the directions are out', async () => /SSL_CERT_FILE=/.test(said))
    const authority = join(first.data, 'tls', 'ca.crt')
    assert.ok(said.includes(`curl --cacert ${authority} https://localhost:${new URL(first.url).port}/v2/`), said)
    const ca = await readFile(authority, 'utf8')
    assert.equal(await statusAt(first.url, ca), 'HTTP/1.1 200')
    const serial = async (url: string): Promise<string> => {
      const socket = await secureConnection(url, { ca, servername: 'localhost' })
      const { serialNumber } = socket.getPeerCertificate()
      socket.destroy()
      return serialNumber
    }
    await using second = await serveGantry({ args: ['--tls-self-signed'], data: first.data })
    assert.equal(await serial(first.url), await serial(second.url))
  })

  it('sends plain HTTP to HTTPS where it was told to, and leaves a socket file plain', async () => {
    const port = await freePort()
    const socketPath = at('gantry.sock')
    await using gantry = await serveGantry({
      args: files(),
      listen: `127.0.0.1:0,unix:${socketPath}`,
      env: { GANTRY_TLS_REDIRECT: `127.0.0.1:${port}` },
    })
    const ask = async (options: Parameters<typeof request>[1]) => {
      const [answer] = await once(request({ agent: false, ...(options as object) }).end(), 'response')
      answer.resume()
      return answer
    }
    const tlsPort = new URL(gantry.url).port
    for (const [host, path, location] of [
      ['registry.example', '/v2/a/tags/list?n=1', `https://registry.example:${tlsPort}/v2/a/tags/list?n=1`],
      ['[::1]:80', '//evil.example/', `https://[::1]:${tlsPort}//evil.example/`],
      ['registry.example', 'http://evil.example/v2/', `https://registry.example:${tlsPort}/v2/`],
    ] as const) {
      const answer = await ask({ port, path, headers: { Host: host } })
      assert.deepEqual([answer.statusCode, answer.headers.location], [308, location])
    }
    assert.equal((await ask({ port, path: '/v2/', headers: { Host: 'a"b' } })).statusCode, 400)
    assert.equal((await ask({ socketPath, path: '/v2/' })).statusCode, 200)
  })

  it('does not begin where it cannot redirect, and says which address it is', async () => {
    await using taken = await serveGantry()
    const { host } = new URL(taken.url)
    const env = { GANTRY_TLS_REDIRECT: host, GANTRY_DATA: at('redirecting') }
    const { code, stderr } = await runGantry(['serve', '--listen', '127.0.0.1:0', ...files()], env)
    assert.equal(code, 1)
    assert.ok(stderr.includes(`cannot listen on ${host}: the address is in use`), stderr)
  })

  it('does not begin with files that cannot be used, and `gantry config check` says so, too', async () => {
    const other = tls.authority.issue('server')
    await writeFile(at('other'), other.key)
    const wrong = ['--tls-certificate', at('certificate'), '--tls-key', at('other'), '--data', at('data')]
    for (const verb of [
      ['serve', '--listen', '127.0.0.1:0'],
      ['config', 'check'],
    ]) {
      const { code, stderr } = await runGantry([...verb, ...wrong])
      assert.equal(code, 1)
      assert.match(stderr, /the private key in \S+\/other is not that of the certificate in \S+\/certificate/)
    }
    assert.equal((await runGantry(['config', 'check', ...files()])).code, 0)
    const expired = tls.authority.issue('server', { lastsMs: -1_000 })
    await writeFile(at('expired'), expired.certificate + expired.key)
    const { code, stderr } = await runGantry(['config', 'check', '--tls-certificate', at('expired')])
    assert.equal(code, 1)
    assert.match(stderr, /the certificate in \S+\/expired expired on 20/)
    await rm(at('data'), { recursive: true, force: true })
  })
})
