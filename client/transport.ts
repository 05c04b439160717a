/**
 * Requests to one registry: https unless it is this machine (and has no certificates of its own) or the user said otherwise; patient with servers that are busy or break off,
 * impatient with those that never end; redirects are followed, but no credential follows them to another host. A refusal becomes a
 * `RegistryRefusal` with the server's own words.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, type Dispatcher, request as send } from 'undici'
import { basicAuthorization, type Credential, parseChallenges, refreshForm, tokenFrom, tokenUrl } from './auth.ts'
import { type HostCertificates, tlsOptions } from './host-certificates.ts'

const ATTEMPTS = 5
const BACK_OFF_MS = 200
const RETRY_AFTER_LIMIT_SECONDS = 60
const REDIRECT_LIMIT = 5
const ERROR_BODY_LIMIT_BYTES = 64 * 1024
const TOKEN_LIMIT_BYTES = 1024 * 1024
const IDLE_TIMEOUT_MS = 60_000

const RETRIED_STATUSES = new Set([408, 429, 500, 502, 503, 504])
const REDIRECT_STATUSES = new Set([301, 302, 303, 307, 308])
const BROKEN_CONNECTION_CODES = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'UND_ERR_SOCKET',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
])

export interface TransportOptions {
  readonly plainHttp?: boolean
  /** What the operator trusts this registry by, beside what everybody trusts. */
  readonly certificates?: HostCertificates | undefined
  /** Asked for once, and only if the registry wants to know who we are. */
  readonly credential?: () => Promise<Credential | undefined>
  /** Of the first wait between attempts; doubled each time. */
  readonly backOffMs?: number
}

export interface Ask {
  readonly method: 'GET' | 'HEAD'
  readonly path: string
  /** What a token must allow: `repository:name:pull`. */
  readonly scope: string
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
}

export interface Answer {
  readonly status: number
  /** It is the registry's own, and not of a host that a redirect named. */
  readonly own: boolean
  header(name: string): string | undefined
  /** Must be consumed or destroyed. */
  readonly body: Dispatcher.ResponseData['body']
}

/** The registry answered, and it was no. */
export class RegistryRefusal extends Error {
  override readonly name = 'RegistryRefusal'
  readonly status: number
  /** Of the error envelope, where there was one. */
  readonly code: string | undefined

  constructor(message: string, status: number, code: string | undefined) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** The registry could not be reached, or broke off. */
export class RegistryUnreachable extends Error {
  override readonly name = 'RegistryUnreachable'
}

/** The connection's fault, so that asking again may help. */
export function isBrokenConnection(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if (BROKEN_CONNECTION_CODES.has((at as NodeJS.ErrnoException).code ?? '')) return true
  return false
}

export class Transport implements AsyncDisposable {
  readonly registry: string
  readonly #origin: URL
  readonly #options: TransportOptions
  /** Of the registry; and for whoever it sends us to, who is shown none of our certificates. */
  readonly #agents: { readonly own: Agent; readonly others: Agent }
  readonly #authorizations = new Map<string, Promise<string | undefined>>()

  constructor(registry: string, options: TransportOptions = {}) {
    this.registry = registry
    this.#options = options
    const { plainHttp, certificates } = options
    const inClear = plainHttp || (isLoopback(registry) && !certificates)
    this.#origin = new URL(`${inClear ? 'http' : 'https'}://${registry}`)
    this.#agents = { own: agent(certificates ? tlsOptions(certificates) : {}), others: agent({}) }
  }

