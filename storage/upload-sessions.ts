/**
 * The records of upload sessions. A session is one record, changed only by compare-and-swap: offset, the running hash
 * states that belong to that offset, the staging's own state, who holds it. The newcomer wins: it takes the record, and
 * whoever held it cannot write it any more.
 */
import { ResumableHash } from '../native/hash.ts'
import type { StagingState, StorageDriver } from './driver.ts'
import {
  OffsetMismatch,
  RecordDamaged,
  SessionTaken,
  StorageUnavailable,
  UploadUnknown,
  VersionConflict,
} from './errors.ts'
import { newNonce, SESSIONS_PREFIX, sessionKey } from './layout.ts'
import type { Digest, DigestAlgorithm, HashStates } from './model/digest.ts'
import type { RepositoryName } from './model/reference.ts'
import { type Found, orConflict, readRecord, type WriteOptions, writeRecord } from './records.ts'
import type { UploadId } from './store.ts'
import { exported } from './upload-hashes.ts'
import { timeOf, v7 as uuidv7 } from './uuid.ts'

/** A closing request may be repeated this long. */
const COMMITTED_KEPT_MS = 60 * 60 * 1000
/** A client that has been away longer than this does not come back. */
const OPEN_KEPT_MS = 7 * 24 * 60 * 60 * 1000

export interface Session {
  readonly repository: RepositoryName
  readonly status: 'open' | 'sealed' | 'committed' | 'ended'
  readonly offset: number
  /** The states after `offset` bytes. */
  readonly hashes: HashStates
  readonly staging: StagingState
  /** Changes with each taker. */
  readonly holder: string
  readonly touchedAt: string
  /** What a closing request asked for. */
  readonly digest?: Digest
}

export type FoundSession = Found<Session>

export const newUploadId = (): UploadId => uuidv7() as UploadId

export const taken = (id: UploadId, cause?: unknown): SessionTaken =>
  new SessionTaken(`another request has taken the upload ${id} over`, { cause })

interface Running {
  readonly stop: AbortController
  readonly ended: Promise<void>
}

export class UploadSessions {
  readonly #driver: StorageDriver
  /** Appends of this process, so that a newcomer in it need not wait for the holder to look. */
  readonly #running = new Map<UploadId, Running>()

  constructor(driver: StorageDriver) {
    this.#driver = driver
  }

