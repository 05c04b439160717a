import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { testAuthority } from '../../server/testing/tls.ts'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { readCapped } from './bounded-body.ts'
import { certificateFolders, hostCertificates } from './host-certificates.ts'
import { Transport } from './transport.ts'

const authority = testAuthority()
const clients = testAuthority('authority of clients')

let home: string
before(async () => {
  home = await mkdtemp(join(tmpdir(), 'gantry-certificates-'))
})
after(() => rm(home, { recursive: true, force: true }))

/** A registry that says who it was asked by. */
async function secureRegistry(location?: string) {
  const { certificate, key } = authority.issue('server')
  const options = { cert: certificate, key, ca: clients.certificate, requestCert: true, rejectUnauthorized: false }
  const server = createServer(options, ({ socket }, response) => {
    const { subject } = (socket as TLSSocket).getPeerCertificate() as { subject?: { CN?: string } }
    if (location !== undefined) response.writeHead(307, { location })
    response.end(subject?.CN ?? 'nobody')
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return {
    host: `localhost:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  }
}

async function folderOf(host: string, files: Readonly<Record<string, string>>): Promise<void> {
  const folder = join(home, '.config', 'containers', 'certs.d', host)
  await mkdir(folder, { recursive: true })
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
}

async function get(host: string): Promise<string> {
  const certificates = await hostCertificates(certificateFolders(host, { HOME: home }))
  await using transport = new Transport(host, { backOffMs: 1, certificates })
  const answer = await transport.ask({ method: 'GET', path: '/v2/x/manifests/y', scopes: ['repository:x:pull'] })
  return (await readCapped(answer.body, 1000)).toString()
}

describe('a registry with a certificate', () => {
  it('of an authority in certs.d is believed, and spoken to in https also on this machine', async () => {
    await using registry = await secureRegistry()
    await folderOf(registry.host, { 'ca.crt': authority.certificate })
    assert.equal(await get(registry.host), 'nobody')
  })

  it('of another authority is not, and the error says where to put it', async () => {
    await using registry = await secureRegistry()
    await folderOf(registry.host, { 'ca.crt': clients.certificate })
    await assert.rejects(get(registry.host), (error: Error) => {
      assert.match(
        error.message,
        /^cannot reach https:\/\/localhost:\d+: .*certificate.* put the issuer's into \S+\/certs\.d\/localhost:\d+\/ca\.crt$/,
      )
      return true
    })
  })

  it('is shown ours, and nobody whom it sends us to is', async () => {
    await using other = await secureRegistry()
    const mine = clients.issue('client', { subject: { commonName: 'me' } })
    const files = { 'ca.crt': authority.certificate, 'client.cert': mine.certificate, 'client.key': mine.key }
    await using registry = await secureRegistry()
    await folderOf(registry.host, files)
    assert.equal(await get(registry.host), 'me')
    await using redirecting = await secureRegistry(`https://${other.host}/elsewhere`)
    await folderOf(redirecting.host, files)
    await assert.rejects(get(redirecting.host), /cannot reach/)
  })

  it('needs both halves of a client certificate, and says what is missing', async () => {
    await folderOf('half:1', { 'client.cert': 'x' })
    await assert.rejects(
      get('half:1'),
      /cannot read the certificates in \S+half:1: client\.cert has no client\.key beside it/,
    )
  })

  it('is asked in plain http on this machine where nobody said otherwise, and says that it wants https', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response
        .writeHead(400)
        .end('{"errors":[{"code":"BAD_REQUEST","message":"client sent plain HTTP to a port that speaks HTTPS"}]}'),
    )
    await assert.rejects(
      get(registry.host),
      /speaks HTTPS\. To speak https to it, put the certificate of its issuer into/,
    )
  })
})
