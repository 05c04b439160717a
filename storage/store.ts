/**
 * What the registry keeps, in the words of the distribution specification: the one face of `storage/` that a server needs.
 * `open.ts` makes one over a driver. Failures are the facts of `errors.ts`.
 */
import type { Readable } from 'node:stream'
import type { Condition } from './condition.ts'
import type { ByteRange, FileRange, Relay, SocketBody } from './driver.ts'
import { UploadUnknown } from './errors.ts'
import type { Digest, DigestAlgorithm, ForeignDigest } from './model/digest.ts'
import type { Descriptor } from './model/manifest.ts'
import type { MediaType } from './model/media-type.ts'
import type { RepositoryName, Tag } from './model/reference.ts'

export interface Store {
  /** No I/O: a repository exists from its first blob or manifest on. */
  repository(name: RepositoryName): Repository
  readonly uploads: Uploads
  /** Names with at least one manifest pushed ever, byte order. */
  listRepositories(page: Page): AsyncIterable<RepositoryName>
  close(): Promise<void>
}

/** `last` is exclusive and need not exist. */
export interface Page {
  readonly last?: string
  readonly limit?: number
}

export interface BlobStat {
  readonly digest: Digest
  readonly sizeBytes: number
}

export interface LinkedBlob extends BlobStat {
  /** Not touched for so long that a collector might soon take it: to be touched before a pusher is told that it need not be sent. */
  readonly aging: boolean
}

export interface StoredManifest {
  readonly digest: Digest
  readonly mediaType: MediaType
  /** Exactly what was pushed. */
  readonly bytes: Uint8Array
}

/** `current`: where the tag points, `undefined` if it does not exist. */
export type DemandTag = (tag: Tag, current: Digest | undefined) => Promise<void>

export interface ManifestPush {
  readonly mediaType: MediaType
  readonly bytes: Uint8Array
  /** Pushed by digest: the content must have it (`DigestMismatch`). Absent: pushed by tag, sha256. */
  readonly digest?: Digest
  /**
   * Tags to create or move to it. All or nothing: conditions are judged before the first one moves, and when a later one
   * fails (somebody was faster, the disk gave up), those that moved are taken back. Readers may see them move one after the
   * other, and a crash half-way leaves the first of them moved: nothing was acknowledged, and pushing again moves them all.
   */
  readonly tags: readonly Tag[]
  /** Must hold for every tag, all of them as they were before; for the digest itself when there are no tags. `PreconditionFailed`. */
  readonly condition?: Condition
  /** Asked for each tag that would change, before anything is stored and again at the moment of the change: throws to refuse it. */
  readonly demandTag?: DemandTag
  readonly pushedBy?: string
}

export type RangeOf = (sizeBytes: number) => ByteRange | undefined

/** What is sent of a blob. It is either read, or destroyed. */
export interface BlobContent {
  /** Fails, before its last piece, with `BlobDamaged` if the bytes are not those of the digest. */
  readonly body: Readable
  /** Of the whole blob. */
  readonly sizeBytes: number
  /** `undefined` is the whole. */
  readonly range: ByteRange | undefined
  /** All of `body`, if it is small and at hand. */
  readonly bytes?: Uint8Array
  /** Where the bytes of `body` lie, if they need no look any more: good until `body` is read or destroyed. */
  readonly file?: FileRange
  /** Another way for them to leave, likewise. */
  readonly relay?: Relay
}

