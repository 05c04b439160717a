/** What an operator's settings become on the wire. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import { StorageUnavailable } from '../errors.ts'
import { bytesOf } from '../testing/sources.ts'
import { Bucket } from './bucket.ts'
import type { S3Settings } from './settings.ts'

const credentials = { accessKeyId: 'someone', secretAccessKey: 'something' }

/** Answers everything with an ETag. */
async function serve(t: TestContext, make: (listener: RequestListener) => Server) {
  const seen: IncomingMessage[] = []
  const server = make((req, res) => {
    seen.push(req)
    req.resume().on('end', () => res.setHeader('ETag', '"1"').end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => new Promise((resolve) => server.close(resolve)))
  return { seen, port: (server.address() as AddressInfo).port }
}

async function putOne(t: TestContext, settings: Partial<S3Settings>): Promise<void> {
  const bucket = new Bucket({ bucket: 'images', credentials, attempts: 1, timeoutMs: 5_000, ...settings })
  t.after(() => bucket.close())
  await bucket.put('one', bytesOf('1'))
}

it('requests go through the proxy, to the bucket’s own host if told so, below the prefix, signed for the region', async (t) => {
  const proxy = await serve(t, createServer)
  const proxies = { HTTP_PROXY: `http://127.0.0.1:${proxy.port}` }
  const settings = { endpoint: 'http://s3.invalid:9000', region: 'eu-north-1', prefix: 'registry/', proxies }
  await putOne(t, { ...settings, addressing: 'virtual-host' })
  await putOne(t, settings)
  assert.deepEqual(
    proxy.seen.map(({ url }) => url?.split('?')[0]),
    ['http://images.s3.invalid:9000/registry/one', 'http://s3.invalid:9000/images/registry/one'],
  )
  assert.match(proxy.seen[0]?.headers.authorization ?? '', /Credential=someone\/\d+\/eu-north-1\/s3\/aws4_request/)
})

it('encryption is asked for as the operator says, and no checksum that other servers do not know is sent', async (t) => {
  const { seen, port } = await serve(t, createServer)
  const endpoint = `http://127.0.0.1:${port}`
  await putOne(t, { endpoint, encryption: { algorithm: 'aws:kms', keyId: 'key-1' } })
  await putOne(t, { endpoint })
  const sent = seen.map(({ headers }) => [
    headers['x-amz-server-side-encryption'],
    headers['x-amz-server-side-encryption-aws-kms-key-id'],
  ])
  assert.deepEqual(sent, [
    ['aws:kms', 'key-1'],
    [undefined, undefined],
  ])
  for (const { headers } of seen) {
    assert.deepEqual(
      Object.keys(headers).filter((name) => /checksum|trailer/.test(name)),
      [],
    )
  }
})

it('a server is believed if one of the named authorities vouches for it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-ca-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key, '-out', cert, ...subject]
  execFileSync('openssl', made, { stdio: 'ignore' })
  const certificateAuthorities = await readFile(cert, 'utf8')
  const pair = { key: await readFile(key), cert: certificateAuthorities }
  const { seen, port } = await serve(t, (listener) => createTlsServer(pair, listener))
  const endpoint = `https://127.0.0.1:${port}`
  await assert.rejects(putOne(t, { endpoint }), StorageUnavailable)
  await putOne(t, { endpoint, certificateAuthorities })
  assert.equal(seen.length, 1)
})
