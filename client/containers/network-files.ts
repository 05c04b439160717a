/** `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname` of a container, generated as docker does. Pure: the host's own files go in as texts. */
import { isIP } from 'node:net'
import type { ContainerRequest } from './request.ts'
import { RequestError } from './request-error.ts'

export interface HostFiles {
  readonly resolver: string
  readonly hosts: string
}

/** Of name servers that a container cannot reach (the host's loopback) none remains: docker's choice then. */
const PUBLIC_NAME_SERVERS = ['8.8.8.8', '8.8.4.4']
const MOST_SEARCH_DOMAINS = 6

/** What is not asked for is as on the host; with the host's network, all of it. Throws `RequestError`. */
export function resolverFile(request: ContainerRequest, host: HostFiles): string {
  const { dns = [], dnsSearch = [], dnsOptions = [] } = request
  for (const address of dns)
    if (isIP(address) === 0)
      throw new RequestError(`invalid --dns ${JSON.stringify(address)}: it must be an IP address`)
  const asked = dns.length + dnsSearch.length + dnsOptions.length > 0
  if (request.network === 'host' && !asked) return host.resolver
  const words = (key: string): readonly string[] =>
    host.resolver
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([first]) => first === key)
      .flatMap(([, ...rest]) => rest)
  const reachable = words('nameserver').filter(
    (address) => request.network === 'host' || !/^(127\.|::1$)/.test(address),
  )
  const servers = dns.length > 0 ? dns : reachable.length > 0 ? reachable : PUBLIC_NAME_SERVERS
  const search = dnsSearch.length > 0 ? dnsSearch.filter((domain) => domain !== '.') : words('search')
  if (search.length > MOST_SEARCH_DOMAINS && dnsSearch.length > 0)
    throw new RequestError(`--dns-search may be given ${MOST_SEARCH_DOMAINS} times at most: resolvers read no more`)
  const options = dnsOptions.length > 0 ? dnsOptions : words('options')
  return [
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...servers.map((address) => `nameserver ${address}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n')
}

const USUAL_HOSTS = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'ff00::0\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
  '',
].join('\n')

/** Throws `RequestError`. */
export function hostsFile(request: ContainerRequest, host: HostFiles): string {
  const basis = request.network === 'host' ? host.hosts.replace(/\n*$/, '\n') : USUAL_HOSTS
  const extra = (request.extraHosts ?? []).map((text) => {
    const [, name, address = ''] = /^([^:]+):(.+)$/.exec(text) ?? []
    if (address === 'host-gateway')
      throw new RequestError(
        '--add-host NAME:host-gateway needs a bridge network, which there is none of yet: give an address',
      )
    if (name === undefined || isIP(address) === 0)
      throw new RequestError(`invalid --add-host ${JSON.stringify(text)}: write NAME:ADDRESS, for example db:10.0.0.7`)
    return `${address}\t${name}\n`
  })
  return basis + extra.join('')
}
