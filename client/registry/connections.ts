/**
 * One request and its answer, by Node's own client: connections are kept and used again, one that does not come about or on which nothing moves is given up.
 * Errors of connections are the system's, with its codes.
 */
import { Agent, type ClientRequest, type IncomingMessage, request as requestPlainly } from 'node:http'
import type { Socket } from 'node:net'
import type { SecureContextOptions } from 'node:tls'
import { descriptorOf, flushed, type Movement, whileConnected } from '../../native/plain-socket.ts'
import type { DirectBody } from './endpoint.ts'

const CONNECT_TIMEOUT_MS = 15_000
const PROGRESS_MS = 100
/** With less than this, handing the work over costs more than doing it. */
const DIRECT_WORTH_BYTES = 128 * 1024

/** What is sent along; `open` is called for each attempt. */
export type RequestBody = Uint8Array | StreamedBody

export interface StreamedBody {
  readonly sizeBytes: number
  readonly open: () => AsyncIterable<Uint8Array>
  /** The same bytes, for who can have them moved without a look at them. `undefined`: they cannot be had in this way. */
  readonly direct?: (() => Promise<DirectBody | undefined>) | undefined
  /** How many of them have gone so far. */
  readonly onDirectBytes?: (sentBytes: number) => void
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
    const { request } = url.protocol === 'https:' ? https() : { request: requestPlainly }
    const agent = this.#agent(url.protocol)
    signal?.throwIfAborted()
    const asked = request(url, { method, headers: { ...headers }, agent })
    if (signal) endWith(asked, signal)
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
    const options = { keepAlive: true, ...(proxy ? throughProxy(proxy) : {}) }
    const made = protocol === 'https:' ? new (https().Agent)({ ...options, ...tls }) : new Agent(options)
    if (proxy) nameProxy(made, proxy)
    this.#agents.set(protocol, made)
    return made
  }
}

/**
 * The proxy's own TLS has Node's defaults: what `tls` says of the registry (its authorities, our certificate, no verification) holds inside of the tunnel only.
 * No session is kept, because Node would keep the proxy's, for the registry.
 */
const throughProxy = (proxy: URL) => ({
  proxyEnv: { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href },
  maxCachedSessions: 0,
})

/** Who could not be reached is otherwise not said by an error of a connection. */
export interface ProxyError extends Error {
  /** `HOST:PORT`. */
  readonly proxy?: string
}

function nameProxy(agent: Agent, proxy: URL): void {
  const connect = agent.createConnection.bind(agent)
  agent.createConnection = (options, callback) => {
    const socket = connect(options, callback)
    const name = (error: Error): unknown => Object.assign(error, { proxy: proxy.host })
    socket?.prependListener('error', name)
    socket?.once(proxy.protocol === 'https:' ? 'secureConnect' : 'connect', () => socket.off('error', name))
    return socket
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
  #moving: Movement | undefined

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
    asked.once('socket', (socket) => this.#watch(socket, idleMs))
  }

  send(body: StreamedBody): void {
    this.#bring(body).catch((cause: unknown) => {
      const failed = new BodyFailed('the body of a request', { cause })
      this.#reject(failed)
      this.#asked.destroy(failed)
    })
  }

  async #bring(body: StreamedBody): Promise<void> {
    const socket = body.direct && body.sizeBytes >= DIRECT_WORTH_BYTES ? await this.#connected() : undefined
    if (this.#over) return
    this.#isOurTurn = true
    await using direct = descriptorOf(socket) === undefined ? undefined : await body.direct?.()
    if (socket && direct) await this.#sendDirectly(socket, direct, body)
    else await this.#pump(body.open(), body.sizeBytes)
  }

  async #sendDirectly(
    socket: Socket,
    direct: DirectBody,
    { sizeBytes, onDirectBytes = () => {} }: StreamedBody,
  ): Promise<void> {
    this.#isOurTurn = false
    this.#asked.flushHeaders()
    await flushed(socket)
    const descriptor = descriptorOf(socket)
    if (this.#over || descriptor === undefined) return
    const movement = direct.start(descriptor)
    this.#moving = movement
    const cancel = (): void => movement.cancel()
    this.#asked.once('response', cancel)
    const progress = setInterval(() => onDirectBytes(movement.sentBytes()), PROGRESS_MS)
    try {
      const sentBytes = await whileConnected(socket, movement)
      if (sentBytes !== sizeBytes) throw new Error(`the source had ${sentBytes} bytes instead of ${sizeBytes}`)
    } catch (error) {
      // The other side has left, which Node is about to see, with what it said before.
      if (!CONNECTION_ENDS.has((error as NodeJS.ErrnoException).code ?? '')) throw error
      return
    } finally {
      clearInterval(progress)
      this.#asked.off('response', cancel)
      this.#moving = undefined
    }
    onDirectBytes(sizeBytes)
    this.#asked.end()
  }

  /** `undefined` if it is over before. */
  async #connected(): Promise<Socket | undefined> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#asked.once('close', resolve)
    const assigned = (socket: Socket): void => {
      if (socket.connecting) socket.once('connect', resolve)
      else resolve()
    }
    if (this.#asked.socket) assigned(this.#asked.socket)
    else this.#asked.once('socket', assigned)
    await promise
    return this.#over ? undefined : (this.#asked.socket ?? undefined)
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
    if (this.#answered) return this.#answered.readableLength > 0
    return this.#moving ? this.#moving.isStarved?.() === true : this.#isOurTurn
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

  /** Not by the request's own timeout, which is told of once. */
  #watch(socket: Socket, idleMs: number): void {
    const idle = (): void => {
      if (this.#isOurs()) socket.setTimeout(idleMs)
      else this.#asked.destroy(timedOut(`nothing was heard for ${idleMs / 1000} seconds`))
    }
    socket.setTimeout(idleMs).on('timeout', idle)
    this.#asked.once('close', () => socket.off('timeout', idle).setTimeout(0))
  }
}

/** As the option of Node's does, which first loads and sets up what other kinds of streams need. */
function endWith(asked: ClientRequest, signal: AbortSignal): void {
  const end = (): void => void asked.destroy(signal.reason)
  signal.addEventListener('abort', end)
  asked.once('close', () => signal.removeEventListener('abort', end))
}

/** What sending says of the connection, and not of what is sent. */
const CONNECTION_ENDS = new Set(['ECANCELED', 'EPIPE', 'ECONNRESET', 'ETIMEDOUT'])

const timedOut = (message: string): Error => Object.assign(new Error(message), { code: 'ETIMEDOUT' })

/** Loaded by who needs it: TLS is most of what a client has to load. */
const https = () => process.getBuiltinModule('node:https')
