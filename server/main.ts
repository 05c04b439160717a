/**
 * `gantry serve` as a function: opens the store, listens, says so, and stops cleanly when told. The only place of the
 * server that knows the filesystem driver.
 */
import { once } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { openFsDriver } from '../storage/fs/driver.ts'
import { openStore } from '../storage/open.ts'
import type { Store } from '../storage/store.ts'
import { createApp } from './app.ts'
import { allowEverything } from './authorize.ts'
import { type Listener, listen } from './listener.ts'
import type { Log } from './log.ts'
import { DEFAULT_RULES } from './rules.ts'
import type { ServeSettings } from './settings.ts'

/** A reason not to start, in a sentence for the person who typed the command. */
export class CannotServe extends Error {
  override readonly name = 'CannotServe'
}

/**
 * Serves until `stop` aborts, then until everything is finished or `graceMs` have passed. `announce` gets the ready line.
 * Throws `CannotServe` if it cannot start.
 */
export async function serve(
  settings: ServeSettings,
  log: Log,
  announce: (line: string) => void,
  stop: AbortSignal,
): Promise<void> {
  keepNurserySmall()
  const store = await open(settings)
  try {
    const listener = await bind(store, log, settings)
    announce(`gantry: listening on ${listener.url} (data in ${settings.dataDirectory})`)
    if (!stop.aborted) await once(stop, 'abort')
    log.info({ graceMs: settings.graceMs }, 'stopping')
    await listener.stop(settings.graceMs, () => store.uploads.checkpointAll())
    await store.uploads.checkpointAll() // what a cut connection had sent is being recorded: let that finish
  } finally {
    await store.close()
  }
  log.info({}, 'stopped')
}

/**
 * Pieces of bodies are short-lived objects whose bytes lie outside of V8's heap, which therefore collects them late. A young
 * generation that does not grow is collected often, and gives them back: measured, half the resident memory.
 */
const keepNurserySmall = (): void => setFlagsFromString('--semi-space-growth-factor=1')

async function open({ dataDirectory, references }: ServeSettings): Promise<Store> {
  try {
    return await openStore(await openFsDriver(dataDirectory), { references })
  } catch (cause) {
    throw new CannotServe(`cannot use ${dataDirectory} as data directory: ${reason(cause)}`, { cause })
  }
}

async function bind(store: Store, log: Log, { host, port }: ServeSettings): Promise<Listener> {
  try {
    return await listen(createApp({ store, log, authorize: allowEverything, rules: DEFAULT_RULES }), host, port)
  } catch (cause) {
    const advice =
      (cause as NodeJS.ErrnoException).code === 'EADDRINUSE'
        ? '; stop what uses it, or choose another with --listen'
        : ''
    throw new CannotServe(`cannot listen on ${host}:${port}: ${reason(cause)}${advice}`, { cause })
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'the address is in use',
  EADDRNOTAVAIL: 'this machine has no such address',
  EEXIST: 'it is not a directory',
  ENOTDIR: 'it, or something above it, is not a directory',
  ENOSPC: 'no space is left',
  ENOTFOUND: 'the host name is unknown',
  EROFS: 'the filesystem is read-only',
}

/** In words where the system's error is a usual one; storage wraps it as a cause. */
function reason(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const known = REASONS[(at as NodeJS.ErrnoException).code ?? '']
    if (known !== undefined) return known
  }
  return error instanceof Error ? error.message : String(error)
}
