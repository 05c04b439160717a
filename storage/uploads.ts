/**
 * Uploads: bytes into a session (`upload-sessions.ts`), and a session into a blob. The order of every append: bytes
 * durable, then the record, then what it no longer needs goes. The newcomer wins: the holder looks at the record before
 * each checkpoint and every second, and lets go.
 */
import { isDeepStrictEqual } from 'node:util'
import { bothEnded } from './at-once.ts'
import type { Blobs } from './blobs.ts'
import { blocksOf } from './blocks.ts'
import type { Block, HashedCheckpoint, Sealed, StorageDriver } from './driver.ts'
import { DigestMismatch, StorageUnavailable, UploadsStopping } from './errors.ts'
import { blobKey } from './layout.ts'
import { algorithmOf, type Digest, type DigestAlgorithm } from './model/digest.ts'
import type { RepositoryName } from './model/reference.ts'
import type { AppendOptions, BlobStat, UploadId, UploadStatus, Uploads } from './store.ts'
import { digestOfStaged, digestOfStates, Hashing, imported } from './upload-hashes.ts'
import { type FoundSession, newUploadId, type Session, taken, UploadSessions } from './upload-sessions.ts'
import { storeWholeBlob, WHOLE_BLOB_BYTES, type WholeBlob } from './whole-blob.ts'

/** A holder looks this often whether somebody else has taken its session. */
const WATCH_MS = 1_000

export function openUploads(driver: StorageDriver, blobs: Blobs): StoppableUploads {
  return new StoppableUploads(driver, blobs)
}

export class StoppableUploads implements Uploads {
  readonly #driver: StorageDriver
  readonly #blobs: Blobs
  readonly #sessions: UploadSessions

  constructor(driver: StorageDriver, blobs: Blobs) {
    this.#driver = driver
    this.#blobs = blobs
    this.#sessions = new UploadSessions(driver)
  }

  async start(repository: RepositoryName, algorithm: DigestAlgorithm = 'sha256'): Promise<UploadStatus> {
    return { id: await this.#sessions.create(repository, new Set(['sha256', algorithm])), offset: 0 }
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
      return await this.#whole(newUploadId(), repository, { ...options, digest, source, lengthBytes })
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
    const { value } = await this.#sessions.find(repository, id, ['open', 'sealed'])
    return { id, offset: value.offset }
  }

  async append(
    repository: RepositoryName,
    id: UploadId,
    source: AsyncIterable<Uint8Array>,
    options: AppendOptions = {},
  ): Promise<UploadStatus> {
    const session = await this.#sessions.take(repository, id, options.offset, ['open'])
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
    const found = await this.#sessions.find(repository, id, ['open', 'sealed', 'committed'])
    const { value: before } = found
    if (before.status !== 'open') demandSame(before, digest)
    if (before.status === 'committed') {
      const { sizeBytes } = await this.#blobs.stat(repository, digest)
      return { digest, sizeBytes }
    }
    if (source && isWhole(before, options)) return await this.#commitWhole(id, found, { ...options, digest, source })
    // Sealed: verified once, and interrupted. What is left to do needs no bytes.
    const rest = before.status === 'sealed' ? undefined : source
    const { session, content } = await this.#seal(repository, id, digest, rest, options)

    const sizeBytes = session.value.offset
    // The bytes are those of the digest. A crash between the two leaves a blob without a link, or a link without a blob: both are unknown to everybody.
    const [identity] = await bothEnded(
      content.publish(blobKey(digest)),
      this.#blobs.link(repository, digest, sizeBytes),
    )
    this.#blobs.verified(digest, identity)
    await this.#sessions.committed(id, digest, session)
    return { digest, sizeBytes }
  }

  /** Whoever takes the session from here on publishes what it holds: so that is recorded, before anything becomes visible. */
  async #seal(
    repository: RepositoryName,
    id: UploadId,
    digest: Digest,
    source: AsyncIterable<Uint8Array> | undefined,
    options: AppendOptions,
  ): Promise<{ readonly session: FoundSession; readonly content: Sealed }> {
    const sealedAs = ({ status, hashes }: Session): Partial<Session> =>
      status === 'open' && digestOfStates(hashes, algorithmOf(digest)) === digest ? { status: 'sealed', digest } : {}
    const at = source ? options.offset : undefined
    let session = await this.#sessions.take(repository, id, at, ['open', 'sealed'], source ? undefined : sealedAs)
    if (source && session.value.status === 'open') session = await this.#append(id, session, source, options, sealedAs)

    const { offset: sizeBytes, hashes, staging, status } = session.value
    const content = await this.#driver.stage(id, staging).seal(sizeBytes)
    if (status === 'sealed') {
      demandSame(session.value, digest)
      return { session, content }
    }
    const actual = await digestOfStaged(content, hashes, algorithmOf(digest))
    if (actual !== digest) {
      await this.#sessions.end(id, session)
      throw new DigestMismatch(`the ${sizeBytes} bytes that arrived are ${actual}, not ${digest}`)
    }
    return { session: await this.#sessions.swap(id, { ...session.value, status: 'sealed', digest }, session), content }
  }

  /**
   * All of the content is in the closing request: what was recorded before it needs no care, and a repetition brings it again. The session is
   * open until its blob is there: who is told that the disk is full asks it how far it came, and goes on.
   */
  async #commitWhole(id: UploadId, session: FoundSession, content: WholeBlob): Promise<BlobStat> {
    try {
      const blob = await this.#whole(id, session.value.repository, content)
      await this.#sessions.committed(id, content.digest, session)
      return blob
    } catch (error) {
      if (error instanceof DigestMismatch) await this.#sessions.end(id, session)
      throw error
    }
  }

