/**
 * Upload sessions. A session is one record, changed only by compare-and-swap: offset, the running hash states that
 * belong to that offset, the staging's own state, who holds it. The order of every append: bytes durable, then the
 * record, then what it no longer needs goes. The newcomer wins: it takes the record, and the holder, who looks at it
 * before each checkpoint and every second, lets go.
 */

import { isDeepStrictEqual } from 'node:util'
import { ResumableHash } from '../native/hash.ts'
import type { Blobs } from './blobs.ts'
import { blocksOf } from './blocks.ts'
import type { Block, Checkpoint, StagingState, StorageDriver } from './driver.ts'
import {
  DigestMismatch,
  OffsetMismatch,
  SessionTaken,
  StorageUnavailable,
  UploadsStopping,
  UploadUnknown,
  VersionConflict,
} from './errors.ts'
import { blobKey, newNonce, SESSIONS_PREFIX, sessionKey } from './layout.ts'
import { algorithmOf, type Digest, type DigestAlgorithm } from './model/digest.ts'
import type { RepositoryName } from './model/reference.ts'
import { type Found, orConflict, readRecord, type WriteOptions, writeRecord } from './records.ts'
import type { AppendOptions, BlobStat, UploadId, UploadStatus, Uploads } from './store.ts'
import { digestOfStaged, exported, Hashing, type HashStates } from './upload-hashes.ts'
import { timeOf, v7 as uuidv7 } from './uuid.ts'
import { storeWholeBlob, WHOLE_BLOB_BYTES } from './whole-blob.ts'

/** A holder looks this often whether somebody else has taken its session. */
const WATCH_MS = 1_000
/** A closing request may be repeated this long. */
const COMMITTED_KEPT_MS = 60 * 60 * 1000
/** A client that has been away longer than this does not come back. */
const OPEN_KEPT_MS = 7 * 24 * 60 * 60 * 1000

interface Session {
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

export function openUploads(driver: StorageDriver, blobs: Blobs): StoppableUploads {
  return new StoppableUploads(driver, blobs)
}

export class StoppableUploads implements Uploads {
  readonly #driver: StorageDriver
  readonly #blobs: Blobs
  /** Appends of this process, so that a newcomer in it need not wait for the holder to look. */
  readonly #running = new Map<UploadId, { readonly stop: AbortController; readonly ended: Promise<void> }>()

  constructor(driver: StorageDriver, blobs: Blobs) {
    this.#driver = driver
    this.#blobs = blobs
  }

  async start(repository: RepositoryName, algorithm: DigestAlgorithm = 'sha256'): Promise<UploadStatus> {
    const id = uuidv7() as UploadId
    const algorithms = new Set<DigestAlgorithm>(['sha256', algorithm])
    const session: Session = {
      repository,
      status: 'open',
      offset: 0,
      hashes: exported([...algorithms].map((name) => new ResumableHash(name))),
      staging: {},
      holder: '',
      touchedAt: new Date().toISOString(),
    }
    await writeRecord(this.#driver, sessionKey(id), session, undefined, { unique: true })
    return { id, offset: 0 }
  }

  /** A small blob needs no session; for a larger one nobody learns its id, so that it goes with the request, whatever happens. */
  async push(
    repository: RepositoryName,
    digest: Digest,
    source: AsyncIterable<Uint8Array> = nothing(),
    options: AppendOptions = {},
  ): Promise<BlobStat> {
    const { lengthBytes = Number.POSITIVE_INFINITY } = options
    if (lengthBytes <= WHOLE_BLOB_BYTES) {
      return await this.#whole(uuidv7() as UploadId, repository, digest, source, lengthBytes)
    }
    const session = await this.start(repository, algorithmOf(digest))
    try {
      return await this.commit(repository, session.id, digest, source, options)
    } catch (error) {
      await this.cancel(repository, session.id).catch(() => {}) // the first failure is the news; expiry sweeps the rest
      throw error
    }
  }

  async status(repository: RepositoryName, id: UploadId): Promise<UploadStatus> {
    const { value } = await this.#find(repository, id, ['open', 'sealed'])
    return { id, offset: value.offset }
  }

  async append(
    repository: RepositoryName,
    id: UploadId,
    source: AsyncIterable<Uint8Array>,
    options: AppendOptions = {},
  ): Promise<UploadStatus> {
    const session = await this.#take(repository, id, options.offset, ['open'])
    const { value } = await this.#append(id, session, source, options)
    return { id, offset: value.offset }
  }

  async commit(
    repository: RepositoryName,
    id: UploadId,
    digest: Digest,
    source?: AsyncIterable<Uint8Array>,
    options: AppendOptions = {},
  ): Promise<BlobStat> {
    const found = await this.#find(repository, id, ['open', 'sealed', 'committed'])
    const { value: before } = found
    if (before.status !== 'open') demandSame(before, digest)
    if (before.status === 'committed') {
      const { sizeBytes } = await this.#blobs.stat(repository, digest)
      return { digest, sizeBytes }
    }
    if (source && isWhole(before, options)) {
      return await this.#commitWhole(id, found, digest, source, options.lengthBytes)
    }
    const sealed = before.status === 'sealed' // verified once, and interrupted: what is left to do needs no bytes

    let session = await this.#take(repository, id, sealed ? undefined : options.offset, ['open', 'sealed'])
    if (source && !sealed) {
      session = await this.#append(id, session, source, options)
    }
    const { offset: sizeBytes, hashes, staging } = session.value
    const content = await this.#driver.stage(id, staging).seal(sizeBytes)
    if (!sealed) {
      const actual = await digestOfStaged(content, hashes, algorithmOf(digest))
      if (actual !== digest) {
        await this.#end(id, session)
        throw new DigestMismatch(`the ${sizeBytes} bytes that arrived are ${actual}, not ${digest}`)
      }
      session = await this.#swap(id, { ...session.value, status: 'sealed', digest }, session)
    }
    this.#blobs.verified(digest, await content.publish(blobKey(digest)))
    await this.#blobs.link(repository, digest, sizeBytes)
    await this.#swap(id, { ...session.value, status: 'committed' }, session, { mayBeLost: true })
    return { digest, sizeBytes }
  }

  /** All of the content is in the closing request: what was recorded before it needs no care, and a repetition brings it again. */
  async #commitWhole(
    id: UploadId,
    session: Found<Session>,
    digest: Digest,
    source: AsyncIterable<Uint8Array>,
    lengthBytes: number,
  ): Promise<BlobStat> {
    try {
      const blob = await this.#whole(id, session.value.repository, digest, source, lengthBytes)
      await this.#swap(id, { ...session.value, status: 'committed', digest }, session, { mayBeLost: true })
      return blob
    } catch (error) {
      if (error instanceof DigestMismatch) await this.#end(id, session)
      throw error
    }
  }

