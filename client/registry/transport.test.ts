import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { describe, it } from 'node:test'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { readCapped } from './bounded-body.ts'
import { RegistryRefusal, RegistryUnreachable } from './refusals.ts'
import { isLoopback, Transport, type TransportOptions } from './transport.ts'

const BASIC = `Basic ${Buffer.from('me:secret').toString('base64')}`
const credential = async () => ({ username: 'me', password: 'secret' })

async function get(host: string, options: TransportOptions = {}): Promise<string> {
  await using transport = new Transport(host, { backOffMs: 1, ...options })
  const answer = await transport.ask({ method: 'GET', path: '/v2/x/manifests/y', scopes: ['repository:x:pull'] })
  return (await readCapped(answer.body, 1000)).toString()
}

describe('a request to a registry', () => {
  for (const status of [408, 429, 500, 503])
    it(`is repeated after ${status}`, async () => {
      await using registry = await scriptedRegistry((_, response, count) =>
        response.writeHead(count < 3 ? status : 200).end('fine'),
      )
      assert.equal(await get(registry.host), 'fine')
      assert.equal(registry.asked.length, 3)
    })
  it('is repeated when the connection is reset', async () => {
    await using registry = await scriptedRegistry((request, response, count) =>
      count < 3 ? request.socket.resetAndDestroy() : response.end('fine'),
    )
    assert.equal(await get(registry.host), 'fine')
  })
  it('is repeated when a small answer breaks off, and in the end said to', async () => {
    const cut = (response: ServerResponse): void => {
      response.writeHead(200, { 'content-length': 10 }).write('half', () => response.destroy())
    }
    await using registry = await scriptedRegistry((_, response, count) =>
      count < 3 ? cut(response) : response.end('fine'),
    )
    await using transport = new Transport(registry.host, { backOffMs: 1 })
    const ask = { method: 'GET', path: '/v2/x/manifests/y', scopes: [] } as const
    assert.equal((await transport.askSmall(ask, 1000)).bytes.toString(), 'fine')
    await using hopeless = await scriptedRegistry((_, response) => cut(response))
    await using other = new Transport(hopeless.host, { backOffMs: 1 })
    await assert.rejects(
      other.askSmall(ask, 1000),
      (error) => error instanceof RegistryUnreachable && /its answers break off/.test(error.message),
    )
    assert.equal(hopeless.asked.length, 5)
  })
  it('is refused also where the words of the refusal break off', async () => {
    await using registry = await scriptedRegistry((_, response) => {
      response.writeHead(404, { 'content-length': 100 }).write('{"err', () => response.destroy())
    })
    await assert.rejects(get(registry.host), { name: 'RegistryRefusal', status: 404 })
    assert.equal(registry.asked.length, 1)
  })
  it('is given up after a few attempts, with the server’s words', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response
        .writeHead(503, { 'retry-after': '0' })
        .end('{"errors":[{"code":"UNAVAILABLE","message":"closed \\u001b[31mfor lunch"}]}'),
    )
    await assert.rejects(
      get(registry.host),
      (error) => error instanceof RegistryRefusal && /503.*closed {2}\[31mfor lunch/.test(error.message),
    )
    assert.equal(registry.asked.length, 5)
  })
  it('is not repeated when the answer is no', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'),
    )
    await assert.rejects(get(registry.host), { status: 404, code: 'MANIFEST_UNKNOWN' })
    assert.equal(registry.asked.length, 1)
  })
  it('in clear to a port of https is told what to do', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response.writeHead(400).end('Client sent an HTTP request to an HTTPS server.\n'),
    )
    await assert.rejects(get(registry.host), /HTTP request to an HTTPS server.*certs\.d\/127\.0\.0\.1:\d+\/ca\.crt/)
  })
  it('that is not allowed names the right that is missing, and to whom', async () => {
    await using registry = await scriptedRegistry((request, response) =>
      request.headers.authorization === BASIC
        ? response.writeHead(403).end('{"errors":[{"code":"DENIED","message":"no"}]}')
        : response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(),
    )
    await using transport = new Transport(registry.host, { credential })
    const ask = transport.ask({ method: 'POST', path: '/v2/a/b/blobs/uploads/', scopes: ['repository:a/b:pull,push'] })
    await assert.rejects(
      ask,
      /needs the right to pull and push in a\/b\. Whoever is logged in lacks it.*`gantry login 127/,
    )
    await assert.rejects(get(registry.host), /Log in with `gantry login|as somebody else/)
  })
  it('uses a token until shortly before it ends, and asks for each scope its own', async () => {
    const scopes: string[] = []
    await using registry = await scriptedRegistry((request, response) => {
      const url = new URL(request.url ?? '', 'http://x')
      if (url.pathname === '/token') {
        scopes.push(url.searchParams.getAll('scope').join(' '))
        return response.end(JSON.stringify({ token: `t${scopes.length}`, expires_in: scopes.length === 1 ? 0.2 : 300 }))
      }
      if (request.headers.authorization?.startsWith('Bearer t')) return response.end('in')
      return response
        .writeHead(401, { 'www-authenticate': `Bearer realm="http://${request.headers.host}/token"` })
        .end()
    })
    await using transport = new Transport(registry.host)
    const ask = async (scope: string) => await transport.askSmall({ method: 'GET', path: '/v2/', scopes: [scope] }, 100)
    await ask('repository:a:pull')
    await new Promise((resolve) => setTimeout(resolve, 300)) // it has ended
    await ask('repository:a:pull')
    await ask('repository:a:pull')
    await ask('repository:b:pull')
    assert.deepEqual(scopes, ['repository:a:pull', 'repository:a:pull', 'repository:b:pull'])
    const unauthorized = registry.asked.filter(({ url, headers }) => url === '/v2/' && !headers.authorization)
    assert.equal(unauthorized.length, 1)
  })
  it('fails with the address when nobody listens', async () => {
    const { host } = await scriptedRegistry(() => {}).then(async (registry) => {
      await registry[Symbol.asyncDispose]()
      return registry
    })
    await assert.rejects(get(host), RegistryUnreachable)
  })
  it('ends when a body does not', async () => {
    await using registry = await scriptedRegistry((_, response) => {
      const endless = (): void => void (response.destroyed || response.write(Buffer.alloc(65536), endless))
      endless()
    })
    await assert.rejects(get(registry.host), /more than 1000 bytes/)
  })
})

