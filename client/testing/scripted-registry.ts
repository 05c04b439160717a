/** An HTTP server that answers as a test tells it to: how registries that are busy, hostile or broken are played. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ScriptedRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  /** What was asked, in order: `GET /v2/…`. */
  readonly asked: IncomingMessage[]
}

export async function scriptedRegistry(
  answer: (request: IncomingMessage, response: ServerResponse, count: number) => unknown,
): Promise<ScriptedRegistry> {
  const asked: IncomingMessage[] = []
  const server = createServer((request, response) => {
    asked.push(request)
    response.on('error', () => {})
    answer(request, response, asked.length)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
