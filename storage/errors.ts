/**
 * Facts that storage reports. Each message names what was found and what would be right, in words for the person at the
 * other end. Whoever speaks a protocol translates them, once.
 */

/** Something about the caller's request or about what is stored; never a bug of ours. */
export abstract class StorageFact extends Error {}

/** A value that is not what its grammar asks for. */
abstract class InvalidValue extends StorageFact {
  readonly found: string

  /** `found` is shown cut to a length fit for a message. */
  constructor(what: string, found: string, expected: string) {
    const shown = found.length > 160 ? `${found.slice(0, 160)}…` : found
    super(`${JSON.stringify(shown)} is not ${what}: expected ${expected}`)
    this.found = shown
  }
}
export class NameInvalid extends InvalidValue {
  override readonly name = 'NameInvalid'
}
export class TagInvalid extends InvalidValue {
  override readonly name = 'TagInvalid'
}
export class DigestInvalid extends InvalidValue {
  override readonly name = 'DigestInvalid'
}

/** No object is stored under that key. */
export class ObjectNotFound extends StorageFact {
  override readonly name = 'ObjectNotFound'
}
/** What is stored under the digest has another: a disk has changed it. It is unknown from now on, until it is pushed again. */
export class BlobDamaged extends StorageFact {
  override readonly name = 'BlobDamaged'

  constructor(digest: string, actual = 'others') {
    super(`the bytes stored as ${digest} are ${actual}: the disk has damaged them; pushing the blob again repairs it`)
  }
}
/** A record is not what was written: a disk has changed it. Where it says too much to be replaced by a guess, whoever needs it is refused. */
export class RecordDamaged extends StorageFact {
  override readonly name = 'RecordDamaged'
  readonly key: string
  /** What is wrong with its bytes. */
  readonly problem: string

  constructor(key: string, problem: string, options?: ErrorOptions) {
    super(`the record ${key} is damaged: ${problem}`, options)
    this.key = key
    this.problem = problem
  }
}
/** The condition of a write does not hold: somebody else wrote first. */
export class VersionConflict extends StorageFact {
  override readonly name = 'VersionConflict'
}
/** The disk (or the service) cannot do it now: full, read-only, failing, forbidden. The system's error is the cause. */
export class StorageUnavailable extends StorageFact {
  override readonly name = 'StorageUnavailable'
}
/** The store was made by a newer version, or is no store. */
export class StoreFormatUnsupported extends StorageFact {
  override readonly name = 'StoreFormatUnsupported'
}

/** The name of a new account is taken. */
export class AccountExists extends StorageFact {
  override readonly name = 'AccountExists'
}
export class AccountUnknown extends StorageFact {
  override readonly name = 'AccountUnknown'
}

export class BlobUnknown extends StorageFact {
  override readonly name = 'BlobUnknown'
}
export class ManifestUnknown extends StorageFact {
  override readonly name = 'ManifestUnknown'
}
export class RepositoryUnknown extends StorageFact {
  override readonly name = 'RepositoryUnknown'
}
/** Not an open upload session of that repository: never begun, ended, or expired. */
export class UploadUnknown extends StorageFact {
  override readonly name = 'UploadUnknown'
}
/** What was recorded as durable is not there any more: somebody touched it (a rule of the bucket, perhaps), or the disk lied. */
export class StagedBytesLost extends StorageFact {
  override readonly name = 'StagedBytesLost'
}
/** Somebody else continues this upload session; this holder has let go. */
export class SessionTaken extends StorageFact {
  override readonly name = 'SessionTaken'
}
/** The server is stopping: what arrived is kept, and the client goes on later. */
export class UploadsStopping extends StorageFact {
  override readonly name = 'UploadsStopping'
}
export class OffsetMismatch extends StorageFact {
  override readonly name = 'OffsetMismatch'
  /** Where the next byte goes. */
  readonly offset: number

  constructor(found: number, offset: number) {
    super(`the bytes begin at ${found}, but the upload goes on at ${offset}`)
    this.offset = offset
  }
}
export class SizeMismatch extends StorageFact {
  override readonly name = 'SizeMismatch'
}
export class DigestMismatch extends StorageFact {
  override readonly name = 'DigestMismatch'
}
export class PreconditionFailed extends StorageFact {
  override readonly name = 'PreconditionFailed'
}
/** The manifest contradicts its type, itself or the specification; the message begins with the JSON path. */
export class ManifestInvalid extends StorageFact {
  override readonly name = 'ManifestInvalid'
  /** Where in the document, such as `layers[2].digest`; `$` is the whole. */
  readonly path: string
  readonly found: string
  readonly expected: string

  constructor(path: string, found: string, expected: string, options?: ErrorOptions) {
    super(`${path}: found ${found}, expected ${expected}`, options)
    this.path = path
    this.found = found
    this.expected = expected
  }
}
/** A manifest names content that its repository does not have. */
export class ReferencesMissing extends StorageFact {
  override readonly name = 'ReferencesMissing'
  /** Everything that is missing, in the order of the document. */
  readonly missing: readonly { readonly path: string; readonly digest: string }[]

  constructor(missing: ReferencesMissing['missing']) {
    super(
      `the repository has not what ${missing.length} places of the manifest refer to: push that before the manifest`,
    )
    this.missing = missing
  }
}
