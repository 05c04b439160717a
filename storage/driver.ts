/**
 * What a place that keeps objects under keys must do. Two implementations are foreseen (a local filesystem, S3) and both
 * pass the contract suite in `testing/driver-contract.ts`; the promises below are its cases.
 *
 * One rule makes everything above a driver safe: a name that can be used again is never deleted and never written
 * unconditionally. It changes only by create-if-absent or compare-and-swap. `remove` is only for names that carry a
 * nonce and are never used twice.
 */
import type { Readable } from 'node:stream'
import type { HashStates } from './model/digest.ts'

declare const brand: unique symbol

/** A `/`-separated object name; made only by `layout.ts`. No component is longer than 255 bytes; no key is a directory of another. */
export type Key = string & { readonly [brand]: 'Key' }

/** Opaque. Equal versions mean the same write of the same object. */
export type Version = string & { readonly [brand]: 'Version' }

export interface ObjectStat {
  readonly sizeBytes: number
  readonly modified: Date
}

/** Both ends inclusive, `0 <= start <= end < size`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

export type WriteCondition =
  | { readonly ifAbsent: true }
  /** A name that nobody knows yet, and that is never used again: a crash in the middle may leave something torn under it. */
  | { readonly unique: true; readonly afterPowerLoss?: AfterPowerLoss }
  | { readonly ifVersion: Version; readonly afterPowerLoss?: AfterPowerLoss }

/**
 * What a crash of the machine (not of the process: everybody sees a write at once) may leave of it: what was written, unless said
 * otherwise; the version before; or anything, torn or nothing at all, for records whose loss nobody notices.
 */
export type AfterPowerLoss = 'written' | 'before' | 'anything'

export interface ObjectRead {
  readonly body: Readable
  /** Of the whole object, also when a range is read. */
  readonly sizeBytes: number
  /** Another one, if the object was replaced or written to since: of the whole object, as `publish` gives it. */
  readonly identity: string
  /** Whether every byte of this very object was hashed before, by whomever, as far as the place remembers. To be asked while `body` is open. */
  readonly verified: boolean
  /** Where the bytes of `body` lie, if they lie in a file: good until `body` is read or destroyed, which closes it. */
  readonly file?: FileRange
  /** Another way for the bytes of `body` to leave, instead of reading it, which is destroyed afterwards all the same. */
  readonly relay?: Relay
}

export interface Relay {
  readonly lengthBytes: number
  /**
   * `socket` tells the descriptor of a socket that does not block and into which nobody else writes meanwhile, and throws once that is closed: its
   * number may be another connection's then, so it is asked at each use. Once. What goes wrong rejects `done`, and is no whole body.
   */
  into(socket: () => number): Transfer
}

export interface Transfer {
  /** Resolves to the bytes sent. */
  readonly done: Promise<number>
  /** So far. */
  sentBytes(): number
  /** `done` settles soon; nothing happens if it has. */
  cancel(): void
}

export interface FileRange {
  /** A descriptor. */
  readonly file: number
  readonly startBytes: number
  readonly lengthBytes: number
}

export interface ListOptions {
  /** Exclusive: only names that sort after this one (bytewise), relative to the prefix. */
  readonly after?: string
  /** At most this many entries. */
  readonly limit?: number
}

/** No block crosses a multiple of it, counted from the beginning of the content: parts of whole multiples begin and end with blocks. */
export const BLOCK_BYTES = 1024 * 1024

/** Neighbouring pieces of content, to be hashed and written together without copying them together. Never empty. */
export type Block = readonly Uint8Array[]

/** Never changed by anybody. May be the very object that an earlier read gave, if it says the same: what was worked out of it can be remembered with it. */
export interface SmallObject {
  readonly bytes: Uint8Array
  readonly version: Version
}

/** What is known already is told at once: nobody waits for a turn of the event loop. */
export type Soon<T> = T | Promise<T>

/** As in the driver itself. */
export interface ObjectAhead {
  read(range?: ByteRange): Promise<ObjectRead>
  readSmall(): Soon<SmallObject | undefined>
}

