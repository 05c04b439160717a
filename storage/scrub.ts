/**
 * A pass over everything that is stored: each blob is read from where it lies and hashed, each manifest
 * too, and each record is held against its checksum. A record of its own says how far the
 * pass has come, so that it goes on after a crash. Whoever begins takes the pass over, by compare-and-swap, from who had it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Key, StorageDriver } from './driver.ts'
import { VersionConflict } from './errors.ts'
import { howToHeal } from './healing.ts'
import { passKey } from './layout.ts'
import { Manifests } from './manifests.ts'
import type { Digest } from './model/digest.ts'
import type { RepositoryName } from './model/reference.ts'
import { Pace } from './pace.ts'
import { type Found, passOver, readRecord, writeRecord } from './records.ts'
import { type Damage, Verification } from './verification.ts'
import { type Content, walkContent } from './walk.ts'

/** So much of a pass is done again after a crash, and the blob that was being read. Also how those who watch see that it goes on. */
const RECORD_EVERY_MS = { demand: 1_000, background: 30_000 } as const
/** A pass whose record stands still for this long has nobody. */
const STALLED_MS = 5 * RECORD_EVERY_MS.background
const LOOK_EVERY_MS = 10 * 60 * 1000
const FAILED_PAUSE_MS = 60 * 1000

/** `demand`: an operator asked for it. `background`: the registry does it by itself, now and then. */
export type PassKind = 'demand' | 'background'

export interface Pass {
  readonly startedAt: string
  readonly finishedAt?: string
  /** The key of the last blob or manifest that was looked at. */
  readonly after?: string
  readonly blobs: number
  readonly manifests: number
  /** Tags, links of blobs to repositories, repositories, accounts, signing keys. */
  readonly records: number
  readonly bytes: number
  readonly damaged: number
}

/**
 * The damage of a blob is as `Verification` reports it; a manifest stays where it is, unknown until it is pushed again; of a record it
 * depends on what it is, and is said.
 */
export type PassDamage =
  | Damage
  | { readonly digest: Digest; readonly repository: RepositoryName }
  | { readonly record: Key; readonly problem: string; readonly heals: string }

export interface PassOptions {
  readonly bytesPerSecond?: number
  /** Ends it early: rejects with its reason, and the record says how far it came. */
  readonly signal?: AbortSignal
  readonly onDamage?: (damage: PassDamage) => void
  /** From where it goes on. */
  readonly onBegin?: (pass: Pass) => void
  /** At each blob, manifest, and piece of a large blob. */
  readonly onProgress?: (pass: Pass) => void
}

/** Somebody else goes on with the pass. */
export class PassTaken extends Error {
  override readonly name = 'PassTaken'
}

/** Resolves to the finished pass. Goes on with one that was not finished, unless it is to `restart`. */
export async function runPass(
  driver: StorageDriver,
  kind: PassKind,
  { restart = false, ...options }: PassOptions & { readonly restart?: boolean } = {},
): Promise<Pass> {
  const found = await readRecord<Pass>(driver, passKey(kind), newPass)
  return await new PassRun(driver, kind, options).run(
    restart || found?.value.finishedAt !== undefined ? newPass() : (found?.value ?? newPass()),
    found,
  )
}

const newPass = (): Pass => ({
  startedAt: new Date().toISOString(),
  blobs: 0,
  manifests: 0,
  records: 0,
  bytes: 0,
  damaged: 0,
})

class PassRun {
  readonly #driver: StorageDriver
  readonly #kind: PassKind
  readonly #options: PassOptions
  readonly #pace: Pace
  readonly #verification: Verification
  readonly #manifests: Manifests
  #pass: Pass = newPass()
  /** Of the blob that is being read: they are not recorded, because it is read again after a crash. */
  #partBytes = 0
  #record: Found<Pass> | undefined
  #recordedAt = 0

  constructor(driver: StorageDriver, kind: PassKind, options: PassOptions) {
    this.#driver = driver
    this.#kind = kind
    this.#options = options
    this.#pace = new Pace(options.bytesPerSecond ?? Number.POSITIVE_INFINITY)
    this.#verification = new Verification(driver, { onDamage: (damage) => this.#damaged(damage) })
    this.#manifests = new Manifests(driver)
  }

