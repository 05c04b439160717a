/** What `storage/` reports, in the protocol's words: the one translation from its facts to codes. */
import * as facts from '../storage/errors.ts'
import { type ErrorKind, RegistryError } from './errors.ts'
import { usualReason } from './reasons.ts'

const MOST_MISSING = 1000

type FactClass = abstract new (...args: never[]) => Error

const KINDS: readonly (readonly [FactClass, ErrorKind])[] = [
  [facts.BlobUnknown, 'blobUnknown'],
  [facts.DigestInvalid, 'digestInvalid'],
  [facts.DigestMismatch, 'digestMismatch'],
  [facts.ManifestUnknown, 'manifestUnknown'],
  [facts.NameInvalid, 'nameInvalid'],
  [facts.OffsetMismatch, 'uploadOutOfOrder'],
  [facts.PreconditionFailed, 'preconditionFailed'],
  [facts.RepositoryUnknown, 'nameUnknown'],
  [facts.SessionTaken, 'sessionTaken'],
  [facts.SizeMismatch, 'sizeInvalid'],
  [facts.StagedBytesLost, 'uploadUnknown'], // a client that is told so begins anew
  [facts.TagInvalid, 'tagInvalid'],
  [facts.UploadUnknown, 'uploadUnknown'],
]

/** `undefined` for what nobody foresaw. The messages of facts name what was wrong and what was expected: they are the detail. */
export function toRegistryError(error: unknown): RegistryError | undefined {
  if (error instanceof RegistryError) return error
  if (error instanceof facts.ReferencesMissing) return missing(error)
  if (error instanceof facts.ManifestInvalid) {
    const { path, found, expected } = error
    return new RegistryError('manifestInvalid', { detail: { path, found, expected }, cause: error })
  }
  if (error instanceof facts.StorageUnavailable) return unavailable(error)
  if (error instanceof facts.BlobDamaged) {
    // Not 404 this once: the operator's log has it as a failure, and whoever tries again is told that the blob is unknown.
    return new RegistryError('blobDamaged', { headers: { 'Retry-After': '1' }, cause: error })
  }
  if (error instanceof facts.RecordDamaged) return new RegistryError('recordDamaged', { cause: error })
  if (error instanceof facts.UploadsStopping) {
    return new RegistryError('stopping', { headers: { 'Retry-After': '5' }, cause: error })
  }
  const [, kind] = KINDS.find(([fact]) => error instanceof fact) ?? []
  return kind && new RegistryError(kind, { detail: { reason: (error as Error).message }, cause: error })
}

/** One error for each, as the specification allows, up to what a person would read. */
function missing(error: facts.ReferencesMissing): RegistryError {
  const expected = 'a push of it, or a mount, before the manifest'
  const details = error.missing.slice(0, MOST_MISSING).map(({ path, digest }) => ({ digest, path, expected }))
  const rest = error.missing.length - details.length
  return new RegistryError('manifestBlobUnknown', {
    details:
      rest > 0 ? [...details, { path: '$', found: `${rest} further references without content`, expected }] : details,
    cause: error,
  })
}

/** Clients try again later on both; the operator's log has the cause. */
function unavailable(error: Error): RegistryError {
  const full = ['ENOSPC', 'EDQUOT'].includes((error.cause as NodeJS.ErrnoException | undefined)?.code ?? '')
  const why = usualReason(error)
  return new RegistryError(full ? 'storageFull' : 'storageUnavailable', {
    ...(why === undefined ? {} : { detail: { reason: why } }),
    headers: { 'Retry-After': '10' },
    cause: error,
  })
}
