/**
 * Slows down whoever guesses: after a few failures of one name from one address, the next attempt has to wait, longer each
 * time. Other addresses do not wait, so that nobody can lock somebody else out by guessing. Whoever tries one password on many names
 * waits too, for all names of that address but those that were right there before: people share addresses.
 */
import { RegistryError } from '../errors.ts'
import { BoundedMap } from './bounded-map.ts'

/** Of one name at one address, and of all names there. */
const OF_ONE_NAME = { freeFailures: 5, longestPauseMs: 60_000 } as const
const OF_ALL_NAMES = { freeFailures: 50, longestPauseMs: 5_000 } as const
const FORGOTTEN_AFTER_MS = 15 * 60_000
const REMEMBERED = 50_000
const WELCOME_MS = 24 * 60 * 60_000

interface Failures {
  readonly count: number
  readonly nextMs: number
}

export class Attempts {
  readonly #failures = new BoundedMap<Failures>(REMEMBERED)
  readonly #ofAddress = new BoundedMap<Failures>(REMEMBERED)
  /** Names that were right at an address. */
  readonly #welcome = new BoundedMap<true>(REMEMBERED)

  /** Throws 429 if it is too early. `nowMs` never goes back. */
  demand(login: string, address: string, nowMs: number): void {
    const key = keyOf(login, address)
    const ofAll = this.#welcome.get(key, nowMs) ? undefined : this.#ofAddress.get(address, nowMs)
    const nextMs = Math.max(this.#failures.get(key, nowMs)?.nextMs ?? 0, ofAll?.nextMs ?? 0)
    if (nextMs <= nowMs) return
    const seconds = Math.ceil((nextMs - nowMs) / 1_000)
    throw new RegistryError('tooManyRequests', {
      detail: { reason: 'too many failed logins', expected: `a pause of ${seconds} s` },
      headers: { 'Retry-After': String(seconds) },
    })
  }

  failed(login: string, address: string, nowMs: number): void {
    count(this.#failures, keyOf(login, address), OF_ONE_NAME, nowMs)
    count(this.#ofAddress, address, OF_ALL_NAMES, nowMs)
  }

  succeeded(login: string, address: string, nowMs: number): void {
    this.#failures.delete(keyOf(login, address))
    this.#welcome.set(keyOf(login, address), true, nowMs + WELCOME_MS)
  }
}

function count(
  failures: BoundedMap<Failures>,
  key: string,
  { freeFailures, longestPauseMs }: typeof OF_ONE_NAME | typeof OF_ALL_NAMES,
  nowMs: number,
): void {
  const counted = (failures.get(key, nowMs)?.count ?? 0) + 1
  const pauseMs = counted < freeFailures ? 0 : Math.min(longestPauseMs, 1_000 * 2 ** (counted - freeFailures))
  failures.set(key, { count: counted, nextMs: nowMs + pauseMs }, nowMs + FORGOTTEN_AFTER_MS)
}

/** A name that nobody could have is cut: it must not fill the memory. */
const keyOf = (login: string, address: string): string => `${address} ${login.slice(0, 100)}`
