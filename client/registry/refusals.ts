/**
 * What goes wrong with a registry, as errors that say what would be right: it refused (`RegistryRefusal`, with its own words and its status),
 * it cannot be reached or broke off (`RegistryUnreachable`), or it answers what no registry may (`RegistryMisbehaves`).
 */
import type { ProxyError } from './connections.ts'

/** The registry answered, and it was no. */
export class RegistryRefusal extends Error {
  override readonly name = 'RegistryRefusal'
  readonly status: number
  /** Of the error envelope, where there was one. */
  readonly code: string | undefined
  /** How long it asked to be left alone (`Retry-After`). */
  readonly retryAfterMs: number | undefined

  constructor(
    message: string,
    status: number,
    code: string | undefined,
    { retryAfterMs, ...options }: ErrorOptions & { readonly retryAfterMs?: number | undefined } = {},
  ) {
    super(message, options)
    this.status = status
    this.code = code
    this.retryAfterMs = retryAfterMs
  }
}

const BUSY_STATUSES = new Set([408, 429, 500, 502, 503, 504])

/** A server says so that cannot answer now, so that asking again may help. */
export const isBusy = (status: number): boolean => BUSY_STATUSES.has(status)

/** The registry could not be reached, or broke off. */
export class RegistryUnreachable extends Error {
  override readonly name = 'RegistryUnreachable'
}

/** It answered, and the answer is nothing that a registry may say: too long, sent elsewhere without end, another range than was asked for. */
export class RegistryMisbehaves extends Error {
  override readonly name = 'RegistryMisbehaves'
}

/** It is not there: the name or the digest is unknown. */
export const isAbsence = (error: unknown): error is RegistryRefusal =>
  error instanceof RegistryRefusal && error.status === 404

const BROKEN_CONNECTION_CODES = new Set(['ECONNRESET', 'ECONNREFUSED', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN'])

/** The connection's fault, so that asking again may help. */
export function isBrokenConnection(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if (BROKEN_CONNECTION_CODES.has((at as NodeJS.ErrnoException).code ?? '')) return true
  return false
}

/** The first error of the registry's envelope, fit for a terminal. */
function firstError(body: Buffer): {
  readonly code?: string
  readonly message?: string
  readonly detail?: string
} {
  const errors = (parsedJson(body) as { errors?: unknown } | undefined | null)?.errors
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined
  if (typeof first !== 'object' || first === null) return {}
  const { code, message, detail } = first as { code?: unknown; message?: unknown; detail?: unknown }
  return {
    ...(typeof code === 'string' ? { code: sanitized(code) } : {}),
    ...(typeof message === 'string' && message !== '' ? { message: sanitized(message) } : {}),
    ...(typeof detail === 'string' && detail !== '' ? { detail: sanitized(detail) } : {}),
  }
}

/** `undefined` for what is no JSON: an error's body may be anything. */
export function parsedJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}

/** A server's words go to a terminal: no control characters, no endless lines. */
const sanitized = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, ' ').slice(0, 300)

export interface RefusedRequest {
  readonly registry: string
  readonly method: string
  readonly path: string
  /** What it was asked with the right to do. */
  readonly scopes: readonly string[]
  /** A credential was shown. */
  readonly known: boolean
  readonly https: boolean
}

/** The first line of an answer that is neither JSON nor a page: what proxies and Go's servers say. */
function plainText(body: Buffer): string | undefined {
  const [line = ''] = body.toString('utf8').trim().split('\n')
  return line === '' || /^[<{[]/.test(line) ? undefined : sanitized(line)
}

/** The refusal of an answer: who said what to which request, and what to do about it. */
export function refusalOf(
  request: RefusedRequest,
  status: number,
  body: Buffer,
  retryAfterMs?: number,
): RegistryRefusal {
  const { code, message, detail } = firstError(body)
  const said = [
    message ?? code ?? plainText(body) ?? `HTTP ${status}`,
    ...(message !== undefined && detail ? [detail] : []),
  ].join(': ')
  const text =
    status === 401 || status === 403
      ? deniedMessage(request, said)
      : `${request.registry} answered ${status} to ${request.method} ${request.path}: ${said}${advice(request, said)}`
  return new RegistryRefusal(text, status, code, { retryAfterMs })
}

export function deniedMessage(
  { registry, scopes, known }: Omit<RefusedRequest, 'method' | 'path' | 'https'>,
  said: string,
): string {
  const wanted = scopes.map(rightOf).filter((right) => right !== undefined)
  const right = wanted.length > 0 ? `; this needs ${wanted.join(', and ')}` : ''
  const next = known
    ? `. Whoever is logged in lacks it: ask its operator, or log in as somebody else with \`gantry login ${registry}\``
    : `. Log in with \`gantry login ${registry}\``
  return `${registry} denies access: ${said}${right}${next}`
}

/** `repository:team/app:pull,push` in words. */
function rightOf(scope: string): string | undefined {
  const [, type, name, actions] = /^([^:]+):(.+):([^:]+)$/.exec(scope) ?? []
  if (type === 'repository') return `the right to ${actions?.split(',').join(' and ')} in ${name}`
  return type === 'registry' ? `the right to list the registry's ${name}` : undefined
}

const advice = ({ https, registry }: RefusedRequest, said: string): string =>
  !https && /HTTPS/.test(said)
    ? `. To speak https to it, put the certificate of its issuer into /etc/docker/certs.d/${registry}/ca.crt`
    : ''

/** What never came to an answer. */
export function unreachable(
  origin: URL,
  certificateFolder: string | undefined,
  cause: unknown,
): RegistryUnreachable | RegistryRefusal | RegistryMisbehaves {
  if (cause instanceof RegistryRefusal || cause instanceof RegistryUnreachable || cause instanceof RegistryMisbehaves)
    return cause
  const reason = cause instanceof Error ? cause.message || String((cause as NodeJS.ErrnoException).code) : String(cause)
  const proxy = cause instanceof Error ? (cause as ProxyError).proxy : undefined
  if (proxy !== undefined)
    return new RegistryUnreachable(
      `cannot reach ${origin.origin}: the proxy ${proxy}: ${reason}.${adviceOnProxy(reason)}`,
      { cause },
    )
  const next =
    origin.protocol === 'https:' ? adviceOnTls(origin.host, certificateFolder, reason) : adviceInClear(reason)
  return new RegistryUnreachable(`cannot reach ${origin.origin}: ${reason}.${next}`, { cause })
}

const adviceOnProxy = (reason: string): string =>
  /certificate/i.test(reason)
    ? ' To trust who issued the proxy’s certificate, name a file with the issuer’s in NODE_EXTRA_CA_CERTS'
    : ' It is named by https_proxy or http_proxy; hosts to reach without it by no_proxy'

function adviceOnTls(registry: string, folder: string | undefined, reason: string): string {
  if (/wrong version number|packet length too long|EPROTO/i.test(reason))
    return ' It seems to speak plain http: add --plain-http if you trust the network'
  if (!/certificate/i.test(reason)) return ''
  return ` To trust who issued its certificate, put the issuer's into ${folder ?? `/etc/docker/certs.d/${registry}`}/ca.crt`
}

/** A server that speaks TLS alone answers a plain request with an alert, or hangs up. */
const adviceInClear = (reason: string): string =>
  /Expected HTTP|HPE_INVALID|Parse Error|socket hang up/i.test(reason)
    ? ' It may speak https alone: leave --plain-http out, and for a registry on this machine put the certificate of its issuer into certs.d'
    : ''
