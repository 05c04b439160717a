import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { createLog } from '../log.ts'
import { serveListener } from '../testing/served-listener.ts'
import { secureConnection, type TestAuthority, testAuthority } from '../testing/tls.ts'
import { readTls, type TlsFiles } from './files.ts'
import { TlsKeeper } from './keeper.ts'

let directory: string
let authority: TestAuthority
let logged: Record<string, unknown>[]
let keeper: TlsKeeper | undefined
const log = createLog({ write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) })
const at = (...names: string[]): string => join(directory, ...names)

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-keeper-'))
  authority = testAuthority()
  logged = []
})
afterEach(async () => {
  keeper?.close()
  await rm(directory, { recursive: true, force: true })
})

const pair = (name: string, lastsMs?: number) =>
  authority.issue('server', { subject: { commonName: name }, ...(lastsMs === undefined ? {} : { lastsMs }) })
async function writePair(folder: string, name: string): Promise<void> {
  const { certificate, key } = pair(name)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'tls.crt'), certificate)
  await writeFile(join(folder, 'tls.key'), key)
}
/** Looked at by the test alone. */
async function opened(files: Partial<TlsFiles> = {}): Promise<TlsKeeper> {
  const usual = {
    certificate: at('tls.crt'),
    key: at('tls.key'),
    clientAuthorities: undefined,
    minimum: '1.2',
  } as const
  keeper = await TlsKeeper.open({ ...usual, ...files }, log, 2 ** 30)
  return keeper
}
const errors = (): unknown[] => logged.filter(({ level }) => level === 50).map(({ problem }) => problem)

describe('the identity of a listener', () => {
  it('changes when both files have, for new connections, and those that are open stay', async () => {
    await writePair(directory, 'one')
    const kept = await opened()
    await using listener = await serveListener((_, res) => void res.end('hello'), { tls: kept })
    const ca = authority.certificate
    const nameAt = async (): Promise<string> => {
      const socket = await secureConnection(listener.url, { ca })
      const { CN } = socket.getPeerCertificate().subject
      socket.destroy()
      return String(CN)
    }
    const before = await secureConnection(listener.url, { ca })
    const { certificate, key } = pair('two')
    await writeFile(at('tls.crt'), certificate)
    await kept.look() // the key is not there yet
    await writeFile(at('tls.key'), key)
    await kept.look()
    assert.equal(await nameAt(), 'one')
    await kept.look()
    assert.equal(await nameAt(), 'two')
    assert.deepEqual(errors(), [])
    assert.ok(
      logged.some(({ msg, subject }) => msg === 'new TLS certificate, for new connections' && subject === 'CN=two'),
    )
    before.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    let answer = ''
    for await (const chunk of before) answer += String(chunk)
    assert.match(answer, /hello$/)
  })

  it('changes at SIGHUP, without a second look', async () => {
    await writePair(directory, 'one')
    const kept = await opened()
    await writePair(directory, 'two')
    process.emit('SIGHUP')
    await kept.look()
    assert.equal(kept.identity.subject, 'CN=two')
  })

  it('follows links that are moved: of the folder, as Kubernetes does it, and of each file, as certbot does', async () => {
    await writePair(at('..2026_1'), 'one')
    await writePair(at('..2026_2'), 'two')
    await symlink('..2026_1', at('..data'))
    for (const name of ['tls.crt', 'tls.key']) await symlink(join('..data', name), at(name))
    const kept = await opened()
    await symlink('..2026_2', at('..data_tmp'))
    await rename(at('..data_tmp'), at('..data'))
    await kept.look()
    await kept.look()
    assert.equal(kept.identity.subject, 'CN=two')

    await writePair(at('archive'), 'three')
    for (const name of ['tls.crt', 'tls.key']) {
      await symlink(join('archive', name), at('new'))
      await rename(at('new'), at(name))
      await kept.look()
    }
    await kept.look()
    assert.equal(kept.identity.subject, 'CN=three')
    assert.deepEqual(errors(), [])
  })

  it('stays when what comes cannot be used, says why once, and changes when it can be', async () => {
    await writePair(directory, 'one')
    const kept = await opened()
    const look = async (): Promise<void> => {
      for (let turn = 0; turn < 3; turn++) await kept.look()
    }
    await writeFile(at('tls.crt'), pair('two').certificate)
    await look()
    await rm(at('tls.key'))
    await look()
    const expired = pair('three', -1_000)
    await writeFile(at('tls.crt'), expired.certificate)
    await writeFile(at('tls.key'), expired.key)
    await look()
    assert.equal(kept.identity.subject, 'CN=one')
    assert.equal(errors().length, 3)
    assert.match(
      String(errors()[0]),
      /the private key in \S+tls\.key is not that of the certificate in \S+tls\.crt \(CN=two\)/,
    )
    assert.match(String(errors()[1]), /cannot read \S+tls\.key: it, or the folder it is in, does not exist/)
    assert.match(String(errors()[2]), /tls\.crt expired on 20/)
    await writePair(directory, 'four')
    await look()
    assert.equal(kept.identity.subject, 'CN=four')
  })

  it('is complained of when it is about to expire', async () => {
    const { certificate, key } = pair('old', 60_000)
    await writeFile(at('tls.crt'), certificate + key)
    const kept = await opened({ key: at('tls.crt') })
    await kept.look()
    const warnings = logged.filter(({ level }) => level === 40)
    assert.equal(warnings.length, 1)
    assert.match(String(warnings[0]?.['problem']), /^expires on 20/)
  })
})

