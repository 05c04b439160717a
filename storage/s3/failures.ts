/**
 * What an S3 server answers when it does not do what it was asked, in a handful of classes: the one table of its many
 * spellings. Everything else in this folder decides by class.
 */
import { StorageUnavailable } from '../errors.ts'

/**
 * `absent`: no such object. `unsaid`: 404 without a code, which is how HEAD says it, having no body; to anything else it is the page of
 * something in front of the server. `uploadGone`: no such multipart upload. `partWrong`: a part that completion names is not what was
 * stored. `conditionFailed`: the condition of a write does not hold. `conflict`: two writes met, and it may be tried again.
 * `emptyRange`: no byte of the object is in the range. `busy`: slow down. `broken`: no answer, or half of one, or the
 * server's own failure. `refused`: credentials, rights, or the bucket. `full`. `unsupported`: the server does not know the request.
 */
export type FailureClass =
  | 'absent'
  | 'unsaid'
  | 'uploadGone'
  | 'partWrong'
  | 'conditionFailed'
  | 'conflict'
  | 'emptyRange'
  | 'busy'
  | 'broken'
  | 'refused'
  | 'full'
  | 'unsupported'

const BY_NAME: Readonly<Record<string, FailureClass>> = {
  NoSuchKey: 'absent',
  NoSuchObject: 'absent',
  NoSuchVersion: 'absent',
  NoSuchUpload: 'uploadGone',
  InvalidPart: 'partWrong',
  InvalidPartOrder: 'partWrong',
  PreconditionFailed: 'conditionFailed',
  ConditionalRequestConflict: 'conflict',
  OperationAborted: 'conflict',
  InvalidRange: 'emptyRange',
  SlowDown: 'busy',
  SlowDownRead: 'busy',
  SlowDownWrite: 'busy',
  ServiceUnavailable: 'busy',
  TooManyRequests: 'busy',
  Throttling: 'busy',
  ThrottlingException: 'busy',
  RequestLimitExceeded: 'busy',
  RequestTimeout: 'broken',
  InternalError: 'broken',
  IncompleteBody: 'broken',
  BadDigest: 'broken',
  XAmzContentSHA256Mismatch: 'broken',
  NoSuchBucket: 'refused',
  AccessDenied: 'refused',
  InvalidAccessKeyId: 'refused',
  SignatureDoesNotMatch: 'refused',
  RequestTimeTooSkewed: 'refused',
  ExpiredToken: 'refused',
  CredentialsProviderError: 'refused',
  QuotaExceeded: 'full',
  XMinioStorageFull: 'full',
  InsufficientStorage: 'full',
  NotImplemented: 'unsupported',
}

const BY_STATUS: Readonly<Record<number, FailureClass>> = {
  400: 'unsupported',
  401: 'refused',
  403: 'refused',
  404: 'refused', // of a code that is not in the table: a user, a bucket, an endpoint
  405: 'unsupported',
  408: 'broken',
  409: 'conflict',
  412: 'conditionFailed',
  416: 'emptyRange',
  429: 'busy',
  501: 'unsupported',
  503: 'busy',
  507: 'full',
}

/** An answer that is there, and cannot be true. */
export class AnswerUnusable extends Error {
  override readonly name = 'AnswerUnusable'
}

/** Of whatever the SDK threw. An error that is no answer at all (a reset, a time-out, a name that does not resolve) is `broken`. */
export function classOf(error: unknown): FailureClass {
  const {
    name = '',
    Code,
    $metadata,
  } = error as { name?: string; Code?: string; $metadata?: { httpStatusCode?: number } }
  const status = $metadata?.httpStatusCode
  if (status === 404 && (Code === undefined || Code === 'NotFound')) return Code === undefined ? 'unsaid' : 'absent'
  return BY_NAME[name] ?? (status === undefined ? undefined : BY_STATUS[status]) ?? 'broken'
}

/** Whether the same request may succeed a moment later, and repeating it does no harm. */
export const mayPass = (failure: FailureClass): boolean =>
  failure === 'busy' || failure === 'broken' || failure === 'unsaid'

const MEANINGS: Readonly<Partial<Record<FailureClass, string>>> = {
  busy: 'the bucket asks to slow down',
  refused: 'the S3 server refuses these credentials, or has no such bucket',
  full: 'the bucket is full',
  unsupported: 'the S3 server does not support what was asked',
}

/** What nobody above can do anything about: the server's words, and what they mean. */
export function unavailable(error: unknown, doing: string): StorageUnavailable {
  const failure = classOf(error)
  const { name = 'Error', message = '' } = error as Partial<Error>
  const meaning = MEANINGS[failure] ?? 'the bucket cannot be reached'
  const cause = failure === 'full' ? Object.assign(new Error(message, { cause: error }), { code: 'ENOSPC' }) : error
  return new StorageUnavailable(`${meaning} (${doing}: ${name}${message === '' ? '' : `, ${message}`})`, { cause })
}