export interface Repository {
  readonly name: RepositoryName
  /** `RepositoryUnknown` unless a manifest was pushed here once. */
  demandKnown(): Promise<void>
  /** `BlobUnknown` unless this repository links it and its bytes are there. */
  statBlob(digest: Digest): Promise<LinkedBlob>
  /** Keeps the link from growing old, if there is one. */
  touchBlob(digest: Digest): Promise<void>
  /** `range` is asked once the size is known, and may throw; `undefined` is the whole. `BlobUnknown`, or `BlobDamaged`. */
  readBlob(digest: Digest, range?: RangeOf): Promise<BlobContent>
  /** Where a client can fetch the whole blob, if it has at least so many bytes and such a place; `BlobUnknown`. */
  locateBlob(digest: Digest, leastBytes: number): Promise<URL | undefined>
  /** Links a blob that `from` (or, without it, some repository) links and whose links `mayRead` allows. False when there is none. */
  mountBlob(
    digest: Digest,
    mayRead: (source: RepositoryName) => Promise<boolean>,
    from?: RepositoryName,
  ): Promise<boolean>
  /** `BlobUnknown` if it was not linked here. Visible to every reader at once. */
  unlinkBlob(digest: Digest): Promise<void>
  /** `ManifestUnknown` or `RepositoryUnknown`. */
  getManifest(reference: Tag | Digest): Promise<StoredManifest>
  /** Throws `DigestMismatch`, `ManifestInvalid`, `ReferencesMissing`, `PreconditionFailed`. */
  putManifest(push: ManifestPush): Promise<{ readonly digest: Digest; readonly subject?: Digest | ForeignDigest }>
  /** By tag: the tag goes, the manifest stays. By digest: it and all its tags are gone at once. `PreconditionFailed`. */
  deleteManifest(reference: Tag | Digest, condition?: Condition): Promise<void>
  /** The live tags of a manifest, each once. */
  listTagsOf(digest: Digest): AsyncIterable<Tag>
  /** `RepositoryUnknown`. Byte order. */
  listTags(page: Page): AsyncIterable<Tag>
  /** The same, many at a time. */
  listTagParts(page: Page): AsyncIterable<readonly Tag[]>
  /** All of them, if they are at hand without any listing: the same array as long as none has come or gone. `RepositoryUnknown`. */
  tagsAtHand(): Promise<readonly Tag[] | undefined>
  /**
   * Never fails for the unknown: the list is empty. Ordered by cursor. What a client of another registry listed under the
   * subject's tag of the referrers tag schema is among them.
   */
  listReferrers(subject: Digest | ForeignDigest, page: ReferrersPage): AsyncIterable<Referrer>
}

export interface ReferrersPage {
  /** The cursor of the last one that the caller has; what is no cursor selects some part of the list, or none. */
  readonly last?: string
  readonly artifactType?: string
}

export interface Referrer {
  readonly cursor: string
  readonly descriptor: Descriptor
}

declare const uploadBrand: unique symbol
/** A UUIDv7; parsed by `parseUploadId`. */
export type UploadId = string & { readonly [uploadBrand]: 'UploadId' }

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Throws `UploadUnknown`: what is no id is no session either. */
export function parseUploadId(text: string): UploadId {
  if (!UUID_V7.test(text)) throw new UploadUnknown('no upload has this id: take the Location that the registry gave')
  return text as UploadId
}

export interface UploadStatus {
  readonly id: UploadId
  /** Durable bytes: what a client need never send again. */
  readonly offset: number
}

export interface AppendOptions {
  /** Where the client says its first byte goes; `OffsetMismatch` (nothing consumed) if the session is elsewhere. Absent: at the end. */
  readonly offset?: number
  /** Of this body, if declared; a body that ends early or runs over is `SizeMismatch`: what arrived before is kept. */
  readonly lengthBytes?: number
  /** The same bytes as of the source, where they lie: read from there if the storage can, and the source is left alone. */
  readonly socket?: SocketBody | undefined
  /** The pieces are nobody else's: those that own their memory are emptied as soon as they are stored. */
  readonly mayEmptyPieces?: boolean
}

/**
 * Upload sessions: records changed only by compare-and-swap, one writer at a time, the newcomer wins (the old holder's call fails with
 * `SessionTaken`). All throw `UploadUnknown` for an id that is not an open session of that repository.
 */
export interface Uploads {
  start(repository: RepositoryName, algorithm?: DigestAlgorithm): Promise<UploadStatus>
  /** A whole blob by itself: nothing of it is left if that fails. `DigestMismatch`, `SizeMismatch`. */
  push(
    repository: RepositoryName,
    digest: Digest,
    source: AsyncIterable<Uint8Array> | undefined,
    options?: AppendOptions,
  ): Promise<BlobStat>
  status(repository: RepositoryName, id: UploadId): Promise<UploadStatus>
  /** If the source breaks, what arrived is durable and recorded, then the source's error is thrown. */
  append(
    repository: RepositoryName,
    id: UploadId,
    source: AsyncIterable<Uint8Array>,
    options?: AppendOptions,
  ): Promise<UploadStatus>
  /**
   * Appends the rest (if any), checks the digest, publishes the blob, links it. Idempotent for an hour: repeated after success it
   * answers the same. `DigestMismatch` ends the session.
   */
  commit(
    repository: RepositoryName,
    id: UploadId,
    digest: Digest,
    source?: AsyncIterable<Uint8Array>,
    options?: AppendOptions,
  ): Promise<BlobStat>
  cancel(repository: RepositoryName, id: UploadId): Promise<void>
  /** Lets every running append reach a checkpoint and stop: what a graceful stop needs. */
  checkpointAll(): Promise<void>
}
