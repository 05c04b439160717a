/**
 * A reverse proxy as many put in front of a registry: takes requests on a loopback port, hands each of them on over a new
 * connection, with a `Host` of its own, and changes nothing else. Whoever builds an address from `Host` sends clients to
 * nowhere; and where several processes listen, one client's requests are spread over all of them.
 */
import { once } from 'node:events'
import { Agent, createServer, type RequestListener, request } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream'

/** Nothing resolves it, and no port follows it. */
const HOST = 'registry.invalid'

export interface ReverseProxy extends AsyncDisposable {
  /** `127.0.0.1:<port>` */
  readonly host: string
}

interface Habits {
  /** A challenge then names the address that the client came to. */
  readonly keepsHost?: boolean
  /** Ends TLS with this certificate, and tells in `Forwarded` what it ended and for whom. */
  readonly tls?: { readonly cert: string; readonly key: string }
}

/** To a unix socket, or a port of this machine. */
export async function startReverseProxy(
  to: { readonly socketPath: string } | { readonly port: number },
  { keepsHost = false, tls }: Habits = {},
): Promise<ReverseProxy> {
  const handOn: RequestListener = (incoming, outgoing) => {
    const { method, url: path } = incoming
    const headers = incoming.rawHeaders.map((text, index, all) =>
      !keepsHost && index % 2 === 1 && all[index - 1]?.toLowerCase() === 'host' ? HOST : text,
    )
    const { remoteAddress } = incoming.socket
    if (tls) headers.push('Forwarded', `for=${remoteAddress};proto=https;host="${incoming.headers.host}"`)
    // Not with `Connection: close`: the last, empty write of Node's client may then meet a socket that is closed, and hides
    // the answer that has come.
    const agent = new Agent({ keepAlive: true })
    const onward = request({ ...to, method, path, headers, setHost: false, agent })
    onward.on('close', () => agent.destroy())
    onward.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders)
      pipeline(answer, outgoing, () => {})
    })
    onward.on('error', () => {
      if (!outgoing.headersSent) outgoing.writeHead(502)
      outgoing.end()
    })
    pipeline(incoming, onward, () => {})
  }
  const server = tls ? createTlsServer(tls, handOn) : createServer(handOn)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}