  /** Not synced: nothing was acknowledged yet that a power loss could take back. The first bytes make it lasting, with their checkpoint. */
  async create(repository: RepositoryName, algorithms: ReadonlySet<DigestAlgorithm>): Promise<UploadId> {
    const id = newUploadId()
    const session: Session = {
      repository,
      status: 'open',
      offset: 0,
      hashes: exported([...algorithms].map((name) => new ResumableHash(name))),
      staging: {},
      holder: '',
      touchedAt: new Date().toISOString(),
    }
    await writeRecord(this.#driver, sessionKey(id), session, undefined, { unique: true, afterPowerLoss: 'anything' })
    return id
  }

  /** Throws `UploadUnknown` unless it is of the repository and has one of the states. */
  async find(repository: RepositoryName, id: UploadId, wanted: readonly Session['status'][]): Promise<FoundSession> {
    const found = await readRecord<Session>(this.#driver, sessionKey(id)).catch(unlessTorn)
    const known = found === TORN ? undefined : found
    if (known?.value.repository === repository && wanted.includes(known.value.status)) return known
    throw new UploadUnknown(`${repository} has no open upload ${id}: begin a new one`)
  }

  /**
   * From here on whoever held it cannot write the record any more. `change` may say more of what is to be written than the new
   * holder. `OffsetMismatch` unless the session is at `offset`, where one is given.
   */
  async take(
    repository: RepositoryName,
    id: UploadId,
    offset: number | undefined,
    wanted: readonly Session['status'][],
    change?: (session: Session) => Partial<Session>,
  ): Promise<FoundSession> {
    for (;;) {
      const found = await this.find(repository, id, wanted)
      const running = this.#running.get(id)
      if (offset !== undefined && offset !== found.value.offset) throw new OffsetMismatch(offset, found.value.offset)
      // Taking a session from a holder of this process: it may first record what it has, so that nothing is sent twice.
      if (running && offset === undefined) {
        running.stop.abort(taken(id))
        await running.ended
      }
      const mine = { ...found.value, ...change?.(found.value), holder: newNonce() }
      // Who holds a session is no news after a crash of the machine; what it had acknowledged is.
      const afterPowerLoss = change ? 'written' : found.value.offset === 0 ? 'anything' : 'before'
      const written = await orConflict(() => writeRecord(this.#driver, sessionKey(id), mine, found, { afterPowerLoss }))
      if (!written) continue
      running?.stop.abort(taken(id))
      return written
    }
  }

  /** Throws `SessionTaken` if somebody else has written it since. */
  async swap(id: UploadId, value: Session, found: FoundSession, options?: WriteOptions): Promise<FoundSession> {
    const touched = { ...value, touchedAt: new Date().toISOString() }
    try {
      return await writeRecord(this.#driver, sessionKey(id), touched, found, options)
    } catch (error) {
      throw error instanceof VersionConflict ? taken(id, error) : error
    }
  }

  /** Only so that a closing request may be repeated, whose blob is there for everybody to see if that is lost. */
  async committed(id: UploadId, digest: Digest, found: FoundSession): Promise<void> {
    await this.swap(id, { ...found.value, status: 'committed', digest }, found, { afterPowerLoss: 'anything' })
  }

  /**
   * Its bytes go, but not yet those of a sealed one: somebody may be publishing them at this moment, in the place of the same content
   * that others rely on. The sweep comes when nobody is any more.
   */
  async end(id: UploadId, session: FoundSession): Promise<void> {
    const { status, staging } = session.value
    const isSealed = status === 'sealed'
    await this.swap(id, { ...session.value, status: 'ended', hashes: {}, staging: isSealed ? staging : {} }, session)
    if (!isSealed) await this.#driver.stage(id, staging).discard()
  }

  /** Whether nobody else has taken it. */
  async isHeldBy(id: UploadId, holder: string): Promise<boolean> {
    const found = await readRecord<Session>(this.#driver, sessionKey(id)).catch(unlessTorn)
    return found !== TORN && found?.value.holder === holder
  }

  /** Registers what a newcomer, or the end of the process, has to stop and to wait for. */
  begin(id: UploadId): { readonly stop: AbortController; readonly end: () => void } {
    const stop = new AbortController()
    const { promise: ended, resolve } = Promise.withResolvers<void>()
    const mine = { stop, ended }
    this.interrupt(id)
    this.#running.set(id, mine)
    const end = (): void => {
      if (this.#running.get(id) === mine) this.#running.delete(id)
      resolve()
    }
    return { stop, end }
  }

  interrupt(id: UploadId): void {
    this.#running.get(id)?.stop.abort(taken(id))
  }

  async stopAll(reason: Error): Promise<void> {
    const running = [...this.#running.values()]
    for (const { stop } of running) stop.abort(reason)
    await Promise.all(running.map(({ ended }) => ended))
  }

  /** Removes what nobody will come back for. */
  async sweep(now: number): Promise<void> {
    for await (const entry of this.#driver.list(SESSIONS_PREFIX)) {
      const id = entry.replace('/', '') as UploadId
      const found = await readRecord<Session>(this.#driver, sessionKey(id)).catch(unlessTorn)
      if (!found || found === TORN) {
        if (now - timeOf(id) >= COMMITTED_KEPT_MS) await this.remove(id)
        continue
      }
      const { status, touchedAt, staging } = found.value
      const keptMs = status === 'committed' || status === 'ended' ? COMMITTED_KEPT_MS : OPEN_KEPT_MS
      if (now - Date.parse(touchedAt) < keptMs) continue
      try {
        if (status === 'open' || status === 'sealed') await this.end(id, found)
      } catch (error) {
        if (error instanceof SessionTaken) continue // somebody came back after all
        if (!(error instanceof StorageUnavailable)) throw error // and a full disk is no reason to keep it
      }
      await this.remove(id, staging)
    }
  }

  /** Needs no room on the disk. An id is never used again. */
  async remove(id: UploadId, staging?: StagingState): Promise<void> {
    await this.#driver.stage(id, staging).discard()
    await this.#driver.remove(sessionKey(id))
  }
}

/** A crash of the machine came before anything of it was acknowledged, or when it was over. Or the disk has damaged it: its client begins anew. */
const TORN = Symbol('torn')

function unlessTorn(error: unknown): typeof TORN {
  if (error instanceof RecordDamaged) return TORN
  throw error
}