export interface StorageDriver {
  readonly name: string
  /** `undefined` if absent. */
  stat(key: Key): Soon<ObjectStat | undefined>
  /** Throws `ObjectNotFound`. The body may still fail half-way; it never ends early without an error. */
  read(key: Key, range?: ByteRange): Promise<ObjectRead>
  /** The whole of a small object; `undefined` if absent. */
  readSmall(key: Key): Soon<SmallObject | undefined>
  /**
   * Begins to find out what is under the key, for whoever has to ask for something else first: what is read of it is not older than this call, and
   * nothing is lost if nobody does. Absent where reading is quick.
   */
  lookAhead?(key: Key): ObjectAhead
  /** Small objects only; atomic, durable when resolved. Throws `VersionConflict` when the condition does not hold. */
  write(key: Key, bytes: Uint8Array, condition: WriteCondition): Promise<Version>
  /** For an object that was read through and is what its key says: remembered with it, for every process, where the place can. */
  remember(key: Key, identity: string): Promise<void>
  /**
   * For an object that was read through and is damaged: from then on nothing is stored under the key, until it is published again. Resolves to
   * where it is kept, to be looked at or put back; `undefined` if another object stands there now.
   */
  setAside(key: Key, identity: string): Promise<string | undefined>
  /**
   * Where clients can fetch exactly the bytes of the object by themselves for a while, without credentials of their own; `undefined` if
   * it is not all in one place, or was written to since it was published. Absent where there is no such place.
   */
  locate?(key: Key): Promise<URL | undefined>
  /** Only for names that are never used again. Fine if there is nothing: whether there was, S3 does not say. */
  remove(key: Key): Promise<void>
  /**
   * The names directly under `prefix` (a key ending in `/`), relative to it, in byte order; names of deeper levels appear once, with a
   * trailing `/`. Costs no more for the millionth page than for the first.
   */
  list(prefix: string, options?: ListOptions): AsyncIterable<string>
  /** The same names as they come to hand, many at a time: for long lists, where a turn for each name costs more than the name. */
  listParts(prefix: string, options?: ListOptions): AsyncIterable<readonly string[]>
  /**
   * All of them, if they are at hand and few: the very array of the last time as long as none has come or gone, so that what was worked
   * out of it can be remembered with it. Absent where nothing is at hand.
   */
  listWhole?(prefix: string): readonly string[] | undefined
  /** Large content: durable, not visible. No I/O. `state` is what a checkpoint of an earlier holder gave, perhaps in another process. */
  stage(id: string, state?: StagingState): Staging
  /**
   * Content that is at hand, as a staging that nobody else can know: not visible, durable once published. It is to be published or discarded.
   * The pieces are not needed any more when this resolves.
   */
  stageWhole(content: Block): Promise<WholeStaging>
  close(): Promise<void>
}

/** JSON, the driver's own; kept in the session's record. */
export type StagingState = { readonly [field: string]: unknown }

export interface Checkpoint {
  /**
   * Everything before it is durable. A boundary between two blocks, not necessarily the last one that was taken; or the offset of the
   * checkpoint before, when only the state is news. The driver relies on the state being recorded when it is asked to go on.
   */
  readonly offset: number
  readonly state: StagingState
  /** All of the source is in it: none follows. */
  readonly complete?: boolean
}

/** Its hash states belong to its offset. */
export interface HashedCheckpoint extends Checkpoint {
  readonly hashes: HashStates
}

/** A body that lies in a socket, from where it can be read without going through JavaScript. */
export interface SocketBody {
  /** From now on nobody else reads it. `undefined` if that cannot be, or is not worth it: then it is read as usual. */
  take(): TakenSocket | undefined
}

/** Disposing gives the socket back. */
export interface TakenSocket extends Disposable {
  /** What was read of the body before. */
  readonly arrived: readonly Uint8Array[]
  /**
   * Does not block; it is the body's until `leftBytes` more were read. Good until the caller's next `await`: the connection may be
   * closed at any time. Throws if it is.
   */
  readonly descriptor: number
  readonly leftBytes: number
  /** Who reads: it is cancelled when the client goes away, or sends nothing for long. */
  watch(reader: SocketReader): void
  /** What was read in the end, and the system's error if that is why there was an end. */
  ended(receivedBytes: number, error?: Error): void
}

export interface SocketReader {
  receivedBytes(): number
  /** Whether the client does right to wait. */
  isOurTurn(): boolean
  cancel(): void
}

export interface Staging {
  /**
   * Takes the staging over from whoever holds it (waits for a live holder of this host to let go, at most as long as `signal` allows), asks
   * the source for its first block (if that fails, nothing is touched), cuts what lies beyond `offset`, then writes the source's blocks. Yields a checkpoint now and then, and one at the end, also when the source
   * breaks: what arrived is kept, the checkpoint is yielded, and then the source's error is thrown. `StorageUnavailable` if the disk cannot.
   */
  append(source: AsyncIterable<Block>, offset: number, signal?: AbortSignal): AsyncIterable<Checkpoint>
  /**
   * Where the driver can: as `append`, from a socket; it hashes on the way, from the states that belong to `offset` on. `demandMine` is
   * asked as the source would be, and throws.
   */
  receive?(
    body: TakenSocket,
    from: { readonly offset: number; readonly hashes: HashStates },
    demandMine: () => Promise<void>,
    signal: AbortSignal,
  ): AsyncIterable<HashedCheckpoint>
  /** Changes nothing yet: only `publish` cuts what lies beyond. `sizeBytes` must be what the last checkpoint said, which made the bytes durable. */
  seal(sizeBytes: number): Promise<Sealed>
  /** Leaves nothing behind; fine if there is nothing. */
  discard(): Promise<void>
}

export type WholeStaging = Pick<Sealed, 'publish'> & Pick<Staging, 'discard'>

export interface Sealed {
  readonly sizeBytes: number
  read(range?: ByteRange): Promise<Readable>
  /**
   * O(1), idempotent, all or nothing, durable and visible when resolved. What was there before, perhaps damaged, is replaced.
   * The caller has hashed what it publishes, and the object remembers so. Resolves to the object's identity.
   */
  publish(key: Key): Promise<string>
}
