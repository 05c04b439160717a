/**
 * For a first try: an authority of this registry's own, kept beside the data, and a certificate that it issues for the names of this
 * machine. Clients trust the authority once; the certificate is renewed without them.
 */
import { createPrivateKey, randomUUID, X509Certificate } from 'node:crypto'
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { join, resolve } from 'node:path'
import { type Address, printAddress } from '../address.ts'
import { type Authority, newAuthority, newCertificate } from './certificates.ts'

const DAY_MS = 24 * 60 * 60_000
const AUTHORITY_LASTS_MS = 3650 * DAY_MS
const LASTS_MS = 90 * DAY_MS
/** With less than this left, there is a new one. */
const RENEW_BEFORE_MS = 30 * DAY_MS
/** Clocks of clients may be behind. */
const BACKDATED_MS = 60 * 60_000

export interface SelfSigned {
  /** Absolute: the certificate, the authority's, and the key. */
  readonly file: string
  /** Absolute: what clients have to trust. */
  readonly authorityFile: string
}

/** Makes what is missing, about to expire, or without one of the names. */
export async function selfSigned(data: string, names: readonly string[], now = new Date()): Promise<SelfSigned> {
  const folder = resolve(data, 'tls')
  const [file, authorityFile] = [join(folder, 'server.pem'), join(folder, 'ca.crt')]
  await mkdir(folder, { recursive: true })
  const authority = await authorityIn(folder, now)
  if ((await textOf(authorityFile)) !== authority.certificate) await write(authorityFile, authority.certificate, 0o644)
  if (!isGood(await textOf(file), new X509Certificate(authority.certificate), names, now)) {
    const addresses = names.filter((name) => isIP(name) !== 0)
    const hosts = names.filter((name) => isIP(name) === 0)
    const { certificate, key } = newCertificate(authority, 'server', {
      subject: { commonName: 'gantry' },
      names: { hosts, addresses },
      from: new Date(now.getTime() - BACKDATED_MS),
      until: new Date(now.getTime() + LASTS_MS),
    })
    await write(file, certificate + authority.certificate + key, 0o600) // one file: both change at once
  }
  return { file, authorityFile }
}

/** By what clients may call a registry that listens there. */
export function namesOf(addresses: readonly Address[], publicUrl: string | undefined): readonly string[] {
  const hosts = addresses.flatMap((address) => ('host' in address ? [address.host] : []))
  const everywhere = hosts.some((host) => host === '0.0.0.0' || host === '::')
  const own = everywhere
    ? Object.values(networkInterfaces()).flatMap((each) => (each ?? []).filter(({ scopeid }) => !scopeid))
    : []
  const names = [
    'localhost',
    '127.0.0.1',
    '::1',
    hostname(),
    ...hosts.filter((host) => host !== '0.0.0.0' && host !== '::'),
    ...own.map(({ address }) => address),
    ...(publicUrl === undefined ? [] : [new URL(publicUrl).hostname.replaceAll(/[[\]]/g, '')]),
  ]
  return [...new Set(names)]
}

/** What to do so that clients believe it. `address` is where the registry listens. */
export function howToTrust({ authorityFile }: SelfSigned, address: Address): string {
  const host = printAddress(address).replace(/^(?:0\.0\.0\.0|\[::\]|127\.0\.0\.1|\[::1\])(?=:)/, 'localhost')
  const folder = (of: string): string => `/etc/${of}/certs.d/${host}`
  const install = (of: string): string => `install -D -m 644 ${authorityFile} ${folder(of)}/ca.crt`
  return [
    `This registry has a certificate of its own making. Clients believe it once they trust ${authorityFile}:`,
    `  docker                   ${install('docker')}`,
    `  podman, buildah, skopeo  ${install('containers')}`,
    `  curl                     curl --cacert ${authorityFile} https://${host}/v2/`,
    `  crane, oras, helm …      export SSL_CERT_FILE=${authorityFile}`,
    '  gantry                   reads the folders of docker and podman',
  ].join('\n')
}

interface KnownAuthority extends Authority {
  readonly certificate: string
}

async function authorityIn(folder: string, now: Date): Promise<KnownAuthority> {
  const file = join(folder, 'ca.pem')
  const text = await textOf(file)
  const known = parsed(text, now)
  if (known) return known
  if (text !== '') await rm(file, { force: true }) // it cannot be used
  const subject = { commonName: `Gantry ${hostname().slice(0, 40)} ${randomUUID().slice(0, 8)}` } // at most 64 characters
  const from = new Date(now.getTime() - BACKDATED_MS)
  const made = newAuthority({ subject, from, until: new Date(now.getTime() + AUTHORITY_LASTS_MS) })
  await write(file, made.certificate + made.key, 0o600, 'unless it is there')
  return parsed(await readFile(file, 'utf8'), now) ?? authorityIn(folder, now)
}

/** Long enough for the certificates that it would issue. */
function parsed(text: string, now: Date): KnownAuthority | undefined {
  try {
    const certificate = new X509Certificate(text)
    const commonName = certificate.subject.replace(/^CN=/, '')
    if (certificate.validToDate.getTime() - now.getTime() < LASTS_MS) return undefined
    return { certificate: certificate.toString(), subject: { commonName }, privateKey: createPrivateKey(text) }
  } catch {
    return undefined
  }
}

function isGood(text: string, authority: X509Certificate, names: readonly string[], now: Date): boolean {
  try {
    const found = new X509Certificate(text)
    return (
      found.validToDate.getTime() - now.getTime() > RENEW_BEFORE_MS &&
      found.verify(authority.publicKey) &&
      found.checkPrivateKey(createPrivateKey(text)) &&
      names.every((name) => (isIP(name) === 0 ? found.checkHost(name) : found.checkIP(name)) !== undefined)
    )
  } catch {
    return false
  }
}

const textOf = (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '')

/** Whole or not at all, with rights from the first byte on. */
async function write(file: string, text: string, mode: number, unlessThere?: 'unless it is there'): Promise<void> {
  const temporary = `${file}.${randomUUID().slice(0, 8)}`
  try {
    await writeFile(temporary, text, { mode, flag: 'wx' })
    if (unlessThere === undefined) await rename(temporary, file)
    else {
      await link(temporary, file).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error // another process was first: its own counts
      })
    }
  } finally {
    await rm(temporary, { force: true })
  }
}
