/**
 * From where a request comes and by what address its sender knows this registry. What a proxy says about that is believed only
 * of a proxy that the operator named: everybody else could say anything.
 */
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'

export interface Origin {
  /** The client's address; `undefined` on a unix socket. */
  readonly address: string | undefined
  /** `https://registry.example:5000`: without path. */
  readonly url: string
}

const SANE_HOST = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/
const MOST_HOPS = 20

export class Origins {
  readonly #trusted = new BlockList()
  readonly #trustsSockets: boolean
  readonly #publicUrl: string | undefined

  /** `proxies`: addresses, networks such as `10.0.0.0/8`, or `unix` for whoever comes by a socket file. */
  constructor(proxies: readonly string[], publicUrl: string | undefined) {
    this.#publicUrl = publicUrl
    this.#trustsSockets = proxies.includes('unix')
    for (const proxy of proxies) {
      const [address = '', bits] = proxy.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      if (isIP(address) === 0) continue
      if (bits === undefined) this.#trusted.addAddress(address, family)
      else this.#trusted.addSubnet(address, Number(bits), family)
    }
  }

  of(req: IncomingMessage): Origin {
    const peer = plain(req.socket.remoteAddress)
    if (!this.#trusts(peer)) return this.#told(req, peer, [])
    const [standard, older] = [standardHops(req), olderHops(req)]
    const told = this.#told(req, peer, standard.length > 0 ? standard : older)
    if (standard.length === 0 || older.length === 0) return told
    // A proxy that writes one of them may pass on the other as the client made it up: where they differ, neither is believed.
    const other = this.#told(req, peer, older)
    return told.address === other.address && told.url === other.url ? told : this.#told(req, peer, [])
  }

  #told(req: IncomingMessage, peer: string | undefined, hops: readonly Hop[]): Origin {
    // The last entry was added by the proxy that talks to us, the one before by whom that proxy heard from, and so on.
    let address = peer
    let told: Hop = {}
    for (const hop of hops.toReversed()) {
      if (!this.#trusts(address)) break
      told = { ...told, ...hop }
      if (hop.address === undefined) break
      address = hop.address
    }
    const encrypted = (req.socket as Partial<TLSSocket>).encrypted === true
    const scheme = told.scheme ?? (encrypted ? 'https' : 'http')
    const host = [told.host, req.headers.host].find((each) => each !== undefined && SANE_HOST.test(each))
    return { address, url: this.#publicUrl ?? `${scheme}://${host ?? 'localhost'}` }
  }

  #trusts(address: string | undefined): boolean {
    if (address === undefined) return this.#trustsSockets
    return isIP(address) !== 0 && this.#trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
  }
}

interface Hop {
  readonly address?: string
  readonly scheme?: 'http' | 'https'
  readonly host?: string
}

/** RFC 7239. The nearest proxy is last. */
const standardHops = (req: IncomingMessage): readonly Hop[] =>
  valuesOf(req, 'forwarded').slice(-MOST_HOPS).map(parseForwarded)

/** What came before that; none if there is none of it. */
function olderHops(req: IncomingMessage): readonly Hop[] {
  const addresses = valuesOf(req, 'x-forwarded-for').slice(-MOST_HOPS)
  const nearest = hopOf(undefined, valuesOf(req, 'x-forwarded-proto').at(-1), valuesOf(req, 'x-forwarded-host').at(-1))
  if (addresses.length === 0) return Object.keys(nearest).length === 0 ? [] : [nearest]
  return addresses.map((text, index) => ({
    ...(index === addresses.length - 1 ? nearest : {}),
    ...hopOf(text, undefined, undefined),
  }))
}

const valuesOf = (req: IncomingMessage, header: string): readonly string[] =>
  [req.headers[header] ?? []]
    .flat()
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '')

function parseForwarded(element: string): Hop {
  const pairs = new Map(
    element.split(';').map((pair): [string, string] => {
      const [name = '', ...value] = pair.split('=')
      return [
        name.trim().toLowerCase(),
        value
          .join('=')
          .trim()
          .replace(/^"(.*)"$/, '$1'),
      ]
    }),
  )
  return hopOf(pairs.get('for'), pairs.get('proto'), pairs.get('host'))
}

function hopOf(address: string | undefined, scheme: string | undefined, host: string | undefined): Hop {
  const bare = plain(address?.replace(/^\[([^\]]*)\](?::[0-9]+)?$/, '$1').replace(/^([0-9.]+):[0-9]+$/, '$1'))
  return {
    ...(bare !== undefined && isIP(bare) !== 0 ? { address: bare } : {}),
    ...(scheme === 'http' || scheme === 'https' ? { scheme } : {}),
    ...(host === undefined ? {} : { host }),
  }
}

/** An IPv4 client on a socket for both families. */
const plain = (address: string | undefined): string | undefined => address?.replace(/^::ffff:(?=[0-9.]+$)/, '')
