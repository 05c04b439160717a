/** Stands between a client and a registry that is real, and does what networks and proxies do: refuses, cuts, and lets through. */
import { once } from 'node:events'
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Treatment =
  | 'pass'
  /** Answered here, without a look at the body. */
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  /** The connection is reset when so much of the request's body has gone on, and has been answered or taken. */
  | { readonly cutAfterBytes: number }
  /** …and of the answer's body. */
  | { readonly cutAnswerAfterBytes: number }

export interface Between extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  /** `METHOD path`, in order. */
  readonly requests: {
    readonly method: string
    readonly url: string
    readonly headers: IncomingMessage['headers']
    bodyBytes: number
    status: number
  }[]
}

export async function between(
  registryUrl: string,
  treat: (request: IncomingMessage, count: number) => Treatment = () => 'pass',
): Promise<Between> {
  const requests: Between['requests'] = []
  const server = createServer((request, response) => {
    const seen = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      bodyBytes: 0,
      status: 0,
    }
    requests.push(seen)
    request.on('error', () => {})
    response.on('error', () => {})
    const treatment = treat(request, requests.length)
    if (treatment !== 'pass' && 'status' in treatment) {
      seen.status = treatment.status
      response.writeHead(treatment.status, treatment.headers).end(treatment.body)
      return
    }
    pass(registryUrl, request, response, treatment, seen)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function pass(
  registryUrl: string,
  request: IncomingMessage,
  response: ServerResponse,
  treatment: 'pass' | { readonly cutAfterBytes?: number; readonly cutAnswerAfterBytes?: number },
  seen: Between['requests'][number],
): void {
  const { cutAfterBytes = Infinity, cutAnswerAfterBytes = Infinity } = treatment === 'pass' ? {} : treatment
  const upstream = forward(new URL(request.url ?? '/', registryUrl), {
    method: request.method,
    headers: request.headers,
  })
  const cut = (): void => {
    upstream.destroy()
    request.socket.resetAndDestroy()
  }
  upstream.on('error', () => request.socket.destroy())
  upstream.on('response', (answer) => {
    seen.status = answer.statusCode ?? 0
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    let left = cutAnswerAfterBytes
    answer.on('data', (chunk: Buffer) => {
      response.write(chunk.subarray(0, Math.max(0, left)))
      left -= chunk.length
      if (left <= 0) setImmediate(cut)
    })
    answer.on('end', () => response.end())
    answer.on('error', () => request.socket.destroy())
  })
  request.on('data', (chunk: Buffer) => {
    const taken = chunk.subarray(0, cutAfterBytes - seen.bodyBytes)
    seen.bodyBytes += taken.length
    const isLast = seen.bodyBytes >= cutAfterBytes
    upstream.write(taken, () => isLast && setTimeout(cut, 100)) // so that what went on has arrived
  })
  request.on('end', () => upstream.end())
  request.on('close', () => request.complete || upstream.destroy())
}
