/**
 * X.509 certificates (RFC 5280) with keys on P-256: an authority's, and what it issues. Node reads certificates but writes none; the
 * libraries that do bring twenty packages and patch `Reflect`, for what is a page.
 */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'
import { bits, explicit, implicit, integer, objectId, octets, sequence, set, time, utf8, yes } from './der.ts'

export interface Subject {
  readonly commonName: string
  readonly organization?: string
}

/** What clients may call the holder: RFC 5280 section 4.2.1.6. */
export interface AlternativeNames {
  readonly hosts?: readonly string[]
  readonly addresses?: readonly string[]
  readonly uris?: readonly string[]
  readonly emails?: readonly string[]
}

interface Wish {
  readonly subject: Subject
  readonly names?: AlternativeNames
  readonly from: Date
  readonly until: Date
}

/** Both in PEM. */
export interface CertifiedKey {
  readonly certificate: string
  readonly key: string
}

/** Who signs. */
export interface Authority {
  readonly subject: Subject
  readonly privateKey: KeyObject
}

/** RFC 7093: not by SHA-1. Of the same key it is always the same. */
const keyIdOf = (publicKey: KeyObject): Buffer =>
  createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest()
    .subarray(0, 20)

export function newAuthority(wish: Omit<Wish, 'names'>): CertifiedKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const extensions = [
    extension('2.5.29.19', sequence(yes(), integer(Buffer.from([0]))), true), // an authority, over no other one
    extension('2.5.29.15', bits(Buffer.from([0b0000_0110]), 1), true), // signs certificates and lists of revoked ones
  ]
  return certified({ subject: wish.subject, privateKey }, privateKey, wish, extensions)
}

/** `purpose`: what the holder may prove with it. */
export function newCertificate(authority: Authority, purpose: 'server' | 'client', wish: Wish): CertifiedKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const usage = purpose === 'server' ? '1.3.6.1.5.5.7.3.1' : '1.3.6.1.5.5.7.3.2'
  const names = alternativeNames(wish.names ?? {})
  const extensions = [
    extension('2.5.29.19', sequence(), true),
    extension('2.5.29.15', bits(Buffer.from([0b1000_0000]), 7), true), // signs
    extension('2.5.29.37', sequence(objectId(usage))),
    ...(names.length === 0 ? [] : [extension('2.5.29.17', sequence(...names))]),
    extension('2.5.29.35', sequence(implicit(0, keyIdOf(createPublicKey(authority.privateKey))))),
  ]
  return certified(authority, privateKey, wish, extensions)
}

function certified(
  authority: Authority,
  privateKey: KeyObject,
  { subject, from, until }: Wish,
  extensions: readonly Buffer[],
): CertifiedKey {
  const publicKey = createPublicKey(privateKey)
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40 // positive, and always as long
  const algorithm = sequence(objectId('1.2.840.10045.4.3.2')) // ecdsa-with-SHA256
  const content = sequence(
    explicit(0, integer(Buffer.from([2]))), // version 3
    integer(serial),
    algorithm,
    distinguishedName(authority.subject),
    sequence(time(from), time(until)),
    distinguishedName(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...extensions, extension('2.5.29.14', octets(keyIdOf(publicKey))))),
  )
  const der = sequence(content, algorithm, bits(sign('sha256', content, authority.privateKey)))
  const lines = der.toString('base64').replaceAll(/.{1,64}/g, '$&\n')
  return {
    certificate: `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

const extension = (id: string, value: Buffer, critical = false): Buffer =>
  sequence(objectId(id), ...(critical ? [yes()] : []), octets(value))

function distinguishedName({ commonName, organization }: Subject): Buffer {
  const part = (id: string, text: string): Buffer => set(sequence(objectId(id), utf8(text)))
  return sequence(...(organization === undefined ? [] : [part('2.5.4.10', organization)]), part('2.5.4.3', commonName))
}

const ascii = (text: string): Buffer => Buffer.from(text, 'latin1')

const alternativeNames = ({ hosts = [], addresses = [], uris = [], emails = [] }: AlternativeNames): Buffer[] => [
  ...emails.map((email) => implicit(1, ascii(email))),
  ...hosts.map((host) => implicit(2, ascii(host))),
  ...uris.map((uri) => implicit(6, ascii(uri))),
  ...addresses.map((address) => implicit(7, addressBytes(address))),
]

/** In network order. */
function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const embedded = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address.replace(/%.*$/, ''))
  const [, before = '', dotted = ''] = embedded ?? []
  const text = embedded ? before + (addressBytes(dotted).toString('hex').match(/.{4}/g) ?? []).join(':') : address
  const [head = '', tail] = text.replace(/%.*$/, '').split('::')
  const groups = (part: string | undefined): string[] => (part ? part.split(':') : [])
  const missing = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length
  const all = [...groups(head), ...Array.from({ length: missing }, () => '0'), ...groups(tail)]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}
