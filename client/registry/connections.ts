/**
 * One request and its answer, by Node's own client: connections are kept and used again, one that does not come about or on which nothing moves is given up.
 * Errors of connections are the system's, with its codes.
 */
import { Agent, type ClientRequest, type IncomingMessage } from 'node:http'
import type { SecureContextOptions } from 'node:tls'

const CONNECT_TIMEOUT_MS = 15_000

/** What is sent along; `open` is called for each attempt. */
export type RequestBody = Uint8Array | StreamedBody

export interface StreamedBody {
  readonly sizeBytes: number
  readonly open: () => AsyncIterable<Uint8Array>
}

export interface WireRequest {
  readonly method: string
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly body?: RequestBody | undefined
  readonly signal?: AbortSignal | undefined
}

export interface ConnectionOptions {
  /** Of a connection, without a byte either way, while it is the other side that is waited for. */
  readonly idleMs: number
  /** Asked to pass everything on. */
  readonly proxy?: URL | undefined
  readonly tls?: SecureContextOptions & { readonly rejectUnauthorized?: boolean }
}

/** What was to be sent could not be read: nothing that the registry can be blamed for. */
export class BodyFailed extends Error {}

/** Those to one kind of server: who is shown the same certificates, by the same way. */
export class Connections {
  readonly #options: ConnectionOptions
  readonly #agents = new Map<string, Agent>()

  constructor(options: ConnectionOptions) {
    this.#options = options
  }

  /** Resolves to the answer, whose body must be consumed or destroyed. Rejects with `BodyFailed`, or with what went wrong on the way. */
  async send(url: URL, { method, headers, body, signal }: WireRequest): Promise<IncomingMessage> {
    const { request } = url.protocol === 'https:' ? https() : http()
    const agent = this.#agent(url.protocol)
    const asked = request(url, { method, headers: { ...headers }, agent, ...(signal ? { signal } : {}) })
    const exchange = new Exchange(asked, this.#options.idleMs)
    if (body === undefined || body instanceof Uint8Array) asked.end(body)
    else exchange.send(body)
    return await exchange.answer
  }

  /** What is under way fails. */
  destroy(): void {
    for (const agent of this.#agents.values()) agent.destroy()
  }

  #agent(protocol: string): Agent {
    const { proxy, tls } = this.#options
    const existing = this.#agents.get(protocol)
    if (existing) return existing
    const options = {
      keepAlive: true,
      ...(proxy ? { proxyEnv: { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href } } : {}),
    }
    const made = protocol === 'https:' ? new (https().Agent)({ ...options, ...tls }) : new Agent(options)
    this.#agents.set(protocol, made)
    return made
  }
}

/** A request that is on its way. */
class Exchange {
  readonly answer: Promise<IncomingMessage>
  readonly #asked: ClientRequest
  readonly #reject: (error: unknown) => void
  #answered: IncomingMessage | undefined
  /** The next piece of what is to be sent is ours to bring. */
  #isOurTurn = false
  #over = false

  constructor(asked: ClientRequest, idleMs: number) {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    this.answer = promise
    this.#asked = asked
    this.#reject = reject
    asked.on('error', reject)
    asked.once('response', (answer) => {
      this.#answered = answer
      this.#over = true
      if (!asked.writableEnded) asked.shouldKeepAlive = false // what was still to be sent is not: nobody can ask anything behind it
      resolve(answer)
    })
    asked.once('close', () => {
      this.#over = true
    })
    this.#limitConnecting()
    asked.setTimeout(idleMs).on('timeout', () => {
      if (this.#isOurs()) asked.setTimeout(idleMs)
      else asked.destroy(timedOut(`nothing was heard for ${idleMs / 1000} seconds`))
    })
  }

  send({ sizeBytes, open }: StreamedBody): void {
    this.#pump(open(), sizeBytes).catch((cause: unknown) => {
      const failed = new BodyFailed('the body of a request', { cause })
      this.#reject(failed)
      this.#asked.destroy(failed)
    })
  }

  async #pump(source: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<void> {
    let sentBytes = 0
    this.#isOurTurn = true
    for await (const chunk of source) {
      this.#isOurTurn = false
      if (this.#over) return
      sentBytes += chunk.length
      if (!this.#asked.write(chunk)) await this.#drained()
      if (this.#over) return
      this.#isOurTurn = true
    }
    if (sentBytes !== sizeBytes) throw new Error(`the source had ${sentBytes} bytes instead of ${sizeBytes}`)
    this.#isOurTurn = false
    this.#asked.end()
  }

  /** …or in vain. */
  async #drained(): Promise<void> {
    if (this.#over) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const reasons = ['drain', 'response', 'close'] as const
    for (const reason of reasons) this.#asked.once(reason, resolve)
    await promise
    for (const reason of reasons) this.#asked.off(reason, resolve)
  }

  /** Nobody else is to blame when nothing moves. */
  #isOurs(): boolean {
    return this.#answered === undefined ? this.#isOurTurn : this.#answered.readableLength > 0
  }

  #limitConnecting(): void {
    const asked = this.#asked
    const late = setTimeout(
      () => asked.destroy(timedOut(`no connection within ${CONNECT_TIMEOUT_MS / 1000} seconds`)),
      CONNECT_TIMEOUT_MS,
    )
    const inTime = (): void => clearTimeout(late)
    asked.once('close', inTime)
    asked.once('socket', (socket) => {
      if (!socket.connecting) inTime()
      else socket.once('encrypted' in socket ? 'secureConnect' : 'connect', inTime)
    })
  }
}

const timedOut = (message: string): Error => Object.assign(new Error(message), { code: 'ETIMEDOUT' })

const http = () => process.getBuiltinModule('node:http')
/** Loaded by who needs it: TLS is most of what a client has to load. */
const https = () => process.getBuiltinModule('node:https')