  /** Resolves for 2xx; throws `RegistryRefusal` for any other status, `RegistryUnreachable` if there was no answer. */
  async ask(ask: Ask): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#once(ask).catch((error: unknown) => {
        ask.signal?.throwIfAborted()
        if (!isBrokenConnection(error)) throw this.#unreachable(error)
        return error as Error
      })
      if (!(answer instanceof Error)) {
        if (answer.status >= 200 && answer.status < 300) return answer
        if (!RETRIED_STATUSES.has(answer.status) || attempt === ATTEMPTS) throw await this.#refusal(answer, ask)
        await discard(answer)
      } else if (attempt === ATTEMPTS) throw this.#unreachable(answer)
      const asked = answer instanceof Error ? undefined : retryAfterMs(answer)
      const backOff = (this.#options.backOffMs ?? BACK_OFF_MS) * 2 ** (attempt - 1) * (0.5 + Math.random())
      await sleep(asked ?? backOff, undefined, ask.signal ? { signal: ask.signal } : {})
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#agents.own.destroy(), this.#agents.others.destroy()])
  }

  /** With authorization: known from before, or learnt from the challenge. */
  async #once(ask: Ask): Promise<Answer> {
    const known = await this.#authorizations.get(ask.scope)
    const answer = await this.#following(ask, known)
    if (answer.status !== 401 || !answer.own) return answer // who we are is nobody else's to ask
    const challenges = parseChallenges(answer.header('www-authenticate') ?? '')
    if (challenges.length === 0) return answer
    const fresh = this.#authorize(challenges, ask)
    fresh.catch(() => this.#authorizations.delete(ask.scope))
    this.#authorizations.set(ask.scope, fresh)
    const authorization = await fresh
    if (authorization === undefined || authorization === known) return answer
    await discard(answer)
    return await this.#following(ask, authorization)
  }

  async #following(ask: Ask, authorization: string | undefined): Promise<Answer> {
    let url = new URL(ask.path, this.#origin)
    for (let redirects = 0; ; redirects++) {
      const trusted = url.origin === this.#origin.origin
      const answer = await this.#send(url, ask, trusted && authorization ? { authorization } : {})
      const location = REDIRECT_STATUSES.has(answer.status) ? answer.header('location') : undefined
      if (location === undefined) return answer
      await discard(answer)
      if (redirects === REDIRECT_LIMIT)
        throw new Error(`more than ${REDIRECT_LIMIT} redirects; the last one to ${url.host}`)
      const next = new URL(location, url)
      if (next.protocol !== 'https:' && !(next.protocol === 'http:' && url.protocol === 'http:'))
        throw new Error(`a redirect from ${url.protocol} to ${next.protocol} is not followed`)
      next.username = ''
      next.password = ''
      url = next
    }
  }

  async #send(
    url: URL,
    ask: Pick<Ask, 'headers' | 'signal'> & { readonly method: 'GET' | 'HEAD' | 'POST'; readonly body?: string },
    extra: Record<string, string>,
  ): Promise<Answer> {
    const { statusCode, headers, body } = await send(url, {
      method: ask.method,
      dispatcher: url.origin === this.#origin.origin ? this.#agents.own : this.#agents.others,
      headers: { 'user-agent': 'gantry', ...ask.headers, ...extra },
      body: ask.body ?? null,
      signal: ask.signal ?? null,
    })
    const header = (name: string): string | undefined => {
      const value = headers[name]
      return Array.isArray(value) ? value.join(', ') : value
    }
    return { status: statusCode, own: url.origin === this.#origin.origin, header, body }
  }

  async #authorize(challenges: ReturnType<typeof parseChallenges>, ask: Ask): Promise<string | undefined> {
    const credential = await this.#options.credential?.()
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
    if (bearer === undefined) return credential && basicAuthorization(credential)
    let url: URL
    try {
      url = tokenUrl(bearer, ask.scope)
    } catch (cause) {
      throw new Error('the registry names a token service that is no address', { cause })
    }
    // A token service may be on another host, and only the registry can say so; but no password goes in clear over a network.
    const inClear = url.protocol === 'http:' && (isLoopback(url.host) || this.#options.plainHttp === true)
    if (url.protocol !== 'https:' && !inClear)
      throw new Error(`the registry's token service ${url.origin} is not https`)
    const answer = await this.#askForToken(url, credential, ask.signal)
    const bytes = await readCapped(answer, TOKEN_LIMIT_BYTES)
    if (answer.status !== 200)
      throw new RegistryRefusal(
        this.#deniedMessage(`its token service answered ${answer.status}`),
        answer.status,
        undefined,
      )
    const token = tokenFrom(parsedJson(bytes))
    if (token === undefined) throw new Error(`the token service ${url.host} answered without a token`)
    return `Bearer ${token}`
  }

  async #askForToken(url: URL, credential: Credential | undefined, signal: AbortSignal | undefined): Promise<Answer> {
    if (credential?.identityToken !== undefined) {
      const { url: bare, body } = refreshForm(url, credential.identityToken)
      const headers = { 'content-type': 'application/x-www-form-urlencoded' }
      return await this.#send(bare, { method: 'POST', headers, body, signal }, {})
    }
    const authorization = credential ? { authorization: basicAuthorization(credential) } : {}
    return await this.#send(url, { method: 'GET', signal }, authorization)
  }

  async #refusal(answer: Answer, ask: Ask): Promise<RegistryRefusal> {
    const { code, message } = firstError(parsedJson(await readCapped(answer, ERROR_BODY_LIMIT_BYTES)))
    const said = message ?? code ?? `HTTP ${answer.status}`
    if (answer.status === 401 || answer.status === 403)
      return new RegistryRefusal(this.#deniedMessage(said), answer.status, code)
    const advice =
      this.#origin.protocol === 'http:' && /HTTPS/.test(said)
        ? `. To speak https to it, put the certificate of its issuer into /etc/docker/certs.d/${this.registry}/ca.crt`
        : ''
    return new RegistryRefusal(
      `${this.registry} answered ${answer.status} to ${ask.method} ${ask.path}: ${said}${advice}`,
      answer.status,
      code,
    )
  }

  #deniedMessage(said: string): string {
    return `${this.registry} denies access: ${said}. Log in with \`docker login ${this.registry}\`; Gantry reads the same config.json`
  }

  #unreachable(cause: unknown): Error {
    if (cause instanceof RegistryRefusal) return cause
    const reason =
      cause instanceof Error ? cause.message || String((cause as NodeJS.ErrnoException).code) : String(cause)
    const advice = this.#origin.protocol === 'https:' ? this.#adviceOnTls(reason) : ''
    return new RegistryUnreachable(`cannot reach ${this.#origin.origin}: ${reason}.${advice}`, { cause })
  }

  #adviceOnTls(reason: string): string {
    if (/wrong version number|packet length too long|EPROTO/i.test(reason)) {
      return ' It seems to speak plain http: add --plain-http if you trust the network'
    }
    if (!/certificate/i.test(reason)) return ''
    const { folder = `/etc/docker/certs.d/${this.registry}` } = this.#options.certificates ?? {}
    return ` To trust who issued its certificate, put the issuer's into ${folder}/ca.crt`
  }
}

