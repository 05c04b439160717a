/** A listener with an application of a line, and what it logged. */
import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { type Listener, type ListenOptions, listen } from '../listener.ts'
import { createLog } from '../log.ts'
import { RefusalLog } from '../refusals.ts'

export interface ServedListener extends Listener, AsyncDisposable {
  readonly logged: Record<string, unknown>[]
}

export async function serveListener(
  app: RequestListener,
  changes: Partial<ListenOptions> = {},
): Promise<ServedListener> {
  const logged: Record<string, unknown>[] = []
  const log = createLog({ write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) })
  const usual = { headersMs: 60_000, idleMs: 60_000, keepAliveMs: 60_000, maxConnections: 100 }
  const listener = await listen(app, [{ host: '127.0.0.1', port: 0 }], {
    refusals: new RefusalLog(log),
    ...usual,
    ...changes,
  })
  return { ...listener, logged, [Symbol.asyncDispose]: () => listener.stop(0, async () => {}) }
}

/** Why connections were refused, as logged. */
export const reasonsIn = (logged: readonly Record<string, unknown>[]): unknown[] =>
  logged.filter(({ msg }) => msg === 'connection refused').map(({ reason }) => reason)

/** What `work` resolved to when it first matched, within a bounded time. */
export async function eventually(work: () => Promise<string>, pattern: RegExp): Promise<string> {
  const end = Date.now() + 20_000
  for (;;) {
    const result = await work().catch(String)
    if (pattern.test(result)) return result
    assert.ok(Date.now() < end, result)
    await delay(20)
  }
}
