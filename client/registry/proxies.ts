/** Through which proxy a request goes: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, read as curl and Go's clients do; this machine is never behind one. */
import { BlockList, isIP } from 'node:net'

export interface ProxySettings {
  readonly http: URL | undefined
  readonly https: URL | undefined
  readonly exceptions: readonly string[]
}

type Environment = Readonly<Record<string, string | undefined>>

/** Lower case wins. `HTTP_PROXY` in capitals is ignored where we might be a CGI program, whose clients choose it (CVE-2016-5385). Throws for an address that is none. */
export function proxySettings(environment: Environment): ProxySettings {
  const { http_proxy, HTTP_PROXY, https_proxy, HTTPS_PROXY, no_proxy, NO_PROXY, REQUEST_METHOD } = environment
  return {
    http: proxyAddress('http_proxy', http_proxy || (REQUEST_METHOD === undefined ? HTTP_PROXY : undefined)),
    https: proxyAddress('https_proxy', https_proxy || HTTPS_PROXY),
    exceptions: (no_proxy || NO_PROXY || '').split(/[\s,]+/).filter((each) => each !== ''),
  }
}

function proxyAddress(variable: string, text: string | undefined): URL | undefined {
  if (!text) return undefined
  const spelled = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  const url = URL.canParse(spelled) ? new URL(spelled) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new Error(`${variable} is ${JSON.stringify(text)}; it must be the address of an http proxy, http://HOST:PORT`)
  return url
}

/** `undefined`: directly. */
export function proxyOf(url: URL, { http, https, exceptions }: ProxySettings): URL | undefined {
  const proxy = url.protocol === 'https:' ? https : http
  if (proxy === undefined) return undefined
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase()
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  if (host === 'localhost' || host.endsWith('.localhost') || isWithin(host, '127.0.0.0/8') || host === '::1')
    return undefined
  return exceptions.some((exception) => excepts(exception.toLowerCase(), host, port)) ? undefined : proxy
}

function excepts(exception: string, host: string, port: string): boolean {
  if (exception === '*') return true
  if (exception.includes('/')) return isWithin(host, exception)
  const [, named = exception, wantedPort] = /^(\[[^\]]+\]|[^:]+):([0-9]+)$/.exec(exception) ?? []
  if (wantedPort !== undefined && wantedPort !== port) return false
  const name = named.replace(/^\[|\]$/g, '').replace(/^\*?\./, '')
  return host === name || (isIP(host) === 0 && host.endsWith(`.${name}`))
}

function isWithin(host: string, network: string): boolean {
  const [address = '', prefix = ''] = network.split('/')
  const family = isIP(host) === 6 ? 'ipv6' : 'ipv4'
  if (isIP(host) === 0 || isIP(address) !== isIP(host) || !/^[0-9]{1,3}$/.test(prefix)) return false
  const list = new BlockList()
  try {
    list.addSubnet(address, Number(prefix), family)
  } catch {
    return false // no such prefix
  }
  return list.check(host, family)
}
