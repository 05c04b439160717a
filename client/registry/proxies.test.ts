import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { describe, it } from 'node:test'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { proxyOf, proxySettings } from './proxies.ts'
import { Transport } from './transport.ts'

const through = (url: string, environment: Record<string, string>): string | undefined =>
  proxyOf(new URL(url), proxySettings(environment))?.host

describe('a proxy', () => {
  const both = { HTTP_PROXY: 'http://plain.example:3128', https_proxy: 'secure.example:3129' }
  it('is chosen by what is spoken through it', () => {
    assert.equal(through('http://a.example/', both), 'plain.example:3128')
    assert.equal(through('https://a.example/', both), 'secure.example:3129')
  })
  for (const url of ['http://localhost:5000/', 'http://127.0.0.1:5000/', 'http://[::1]:5000/', 'http://x.localhost/'])
    it(`is never between us and this machine: ${url}`, () => assert.equal(through(url, both), undefined))
  const excepted: readonly (readonly [string, string, boolean])[] = [
    ['a.example', 'http://a.example/', true],
    ['.example', 'http://a.example/', true],
    ['example', 'http://a.example/', true],
    ['*.example', 'http://a.example/', true],
    ['a.example:80', 'http://a.example/', true],
    ['a.example:81', 'http://a.example/', false],
    ['ample', 'http://a.example/', false],
    ['10.0.0.0/8', 'http://10.2.3.4:5000/', true],
    ['10.0.0.0/8', 'http://11.2.3.4:5000/', false],
    ['fd00::/8', 'http://[fd12::1]:5000/', true],
    ['2.3.4', 'http://1.2.3.4/', false],
    ['b.example, *', 'http://a.example/', true],
    ['10.0.0.0/99', 'http://10.2.3.4/', false],
  ]
  for (const [exceptions, url, isDirect] of excepted)
    it(`is ${isDirect ? 'not ' : ''}used for ${url} with NO_PROXY=${exceptions}`, () =>
      assert.equal(through(url, { ...both, NO_PROXY: exceptions }), isDirect ? undefined : 'plain.example:3128'))
  it('is not what a client of a CGI program names (CVE-2016-5385)', () =>
    assert.equal(through('http://a.example/', { HTTP_PROXY: 'http://evil.example', REQUEST_METHOD: 'GET' }), undefined))
  it('that is no address is named with its variable', () =>
    assert.throws(() => proxySettings({ HTTPS_PROXY: 'socks5://x:1' }), /https_proxy is "socks5:\/\/x:1"; it must be/))

  it('passes plain requests on, and is shown the credential that stands in its address', async () => {
    await using proxy = await scriptedRegistry((_, response) => response.end('by proxy'))
    const proxies = proxySettings({ http_proxy: `http://user:pass@${proxy.host}` })
    await using transport = new Transport('registry.example', { plainHttp: true, proxies })
    const { bytes } = await transport.askSmall({ method: 'GET', path: '/v2/', scopes: [] }, 100)
    assert.equal(String(bytes), 'by proxy')
    assert.equal(proxy.asked[0]?.url, 'http://registry.example/v2/')
    assert.equal(proxy.asked[0]?.headers['proxy-authorization'], `Basic ${Buffer.from('user:pass').toString('base64')}`)
  })
  it('of https is a tunnel, whose inside it does not see', async () => {
    const asked: string[] = []
    await using target = await scriptedRegistry(() => {})
    const server = createServer()
    server.on('connect', (request, socket) => {
      asked.push(request.url ?? '')
      const [host, port] = target.host.split(':')
      const upstream = connect(Number(port), host, () => socket.write('HTTP/1.1 200 OK\r\n\r\n'))
      for (const each of [socket, upstream]) each.on('error', () => {})
      socket.pipe(upstream).pipe(socket)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      const proxies = proxySettings({ https_proxy: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
      await using transport = new Transport('registry.example', { proxies, backOffMs: 1 })
      const ask = transport.askSmall({ method: 'GET', path: '/v2/', scopes: [], attempts: 1 }, 100)
      await assert.rejects(ask, /plain http/) // behind the tunnel stands nobody who speaks TLS
      assert.deepEqual(asked, ['registry.example:443'])
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})
