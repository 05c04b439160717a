/** Stands between the driver and a real S3 server, and does to requests and answers what a script says: once, or as often as it says. */
import { once } from 'node:events'
import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  request,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'

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
  /** The version that is answered is nobody's. */
  | 'lie about the ETag'
  /** Fewer bytes than its length says. */
  | 'cut the length short'
  /** The connection is cut at once; the server does it later, when the same has perhaps been tried again. */
  | { readonly doneLaterMs: number }
  /** Done, and answered, but later: what was asked after it overtakes it. */
  | { readonly delayedMs: number }
  /** Whoever asks dies: before the server has heard, or after it has done it, with the answer on its way. */
  | { readonly death: () => void; readonly done: boolean }
  /** The answer is cut after its first half. */
  | 'halve the body'
  /** Its first half is answered, and nothing more; handled when the other side closes the connection. */
  | 'stop half-way'
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
  /** On which connection each of them came; those have numbers from 1. */
  readonly connections: readonly number[]
  /** For the next `times` requests that match, as `METHOD path?query`. */
  next(matches: RegExp, fault: Fault, times?: number): void
  /** Asked for each request that no script is for; `undefined` hands it on as it is. */
  storm: ((line: string) => Fault | undefined) | undefined
  /** Resolves when everything that was to be done later is done. */
  settled(): Promise<void>
  /** The script and the requests. */
  forget(): void
}

export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const script: Scripted[] = []
  const requests: string[] = []
  const connections: number[] = []
  const numbers = new WeakMap<object, number>()
  let opened = 0
  const agent = new Agent({ keepAlive: true })
  const running = new Set<Promise<void>>()
  const server = createServer((req, res) => {
    const line = `${req.method} ${req.url}`
    requests.push(line)
    connections.push(numbers.get(req.socket) ?? 0)
    const scripted = script.find(({ matches, times }) => times > 0 && matches.test(line))
    if (scripted) scripted.times -= 1
    const fault = scripted ? scripted.fault : proxy.storm?.(line)
    const handled = buffer(req)
      .then((body) => spoil(fault, res, body, () => forward(agent, upstream, line, req.headers, body)))
      .catch(() => void res.destroy())
      .finally(() => running.delete(handled))
    running.add(handled)
  })
  server.on('connection', (socket) => {
    opened += 1
    numbers.set(socket, opened)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const proxy: FaultProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    connections,
    storm: undefined,
    next: (matches, fault, times = 1) => void script.push({ matches, fault, times }),
    settled: async () => void (await Promise.all(running)),
    forget: () => {
      script.length = 0
      requests.length = 0
      connections.length = 0
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      agent.destroy()
    },
  }
  return proxy
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
    if ('death' in fault) {
      if (fault.done) await ask()
      fault.death()
      return void res.destroy()
    }
    if ('doneLaterMs' in fault) {
      res.destroy()
      await delay(fault.doneLaterMs)
      return void (await ask().catch(() => {})) // nobody waits for it
    }
    if ('delayedMs' in fault) {
      await delay(fault.delayedMs)
      return give(res, await ask())
    }
    const { pathname } = new URL(res.req.url ?? '', 'http://proxy')
    const etag = await fault.instead(decodeURIComponent(pathname), body)
    return give(res, { status: 200, headers: { etag }, body: Buffer.alloc(0) })
  }
  if (fault === 'lose the request') return void res.destroy()
  const answer = await ask()
  if (fault === 'lose the answer') return void res.destroy()
  if (fault === 'be silent') return
  if (fault === 'repeat the request') return give(res, await ask())
  if (fault === 'lie about the ETag') return give(res, { ...answer, headers: { ...answer.headers, etag: FALSE_ETAG } })
  if (fault === 'drop the ETag') return give(res, { ...answer, headers: without(answer.headers, 'etag') })
  const half = answer.body.subarray(0, answer.body.length >> 1)
  if (fault === 'cut the length short' && answer.headers['content-length'] !== undefined) {
    return give(res, { ...answer, headers: { ...answer.headers, 'content-length': `${half.length}` }, body: half })
  }
  res.writeHead(answer.status, answer.headers as OutgoingHttpHeaders)
  if (fault === 'stop half-way') {
    res.write(half)
    return void (await once(res, 'close'))
  }
  res.write(half, () => res.destroy())
}

const FALSE_ETAG = '"00000000000000000000000000000000"'

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
function forward(
  agent: Agent,
  upstream: string,
  line: string,
  headers: IncomingHttpHeaders,
  body: Buffer,
): Promise<Answer> {
  const [method = '', path = ''] = line.split(' ')
  const { hostname, port } = new URL(upstream)
  return new Promise((resolve, reject) => {
    const req = request({ hostname, port, method, path, headers: headers as OutgoingHttpHeaders, agent })
    req.on('error', reject)
    req.on('response', (res) => {
      buffer(res).then((bytes) => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: bytes }), reject)
    })
    req.end(body)
  })
}
