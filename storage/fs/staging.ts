/**
 * Staged content on a disk: one file per upload session. Whoever appends holds a lock, across threads and processes; it
 * is released when the append ends, however it ends.
 */
import { constants } from 'node:fs'
import { type FileHandle, open, rmdir, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Block, Checkpoint, HashedCheckpoint, Key, Sealed, Staging, TakenSocket } from '../driver.ts'
import { ObjectNotFound, StagedBytesLost } from '../errors.ts'
import { FileBody } from './body.ts'
import { codeOf, diskFailure, identityOf, makeFolder, openIfThere, syncFolder } from './files.ts'
import { CHECKPOINT_BYTES, CHECKPOINT_MS, type ReceiveFrom, receiveInto } from './receiving.ts'

/** What the staging needs of its driver. */
export interface StagingPlace {
  readonly path: string
  /** Released by disposal. Waits for another holder; throws the signal's reason. */
  lock(signal?: AbortSignal): Promise<Disposable>
  pathOf(key: Key): string
  /** Gives the file its name. Resolves to its identity. */
  publish(key: Key): Promise<string>
}

export class FsStaging implements Staging {
  readonly #place: StagingPlace

  constructor(place: StagingPlace) {
    this.#place = place
  }

  async *append(source: AsyncIterable<Block>, offset: number, signal?: AbortSignal): AsyncGenerator<Checkpoint> {
    using _held = await this.#place.lock(signal).catch(diskFailure)
    const blocks = source[Symbol.asyncIterator]()
    // Nothing is cut before the source has spoken: it may say that the session was lost while this waited for the lock.
    let next = await pull(blocks)
    if ('error' in next) throw next.error
    let [written, durable, durableAtMs] = [offset, offset, performance.now()]
    try {
      await using file = await this.#openFrom(offset).catch(diskFailure)
      const folderLasts = this.#folderLasts(offset)
      for (;;) {
        const ended = 'error' in next || next.result.done === true
        if (!('error' in next) && next.result.done !== true) {
          written += await writeAll(file, next.result.value, written).catch(async (error: unknown) => {
            await file.truncate(durable).catch(() => {}) // a full disk gets back what nobody was told is kept
            return diskFailure(error)
          })
        }
        const isMuch = written - durable >= CHECKPOINT_BYTES && performance.now() - durableAtMs >= CHECKPOINT_MS
        if (ended || isMuch) {
          if (written > durable) await Promise.all([file.datasync(), folderLasts]).catch(diskFailure)
          durable = written
          durableAtMs = performance.now()
          yield { offset: durable, state: {}, complete: ended && !('error' in next) }
        }
        if ('error' in next) throw next.error
        if (ended) return
        next = await pull(blocks)
      }
    } finally {
      await blocks.return?.().catch(() => {}) // its failure was the news already, or nobody asks any more
    }
  }

  async *receive(
    body: TakenSocket,
    from: ReceiveFrom,
    demandMine: () => Promise<void>,
    signal: AbortSignal,
  ): AsyncGenerator<HashedCheckpoint> {
    using _held = await this.#place.lock(signal).catch(diskFailure)
    await demandMine()
    await using file = await this.#openFrom(from.offset).catch(diskFailure)
    yield* receiveInto(file, body, from, this.#folderLasts(from.offset), signal)
  }

  /** The record of a new session was not synced: with its first bytes it comes to stay, and so has its folder's name to. */
  #folderLasts(offset: number): Promise<void> | undefined {
    const lasting = offset === 0 ? syncFolder(dirname(dirname(this.#place.path))) : undefined
    lasting?.catch(() => {}) // thrown where the first bytes are to be durable
    return lasting
  }

  /** Cut to what is recorded: bytes beyond belong to nobody. */
  async #openFrom(offset: number): Promise<FileHandle> {
    const { path } = this.#place
    const flags = constants.O_RDWR | (offset === 0 ? constants.O_CREAT : 0)
    const file = await open(path, flags, 0o600).catch(async (error: unknown) => {
      if (offset > 0 || codeOf(error) !== 'ENOENT') throw error
      await makeFolder(dirname(path))
      return await open(path, flags, 0o600)
    })
    try {
      const { size } = await file.stat()
      if (size < offset) throw new StagedBytesLost(`the upload's file has ${size} bytes, ${offset} were recorded`)
      if (size > offset) await file.truncate(offset)
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async seal(sizeBytes: number): Promise<Sealed> {
    const place = this.#place
    using _held = await place.lock().catch(diskFailure)
    if (sizeBytes === 0) await makeEmpty(place.path).catch(diskFailure) // nothing was ever appended
    const found = await sizeIfThere(place.path).catch(diskFailure)
    if (found !== undefined && found < sizeBytes)
      throw new StagedBytesLost(`the upload's file has ${found} bytes, ${sizeBytes} were recorded`)
    return {
      sizeBytes,
      async read(range) {
        const opened = await openIfThere(place.path, constants.O_RDONLY).catch(diskFailure)
        if (!opened) throw new ObjectNotFound('the staged content is gone')
        return new FileBody(opened, range ?? { start: 0, end: sizeBytes - 1 })
      },
      async publish(key) {
        const target = place.pathOf(key)
        using _held = await place.lock().catch(diskFailure)
        try {
          await cutTo(place.path, sizeBytes)
          return await place.publish(key)
        } catch (error) {
          // An earlier publish of ours got here and its answer was lost: then the object stands.
          if (codeOf(error) !== 'ENOENT' || (await sizeIfThere(target)) !== sizeBytes) diskFailure(error)
          return identityOf(await stat(target, { bigint: true }).catch(diskFailure))
        }
      },
    }
  }

  async discard(): Promise<void> {
    using _held = await this.#place.lock().catch(diskFailure)
    await unlink(this.#place.path).catch(unlessGone)
    await rmdir(dirname(this.#place.path)).catch(() => {}) // holds the session's record still, or is gone
  }
}

type Pulled = { readonly result: IteratorResult<Block> } | { readonly error: unknown }

function pull(blocks: AsyncIterator<Block>): Promise<Pulled> {
  return blocks.next().then(
    (result) => ({ result }),
    (error: unknown) => ({ error }),
  )
}

/** Only when the session is sealed: before that, what lies beyond may be a newcomer's. */
async function cutTo(path: string, sizeBytes: number): Promise<void> {
  if ((await stat(path)).size === sizeBytes) return
  await using file = await open(path, constants.O_RDWR)
  await file.truncate(sizeBytes)
  await file.datasync()
}

async function makeEmpty(path: string): Promise<void> {
  await makeFolder(dirname(path))
  await (await open(path, constants.O_RDWR | constants.O_CREAT, 0o600)).close()
}

async function sizeIfThere(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function unlessGone(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') diskFailure(error)
}

/** The kernel may take less than it was given. Resolves to the number of bytes. */
async function writeAll(file: FileHandle, block: Block, position: number): Promise<number> {
  const size = block.reduce((total, piece) => total + piece.length, 0)
  let rest: Uint8Array[] = [...block]
  for (let done = 0; done < size; ) {
    const { bytesWritten } = await file.writev(rest, position + done)
    done += bytesWritten
    if (done < size) rest = afterBytes(rest, bytesWritten)
  }
  return size
}

function afterBytes(pieces: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count
  return pieces.flatMap((piece) => {
    const cut = Math.min(left, piece.length)
    left -= cut
    return cut === piece.length ? [] : [piece.subarray(cut)]
  })
}