const agent = (tls: object): Agent =>
  new Agent({
    bodyTimeout: IDLE_TIMEOUT_MS,
    headersTimeout: IDLE_TIMEOUT_MS,
    connect: { timeout: 15_000, ...tls },
  })

/** The registry is this machine: what is sent stays on it. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:[0-9]+$/, '')
  return host === 'localhost' || host.endsWith('.localhost') || /^127(\.[0-9]{1,3}){3}$/.test(host) || host === '[::1]'
}

/** Throws if the body goes on beyond `limitBytes`. */
export async function readCapped({ body }: Answer, limitBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    length += chunk.length
    if (length > limitBytes) throw new Error(`an answer of more than ${limitBytes} bytes`) // leaving the loop closes the body
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** For an answer whose body nobody wants: a short one is read, so that the connection can be used again. */
async function discard({ body }: Answer): Promise<void> {
  await body.dump({ limit: ERROR_BODY_LIMIT_BYTES }).catch(() => {}) // the answer was already judged by its head
}

function parsedJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined // an error's body may be anything
  }
}

function firstError(envelope: unknown): { readonly code?: string; readonly message?: string } {
  const errors = (envelope as { errors?: unknown } | undefined | null)?.errors
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined
  if (typeof first !== 'object' || first === null) return {}
  const { code, message } = first as { code?: unknown; message?: unknown }
  return {
    ...(typeof code === 'string' ? { code: sanitized(code) } : {}),
    ...(typeof message === 'string' && message !== '' ? { message: sanitized(message) } : {}),
  }
}

/** A server's words go to a terminal: no control characters, no endless lines. */
const sanitized = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, ' ').slice(0, 300)

function retryAfterMs(answer: Answer): number | undefined {
  const value = answer.header('retry-after')
  if (value === undefined) return undefined
  const seconds = /^[0-9]+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), RETRY_AFTER_LIMIT_SECONDS) * 1000 : undefined
}
