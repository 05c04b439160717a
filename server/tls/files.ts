/**
 * What a listener proves who it is with, read from files: the certificate, those that issued it, the key; and perhaps whose
 * certificates clients may prove themselves with. All that could be wrong with them is said here, in words for an operator.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { reason } from '../reasons.ts'

export interface TlsFiles {
  readonly certificate: string
  /** May be the same file. */
  readonly key: string
  /** Those whose certificates prove who a client is. */
  readonly clientAuthorities: string | undefined
  readonly minimum: '1.2' | '1.3'
}

export interface TlsIdentity {
  readonly context: SecureContextOptions
  readonly expiresAt: Date
  readonly validFrom: Date
  /** For people: of the certificate. */
  readonly subject: string
}

export class TlsUnusable extends Error {
  override readonly name = 'TlsUnusable'
}

/** RFC 9325: forward secrecy and authenticated encryption only. TLS 1.3 has its own, all of which are. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g
const LARGEST_BYTES = 1024 * 1024

/** Throws `TlsUnusable`; never for what has only expired. */
export async function readTls(files: TlsFiles): Promise<TlsIdentity> {
  const [certificateText, keyText, authoritiesText] = await Promise.all([
    textOf(files.certificate),
    textOf(files.key),
    files.clientAuthorities === undefined ? undefined : textOf(files.clientAuthorities),
  ])
  const chain = certificatesIn(files.certificate, certificateText)
  const key = keyIn(files, keyText)
  const leaf = chain[0]
  if (!leaf) throw new TlsUnusable(`${files.certificate} has no certificate: expected PEM, the registry's own first`)
  if (!leaf.checkPrivateKey(key)) throw notBelonging(files, chain, key)
  const authorities =
    authoritiesText === undefined ? undefined : certificatesIn(files.clientAuthorities ?? '', authoritiesText)
  if (authorities?.length === 0) throw new TlsUnusable(`${files.clientAuthorities} has no certificate: expected PEM`)
  const context: SecureContextOptions = {
    cert: chain.map((each) => each.toString()).join(''),
    key: key.export({ type: 'pkcs8', format: 'pem' }),
    ...(authorities ? { ca: authorities.map((each) => each.toString()) } : {}),
    minVersion: files.minimum === '1.3' ? 'TLSv1.3' : 'TLSv1.2',
    ciphers: CIPHERS,
    honorCipherOrder: false, // all of them are good: who has no AES in hardware chooses ChaCha20
  }
  try {
    createSecureContext(context)
  } catch (cause) {
    throw new TlsUnusable(`${files.certificate}: ${reason(cause)}`, { cause })
  }
  return { context, expiresAt: leaf.validToDate, validFrom: leaf.validFromDate, subject: oneLine(leaf.subject) }
}

async function textOf(path: string): Promise<string> {
  try {
    if ((await stat(path)).size > LARGEST_BYTES) throw new Error(`it is larger than ${LARGEST_BYTES} bytes`)
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new TlsUnusable(`cannot read ${path}: ${reason(cause)}`, { cause })
  }
}

function certificatesIn(path: string, text: string): readonly X509Certificate[] {
  const blocks = [...text.matchAll(BLOCK)].filter(([, label]) => label === 'CERTIFICATE')
  return blocks.map(([pem], index) => {
    try {
      return new X509Certificate(pem)
    } catch (cause) {
      throw new TlsUnusable(`${path}: certificate ${index + 1} cannot be read: ${reason(cause)}`, { cause })
    }
  })
}

function keyIn({ certificate, key: path }: TlsFiles, text: string): KeyObject {
  const pem = [...text.matchAll(BLOCK)].find(([, label]) => label?.endsWith('PRIVATE KEY'))?.[0]
  if (pem === undefined) {
    const advice = path === certificate ? ': name the file that has it in tls.key' : ': expected PEM'
    throw new TlsUnusable(`${path} has no private key${advice}`)
  }
  if (/ENCRYPTED/.test(pem)) {
    throw new TlsUnusable(
      `the private key in ${path} is encrypted: expected one without passphrase (\`openssl pkey\` makes it)`,
    )
  }
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new TlsUnusable(`the private key in ${path} cannot be read: ${reason(cause)}`, { cause })
  }
}

function notBelonging(files: TlsFiles, chain: readonly X509Certificate[], key: KeyObject): TlsUnusable {
  const other = chain.findIndex((each) => each.checkPrivateKey(key))
  if (other > 0) {
    return new TlsUnusable(
      `${files.certificate}: the private key belongs to certificate ${other + 1}: expected the registry's own first, then the one that issued it`,
    )
  }
  return new TlsUnusable(
    `the private key in ${files.key} is not that of the certificate in ${files.certificate} (${oneLine(chain[0]?.subject ?? '')})`,
  )
}

const oneLine = (distinguishedName: string): string => distinguishedName.replaceAll('\n', ', ')

/** What is wrong with its time; `undefined` if nothing is. */
export function outOfTime({ expiresAt, validFrom }: TlsIdentity, now: Date): string | undefined {
  if (expiresAt <= now) return `expired on ${expiresAt.toISOString()}`
  if (validFrom > now) return `is not good before ${validFrom.toISOString()}`
  return undefined
}