  async run(from: Pass, found: Found<Pass> | undefined): Promise<Pass> {
    this.#pass = from
    this.#record = found
    await this.#write()
    this.#options.onBegin?.(from)
    try {
      for await (const content of walkContent(this.#driver, from.after)) {
        this.#options.signal?.throwIfAborted()
        await this.#look(content)
        this.#advance({ after: content.key })
        await this.#writeNowAndThen()
      }
    } catch (error) {
      if (!(error instanceof PassTaken)) await this.#write().catch(() => {}) // the first failure is the news
      throw error
    }
    this.#advance({ finishedAt: new Date().toISOString() })
    await this.#write()
    return this.#pass
  }

  async #look(content: Content): Promise<void> {
    const { signal } = this.#options
    if (content.kind === 'blob') {
      this.#partBytes = 0
      const onPiece = async (bytes: number): Promise<void> => {
        this.#partBytes += bytes
        this.#advance({})
        await this.#pace.spend(bytes, signal)
        await this.#writeNowAndThen()
      }
      await this.#verification.readThrough(content.digest, { onPiece, fromDisk: true })
      const bytes = this.#pass.bytes + this.#partBytes
      this.#partBytes = 0
      this.#advance({ blobs: this.#pass.blobs + 1, bytes })
    } else if (content.kind === 'record') {
      await readRecord(this.#driver, content.key).catch(passOver((damage) => this.#damaged(howToHeal(damage))))
      this.#advance({ records: this.#pass.records + 1 })
    } else {
      const { repository, digest } = content
      if ((await this.#manifests.look(repository, digest)) === 'damaged') this.#damaged({ repository, digest })
      this.#advance({ manifests: this.#pass.manifests + 1 })
    }
  }

  #damaged(damage: PassDamage): void {
    this.#advance({ damaged: this.#pass.damaged + 1 })
    this.#options.onDamage?.(damage)
  }

  #advance(change: Partial<Pass>): void {
    this.#pass = { ...this.#pass, ...change }
    this.#options.onProgress?.({ ...this.#pass, bytes: this.#pass.bytes + this.#partBytes })
  }

  async #writeNowAndThen(): Promise<void> {
    if (performance.now() - this.#recordedAt >= RECORD_EVERY_MS[this.#kind]) await this.#write()
  }

  async #write(): Promise<void> {
    try {
      // Fields of the pass before are not those of this one.
      const found = this.#record && { version: this.#record.version, value: {} as Pass }
      this.#record = await writeRecord(this.#driver, passKey(this.#kind), this.#pass, found, {
        afterPowerLoss: 'before',
      })
      this.#recordedAt = performance.now()
    } catch (cause) {
      if (!(cause instanceof VersionConflict)) throw cause
      throw new PassTaken('another process goes on with this verification', { cause })
    }
  }
}

export interface ScrubOptions extends Omit<PassOptions, 'signal' | 'onProgress'> {
  /** From the end of one pass to the beginning of the next. */
  readonly everyMs: number
  /** Before the first look: a registry that starts has other things to do, and one that cannot start does none of this. */
  readonly firstAfterMs: number
  readonly onEnd?: (pass: Pass) => void
  /** It is tried again. */
  readonly onFailure?: (error: unknown) => void
}

/**
 * Passes in the background, by one of all the processes that share the store: whoever is the first, until it dies; then another one sees
 * that the record stands still. Disposal ends it.
 */
export class Scrub implements AsyncDisposable {
  readonly #driver: StorageDriver
  readonly #options: ScrubOptions
  readonly #stop = new AbortController()
  readonly #running: Promise<void>

  constructor(driver: StorageDriver, options: ScrubOptions) {
    this.#driver = driver
    this.#options = options
    this.#running = this.#run().catch(() => {}) // the stop
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    await delay(this.#options.firstAfterMs, undefined, { signal, ref: false })
    while (!signal.aborted) {
      try {
        const waitMs = await this.#turn()
        await delay(waitMs, undefined, { signal, ref: false })
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof PassTaken) continue
        this.#options.onFailure?.(error)
        await delay(FAILED_PAUSE_MS, undefined, { signal, ref: false })
      }
    }
  }

  /** Resolves to how long there is nothing to do. */
  async #turn(): Promise<number> {
    const { signal } = this.#stop
    const found = await readRecord<Pass>(this.#driver, passKey('background'), newPass)
    const { finishedAt } = found?.value ?? {}
    if (finishedAt !== undefined) {
      const dueMs = Date.parse(finishedAt) + this.#options.everyMs - Date.now()
      if (dueMs > 0) return Math.min(dueMs, LOOK_EVERY_MS)
    } else if (found) {
      await delay(STALLED_MS, undefined, { signal, ref: false })
      const now = await readRecord<Pass>(this.#driver, passKey('background'), newPass)
      if (now?.version !== found.version) return 0
    }
    const run = new PassRun(this.#driver, 'background', { ...this.#options, signal })
    const pass = await run.run(finishedAt === undefined ? (found?.value ?? newPass()) : newPass(), found)
    this.#options.onEnd?.(pass)
    return 0
  }
}
