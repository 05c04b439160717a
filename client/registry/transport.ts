/**
 * Requests to one registry: https unless it is this machine (and has no certificates of its own) or the user said otherwise; patient with servers that are busy or break off,
 * impatient with those that never end; redirects are followed, but no credential follows them to another host. A refusal becomes a
 * `RegistryRefusal` with the server's own words.
 */
import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Credential, parseChallenges } from './auth.ts'
import { Authorization } from './authorization.ts'
import { atLeastAsFast, DEFAULT_PATIENCE, type Patience, readCapped } from './bounded-body.ts'
import { BodyFailed, Connections, type RequestBody } from './connections.ts'
import { type HostCertificates, tlsOptions } from './host-certificates.ts'
import { type ProxySettings, proxyOf } from './proxies.ts'
import {
  isBrokenConnection,
  isBusy,
  RegistryMisbehaves,
  type RegistryRefusal,
  refusalOf,
  unreachable,
} from './refusals.ts'

const ATTEMPTS = 5
const BACK_OFF_MS = 200
const RETRY_AFTER_LIMIT_SECONDS = 60
const REDIRECT_LIMIT = 5
const ERROR_BODY_LIMIT_BYTES = 64 * 1024
const TOKEN_LIMIT_BYTES = 1024 * 1024

const REDIRECT_STATUSES = new Set([301, 302, 303, 307, 308])

export interface TransportOptions {
  readonly plainHttp?: boolean
  /** Whoever answers is believed to be the registry. */
  readonly insecureTls?: boolean
  /** What the operator trusts this registry by, beside what everybody trusts. */
  readonly certificates?: HostCertificates | undefined
  /** Asked for once, and only if the registry wants to know who we are. */
  readonly credential?: () => Promise<Credential | undefined>
  readonly proxies?: ProxySettings
  readonly patience?: Partial<Patience>
  /** Of the first wait between attempts; doubled each time. */
  readonly backOffMs?: number
}

export interface Ask {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Of the registry; or an address that it gave us, which may be elsewhere. */
  readonly path: string | URL
  /** What a token must allow: `repository:name:pull`. */
  readonly scopes: readonly string[]
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: RequestBody
  /** Statuses beside 2xx that the caller wants to see. */
  readonly expected?: readonly number[]
  /** Fewer where repeating is the caller's affair, who then sees a `RegistryRefusal` with `retryAfterMs`. */
  readonly attempts?: number
  readonly signal?: AbortSignal | undefined
}

export interface Answer {
  readonly status: number
  /** Who answered, after redirects. */
  readonly url: URL
  /** It is the registry's own, and not of a host that a redirect named. */
  readonly own: boolean
  header(name: string): string | undefined
  /** Must be consumed or destroyed. */
  readonly body: IncomingMessage
}

export class Transport implements AsyncDisposable {
  readonly registry: string
  readonly authorization: Authorization
  readonly #origin: URL
  readonly #options: TransportOptions
  readonly patience: Patience
  /** Of the registry; and for whoever it sends us to, who is shown none of our certificates. By proxy: the key is empty for none. */
  readonly #connections = new Map<string, Connections>()

  constructor(registry: string, options: TransportOptions = {}) {
    this.registry = registry
    this.#options = options
    this.patience = { ...DEFAULT_PATIENCE, ...options.patience }
    const { plainHttp, certificates } = options
    const inClear = plainHttp || (isLoopback(registry) && !certificates)
    this.#origin = new URL(`${inClear ? 'http' : 'https'}://${registry}`)
    this.authorization = new Authorization({
      registry,
      credential: async () => await options.credential?.(),
      mayBeInClear: ({ host }) => isLoopback(host) || plainHttp === true,
      send: async ({ method, url, headers, body }, signal) => {
        const question = { method, headers, signal, ...(body ? { body: Buffer.from(body) } : {}) }
        for (let attempt = 1; ; attempt++) {
          const answer = await this.#send(url, question)
          if (!isBusy(answer.status) || attempt === ATTEMPTS)
            return { status: answer.status, bytes: await readCapped(answer.body, TOKEN_LIMIT_BYTES, this.patience) }
          await discard(answer)
          await this.pause(attempt, retryAfterMs(answer), signal)
        }
      },
    })
  }