  async #whole(
    id: UploadId,
    repository: RepositoryName,
    digest: Digest,
    source: AsyncIterable<Uint8Array>,
    lengthBytes: number,
  ): Promise<BlobStat> {
    const { stop, end } = this.#begin(id)
    try {
      const parts = { driver: this.#driver, blobs: this.#blobs }
      return await storeWholeBlob(parts, repository, digest, source, lengthBytes, stop.signal)
    } finally {
      end()
    }
  }

  /** Registers what a newcomer, or the end of the process, has to stop and to wait for. */
  #begin(id: UploadId): { readonly stop: AbortController; readonly end: () => void } {
    const stop = new AbortController()
    const { promise: ended, resolve } = Promise.withResolvers<void>()
    const mine = { stop, ended }
    this.#running.get(id)?.stop.abort(taken(id))
    this.#running.set(id, mine)
    const end = (): void => {
      if (this.#running.get(id) === mine) this.#running.delete(id)
      resolve()
    }
    return { stop, end }
  }

  async cancel(repository: RepositoryName, id: UploadId): Promise<void> {
    try {
      await this.#end(id, await this.#take(repository, id, undefined, ['open', 'sealed']))
    } catch (error) {
      if (!(error instanceof StorageUnavailable)) throw error
      await this.#find(repository, id, ['open', 'sealed'])
      this.#running.get(id)?.stop.abort(taken(id))
      await this.#remove(id) // a full disk has no room to record the end
    }
  }

  async checkpointAll(): Promise<void> {
    const running = [...this.#running.values()]
    for (const { stop } of running)
      stop.abort(new UploadsStopping('the registry is stopping; what arrived is kept: go on in a moment'))
    await Promise.all(running.map(({ ended }) => ended))
  }

  /** Removes what nobody will come back for. */
  async sweep(now: number): Promise<void> {
    for await (const entry of this.#driver.list(SESSIONS_PREFIX)) {
      const id = entry.replace('/', '') as UploadId
      const found = await readRecord<Session>(this.#driver, sessionKey(id)).catch(unlessTorn)
      if (found === TORN && now - timeOf(id) >= COMMITTED_KEPT_MS) await this.#remove(id)
      if (!found || found === TORN) continue
      const { status, touchedAt } = found.value
      const keptMs = status === 'committed' || status === 'ended' ? COMMITTED_KEPT_MS : OPEN_KEPT_MS
      if (now - Date.parse(touchedAt) < keptMs) continue
      try {
        if (status === 'open' || status === 'sealed') await this.#end(id, found)
      } catch (error) {
        if (error instanceof SessionTaken) continue // somebody came back after all
        if (!(error instanceof StorageUnavailable)) throw error // and a full disk is no reason to keep it
      }
      await this.#remove(id)
    }
  }

  /** Needs no room on the disk. An id is never used again. */
  async #remove(id: UploadId): Promise<void> {
    await this.#driver.stage(id).discard()
    await this.#driver.remove(sessionKey(id))
  }

  async #find(repository: RepositoryName, id: UploadId, wanted: readonly Session['status'][]): Promise<Found<Session>> {
    const found = await readRecord<Session>(this.#driver, sessionKey(id))
    if (found?.value.repository === repository && wanted.includes(found.value.status)) return found
    throw new UploadUnknown(`${repository} has no open upload ${id}: begin a new one`)
  }

  /** From here on whoever held it cannot write the record any more. */
  async #take(
    repository: RepositoryName,
    id: UploadId,
    offset: number | undefined,
    wanted: readonly Session['status'][],
  ): Promise<Found<Session>> {
    for (;;) {
      const found = await this.#find(repository, id, wanted)
      const running = this.#running.get(id)
      if (offset !== undefined && offset !== found.value.offset) throw new OffsetMismatch(offset, found.value.offset)
      // Taking a session from a holder of this process: it may first record what it has, so that nothing is sent twice.
      if (running && offset === undefined) {
        running.stop.abort(taken(id))
        await running.ended
      }
      const mine = { ...found.value, holder: newNonce() }
      const written = await orConflict(() =>
        writeRecord(this.#driver, sessionKey(id), mine, found, { mayBeLost: true }),
      )
      if (!written) continue
      running?.stop.abort(taken(id))
      return written
    }
  }

  /** Takes bytes until the source ends or breaks, or somebody else takes the session. Resolves to the session as this holder left it. */
  async #append(
    id: UploadId,
    taken: Found<Session>,
    source: AsyncIterable<Uint8Array>,
    { lengthBytes, mayEmptyPieces = false }: AppendOptions,
  ): Promise<Found<Session>> {
    const { stop, end } = this.#begin(id)
    const watch = setInterval(() => void this.#watch(id, taken.value.holder, stop), WATCH_MS)
    const hashes = Object.values(taken.value.hashes).map((state) => ResumableHash.import(Buffer.from(state, 'base64')))
    const { offset } = taken.value
    const hashing = new Hashing(hashes, offset, mayEmptyPieces)
    let session = taken
    try {
      const blocks = this.#whileMine(id, taken, hashing.through(blocksOf(source, offset, lengthBytes, stop.signal)))
      const checkpoints = this.#driver.stage(id, session.value.staging).append(blocks, offset, stop.signal)
      for await (const checkpoint of checkpoints) session = await this.#record(id, session, hashing, checkpoint)
      return session
    } finally {
      clearInterval(watch)
      end()
    }
  }

  /**
   * Asked for its first block once the staging's lock is held. Whoever took the session while this waited has perhaps written and let go
   * already: then its acknowledged bytes must not be cut. Whoever takes it from now on waits for the lock.
   */
  async *#whileMine(id: UploadId, { value }: Found<Session>, blocks: AsyncIterable<Block>): AsyncGenerator<Block> {
    const found = await readRecord<Session>(this.#driver, sessionKey(id))
    if (found?.value.holder !== value.holder) throw taken(id)
    yield* blocks
  }

  async #record(
    id: UploadId,
    session: Found<Session>,
    hashing: Hashing,
    { offset, state }: Checkpoint,
  ): Promise<Found<Session>> {
    if (offset === session.value.offset && isDeepStrictEqual(state, session.value.staging)) return session
    const hashes = await hashing.statesAt(offset)
    return await this.#swap(id, { ...session.value, offset, hashes, staging: state }, session)
  }

  async #watch(id: UploadId, holder: string, stop: AbortController): Promise<void> {
    try {
      const found = await readRecord<Session>(this.#driver, sessionKey(id))
      if (found?.value.holder !== holder) stop.abort(taken(id))
    } catch {
      // The record could not be read now; the next look, or the next checkpoint, tells.
    }
  }

  async #swap(id: UploadId, value: Session, found: Found<Session>, options?: WriteOptions): Promise<Found<Session>> {
    const touched = { ...value, touchedAt: new Date().toISOString() }
    try {
      return await writeRecord(this.#driver, sessionKey(id), touched, found, options)
    } catch (error) {
      throw error instanceof VersionConflict ? taken(id, error) : error
    }
  }

  async #end(id: UploadId, session: Found<Session>): Promise<void> {
    await this.#swap(id, { ...session.value, status: 'ended', hashes: {}, staging: {} }, session)
    await this.#driver.stage(id, session.value.staging).discard()
  }
}

const isWhole = (
  { status, offset, holder }: Session,
  options: AppendOptions,
): options is AppendOptions & { readonly lengthBytes: number } =>
  status === 'open' &&
  holder === '' && // nobody has begun to append, who would have to be told
  offset === 0 &&
  (options.offset ?? 0) === 0 &&
  (options.lengthBytes ?? Number.POSITIVE_INFINITY) <= WHOLE_BLOB_BYTES

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** A crash came while the session was made: nobody was told of it. */
const TORN = Symbol('torn')

function unlessTorn(error: unknown): typeof TORN {
  if (error instanceof SyntaxError) return TORN
  throw error
}

/** A closing request may be repeated, because its answer was lost, but not with another digest. */
function demandSame(session: Session, digest: Digest): void {
  if (session.digest === digest) return
  throw new DigestMismatch(`this upload was closed as ${session.digest}, not ${digest}`)
}

const taken = (id: UploadId, cause?: unknown): SessionTaken =>
  new SessionTaken(`another request has taken the upload ${id} over`, { cause })
