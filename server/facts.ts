/** What `storage/` reports, in the protocol's words: the one translation from its facts to codes. */
import * as facts from '../storage/errors.ts'
import { type ErrorKind, RegistryError } from './errors.ts'

type FactClass = abstract new (...args: never[]) => Error

const KINDS: readonly (readonly [FactClass, ErrorKind])[] = [
  [facts.BlobUnknown, 'blobUnknown'],
  [facts.DigestInvalid, 'digestInvalid'],
  [facts.DigestMismatch, 'digestMismatch'],
  [facts.ManifestInvalid, 'manifestInvalid'],
  [facts.ManifestUnknown, 'manifestUnknown'],
  [facts.NameInvalid, 'nameInvalid'],
  [facts.OffsetMismatch, 'uploadOutOfOrder'],
  [facts.PreconditionFailed, 'preconditionFailed'],
  [facts.RepositoryUnknown, 'nameUnknown'],
  [facts.SessionTaken, 'sessionTaken'],
  [facts.SizeMismatch, 'sizeInvalid'],
  [facts.TagInvalid, 'tagInvalid'],
  [facts.UploadUnknown, 'uploadUnknown'],
]

/** `undefined` for what nobody foresaw. The messages of facts name what was wrong and what was expected: they are the detail. */
export function toRegistryError(error: unknown): RegistryError | undefined {
  if (error instanceof RegistryError) return error
  if (error instanceof facts.ReferencesMissing) {
    return new RegistryError('manifestBlobUnknown', { detail: { digests: error.digests }, cause: error })
  }
  if (error instanceof facts.StorageUnavailable) return unavailable(error)
  if (error instanceof facts.UploadsStopping) {
    return new RegistryError('stopping', { headers: { 'Retry-After': '5' }, cause: error })
  }
  const [, kind] = KINDS.find(([fact]) => error instanceof fact) ?? []
  return kind && new RegistryError(kind, { detail: { reason: (error as Error).message }, cause: error })
}

/** Clients try again later on both; the operator's log has the cause. */
function unavailable(error: Error): RegistryError {
  const kind =
    (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOSPC' ? 'storageFull' : 'storageUnavailable'
  return new RegistryError(kind, { headers: { 'Retry-After': '10' }, cause: error })
}
