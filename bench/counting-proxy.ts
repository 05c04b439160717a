/** Stands before an S3 server and counts what is asked of it. Headers go through as they are: the signature covers the host. */
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream'

export interface CountingProxy extends AsyncDisposable {
  readonly endpoint: string
  /** How many requests came since it was asked the last time. */
  count(): number
}

export async function startCountingProxy(endpoint: string): Promise<CountingProxy> {
  const { hostname, port } = new URL(endpoint)
  let counted = 0
  const server = createServer((req, res) => {
    counted += 1
    const asking = request({ hostname, port, method: req.method, path: req.url, headers: req.headers })
    asking.on('response', (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers)
      pipeline(answer, res, () => {})
    })
    pipeline(req, asking, (error) => {
      if (error) res.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    count() {
      const before = counted
      counted = 0
      return before
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
