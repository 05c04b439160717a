/** Who a client is by the certificate that its connection was made with: what an authority said that the operator named. */
import type { IncomingMessage } from 'node:http'
import { type PeerCertificate, TLSSocket } from 'node:tls'
import { ANONYMOUS, type Identity } from './identity.ts'
import { TokenRefused } from './tokens.ts'

interface Peer {
  readonly identity: Identity
  readonly validUntilMs: number
}

/** Of each connection: it does not change while that lasts. `refused`: why it counts for nothing. */
const peers = new WeakMap<TLSSocket, Peer | { readonly refused: string } | undefined>()

/** `undefined` where there is none. Throws `TokenRefused` for one that is not believed: it was meant to say something. */
export function certificateIdentity({ socket }: IncomingMessage): Identity | undefined {
  if (!(socket instanceof TLSSocket)) return undefined
  if (!peers.has(socket)) peers.set(socket, peerOf(socket))
  const peer = peers.get(socket)
  if (peer === undefined) return undefined
  if ('refused' in peer) throw new TokenRefused(`the client certificate is not believed: ${peer.refused}`)
  if (peer.validUntilMs <= Date.now()) throw new TokenRefused('the client certificate has expired')
  return peer.identity
}

function peerOf(socket: TLSSocket): Peer | { readonly refused: string } | undefined {
  const certificate = socket.getPeerCertificate() as Partial<PeerCertificate> | null
  if (!certificate?.valid_to) return undefined
  if (!socket.authorized) return { refused: printReason(socket.authorizationError) }
  const name = nameIn(certificate)
  if (name === undefined) return { refused: 'it has no common name, and no other name either' }
  const { O: organization, OU: unit } = certificate.subject ?? {}
  const issuer = certificate.issuer?.CN
  const claims = Object.entries({ organization, unit, issuer }).filter(
    (claim): claim is [string, string] => typeof claim[1] === 'string', // not several: who knows which one is meant
  )
  return {
    identity: { ...ANONYMOUS, kind: 'cert', name, claims: Object.fromEntries(claims) },
    validUntilMs: Date.parse(certificate.valid_to),
  }
}

/** Node gives a code, whatever its types say. */
const printReason = (reason: unknown): string =>
  String(reason instanceof Error ? reason.message : reason)
    .toLowerCase()
    .replaceAll('_', ' ')

/** What fits into a line of a log and into a rule. */
const SANE_NAME = /^[^\s\p{Cc}][^\p{Cc}]{0,255}$/u
/** Node quotes a value that has something special in it. */
const ALTERNATIVE_NAME = /([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/gy

function nameIn({ subject, subjectaltname = '' }: Partial<PeerCertificate>): string | undefined {
  const common: unknown = subject?.CN
  const names = [...subjectaltname.matchAll(ALTERNATIVE_NAME)].map(([, kind, value]) => ({ kind, value }))
  const alternative = ['URI', 'DNS', 'email'].map((kind) => names.find((each) => each.kind === kind)?.value)
  return [common, ...alternative].find((name): name is string => typeof name === 'string' && SANE_NAME.test(name))
}
