/**
 * Slows down whoever guesses: after a few failures of one name from one address, the next attempt has to wait, longer each
 * time. Other addresses do not wait, so that nobody can lock somebody else out by guessing.
 */
import { RegistryError } from '../errors.ts'
import { BoundedMap } from './bounded-map.ts'

const FREE_FAILURES = 5
const LONGEST_PAUSE_MS = 60_000
const FORGOTTEN_AFTER_MS = 15 * 60_000
const REMEMBERED = 50_000

interface Failures {
  readonly count: number
  readonly nextMs: number
}

export class Attempts {
  readonly #failures = new BoundedMap<Failures>(REMEMBERED)

  /** Throws 429 if it is too early. `nowMs` never goes back. */
  demand(login: string, address: string, nowMs: number): void {
    const failures = this.#failures.get(keyOf(login, address), nowMs)
    if (!failures || failures.nextMs <= nowMs) return
    const seconds = Math.ceil((failures.nextMs - nowMs) / 1_000)
    throw new RegistryError('tooManyRequests', {
      detail: { reason: 'too many failed logins', expected: `a pause of ${seconds} s` },
      headers: { 'Retry-After': String(seconds) },
    })
  }

  failed(login: string, address: string, nowMs: number): void {
    const key = keyOf(login, address)
    const count = (this.#failures.get(key, nowMs)?.count ?? 0) + 1
    const pauseMs = count < FREE_FAILURES ? 0 : Math.min(LONGEST_PAUSE_MS, 1_000 * 2 ** (count - FREE_FAILURES))
    this.#failures.set(key, { count, nextMs: nowMs + pauseMs }, nowMs + FORGOTTEN_AFTER_MS)
  }

  succeeded(login: string, address: string): void {
    this.#failures.delete(keyOf(login, address))
  }
}

/** A name that nobody could have is cut: it must not fill the memory. */
const keyOf = (login: string, address: string): string => `${address} ${login.slice(0, 100)}`
