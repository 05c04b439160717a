/**
 * One bucket, in the few operations that the driver is made of: each tries again what may pass, gives `undefined` or a
 * named outcome for what is no failure, and `StorageUnavailable` for the rest. Keys are ours; the prefix is put before them here.
 */
import type { Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { ResumableHash } from '../../native/hash.ts'
import type { ByteRange, ListOptions } from '../driver.ts'
import { openClient } from './client.ts'
import { AnswerUnusable, classOf, type FailureClass } from './failures.ts'
import { type ObjectAnswer, ObjectRequests } from './object-requests.ts'
import { ReadableUrls } from './redirect.ts'
import { asUnavailable, tried } from './retries.ts'
import { S3_DEFAULTS, type S3Settings } from './settings.ts'

const PAGE = 1000
/** Some servers put the parts together only now, and say nothing meanwhile. */
const COMPLETION_TIMEOUT_MS = 10 * 60 * 1000

export interface StoredObject {
  readonly etag: string
  /** Of the whole object, also when a range is read. */
  readonly sizeBytes: number
  readonly modified: Date
}

export interface OpenObject extends StoredObject {
  readonly body: Readable
}

export type PutCondition = { readonly ifAbsent: true } | { readonly ifEtag: string }

/** Number and ETag, as completion wants them. */
export type Part = readonly [number: number, etag: string]

export class Bucket {
  /** Until an answer begins, and between two of its bytes. */
  readonly timeoutMs: number
  readonly #client: S3Client
  readonly #objects: ObjectRequests
  readonly #settings: S3Settings
  readonly #attempts: number
  #readableUrls: ReadableUrls | undefined

  constructor(settings: S3Settings) {
    this.#client = openClient(settings)
    this.#objects = new ObjectRequests(this.#client)
    this.timeoutMs = settings.timeoutMs ?? S3_DEFAULTS.timeoutMs
    this.#settings = settings
    this.#attempts = settings.attempts ?? S3_DEFAULTS.attempts
  }

  async head(key: string): Promise<StoredObject | undefined> {
    const found = await this.#unless(['absent', 'unsaid'], `HEAD ${key}`, async () => {
      const command = (): HeadObjectCommand => new HeadObjectCommand(this.#at(key))
      const answer = await this.#objects.send({ method: 'HEAD', key: this.#key(key), command })
      ignored(answer)
      return objectOf(answer, key)
    })
    return typeof found === 'string' ? undefined : found
  }

  /** All of a small object, or its first bytes. An object of no bytes has no range at all: it is read as what it is. */
  async get(key: string, firstBytes?: number): Promise<(StoredObject & { readonly bytes: Uint8Array }) | undefined> {
    const range = firstBytes === undefined ? undefined : { start: 0, end: firstBytes - 1 }
    const found = await this.#unless(['absent', 'emptyRange'], `GET ${key}`, async () => {
      const { body, ...object } = await this.#send(key, range)
      const bytes = Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>))
      const expected = Math.min(object.sizeBytes, firstBytes ?? object.sizeBytes)
      if (bytes.length !== expected) throw new AnswerUnusable(`${bytes.length} of ${expected} bytes came`)
      return { ...object, bytes }
    })
    if (found === 'absent') return undefined
    return found === 'emptyRange' ? await this.get(key) : (found as Exclude<typeof found, string>)
  }

  /** A stream of a large object. Tried again until it begins; what breaks later is the reader's to go on with. */
  async open(key: string, range: ByteRange | undefined, signal?: AbortSignal): Promise<OpenObject | undefined> {
    const found = await this.#unless(
      ['absent', 'emptyRange'],
      `GET ${key}`,
      () => this.#send(key, range, signal),
      signal,
    )
    return typeof found === 'string' ? undefined : found
  }

  /** Unconditional: only for names that are never used twice, whose repetition therefore writes the same bytes. */
  async put(key: string, bytes: Uint8Array): Promise<string> {
    return await this.#tried(`PUT ${key}`, () => this.putOnce(key, bytes))
  }

  /** One attempt; throws what the SDK throws. */
  async putOnce(key: string, bytes: Uint8Array, condition?: PutCondition): Promise<string> {
    const { algorithm, keyId } = this.#settings.encryption ?? {}
    const answer = await this.#objects.send({
      method: 'PUT',
      key: this.#key(key),
      headers: {
        ...lengthOf(bytes),
        ...(algorithm === undefined ? {} : { 'x-amz-server-side-encryption': algorithm }),
        ...(keyId === undefined ? {} : { 'x-amz-server-side-encryption-aws-kms-key-id': keyId }),
        ...(condition && 'ifAbsent' in condition ? { 'if-none-match': '*' } : {}),
        ...(condition && 'ifEtag' in condition ? { 'if-match': condition.ifEtag } : {}),
      },
      body: bytes,
      command: () =>
        new PutObjectCommand({
          ...this.#at(key),
          ...this.#encrypted(),
          Body: bytes,
          ContentLength: bytes.length,
          ...(condition && 'ifAbsent' in condition ? { IfNoneMatch: '*' } : {}),
          ...(condition && 'ifEtag' in condition ? { IfMatch: condition.ifEtag } : {}),
        }),
    })
    ignored(answer)
    return etagOf(answer, key)
  }

  /** Whether there was something, S3 does not say. */
  async remove(key: string): Promise<void> {
    const command = (): DeleteObjectCommand => new DeleteObjectCommand(this.#at(key))
    await this.#unless(['absent'], `DELETE ${key}`, async () => {
      ignored(await this.#objects.send({ method: 'DELETE', key: this.#key(key), command }))
    })
  }

  /** Names below `prefix`, relative to it, in byte order. With `/` as delimiter deeper levels appear once. */
  async *list(prefix: string, options?: ListOptions): AsyncGenerator<string> {
    for await (const names of this.listParts(prefix, options)) yield* names
  }

  /** One request for each part. */
  async *listParts(
    prefix: string,
    { after, limit = Number.POSITIVE_INFINITY }: ListOptions = {},
  ): AsyncGenerator<readonly string[]> {
    const whole = this.#key(prefix)
    let left = limit
    let token: string | undefined
    while (left > 0) {
      const command = new ListObjectsV2Command({
        Bucket: this.#settings.bucket,
        Prefix: whole,
        Delimiter: '/',
        MaxKeys: Math.min(PAGE, left),
        ...(token === undefined ? {} : { ContinuationToken: token }),
        ...(after === undefined || token !== undefined ? {} : { StartAfter: whole + after }),
      })
      const page = await this.#tried(`LIST ${prefix}`, () => this.#client.send(command))
      const found = [
        ...(page.Contents ?? []).map(({ Key }) => Key),
        ...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix),
      ]
      const names = found
        .map((name) => (name ?? '').slice(whole.length))
        .filter((name) => name !== '' && name > (after ?? ''))
      const part = names.sort(byBytes).slice(0, left)
      yield part
      left -= part.length
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined
      if (token === undefined) return
    }
  }

  async createUpload(key: string): Promise<string> {
    const command = new CreateMultipartUploadCommand({ ...this.#at(key), ...this.#encrypted() })
    return await this.#tried(`create upload of ${key}`, async () => {
      const { UploadId = '' } = await this.#client.send(command)
      if (UploadId === '') throw new AnswerUnusable(`an upload of ${key} was begun without an id`)
      return UploadId
    })
  }

  /** Resolves to the ETag of the part, or `uploadGone`. */
  async uploadPart(key: string, uploadId: string, number: number, bytes: Uint8Array): Promise<string | 'uploadGone'> {
    // Signing would hash it in the main thread, for milliseconds.
    const hash = new ResumableHash('sha256')
    await hash.update(bytes)
    const headers = { ...lengthOf(bytes), 'x-amz-content-sha256': hash.digestHex() }
    const upload = { UploadId: uploadId, PartNumber: number }
    try {
      return await this.#unless(['uploadGone'], `part ${number} of ${key}`, async () => {
        const answer = await this.#objects.send({
          method: 'PUT',
          key: this.#key(key),
          query: { partNumber: `${number}`, uploadId },
          headers,
          body: bytes,
          command: () =>
            new UploadPartCommand({ ...this.#at(key), ...upload, Body: bytes, ContentLength: bytes.length }),
        })
        ignored(answer)
        return etagOf(answer, key)
      })
    } catch (error) {
      // A server that refuses a part may cut the connection while we still send, and its reason is lost.
      const known = await this.uploadsOf(key).catch(() => undefined)
      if (known?.includes(uploadId) === false) return 'uploadGone'
      throw error
    }
  }

  /** `uploadGone` also when an earlier completion, whose answer was lost, has succeeded: the caller looks at the object. */
  async completeUpload(
    key: string,
    uploadId: string,
    parts: readonly Part[],
  ): Promise<'done' | 'uploadGone' | 'partWrong'> {
    const command = new CompleteMultipartUploadCommand({
      ...this.#at(key),
      UploadId: uploadId,
      MultipartUpload: { Parts: parts.map(([PartNumber, ETag]) => ({ PartNumber, ETag })) },
    })
    return await this.#unless(['uploadGone', 'partWrong'], `complete ${key}`, async () => {
      await this.#client.send(command, { requestTimeout: COMPLETION_TIMEOUT_MS })
      return 'done' as const
    })
  }

  async abortUpload(key: string, uploadId: string): Promise<void> {
    const command = new AbortMultipartUploadCommand({ ...this.#at(key), UploadId: uploadId })
    await this.#unless(['uploadGone', 'absent'], `abort upload of ${key}`, () => this.#client.send(command))
  }

  /** Ids of the uploads of exactly this key; `undefined` where the server cannot list them. */
  async uploadsOf(key: string): Promise<readonly string[] | undefined> {
    const exact = this.#key(key)
    const command = new ListMultipartUploadsCommand({ Bucket: this.#settings.bucket, Prefix: exact })
    const found = await this.#unless(['unsupported', 'absent'], `list uploads of ${key}`, () =>
      this.#client.send(command),
    )
    if (typeof found === 'string') return undefined
    return (found.Uploads ?? []).flatMap(({ Key, UploadId }) =>
      Key === exact && UploadId !== undefined ? [UploadId] : [],
    )
  }

  /** Who has this URL can read the object for a while, and nothing else. No request. */
  async readableUrl(key: string): Promise<URL> {
    this.#readableUrls ??= new ReadableUrls(this.#settings)
    return await this.#readableUrls.of(this.#key(key))
  }

  close(): void {
    this.#client.destroy()
    this.#readableUrls?.close()
  }

  async #send(key: string, range: ByteRange | undefined, signal?: AbortSignal): Promise<OpenObject> {
    const asked = range === undefined ? undefined : `bytes=${range.start}-${range.end}`
    const answer = await this.#objects.send(
      {
        method: 'GET',
        key: this.#key(key),
        ...(asked === undefined ? {} : { headers: { range: asked } }),
        command: () => new GetObjectCommand({ ...this.#at(key), ...(asked === undefined ? {} : { Range: asked }) }),
      },
      signal,
    )
    const { body, headers } = answer
    try {
      const given = headers['content-range']
      const [, total] = /\/(\d+)$/.exec(given ?? '') ?? []
      const isElsewhere = range !== undefined && range.start > 0 && !given?.startsWith(`bytes ${range.start}-`)
      if (isElsewhere) throw new AnswerUnusable(`asked for bytes from ${range.start}, got ${given ?? 'all'}`)
      const object = objectOf(answer, key)
      return { ...object, body, ...(total === undefined ? {} : { sizeBytes: Number(total) }) }
    } catch (error) {
      body.destroy()
      throw error
    }
  }

  /** Failures of the classes that are named are outcomes, not failures. */
  async #unless<T, F extends FailureClass>(
    outcomes: readonly F[],
    doing: string,
    work: () => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T | F> {
    const judged = async (): Promise<T | F> => {
      try {
        return await work()
      } catch (error) {
        const outcome = outcomes.find((known) => known === classOf(error))
        if (outcome === undefined) throw error
        return outcome
      }
    }
    return await tried(this.#attempts, judged, signal).catch(asUnavailable(doing))
  }

  #tried<T>(doing: string, work: () => Promise<T>): Promise<T> {
    return this.#unless([], doing, work)
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#settings.bucket, Key: this.#key(key) }
  }

  #key(key: string): string {
    return `${this.#settings.prefix ?? ''}${key}`
  }

  #encrypted(): { ServerSideEncryption?: 'AES256' | 'aws:kms' | 'aws:kms:dsse'; SSEKMSKeyId?: string } {
    const { encryption } = this.#settings
    if (!encryption) return {}
    return {
      ServerSideEncryption: encryption.algorithm,
      ...(encryption.keyId === undefined ? {} : { SSEKMSKeyId: encryption.keyId }),
    }
  }
}

const lengthOf = (bytes: Uint8Array): Record<string, string> => ({
  'content-type': 'application/octet-stream',
  'content-length': `${bytes.length}`,
})

/** What has succeeded needs no words; the connection can be used again when they are out. */
function ignored({ body }: ObjectAnswer): void {
  body.on('error', () => {}).resume()
}

function objectOf(answer: ObjectAnswer, key: string): StoredObject {
  const { 'content-length': length, 'last-modified': modified } = answer.headers
  const time = Date.parse(modified ?? '')
  return {
    etag: etagOf(answer, key),
    sizeBytes: Number(length ?? 0),
    modified: new Date(Number.isNaN(time) ? 0 : time),
  }
}

/** An answer without a version is no answer to rely on. */
function etagOf({ headers }: ObjectAnswer, key: string): string {
  const { etag } = headers
  if (etag === undefined || etag === '') throw new AnswerUnusable(`the answer for ${key} has no ETag`)
  return etag
}

/** Every name of ours is ASCII, where the order of code units is that of bytes. */
const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