describe('readTls', () => {
  const refusal = async (files: Partial<TlsFiles>): Promise<string> => {
    const usual = { certificate: at('c'), key: at('k'), clientAuthorities: undefined, minimum: '1.2' } as const
    const found: unknown = await readTls({ ...usual, ...files }).then(
      () => 'it is taken',
      (error: unknown) => error,
    )
    return found instanceof Error ? found.message : String(found)
  }

  it('takes a chain, and a key in the same file', async () => {
    const { certificate, key } = pair('one')
    await writeFile(at('c'), `of the registry:\n${certificate}\r\n${authority.certificate}${key}`)
    const { context } = await readTls({
      certificate: at('c'),
      key: at('c'),
      clientAuthorities: at('c'),
      minimum: '1.3',
    })
    assert.equal(String(context.cert).match(/BEGIN CERT/g)?.length, 2)
    assert.equal(context.minVersion, 'TLSv1.3')
  })

  it('says what is wrong with each file', async () => {
    const { certificate, key } = pair('one')
    const encrypted = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase: 'secret',
    })
    for (const [cert, keyText, expected] of [
      ['', key, /\/c has no certificate: expected PEM, the registry's own first$/],
      [certificate, '', /\/k has no private key: expected PEM$/],
      [certificate, String(encrypted), /the private key in \S+\/k is encrypted: expected one without passphrase/],
      [certificate, key.replace(/M/g, '!'), /the private key in \S+\/k cannot be read: /],
      [certificate.replace(/M/g, '!'), key, /\/c: certificate 1 cannot be read: /],
      [
        authority.certificate + certificate,
        key,
        /the private key belongs to certificate 2: expected the registry's own first/,
      ],
      [certificate, pair('two').key, /is not that of the certificate in \S+\/c \(CN=one\)$/],
      ['x'.repeat(2 * 1024 * 1024), key, /cannot read \S+\/c: it is larger than/],
    ] as const) {
      await writeFile(at('c'), cert)
      await writeFile(at('k'), keyText)
      assert.match(await refusal({}), expected)
    }
    await writeFile(at('c'), certificate)
    assert.match(await refusal({ key: at('c') }), /\/c has no private key: name the file that has it in tls\.key$/)
    await writeFile(at('k'), key)
    await writeFile(at('a'), 'nothing')
    assert.match(await refusal({ clientAuthorities: at('a') }), /\/a has no certificate: expected PEM$/)
    assert.equal(await refusal({}), 'it is taken')
  })
})
