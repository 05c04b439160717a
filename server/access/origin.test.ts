import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Origins } from './origin.ts'

const request = (remoteAddress: string | undefined, headers: Record<string, string>): IncomingMessage =>
  ({ socket: { remoteAddress }, headers: { host: 'registry:5000', ...headers } }) as unknown as IncomingMessage
const from = (proxies: readonly string[], remote: string | undefined, headers: Record<string, string>) =>
  new Origins(proxies, undefined).of(request(remote, headers))

const SAID = { 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'registry.example' }

describe('the origin of a request', () => {
  it('is the connection, whatever it says, unless that is of a proxy that the operator named', () => {
    const plain = { address: '198.51.100.1', url: 'http://registry:5000' }
    assert.deepEqual(from([], '198.51.100.1', SAID), plain)
    assert.deepEqual(
      from(['10.0.0.0/8', 'unix'], '198.51.100.1', { ...SAID, forwarded: 'for=1.2.3.4;proto=https' }),
      plain,
    )
    assert.deepEqual(from(['10.0.0.0/8'], '::ffff:10.1.2.3', SAID), {
      address: '203.0.113.9',
      url: 'https://registry.example',
    })
    assert.deepEqual(from(['unix'], undefined, SAID), { address: '203.0.113.9', url: 'https://registry.example' })
    assert.deepEqual(from([], undefined, SAID), { address: undefined, url: 'http://registry:5000' })
  })

  it('is what the nearest trusted proxies saw, not what the client put in front of that', () => {
    const headers = { 'x-forwarded-for': '1.1.1.1, 203.0.113.9, 10.0.0.2', 'x-forwarded-proto': 'https' }
    assert.equal(from(['10.0.0.0/8'], '10.0.0.1', headers).address, '203.0.113.9')
  })

  it('is not what a client put into the header that its proxy does not write', () => {
    const proxies = ['10.0.0.0/8']
    const itself = { address: '10.0.0.1', url: 'http://registry:5000' }
    for (const forwarded of ['for=6.6.6.6', 'for=203.0.113.9;proto=https;host=evil.example', 'for=unknown', '=']) {
      assert.deepEqual(from(proxies, '10.0.0.1', { ...SAID, forwarded }), itself, forwarded)
    }
    const forwarded = 'for=203.0.113.9;proto=https;host=registry.example'
    assert.deepEqual(from(proxies, '10.0.0.1', { 'x-forwarded-for': '6.6.6.6', forwarded }), itself)
    assert.deepEqual(
      from(proxies, '10.0.0.1', { ...SAID, forwarded }),
      { address: '203.0.113.9', url: 'https://registry.example' },
      'a proxy may write both',
    )
  })

  it('is read from Forwarded, too', () => {
    const forwarded = 'for=1.1.1.1, For="[2001:db8::7]:4711";Proto=https;Host=registry.example:8443'
    assert.deepEqual(from(['::1'], '::1', { forwarded }), {
      address: '2001:db8::7',
      url: 'https://registry.example:8443',
    })
  })

  it('never has a host that could end a header, and is what the operator says, if they do', () => {
    assert.equal(from([], '1.1.1.1', { host: 'a"b' }).url, 'http://localhost')
    assert.equal(new Origins([], 'https://r.example').of(request('1.1.1.1', SAID)).url, 'https://r.example')
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (forwarded, host, list) => {
        const { url } = from(['10.0.0.1'], '10.0.0.1', {
          forwarded,
          host,
          'x-forwarded-host': host,
          'x-forwarded-for': list,
        })
        assert.match(url, /^https?:\/\/[A-Za-z0-9._:[\]-]+$/)
      }),
    )
  })
})
