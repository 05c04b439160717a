/** Stands between the driver and a real S3 server, and does to requests and answers what a script says: once, or as often as it says. */
import {
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  request,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

export type Fault =
  /** Answered here; the server hears nothing. `code` becomes S3's XML, without it the body is a load balancer's page. */
  | { readonly answer: number; readonly code?: string }
  /** The server hears nothing, and the connection is cut. */
  | 'lose the request'
  /** The server does it, and the connection is cut. */
  | 'lose the answer'
  /** The server does it, and nobody says so. */
  | 'be silent'
  /** The server does it twice, and the second answer is given. */
  | 'repeat the request'
  | 'drop the ETag'
  /** The answer is cut after its first half. */
  | 'halve the body'
  /** Done instead, by a request of its own, whose ETag is answered. */
  | { readonly instead: (path: string, body: Buffer) => Promise<string> }

interface Scripted {
  readonly matches: RegExp
  readonly fault: Fault
  times: number
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface FaultProxy extends AsyncDisposable {
  readonly url: string
  /** What came, as `METHOD path?query`, from the beginning or the last `forget`. */
  readonly requests: readonly string[]
  /** For the next `times` requests that match, as `METHOD path?query`. */
  next(matches: RegExp, fault: Fault, times?: number): void
  /** The script and the requests. */
  forget(): void
}

export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const script: Scripted[] = []
  const requests: string[] = []
  const server = createServer((req, res) => {
    const line = `${req.method} ${req.url}`
    requests.push(line)
    const scripted = script.find(({ matches, times }) => times > 0 && matches.test(line))
    if (scripted) scripted.times -= 1
    buffer(req)
      .then((body) => spoil(scripted?.fault, res, body, () => forward(upstream, line, req.headers, body)))
      .catch(() => res.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    next: (matches, fault, times = 1) => void script.push({ matches, fault, times }),
    forget: () => {
      script.length = 0
      requests.length = 0
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function spoil(
  fault: Fault | undefined,
  res: ServerResponse,
  body: Buffer,
  ask: () => Promise<Answer>,
): Promise<void> {
  if (fault === undefined) return give(res, await ask())
  if (typeof fault === 'object') {
    if ('answer' in fault) return refuse(res, fault.answer, fault.code)
    const { pathname } = new URL(res.req.url ?? '', 'http://proxy')
    const etag = await fault.instead(decodeURIComponent(pathname), body)
    return give(res, { status: 200, headers: { etag }, body: Buffer.alloc(0) })
  }
  if (fault === 'lose the request') return void res.destroy()
  const answer = await ask()
  if (fault === 'lose the answer') return void res.destroy()
  if (fault === 'be silent') return
  if (fault === 'repeat the request') return give(res, await ask())
  if (fault === 'drop the ETag') return give(res, { ...answer, headers: without(answer.headers, 'etag') })
  res.writeHead(answer.status, answer.headers as OutgoingHttpHeaders)
  res.write(answer.body.subarray(0, answer.body.length >> 1), () => res.destroy())
}

function give(res: ServerResponse, { status, headers, body }: Answer): void {
  res.writeHead(status, headers as OutgoingHttpHeaders)
  res.end(body)
}

function refuse(res: ServerResponse, status: number, code: string | undefined): void {
  const body =
    code === undefined
      ? '<html><body>no server is available to handle this request</body></html>'
      : `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>scripted</Message></Error>`
  res.writeHead(status, { 'Content-Type': code === undefined ? 'text/html' : 'application/xml' })
  res.end(res.req.method === 'HEAD' ? '' : body)
}

const without = (headers: IncomingHttpHeaders, gone: string): IncomingHttpHeaders =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => name !== gone))

/** With the host that was asked for, which is part of the signature. */
function forward(upstream: string, line: string, headers: IncomingHttpHeaders, body: Buffer): Promise<Answer> {
  const [method = '', path = ''] = line.split(' ')
  const { hostname, port } = new URL(upstream)
  return new Promise((resolve, reject) => {
    const req = request({ hostname, port, method, path, headers: headers as OutgoingHttpHeaders, agent: false })
    req.on('error', reject)
    req.on('response', (res) => {
      buffer(res).then((bytes) => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: bytes }), reject)
    })
    req.end(body)
  })
}