  async #whole(id: UploadId, repository: RepositoryName, content: WholeBlob): Promise<BlobStat> {
    const { stop, end } = this.#sessions.begin(id)
    try {
      const parts = { driver: this.#driver, blobs: this.#blobs }
      return await storeWholeBlob(parts, repository, content, stop.signal)
    } finally {
      end()
    }
  }

  async cancel(repository: RepositoryName, id: UploadId): Promise<void> {
    try {
      await this.#sessions.end(id, await this.#sessions.take(repository, id, undefined, ['open', 'sealed']))
    } catch (error) {
      if (!(error instanceof StorageUnavailable)) throw error
      const { value } = await this.#sessions.find(repository, id, ['open', 'sealed'])
      if (value.status === 'sealed') throw error // it can still be closed
      this.#sessions.interrupt(id)
      await this.#sessions.remove(id) // a full disk has no room to record the end
    }
  }

  async checkpointAll(): Promise<void> {
    await this.#sessions.stopAll(
      new UploadsStopping('the registry is stopping; what arrived is kept: go on in a moment'),
    )
  }

  /** Removes what nobody will come back for. */
  async sweep(now: number): Promise<void> {
    await this.#sessions.sweep(now)
  }

  /**
   * Takes bytes until the source ends or breaks, or somebody else takes the session. Resolves to the session as this holder left it;
   * `closing` may say more of what is recorded when all of the source has come.
   */
  async #append(
    id: UploadId,
    taken: FoundSession,
    source: AsyncIterable<Uint8Array>,
    options: AppendOptions,
    closing: (session: Session) => Partial<Session> = () => ({}),
  ): Promise<FoundSession> {
    const { stop, end } = this.#sessions.begin(id)
    const watch = setInterval(() => void this.#watch(id, taken.value.holder, stop), WATCH_MS)
    let session = taken
    try {
      for await (const checkpoint of this.#checkpoints(id, taken, source, options, stop.signal)) {
        const { complete = false, offset, hashes, state: staging } = checkpoint
        const now = { ...session.value, offset, hashes, staging }
        const more = complete ? closing(now) : {}
        const isNews = offset !== session.value.offset || !isDeepStrictEqual(staging, session.value.staging)
        if (isNews || more.status !== undefined) session = await this.#sessions.swap(id, { ...now, ...more }, session)
      }
      return session
    } finally {
      clearInterval(watch)
      end()
    }
  }

  /**
   * From the socket, if the body lies in one and the storage can read there, or from the source. Asked for its first bytes once the staging's
   * lock is held. Whoever took the session while this waited has perhaps written and let go already: then its acknowledged bytes must
   * not be cut. Whoever takes it from now on waits for the lock.
   */
  async *#checkpoints(
    id: UploadId,
    { value: { offset, hashes, staging: state, holder } }: FoundSession,
    source: AsyncIterable<Uint8Array>,
    { lengthBytes, socket, mayEmptyPieces = false }: AppendOptions,
    signal: AbortSignal,
  ): AsyncGenerator<HashedCheckpoint> {
    const demandMine = async (): Promise<void> => {
      if (!(await this.#sessions.isHeldBy(id, holder))) throw taken(id)
    }
    const staging = this.#driver.stage(id, state)
    using body = staging.receive && socket?.take()
    if (staging.receive && body) {
      yield* staging.receive(body, { offset, hashes }, demandMine, signal)
      return
    }
    const hashing = new Hashing(imported(hashes), offset, mayEmptyPieces)
    const blocks = after(demandMine, hashing.through(blocksOf(source, offset, lengthBytes, signal)))
    for await (const checkpoint of staging.append(blocks, offset, signal)) {
      yield { ...checkpoint, hashes: await hashing.statesAt(checkpoint.offset) }
    }
  }

  async #watch(id: UploadId, holder: string, stop: AbortController): Promise<void> {
    try {
      if (!(await this.#sessions.isHeldBy(id, holder))) stop.abort(taken(id))
    } catch {
      // The record could not be read now; the next look, or the next checkpoint, tells.
    }
  }
}

async function* after(demand: () => Promise<void>, blocks: AsyncIterable<Block>): AsyncGenerator<Block> {
  await demand()
  yield* blocks
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

/** A closing request may be repeated, because its answer was lost, but not with another digest. */
function demandSame(session: Session, digest: Digest): void {
  if (session.digest === digest) return
  throw new DigestMismatch(`this upload was closed as ${session.digest}, not ${digest}`)
}
