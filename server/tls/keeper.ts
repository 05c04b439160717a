/**
 * The identity of the listeners while the files behind it change. They are looked at again and again, by what their names lead to,
 * so that it does not matter how they are replaced: written over, renamed, or behind a link that is moved (Kubernetes, certbot). Files
 * that are written one after the other fit together in the end: a change counts once nothing has changed since the last look.
 */
import { stat } from 'node:fs/promises'
import type { SecureContextOptions } from 'node:tls'
import type { Log } from '../log.ts'
import { outOfTime, readTls, type TlsFiles, type TlsIdentity } from './files.ts'

const LOOK_EVERY_MS = 1_000
const DAY_MS = 24 * 60 * 60_000
/** From so long before its end on, the log says each day that a certificate has to be renewed. */
const WARN_BEFORE_MS = 14 * DAY_MS

export class TlsKeeper {
  readonly #files: TlsFiles
  readonly #log: Log
  readonly #listeners = new Set<(context: SecureContextOptions) => void>()
  readonly #timer: NodeJS.Timeout
  readonly #onHangup = (): void => void this.look(true)
  #identity: TlsIdentity
  /** What the files were when they were read, and at the last look. */
  #read: string
  #seen: string
  #looking: Promise<void> | undefined
  #warnedAtMs = Number.NEGATIVE_INFINITY

  private constructor(files: TlsFiles, log: Log, identity: TlsIdentity, print: string, everyMs: number) {
    this.#files = files
    this.#log = log
    this.#identity = identity
    this.#read = print
    this.#seen = print
    this.#timer = setInterval(() => void this.look(), everyMs).unref()
    process.on('SIGHUP', this.#onHangup)
    this.#warn()
  }

  /** Throws `TlsUnusable`. */
  static async open(files: TlsFiles, log: Log, everyMs = LOOK_EVERY_MS): Promise<TlsKeeper> {
    const print = await printOf(files) // before they are read: what changes meanwhile is seen at the next look
    return new TlsKeeper(files, log, await readTls(files), print, everyMs)
  }

  get identity(): TlsIdentity {
    return this.#identity
  }

  get asksClients(): boolean {
    return this.#files.clientAuthorities !== undefined
  }

  /** `listener` is given what new connections should get from now on, whenever that changes. */
  onChange(listener: (context: SecureContextOptions) => void): void {
    this.#listeners.add(listener)
  }

  close(): void {
    clearInterval(this.#timer)
    process.off('SIGHUP', this.#onHangup)
  }

  /** `now`: without waiting for whether something else changes, too. Never rejects. */
  look(now = false): Promise<void> {
    this.#looking ??= this.#look(now).finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #look(now: boolean): Promise<void> {
    const print = await printOf(this.#files)
    const settled = print === this.#seen
    this.#seen = print
    if (now || (settled && print !== this.#read)) await this.#readAgain(print)
    this.#warn()
  }

  async #readAgain(print: string): Promise<void> {
    this.#read = print
    const { certificate } = this.#files
    try {
      const identity = await readTls(this.#files)
      const problem = outOfTime(identity, new Date())
      if (problem !== undefined && !outOfTime(this.#identity, new Date())) throw new Error(`${certificate} ${problem}`)
      this.#identity = identity
      for (const listener of this.#listeners) listener(identity.context)
      const { subject, expiresAt } = identity
      this.#log.info({ certificate, subject, expiresAt }, 'new TLS certificate, for new connections')
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error)
      this.#log.error({ problem }, 'the new TLS certificate cannot be used, the old one stays')
    }
  }

  #warn(): void {
    const { expiresAt } = this.#identity
    const now = Date.now()
    if (expiresAt.getTime() - now > WARN_BEFORE_MS || now - this.#warnedAtMs < DAY_MS) return
    this.#warnedAtMs = now
    const problem = outOfTime(this.#identity, new Date(now)) ?? `expires on ${expiresAt.toISOString()}`
    this.#log.warn({ certificate: this.#files.certificate, problem }, 'the TLS certificate has to be renewed')
  }
}

/** Changes whenever one of the files is another one, or another content. What is not there has a print, too. */
async function printOf({ certificate, key, clientAuthorities }: TlsFiles): Promise<string> {
  const paths = [certificate, key, ...(clientAuthorities === undefined ? [] : [clientAuthorities])]
  const prints = paths.map(async (path) => {
    const found = await stat(path, { bigint: true }).catch(() => undefined)
    return found ? [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join() : 'absent'
  })
  return (await Promise.all(prints)).join(';')
}
