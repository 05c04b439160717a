/**
 * How failures look on the wire: one table from what happened to code, status and message of the distribution
 * specification. A `RegistryError` is the protocol's own failure; `facts.ts` makes one of what `storage/` throws.
 */

interface ErrorRow {
  /** `[A-Z_]+`, as the specification's error envelope asks. */
  readonly code: string
  readonly status: number
  readonly message: string
}

export const ERRORS = {
  blobDamaged: {
    code: 'UNAVAILABLE',
    status: 503,
    message: 'the disk has damaged this blob: it has to be pushed again',
  },
  blobUnknown: { code: 'BLOB_UNKNOWN', status: 404, message: 'blob unknown to this repository' },
  contentRangeInvalid: { code: 'BLOB_UPLOAD_INVALID', status: 400, message: 'Content-Range is malformed' },
  denied: { code: 'DENIED', status: 403, message: 'access to the resource is denied' },
  digestInvalid: { code: 'DIGEST_INVALID', status: 400, message: 'digest is malformed or of an unsupported algorithm' },
  digestMismatch: { code: 'DIGEST_INVALID', status: 400, message: 'content does not have the digest given' },
  manifestBlobUnknown: {
    code: 'MANIFEST_BLOB_UNKNOWN',
    status: 400,
    message: 'manifest refers to content that this repository does not have',
  },
  manifestInvalid: { code: 'MANIFEST_INVALID', status: 400, message: 'manifest is invalid' },
  manifestTooLarge: { code: 'MANIFEST_INVALID', status: 413, message: 'manifest is larger than this registry accepts' },
  manifestUnknown: { code: 'MANIFEST_UNKNOWN', status: 404, message: 'manifest unknown to this repository' },
  nameInvalid: { code: 'NAME_INVALID', status: 400, message: 'repository name is invalid' },
  nameUnknown: { code: 'NAME_UNKNOWN', status: 404, message: 'repository unknown to registry' },
  notFound: { code: 'NOT_FOUND', status: 404, message: 'nothing is served at this path' },
  extensionUnknown: { code: 'EXTENSION_UNKNOWN', status: 404, message: 'this registry does not have the extension' },
  pageSizeInvalid: { code: 'PAGINATION_NUMBER_INVALID', status: 400, message: 'number of results is invalid' },
  pathInvalid: { code: 'NAME_INVALID', status: 400, message: 'path is malformed' },
  conditionInvalid: { code: 'BAD_REQUEST', status: 400, message: 'If-Match or If-None-Match is malformed' },
  preconditionFailed: { code: 'PRECONDITION_FAILED', status: 412, message: 'the tag is not what the request expects' },
  readOnly: {
    code: 'UNSUPPORTED',
    status: 405,
    message: 'the registry is read-only: nothing can be pushed or deleted',
  },
  rangeNotSatisfiable: { code: 'RANGE_INVALID', status: 416, message: 'range is outside of the blob' },
  recordDamaged: {
    code: 'UNAVAILABLE',
    status: 500,
    message:
      'the disk has damaged what the registry has to know for this: its operator finds in the log what repairs it',
  },
  requestMalformed: { code: 'BAD_REQUEST', status: 400, message: 'request is not well-formed HTTP' },
  requestNotEncrypted: {
    code: 'BAD_REQUEST',
    status: 400,
    message: 'client sent plain HTTP to a port that speaks HTTPS',
  },
  requestTooSlow: { code: 'BAD_REQUEST', status: 408, message: 'request took too long to arrive' },
  headersTooLarge: { code: 'BAD_REQUEST', status: 431, message: 'request line and headers are too large' },
  sessionTaken: { code: 'BLOB_UPLOAD_INVALID', status: 416, message: 'another request took the upload session over' },
  sizeInvalid: { code: 'SIZE_INVALID', status: 400, message: 'content does not have the length given' },
  storageFull: { code: 'UNAVAILABLE', status: 507, message: 'the registry has no space left' },
  storageUnavailable: { code: 'UNAVAILABLE', status: 503, message: 'the registry cannot reach its storage' },
  stopping: { code: 'UNAVAILABLE', status: 503, message: 'the registry is stopping' },
  tagInvalid: { code: 'TAG_INVALID', status: 400, message: 'tag is invalid' },
  tokenRequestInvalid: { code: 'UNSUPPORTED', status: 400, message: 'the request for a token is malformed' },
  tokenRequestTooLarge: { code: 'UNSUPPORTED', status: 413, message: 'the request for a token is too large' },
  tooManyConnections: {
    code: 'UNAVAILABLE',
    status: 503,
    message: 'the registry has as many connections as it can keep',
  },
  tooManyRequests: { code: 'TOOMANYREQUESTS', status: 429, message: 'too many requests from this client' },
  tooManyTags: { code: 'TAG_INVALID', status: 414, message: 'too many tag parameters' },
  unauthorized: { code: 'UNAUTHORIZED', status: 401, message: 'authentication required' },
  unsupported: { code: 'UNSUPPORTED', status: 405, message: 'the operation is not supported' },
  uploadOutOfOrder: {
    code: 'BLOB_UPLOAD_INVALID',
    status: 416,
    message: 'chunk does not begin where the upload session ends',
  },
  uploadUnknown: { code: 'BLOB_UPLOAD_UNKNOWN', status: 404, message: 'upload session unknown to this repository' },
} as const satisfies Readonly<Record<string, ErrorRow>>

export type ErrorKind = keyof typeof ERRORS

export interface ErrorExtra {
  /** Instead of the table's: docker and podman show their users nothing else. */
  readonly message?: string
  /** What was wrong and what would be right: anything that JSON can carry. */
  readonly detail?: unknown
  /** Several of them become several errors in the envelope. */
  readonly details?: readonly unknown[]
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly cause?: unknown
}

/** A refusal in the protocol's words. The message comes from the table unless it is given; `detail` names the particular case. */
export class RegistryError extends Error {
  override readonly name = 'RegistryError'
  readonly kind: ErrorKind
  readonly details: readonly unknown[]
  readonly headers: Readonly<Record<string, string | string[]>>

  constructor(kind: ErrorKind, extra: ErrorExtra = {}) {
    const { message = ERRORS[kind].message, detail, details = [detail], headers = {}, cause } = extra
    super(message, { cause })
    this.kind = kind
    this.details = details
    this.headers = headers
  }

  get status(): number {
    return ERRORS[this.kind].status
  }
}

/** The JSON form of the specification's section "Error Codes". */
export function errorEnvelope(code: string, message: string, ...details: readonly unknown[]): string {
  const errors = details.map((detail) => ({ code, message, ...(detail === undefined ? {} : { detail }) }))
  return JSON.stringify({ errors: errors.length > 0 ? errors : [{ code, message }] })
}
