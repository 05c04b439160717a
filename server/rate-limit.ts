/**
 * How many requests one client may make: a bucket that fills at a steady rate and holds a burst; each request takes one, and
 * an empty bucket answers 429. With several workers each keeps the whole bucket and hears, ten times a second, what the client
 * spent at the others (`workers.ts`): the rate holds for all together, and at most the first burst can be exceeded.
 */
import type { IncomingMessage } from 'node:http'
import { isIPv6 } from 'node:net'
import { RegistryError } from './errors.ts'
import type { Middleware } from './routing.ts'

/** The least recently seen are forgotten: an attacker with more addresses than this has won against any such limit. */
const REMEMBERED_CLIENTS = 50_000

export interface Rate {
  readonly requestsPerSecond: number
  readonly burst: number
  /** Whether other processes are to be told what was spent here. */
  readonly shared?: boolean
}

export type Spent = readonly (readonly [client: string, requests: number])[]

export class RateLimit {
  readonly #rate: Rate
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>()
  #spent = new Map<string, number>()

  constructor(rate: Rate) {
    this.#rate = rate
  }

  /** Zero if the client may; else how many seconds until it may again. `nowMs` never goes back. */
  take(client: string, nowMs: number): number {
    const bucket = this.#bucketOf(client, nowMs)
    if (bucket.tokens < 1) return (1 - bucket.tokens) / this.#rate.requestsPerSecond
    bucket.tokens -= 1
    if (this.#rate.shared) this.#spent.set(client, (this.#spent.get(client) ?? 0) + 1)
    return 0
  }

  /** What clients spent elsewhere. A bucket owes a burst at most, so that nobody is shut out for long. */
  learn(spent: Spent, nowMs: number): void {
    for (const [client, requests] of spent) {
      const bucket = this.#bucketOf(client, nowMs)
      bucket.tokens = Math.max(bucket.tokens - requests, -this.#rate.burst)
    }
  }

  /** What clients spent here since this was asked last. */
  told(): Spent {
    const spent = [...this.#spent]
    if (spent.length > 0) this.#spent = new Map()
    return spent
  }

  #bucketOf(client: string, nowMs: number): { tokens: number; atMs: number } {
    const { requestsPerSecond, burst } = this.#rate
    const bucket = this.#buckets.get(client) ?? { tokens: burst, atMs: nowMs }
    bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) / 1_000) * requestsPerSecond)
    bucket.atMs = nowMs
    this.#buckets.delete(client)
    this.#buckets.set(client, bucket) // last in order: most recently seen
    if (this.#buckets.size > REMEMBERED_CLIENTS) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest)
        break
      }
    }
    return bucket
  }
}

/** `addressOf`: where a request comes from. */
export const rateLimited =
  (limit: RateLimit, addressOf = (req: IncomingMessage): string | undefined => req.socket.remoteAddress): Middleware =>
  async (ctx, next) => {
    const seconds = limit.take(clientOf(addressOf(ctx.req)), performance.now())
    if (seconds > 0) {
      // G7: 429 comes with Retry-After.
      throw new RegistryError('tooManyRequests', {
        detail: { expected: `a pause of ${Math.ceil(seconds)} s` },
        headers: { 'Retry-After': String(Math.ceil(seconds)) },
      })
    }
    await next()
  }

/** One host commonly has a whole /64 of IPv6. A peer without an address is on a unix socket. */
export function clientOf(remote: string | undefined): string {
  if (remote === undefined) return 'unix'
  const plain = remote.replace(/^::ffff:(?=[0-9.]+$)/, '')
  return isIPv6(plain) ? `${groupsOf(plain).slice(0, 4).join(':')}::/64` : plain
}

function groupsOf(address: string): string[] {
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::')
  const before = head === '' ? [] : head.split(':')
  if (tail === undefined) return before
  const after = tail === '' ? [] : tail.split(':')
  return [...before, ...Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0'), ...after]
}