describe('who we are', () => {
  it('is told only when asked, with Basic', async () => {
    await using registry = await scriptedRegistry((request, response) =>
      request.headers.authorization === BASIC
        ? response.end('in')
        : response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(),
    )
    assert.equal(await get(registry.host, { credential }), 'in')
    assert.equal(registry.asked[0]?.headers.authorization, undefined)
  })
  it('is told to the token service, and the token to the registry', async () => {
    await using registry = await scriptedRegistry((request, response) => {
      if (request.url?.startsWith('/token'))
        return response.end(JSON.stringify({ token: `for-${request.headers.authorization === BASIC}` }))
      if (request.headers.authorization === 'Bearer for-true') return response.end('in')
      const challenge = `Bearer realm="http://${request.headers.host}/token",service="s"`
      return response.writeHead(401, { 'www-authenticate': challenge }).end()
    })
    assert.equal(await get(registry.host, { credential }), 'in')
    assert.match(registry.asked[1]?.url ?? '', /scope=repository%3Ax%3Apull/)
  })
  it('is told again to a token service that is busy, which is blamed for nothing else if it stays so', async () => {
    let busy = 2
    await using registry = await scriptedRegistry((request, response) => {
      if (request.url?.startsWith('/token') && busy-- > 0) return response.writeHead(503, { 'retry-after': '0' }).end()
      if (request.url?.startsWith('/token')) return response.end(JSON.stringify({ token: 'given' }))
      if (request.headers.authorization === 'Bearer given') return response.end('in')
      const challenge = `Bearer realm="http://${request.headers.host}/token",service="s"`
      return response.writeHead(401, { 'www-authenticate': challenge }).end()
    })
    assert.equal(await get(registry.host, { credential }), 'in')
    assert.equal(registry.asked.filter(({ url }) => url?.startsWith('/token')).length, 3)
    busy = Number.POSITIVE_INFINITY
    await assert.rejects(get(registry.host, { credential }), {
      name: 'RegistryRefusal',
      status: 503,
      message: `${registry.host} cannot say who may do what: its token service ${registry.host} answered 503; try again later`,
    })
  })
  it('is told by the identity token that docker keeps, in a form, and not by what stands beside it', async () => {
    let form = ''
    await using registry = await scriptedRegistry((request, response) => {
      if (request.url === '/token' && request.method === 'POST') {
        request.setEncoding('utf8').on('data', (text: string) => {
          form += text
        })
        return request.on('end', () => response.end(JSON.stringify({ access_token: 'given' })))
      }
      if (request.headers.authorization === 'Bearer given') return response.end('in')
      const challenge = `Bearer realm="http://${request.headers.host}/token",service="s"`
      return response.writeHead(401, { 'www-authenticate': challenge }).end()
    })
    const withToken = async () => ({ username: 'me', password: '', identityToken: 'kept' })
    assert.equal(await get(registry.host, { credential: withToken }), 'in')
    const expected = { grant_type: 'refresh_token', client_id: 'gantry', refresh_token: 'kept', service: 's' }
    assert.deepEqual(Object.fromEntries(new URLSearchParams(form)), { ...expected, scope: 'repository:x:pull' })
    assert.ok(registry.asked.every(({ headers }) => !headers.authorization?.startsWith('Basic')))
  })
  it('being refused says how to log in', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(),
    )
    await assert.rejects(get(registry.host), /gantry login 127\.0\.0\.1/)
  })
  it('is kept from the host that a redirect names', async () => {
    await using other = await scriptedRegistry((_, response) => response.end('elsewhere'))
    await using registry = await scriptedRegistry((request, response) =>
      request.headers.authorization === BASIC
        ? response.writeHead(307, { location: `http://${other.host}/blob` }).end()
        : response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(),
    )
    assert.equal(await get(registry.host, { credential }), 'elsewhere')
    assert.equal(other.asked[0]?.headers.authorization, undefined)
  })
  it('is not told to the host of a redirect that asks for it (CVE-2020-15157)', async () => {
    for (const challenge of ['Basic realm="x"', 'Bearer realm="REALM"']) {
      await using other = await scriptedRegistry((request, response) => {
        const realm = challenge.replace('REALM', `http://${request.headers.host}/token`)
        response.writeHead(401, { 'www-authenticate': realm }).end()
      })
      await using registry = await scriptedRegistry((_, response) =>
        response.writeHead(307, { location: `http://${other.host}/blob` }).end(),
      )
      await assert.rejects(get(registry.host, { credential }), { name: 'RegistryRefusal', status: 401 })
      assert.deepEqual(
        other.asked.map(({ url, headers }) => [url, headers.authorization]),
        [['/blob', undefined]],
      )
    }
  })
  it('does not travel in clear to a token service elsewhere', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://token.example/token"' }).end(),
    )
    await assert.rejects(get(registry.host, { credential }), /token service http:\/\/token\.example is not https/)
  })
})

describe('a redirect', () => {
  it('is not followed for ever', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response.writeHead(302, { location: '/again' }).end(),
    )
    await assert.rejects(get(registry.host), /more than 5 redirects/)
  })
  it('is not followed to a file', async () => {
    await using registry = await scriptedRegistry((_, response) =>
      response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    )
    await assert.rejects(get(registry.host), /not followed/)
  })
})

describe('plain http', () => {
  for (const host of ['localhost', 'localhost:5000', '127.0.0.1:80', '127.8.9.1', '[::1]:5000', 'a.localhost:1'])
    it(`is for ${host}`, () => assert.ok(isLoopback(host)))
  for (const host of ['registry.example', '128.0.0.1', '127.0.0.1.example', 'localhost.example:5000', '10.0.0.1:5000'])
    it(`is not for ${host}`, () => assert.ok(!isLoopback(host)))
})
