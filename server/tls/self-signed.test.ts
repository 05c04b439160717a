import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { hostname, networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { readTls } from './files.ts'
import { howToTrust, namesOf, selfSigned } from './self-signed.ts'

const DAY_MS = 24 * 60 * 60_000
const NAMES = ['localhost', '127.0.0.1', '::1']

let data: string
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'gantry-self-signed-'))
})
afterEach(() => rm(data, { recursive: true, force: true }))

const read = async (file: string): Promise<X509Certificate> => new X509Certificate(await readFile(file))

describe('a certificate of our own making', () => {
  it('is good for all names, issued by the authority beside it, and its keys are for the owner alone', async () => {
    const { file, authorityFile } = await selfSigned(data, NAMES)
    const [certificate, authority] = [await read(file), await read(authorityFile)]
    assert.ok(certificate.verify(authority.publicKey) && certificate.checkIssued(authority) && authority.ca)
    assert.ok(certificate.checkHost('localhost') && certificate.checkIP('127.0.0.1') && certificate.checkIP('::1'))
    await readTls({ certificate: file, key: file, clientAuthorities: undefined, minimum: '1.2' })
    for (const name of await readdir(join(data, 'tls'))) {
      const text = await readFile(join(data, 'tls', name), 'utf8')
      const { mode } = await stat(join(data, 'tls', name))
      assert.equal(mode & 0o777, text.includes('PRIVATE KEY') ? 0o600 : 0o644, name)
    }
  })

  it('is the same at the next start, until it nears its end, and then the authority is the same', async () => {
    const { file, authorityFile } = await selfSigned(data, NAMES)
    const [first, authority] = [await readFile(file, 'utf8'), await readFile(authorityFile, 'utf8')]
    const inDays = (days: number): Date => new Date(Date.now() + days * DAY_MS)
    await selfSigned(data, NAMES, inDays(59))
    assert.equal(await readFile(file, 'utf8'), first)
    await selfSigned(data, NAMES, inDays(61))
    const renewed = await read(file)
    assert.ok(renewed.validToDate > inDays(150))
    assert.equal(await readFile(authorityFile, 'utf8'), authority)
    assert.ok(renewed.verify((await read(authorityFile)).publicKey))
    await selfSigned(data, NAMES, inDays(3_600))
    assert.notEqual(await readFile(authorityFile, 'utf8'), authority, 'an authority outlives what it issues')
  })

  it('is another one for another name, and where what was there is spoiled', async () => {
    const { file, authorityFile } = await selfSigned(data, NAMES)
    const first = await readFile(file, 'utf8')
    await selfSigned(data, [...NAMES, 'registry.example'])
    assert.ok((await read(file)).checkHost('registry.example'))
    assert.notEqual(await readFile(file, 'utf8'), first)
    for (const spoiled of ['server.pem', 'ca.pem', 'ca.crt']) {
      await writeFile(join(data, 'tls', spoiled), 'spoiled')
      await selfSigned(data, NAMES)
      assert.ok((await read(file)).verify((await read(authorityFile)).publicKey), spoiled)
    }
  })

  it('is of one authority where two processes make it at once', async () => {
    const made = await Promise.all(Array.from({ length: 4 }, () => selfSigned(data, NAMES)))
    const { file, authorityFile } = made[0] ?? assert.fail()
    assert.ok((await read(file)).verify((await read(authorityFile)).publicKey))
    assert.deepEqual((await readdir(join(data, 'tls'))).toSorted(), ['ca.crt', 'ca.pem', 'server.pem'])
  })
})

describe('the names of a registry', () => {
  it('are those of this machine, of where it listens, and of what the operator calls it', () => {
    const names = namesOf([{ host: '192.0.2.7', port: 1 }, { path: '/x' }], 'https://registry.example:5000')
    assert.deepEqual(names, ['localhost', '127.0.0.1', '::1', hostname(), '192.0.2.7', 'registry.example'])
    const everywhere = namesOf([{ host: '::', port: 1 }], 'https://[2001:db8::1]')
    assert.ok(everywhere.includes('2001:db8::1') && !everywhere.includes('::'))
    for (const own of Object.values(networkInterfaces()).flatMap((each) => each ?? [])) {
      if (own.family === 'IPv4') assert.ok(everywhere.includes(own.address))
    }
  })

  it('are in the directions for clients', () => {
    const made = { file: '/d/tls/server.pem', authorityFile: '/d/tls/ca.crt' }
    const words = howToTrust(made, { host: '0.0.0.0', port: 5_000 })
    assert.match(
      words,
      /^ {2}docker +install -D -m 644 \/d\/tls\/ca\.crt \/etc\/docker\/certs\.d\/localhost:5000\/ca\.crt$/m,
    )
    assert.match(
      howToTrust(made, { host: '192.0.2.7', port: 443 }),
      /curl --cacert \/d\/tls\/ca\.crt https:\/\/192\.0\.2\.7:443\/v2\//,
    )
  })
})
