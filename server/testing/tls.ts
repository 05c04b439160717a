/** Authorities and certificates of a test's own, and connections that believe them. */
import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { createLog } from '../log.ts'
import {
  type AlternativeNames,
  type CertifiedKey,
  newAuthority,
  newCertificate,
  type Subject,
} from '../tls/certificates.ts'
import { TlsKeeper } from '../tls/keeper.ts'

const HOUR_MS = 60 * 60_000

interface Wish {
  readonly subject?: Partial<Subject>
  readonly names?: AlternativeNames
  /** From now; negative: it is over. */
  readonly lastsMs?: number
}

export interface TestAuthority {
  readonly certificate: string
  issue(purpose: 'server' | 'client', wish?: Wish): CertifiedKey
}

export function testAuthority(commonName = 'test authority'): TestAuthority {
  const subject = { commonName }
  const from = new Date(Date.now() - 48 * HOUR_MS)
  const root = newAuthority({ subject, from, until: new Date(Date.now() + 1_000 * HOUR_MS) })
  const authority = { subject, privateKey: createPrivateKey(root.key) }
  return {
    certificate: root.certificate,
    issue: (purpose, { subject: about = {}, names, lastsMs = HOUR_MS } = {}) =>
      newCertificate(authority, purpose, {
        subject: { commonName: 'test', ...about },
        names: names ?? (purpose === 'server' ? { hosts: ['localhost'], addresses: ['127.0.0.1'] } : {}),
        from,
        until: new Date(Date.now() + lastsMs),
      }),
  }
}

export interface TestTls extends AsyncDisposable {
  readonly keeper: TlsKeeper
  /** Of the server. */
  readonly authority: TestAuthority
  readonly clients: TestAuthority
  readonly directory: string
}

export async function testTls(
  changes: { readonly clientAuthorities?: boolean; readonly minimum?: '1.2' | '1.3' } = {},
): Promise<TestTls> {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-tls-'))
  const authority = testAuthority()
  const clients = testAuthority('authority of clients')
  const { certificate, key } = authority.issue('server')
  const at = (name: string): string => join(directory, name)
  await writeFile(at('certificate'), certificate)
  await writeFile(at('key'), key)
  await writeFile(at('clients'), clients.certificate)
  const files = {
    certificate: at('certificate'),
    key: at('key'),
    clientAuthorities: changes.clientAuthorities === true ? at('clients') : undefined,
    minimum: changes.minimum ?? '1.2',
  }
  const keeper = await TlsKeeper.open(files, createLog({ write: () => {} }))
  return {
    keeper,
    authority,
    clients,
    directory,
    async [Symbol.asyncDispose]() {
      keeper.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** Rejects when the handshake fails. */
export async function secureConnection(url: string, options: ConnectionOptions): Promise<TLSSocket> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), ...options })
  await once(socket, 'secureConnect')
  return socket
}
