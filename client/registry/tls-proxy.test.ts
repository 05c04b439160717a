/** A proxy that is itself spoken to in TLS is believed for its own certificate alone, and learns nothing that is meant for the registry. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, connect, type Server, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { getCACertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls'
import { type TestAuthority, testAuthority } from '../../server/testing/tls.ts'
import type { HostCertificates } from './host-certificates.ts'
import { proxySettings } from './proxies.ts'
import { Transport, type TransportOptions } from './transport.ts'

const publicAuthority = testAuthority('trusted by everybody')
const privateAuthority = testAuthority('of the registry alone')
const clients = testAuthority('authority of clients')

const usual = getCACertificates('default')
before(() => setDefaultCACertificates([...usual, publicAuthority.certificate]))
after(() => setDefaultCACertificates(usual))

const portOf = (server: Server): number => (server.address() as AddressInfo).port
const nameOf = (socket: TLSSocket): string =>
  (socket.getPeerCertificate() as { subject?: { CN?: string } }).subject?.CN ?? 'nobody'

/** A forward proxy over TLS, its tunnels leading to the port `target`; it asks everybody for a certificate, and remembers who showed which. */
async function tlsProxy(issuedBy: TestAuthority, target = 0) {
  const { certificate, key } = issuedBy.issue('server')
  const seen: string[] = []
  const options = { cert: certificate, key, ca: clients.certificate, requestCert: true, rejectUnauthorized: false }
  const server = createServer(options, ({ socket, url }, response) => {
    seen.push(`${url} by ${nameOf(socket as TLSSocket)}`)
    response.end('by proxy')
  })
  server.on('connect', ({ url, socket }, tunnel) => {
    seen.push(`${url} by ${nameOf(socket as TLSSocket)}`)
    tunnel.write('HTTP/1.1 200 OK\r\n\r\n')
    const upstream = connect(target, '127.0.0.1')
    for (const each of [tunnel, upstream]) each.on('error', () => {})
    tunnel.pipe(upstream).pipe(tunnel)
  })
  const close = closing(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { address: `https://localhost:${portOf(server)}`, seen, [Symbol.asyncDispose]: close }
}

async function secureRegistry(issuedBy = publicAuthority) {
  const { certificate, key } = issuedBy.issue('server', { names: { hosts: ['registry.example'], addresses: [] } })
  const options = { cert: certificate, key, ca: clients.certificate, requestCert: true, rejectUnauthorized: false }
  const server = createServer(options, ({ socket }, response) => {
    response.setHeader('connection', 'close').end(`registry asked by ${nameOf(socket as TLSSocket)}`)
  })
  const close = closing(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: portOf(server), [Symbol.asyncDispose]: close }
}

/** Tunnels included, which are none of the HTTP server's any more. */
function closing(server: Server): () => Promise<void> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  return async () => {
    for (const each of sockets) each.destroy()
    server.close()
    await once(server, 'close')
  }
}

const reaching = (proxy: string, options: TransportOptions = {}): Transport =>
  new Transport('registry.example', {
    proxies: proxySettings({ https_proxy: proxy, http_proxy: proxy }),
    backOffMs: 1,
    ...options,
  })

const get = async (transport: Transport): Promise<string> =>
  String((await transport.askSmall({ method: 'GET', path: '/v2/', scopes: [], attempts: 1 }, 100)).bytes)

function ofTheRegistry(): HostCertificates {
  const { certificate, key } = clients.issue('client', { subject: { commonName: 'us' } })
  return {
    folder: '/certs.d/registry.example',
    authorities: [privateAuthority.certificate],
    client: { certificate, key },
  }
}

describe('a proxy that is spoken to in TLS', () => {
  it('is not shown the certificate by which the registry knows us', async () => {
    await using registry = await secureRegistry(privateAuthority)
    await using proxy = await tlsProxy(publicAuthority, registry.port)
    await using transport = reaching(proxy.address, { certificates: ofTheRegistry() })
    assert.equal(await get(transport), 'registry asked by us')
    assert.deepEqual(proxy.seen, ['registry.example:443 by nobody'])
  })

  it('passes requests in clear on, which are hidden on the way to it', async () => {
    await using proxy = await tlsProxy(publicAuthority)
    await using transport = reaching(proxy.address, { plainHttp: true, certificates: ofTheRegistry() })
    assert.equal(await get(transport), 'by proxy')
    assert.deepEqual(proxy.seen, ['http://registry.example/v2/ by nobody'])
  })

  for (const [whose, options] of [
    ['the registry’s authority', { certificates: ofTheRegistry() }],
    ['an insecure registry', { insecureTls: true }],
    ['an insecure registry in clear', { insecureTls: true, plainHttp: true }],
  ] as const)
    it(`is not believed for ${whose}, and the error says that it is the proxy’s certificate`, async () => {
      await using registry = await secureRegistry(privateAuthority)
      await using proxy = await tlsProxy(privateAuthority, registry.port)
      await using transport = reaching(proxy.address, options)
      await assert.rejects(get(transport), ({ message }: Error) => {
        assert.match(message, /the proxy localhost:[0-9]+: .*certificate.* NODE_EXTRA_CA_CERTS/)
        assert.doesNotMatch(message, /certs\.d/)
        return true
      })
      assert.deepEqual(proxy.seen, [])
    })
})

it('an authority in certs.d is believed beside those that everybody trusts, of NODE_EXTRA_CA_CERTS too', async () => {
  await using registry = await secureRegistry()
  await using proxy = await tlsProxy(publicAuthority, registry.port)
  await using transport = reaching(proxy.address, { certificates: ofTheRegistry() })
  assert.equal(await get(transport), 'registry asked by us')
})
