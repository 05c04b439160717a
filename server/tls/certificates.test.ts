import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { newAuthority, newCertificate } from './certificates.ts'

const DAY_MS = 24 * 60 * 60_000
const from = new Date('2026-01-02T03:04:05Z')
const until = new Date(Date.now() + 90 * DAY_MS)
const subject = { commonName: 'an authority', organization: 'Ärzte & Söhne' }
const root = newAuthority({ subject, from, until: new Date('2055-06-07T08:09:10Z') })
const authority = { subject, privateKey: createPrivateKey(root.key) }
const names = {
  hosts: ['localhost', 'registry.example'],
  addresses: ['127.0.0.1', '::1', '2001:db8::7:0:1', '::ffff:10.1.2.3'],
  uris: ['spiffe://example/ci'],
  emails: ['ci@example.org'],
}
const server = newCertificate(authority, 'server', { subject: { commonName: 'registry' }, names, from, until })

describe('a certificate', () => {
  it('says what it was made with, to Node', () => {
    const read = new X509Certificate(server.certificate)
    assert.equal(read.subject, 'CN=registry')
    assert.equal(read.issuer, 'O=Ärzte & Söhne\nCN=an authority')
    assert.equal(read.validFromDate.getTime(), from.getTime())
    assert.equal(read.validToDate.getTime(), Math.floor(until.getTime() / 1_000) * 1_000)
    for (const host of names.hosts) assert.equal(read.checkHost(host), host)
    for (const address of names.addresses) assert.equal(read.checkIP(address), address)
    assert.equal(read.checkHost('other.example'), undefined)
    assert.ok(!read.ca)
    assert.ok(read.checkPrivateKey(createPrivateKey(server.key)))
    const issuer = new X509Certificate(root.certificate)
    assert.ok(issuer.ca && read.checkIssued(issuer) && read.verify(issuer.publicKey) && issuer.verify(issuer.publicKey))
    assert.equal(issuer.validToDate.getTime(), new Date('2055-06-07T08:09:10Z').getTime())
  })

  it('has another serial number and another key each time', () => {
    const again = newCertificate(authority, 'server', { subject: { commonName: 'registry' }, names, from, until })
    const [a, b] = [server, again].map(({ certificate }) => new X509Certificate(certificate))
    assert.notEqual(a?.serialNumber, b?.serialNumber)
    assert.notEqual(server.key, again.key)
  })

  const openssl = spawnSync('openssl', ['version']).error ? 'not installed: openssl' : false
  it('is believed by openssl for its purpose, and for no other', { skip: openssl }, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'gantry-certificates-'))
    try {
      await writeFile(join(directory, 'ca'), root.certificate)
      await writeFile(join(directory, 'server'), server.certificate)
      const client = newCertificate(authority, 'client', { subject: { commonName: 'ci' }, from, until })
      await writeFile(join(directory, 'client'), client.certificate)
      const verify = (file: string, purpose: string, strictly = ['-x509_strict']): number | null =>
        spawnSync('openssl', ['verify', ...strictly, '-CAfile', 'ca', '-purpose', purpose, file], { cwd: directory })
          .status
      assert.equal(verify('server', 'sslserver'), 0)
      assert.equal(verify('client', 'sslclient'), 0)
      assert.notEqual(verify('server', 'sslclient'), 0)
      assert.notEqual(verify('client', 'sslserver'), 0)
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })
})