  /** Nothing is encrypted on the way to the registry itself. */
  get isPlain(): boolean {
    return this.#origin.protocol === 'http:'
  }

  /** Resolves for 2xx and what is expected; throws `RegistryRefusal` for any other status, `RegistryUnreachable` if there was no answer. */
  async ask(ask: Ask): Promise<Answer> {
    const attempts = ask.attempts ?? ATTEMPTS
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#once(ask).catch((error: unknown) => {
        ask.signal?.throwIfAborted()
        if (error instanceof BodyFailed) throw error.cause
        if (!isBrokenConnection(error)) throw this.#unreachable(error)
        return error as Error
      })
      if (!(answer instanceof Error)) {
        if ((answer.status >= 200 && answer.status < 300) || ask.expected?.includes(answer.status)) return answer
        if (!isBusy(answer.status) || attempt === attempts) throw await this.#refusal(answer, ask)
        await discard(answer)
      } else if (attempt === attempts) throw this.#unreachable(answer)
      const asked = answer instanceof Error ? undefined : retryAfterMs(answer)
      await this.pause(attempt, asked, ask.signal)
    }
  }

  /** A small answer, whole: what only reads is asked again if it breaks off. Throws as `ask`, and `RegistryMisbehaves` if it is longer or takes for ever. */
  async askSmall(ask: Ask, limitBytes: number): Promise<{ readonly answer: Answer; readonly bytes: Buffer }> {
    const attempts = ask.method === 'GET' ? (ask.attempts ?? ATTEMPTS) : 1
    for (let attempt = 1; ; attempt++) {
      const answer = await this.ask(ask)
      try {
        return { answer, bytes: await readCapped(answer.body, limitBytes, this.patience) }
      } catch (error) {
        ask.signal?.throwIfAborted()
        if (!isBrokenConnection(error)) throw error
        if (attempt === attempts) throw this.#unreachable(new Error('its answers break off', { cause: error }))
        await this.pause(attempt, undefined, ask.signal)
      }
    }
  }

  /** A large body, as fast as patience wants it. */
  stream(answer: Answer): AsyncGenerator<Uint8Array> {
    return atLeastAsFast(answer.body, this.patience)
  }

  /** Before attempt `attempt + 1`: as long as the server asked for, or longer each time, and never in step with others. */
  async pause(attempt: number, askedMs: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    const backOff = (this.#options.backOffMs ?? BACK_OFF_MS) * 2 ** (attempt - 1) * (0.5 + Math.random())
    await sleep(askedMs ?? backOff, undefined, signal ? { signal } : {})
  }

  /** An address that the registry gave, seen from where it did. Behind a proxy that ends TLS, registries say http where they mean https. */
  locate(location: string, from: URL): URL {
    if (!URL.canParse(location, from.href))
      throw new RegistryMisbehaves(
        `${this.registry} sends us to ${JSON.stringify(location.slice(0, 200))}, which is no address`,
      )
    const url = new URL(location, from)
    if (url.protocol === 'http:' && this.#origin.protocol === 'https:' && url.hostname === this.#origin.hostname) {
      url.protocol = 'https:'
      url.port = this.#origin.port
    }
    return url
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#connections.values()) each.destroy()
  }

  /** With authorization: known from before, or learnt from the challenge. */
  async #once(ask: Ask): Promise<Answer> {
    const known = await this.authorization.header(ask.scopes, ask.signal)
    const answer = await this.#following(ask, known)
    if (answer.status !== 401 || !answer.own) return answer // who we are is nobody else's to ask
    const challenges = parseChallenges(answer.header('www-authenticate') ?? '')
    if (challenges.length === 0) return answer
    const authorization = await this.authorization.answer(challenges, ask.scopes, ask.signal)
    if (authorization === undefined || authorization === known) return answer
    await discard(answer)
    return await this.#following(ask, authorization)
  }

  async #following(ask: Ask, authorization: string | undefined): Promise<Answer> {
    let url = ask.path instanceof URL ? ask.path : new URL(ask.path, this.#origin)
    const reads = ask.method === 'GET' || ask.method === 'HEAD'
    for (let redirects = 0; ; redirects++) {
      const trusted = url.origin === this.#origin.origin
      const headers = { ...ask.headers, ...(trusted && authorization ? { authorization } : {}) }
      const answer = await this.#send(url, { ...ask, headers })
      const location = REDIRECT_STATUSES.has(answer.status) ? answer.header('location') : undefined
      if (location === undefined) return answer
      await discard(answer)
      if (redirects === REDIRECT_LIMIT)
        throw new RegistryMisbehaves(`more than ${REDIRECT_LIMIT} redirects; the last one to ${url.host}`)
      if (!reads && answer.status < 307)
        throw new RegistryMisbehaves(
          `a redirect (${answer.status}) of ${ask.method}, which would become another request, is not followed`,
        )
      const next = this.locate(location, url)
      if (next.protocol !== 'https:' && !(next.protocol === 'http:' && url.protocol === 'http:'))
        throw new RegistryMisbehaves(`a redirect from ${url.protocol} to ${next.protocol} is not followed`)
      next.username = ''
      next.password = ''
      url = next
    }
  }

  async #send(
    url: URL,
    { method, headers, body, signal }: Pick<Ask, 'method' | 'headers' | 'body' | 'signal'>,
  ): Promise<Answer> {
    const own = url.origin === this.#origin.origin
    const streamed = body instanceof Uint8Array ? undefined : body
    const answer = await this.#connectionsTo(url, own).send(url, {
      method,
      headers: {
        'user-agent': 'gantry',
        ...headers,
        ...(streamed ? { 'content-length': String(streamed.sizeBytes) } : {}),
      },
      body,
      signal,
    })
    const header = (name: string): string | undefined => {
      const value = answer.headers[name]
      return Array.isArray(value) ? value.join(', ') : value
    }
    return { status: answer.statusCode ?? 0, url, own, header, body: answer }
  }

  #connectionsTo(url: URL, own: boolean): Connections {
    const proxy = this.#options.proxies && proxyOf(url, this.#options.proxies)
    const key = `${own} ${proxy?.href ?? ''}`
    const existing = this.#connections.get(key)
    if (existing) return existing
    const { certificates, insecureTls } = this.#options
    const tls = own
      ? { ...(certificates ? tlsOptions(certificates) : {}), ...(insecureTls ? { rejectUnauthorized: false } : {}) }
      : {}
    const made = new Connections({ idleMs: this.patience.idleMs, proxy, tls })
    this.#connections.set(key, made)
    return made
  }

  async #refusal(answer: Answer, { method, path, scopes }: Ask): Promise<RegistryRefusal> {
    const body = await readCapped(answer.body, ERROR_BODY_LIMIT_BYTES, this.patience).catch((error: unknown) => {
      if (isBrokenConnection(error)) return Buffer.alloc(0) // what it refuses is known without its words
      throw error
    })
    const request = {
      registry: this.registry,
      method,
      path: path instanceof URL ? path.pathname : path,
      scopes,
      known: await this.authorization.isKnown(),
      https: this.#origin.protocol === 'https:',
    }
    return refusalOf(request, answer.status, body, retryAfterMs(answer))
  }

  readonly #unreachable = (cause: unknown): Error =>
    unreachable(this.#origin, this.#options.certificates?.folder, cause)
}

/** The registry is this machine: what is sent stays on it. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:[0-9]+$/, '')
  return host === 'localhost' || host.endsWith('.localhost') || /^127(\.[0-9]{1,3}){3}$/.test(host) || host === '[::1]'
}

/** For an answer whose body nobody wants: a short one is read, so that the connection can be used again. */
export async function discard({ body }: Answer): Promise<void> {
  if (body.closed) return
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  let length = 0
  body
    .once('close', resolve)
    .on('error', () => {}) // the answer was already judged by its head
    .on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length > ERROR_BODY_LIMIT_BYTES) body.destroy()
    })
  await closed
}

function retryAfterMs(answer: Answer): number | undefined {
  const value = answer.header('retry-after')
  if (value === undefined) return undefined
  const seconds = /^[0-9]+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), RETRY_AFTER_LIMIT_SECONDS) * 1000 : undefined
}
