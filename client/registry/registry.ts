/** The verbs of the distribution specification over one transport. What comes back is bounded, but not yet believed. */
import type { IncomingMessage } from 'node:http'
import { handleOf, type SocketHandle } from '../../native/taken-answer.ts'
import { type Digest, digestOf } from '../../storage/model/digest.ts'
import { parseManifest } from '../../storage/model/manifest.ts'
import { parseMediaType } from '../../storage/model/media-type.ts'
import { referrersTag } from '../../storage/model/reference.ts'
import type { Received, ReceivingFile } from '../store/content.ts'
import { answerBody } from './direct-body.ts'
import type {
  Arrival,
  BlobIdentity,
  BlobPart,
  ContentSource,
  ContentTarget,
  DirectBody,
  FetchedManifest,
  PutBlob,
  PutManifest,
  Stretch,
} from './endpoint.ts'
import { digestIn } from './manifest-tree.ts'
import { receivedAnswer } from './received-answer.ts'
import {
  isAbsence,
  isBrokenConnection,
  parsedJson,
  RegistryMisbehaves,
  RegistryRefusal,
  RegistryUnreachable,
} from './refusals.ts'
import { explainAbsence } from './suggestions.ts'
import { type Answer, discard, type Transport } from './transport.ts'
import { BlobUpload, type UploadJournal } from './upload.ts'

const MANIFEST_LIMIT_BYTES = 8 * 1024 * 1024
const PAGE_LIMIT_BYTES = 8 * 1024 * 1024
const PAGE_SIZE = 1000
/** A connection that broke this often without bringing this much is not tried again. */
const STALLED_ATTEMPTS = 4
const PROGRESS_BYTES = 4096
/** Below it, a connection that Node reads is as good. */
const DIRECT_WORTH_BYTES = 1024 * 1024

const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'

export interface Stat {
  readonly digest: string | undefined
  readonly mediaType: string
  readonly sizeBytes: number
}

/** A descriptor in a list of referrers (distribution-spec, "Listing Referrers"). */
export interface Referrer {
  readonly mediaType: string
  readonly digest: Digest
  /** Of the manifest, in bytes. */
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

export interface RepositoryOptions {
  /** Where uploads that are under way are remembered, for who comes after us. */
  readonly journal?: UploadJournal
}

export class RegistryRepository implements ContentSource, ContentTarget {
  readonly name: string
  readonly transport: Transport
  readonly #options: RepositoryOptions
  #isIndirect = false
  /** Came for `receive`, which could not have them: by digest and offset, for `blob`. */
  readonly #untaken = new Map<string, Answer>()

  constructor(transport: Transport, name: string, options: RepositoryOptions = {}) {
    this.transport = transport
    this.name = name
    this.#options = options
  }

  get label(): string {
    return `${this.transport.registry}/${this.name}`
  }

  async manifest(reference: string, signal?: AbortSignal): Promise<FetchedManifest> {
    try {
      const { answer, bytes } = await this.transport.askSmall(
        {
          method: 'GET',
          path: this.#path('manifests', reference),
          headers: ACCEPT_MANIFESTS,
          scopes: this.#scopes('pull'),
          signal,
        },
        MANIFEST_LIMIT_BYTES,
      )
      const said = answer.header('docker-content-digest') ?? ''
      const digest = digestIn(said)
      return { bytes, mediaType: manifestTypeOf(answer, bytes), ...(digest ? { digest } : {}) }
    } catch (error) {
      throw isAbsence(error) ? await explainAbsence(this, reference, error) : error
    }
  }

  /** What HEAD says of a manifest; `undefined` if there is none. */
  async statManifest(reference: string, signal?: AbortSignal): Promise<Stat | undefined> {
    return await this.#stat(this.#path('manifests', reference), ACCEPT_MANIFESTS, this.#scopes('pull'), signal)
  }

  async hasManifest(digest: Digest, signal?: AbortSignal): Promise<boolean> {
    return (
      (await this.#stat(this.#path('manifests', digest), ACCEPT_MANIFESTS, this.#scopes('pull', 'push'), signal)) !==
      undefined
    )
  }

  /** `undefined` if it is not there. */
  async statBlob(digest: Digest, signal?: AbortSignal): Promise<Stat | undefined> {
    return await this.#stat(this.#path('blobs', digest), {}, this.#scopes('pull'), signal)
  }

  /** A blob's bytes. When the connection breaks, the rest is asked for, as long as each attempt brings something. */
  async *blob(
    { digest, sizeBytes }: BlobIdentity,
    { fromByte = 0, signal }: BlobPart = {},
  ): AsyncGenerator<Uint8Array> {
    const chunks = (at: number): Promise<AsyncIterable<Uint8Array>> => this.#blobFrom(digest, at, signal)
    yield* resumed({ digest, sizeBytes }, fromByte, signal, chunks, (at, { length }) => at + length)
  }

  /** As `blob`, of one that is large enough, and comes in clear. */
  async *receive(
    blob: BlobIdentity,
    { descriptor, before }: ReceivingFile,
    signal?: AbortSignal,
  ): AsyncGenerator<Received> {
    let last = before
    const steps = async (): Promise<AsyncIterable<Received> | readonly Received[]> => {
      const answer = await this.#takenAnswer(blob, last.offset, signal)
      if (!answer) return []
      return receivedAnswer(answer.body, answer.handle, { descriptor, before: last }, this.transport.patience, signal)
    }
    for await (last of resumed(blob, before.offset, signal, steps, (_, { offset }) => offset)) yield last
  }

  /** Whose body is the rest of the blob, and can be read by others than Node. */
  async #takenAnswer(
    { digest, sizeBytes }: BlobIdentity,
    offset: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly body: IncomingMessage; readonly handle: SocketHandle } | undefined> {
    if (sizeBytes - offset < DIRECT_WORTH_BYTES || this.#isIndirect || !this.transport.isPlain) return undefined
    const answer = await this.#askBlob(digest, offset, signal)
    const handle = handleOf(answer.body)
    this.#isIndirect = handle === undefined
    const isRest =
      Number(answer.header('content-length')) === sizeBytes - offset &&
      (offset === 0 || answer.header('content-range')?.startsWith(`bytes ${offset}-`) === true)
    if (handle && isRest) return { body: answer.body, handle }
    this.#untaken.set(`${digest} ${offset}`, answer)
    return undefined
  }

  /** Of a whole blob that is large enough; where it cannot be taken from Node once, it is not tried again. */
  async direct(blob: BlobIdentity, stretch: Stretch, signal?: AbortSignal): Promise<DirectBody | undefined> {
    const { digest, sizeBytes } = blob
    const isWhole = stretch.fromByte === 0 && stretch.lengthBytes === sizeBytes
    if (!isWhole || sizeBytes < DIRECT_WORTH_BYTES || this.#isIndirect || !this.transport.isPlain) return undefined
    const answer = await this.#askBlob(digest, 0, signal)
    const body = answerBody(answer.body, blob, this.transport.patience)
    if (body === undefined) {
      this.#isIndirect = true
      answer.body.destroy()
    }
    return body
  }

  async putBlob(blob: PutBlob): Promise<Arrival> {
    const scopes = [`repository:${this.name}:pull,push`]
    if (await this.#stat(this.#path('blobs', blob.digest), {}, scopes, blob.signal)) return 'present'
    return await new BlobUpload(this.transport, this.name, blob, this.#options.journal).run()
  }

  /** Throws `RegistryMisbehaves` if the registry says that it has stored something else. */
  async putManifest({ bytes, mediaType, digest, reference }: PutManifest, signal?: AbortSignal): Promise<void> {
    const answer = await this.transport.ask({
      method: 'PUT',
      path: this.#path('manifests', reference ?? digest),
      scopes: this.#scopes('pull', 'push'),
      headers: { 'content-type': mediaType },
      body: bytes,
      signal,
    })
    await discard(answer)
    const stored = answer.header('docker-content-digest')
    if (stored !== undefined && stored !== digest && stored.split(':')[0] === digest.split(':')[0])
      throw new RegistryMisbehaves(`${this.label} stored the manifest ${digest} as ${stored}`)
    if (answer.header('oci-subject') === undefined) await this.#listReferrer({ bytes, mediaType, digest }, signal)
  }

  /** For a registry that keeps no lists of referrers: in the index under the subject's tag (distribution-spec, "Referrers Tag Schema"). */
  async #listReferrer(
    referrer: { bytes: Buffer; mediaType: string; digest: Digest },
    signal?: AbortSignal,
  ): Promise<void> {
    const { bytes, mediaType, digest } = referrer
    const { subject, artifactType, annotations } = parseManifest(bytes, parseMediaType(mediaType))
    if (subject === undefined) return
    const tag = referrersTag(subject.digest)
    const before = await this.#manifestOrNothing(tag, signal)
    const listed = before ? listIn(JSON.parse(before.toString('utf8')), 'manifests') : []
    if (listed.some((each) => (each as { digest?: unknown } | null)?.digest === digest)) return
    const descriptor = {
      mediaType,
      digest,
      size: bytes.length,
      ...(artifactType ? { artifactType } : {}),
      ...(annotations ? { annotations } : {}),
    }
    const index = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [...listed, descriptor] }),
    )
    await this.putManifest({ bytes: index, mediaType: INDEX_TYPE, digest: digestOf(index), reference: tag }, signal)
  }

  async finish(): Promise<void> {}

  /** In the registry's order, page by page. */
  async *tags(signal?: AbortSignal): AsyncGenerator<string> {
    yield* strings(this.transport, `/v2/${this.name}/tags/list?n=${PAGE_SIZE}`, this.#scopes('pull'), 'tags', signal)
  }

  /**
   * Descriptors of what has `digest` as its subject, of one type if `artifactType` is given. A registry without the endpoint is read by
   * the referrers tag schema.
   */
  async referrers(digest: Digest, artifactType?: string, signal?: AbortSignal): Promise<readonly Referrer[]> {
    const query = artifactType === undefined ? '' : `?artifactType=${encodeURIComponent(artifactType)}`
    const found: unknown[] = []
    try {
      const pages = pagesOf(this.transport, `${this.#path('referrers', digest)}${query}`, this.#scopes('pull'), signal)
      for await (const page of pages) found.push(...listIn(page, 'manifests'))
    } catch (error) {
      if (!isAbsence(error)) throw error
      const fallback = await this.#manifestOrNothing(referrersTag(digest), signal)
      if (fallback) found.push(...listIn(JSON.parse(fallback.toString('utf8')), 'manifests'))
    }
    const all = found.map((each) => this.#referrer(each))
    return artifactType === undefined ? all : all.filter((each) => each.artifactType === artifactType)
  }

  /** The tag, or the manifest with all its tags. Throws `RegistryRefusal`. */
  async deleteManifest(reference: string, signal?: AbortSignal): Promise<void> {
    try {
      await discard(
        await this.transport.ask({
          method: 'DELETE',
          path: this.#path('manifests', reference),
          scopes: this.#scopes('delete'),
          signal,
        }),
      )
    } catch (error) {
      if (isAbsence(error)) throw await explainAbsence(this, reference, error)
      if (!(error instanceof RegistryRefusal) || (error.status !== 400 && error.status !== 405)) throw error
      const said = error.status === 405 ? `${this.transport.registry} does not allow deleting` : error.message
      const advice = reference.includes(':') ? '' : TAGS_BY_DIGEST
      throw new RegistryRefusal(`${said}${advice}`, error.status, error.code, { cause: error })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport[Symbol.asyncDispose]()
  }

  #referrer(value: unknown): Referrer {
    const { digest, size, mediaType } = (value ?? {}) as Readonly<Record<string, unknown>>
    if (
      typeof digest !== 'string' ||
      digestIn(digest) === undefined ||
      !Number.isSafeInteger(size) ||
      typeof mediaType !== 'string'
    )
      throw new RegistryMisbehaves(
        `${this.transport.registry} lists a referrer that is no descriptor: ${JSON.stringify(value)?.slice(0, 300)}`,
      )
    return value as Referrer
  }

  async #manifestOrNothing(reference: string, signal?: AbortSignal): Promise<Buffer | undefined> {
    const ask = {
      method: 'GET',
      path: this.#path('manifests', reference),
      headers: { accept: INDEX_TYPE },
      scopes: this.#scopes('pull'),
      expected: [404],
      signal,
    } as const
    const { answer, bytes } = await this.transport.askSmall(ask, MANIFEST_LIMIT_BYTES)
    return answer.status === 404 ? undefined : bytes
  }

  async #stat(
    path: string,
    headers: Readonly<Record<string, string>>,
    scopes: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<Stat | undefined> {
    const answer = await this.transport.ask({ method: 'HEAD', path, headers, scopes, expected: [404], signal })
    await discard(answer)
    if (answer.status === 404) return undefined
    return {
      digest: answer.header('docker-content-digest'),
      mediaType: mediaTypeOf(answer),
      sizeBytes: Number(answer.header('content-length') ?? 0),
    }
  }

  async #blobFrom(digest: Digest, offset: number, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const key = `${digest} ${offset}`
    const answer = this.#untaken.get(key) ?? (await this.#askBlob(digest, offset, signal))
    this.#untaken.delete(key)
    const body = this.transport.stream(answer)
    if (offset === 0) return body
    if (answer.status !== 206) return without(body, offset)
    if (!answer.header('content-range')?.startsWith(`bytes ${offset}-`)) {
      answer.body.destroy()
      throw new RegistryMisbehaves(`the registry answered another range of ${digest} than was asked for`)
    }
    return body
  }

  async #askBlob(digest: Digest, offset: number, signal: AbortSignal | undefined): Promise<Answer> {
    return await this.transport.ask({
      method: 'GET',
      path: this.#path('blobs', digest),
      scopes: this.#scopes('pull'),
      headers: { ...(offset > 0 ? { range: `bytes=${offset}-` } : {}), 'accept-encoding': 'identity' },
      signal,
    })
  }

  #path(kind: 'manifests' | 'blobs' | 'referrers', reference: string): string {
    return `/v2/${this.name}/${kind}/${reference}`
  }

  #scopes(...actions: readonly ('pull' | 'push' | 'delete')[]): readonly string[] {
    return [`repository:${this.name}:${actions.join(',')}`]
  }
}

/** The names of all repositories that we may see. */
export async function* catalog(transport: Transport, signal?: AbortSignal): AsyncGenerator<string> {
  yield* strings(transport, `/v2/_catalog?n=${PAGE_SIZE}`, ['registry:catalog:*'], 'repositories', signal)
}

async function* strings(
  transport: Transport,
  path: string,
  scopes: readonly string[],
  field: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  for await (const page of pagesOf(transport, path, scopes, signal))
    for (const each of listIn(page, field)) if (typeof each === 'string') yield each
}

/** Follows `Link: <…>; rel="next"`, and no page twice. */
async function* pagesOf(
  transport: Transport,
  first: string,
  scopes: readonly string[],
  signal: AbortSignal | undefined,
): AsyncGenerator<unknown> {
  const seen = new Set<string>()
  for (let path: string | URL | undefined = first; path !== undefined; ) {
    const { answer, bytes }: { answer: Answer; bytes: Buffer } = await transport.askSmall(
      { method: 'GET', path, scopes, signal },
      PAGE_LIMIT_BYTES,
    )
    try {
      yield JSON.parse(bytes.toString('utf8'))
    } catch (cause) {
      throw new RegistryMisbehaves(`${transport.registry} answered ${String(path)} with what is no JSON`, { cause })
    }
    const [, next] = /<([^>]*)>\s*;[^,]*rel="?next"?/i.exec(answer.header('link') ?? '') ?? []
    path = next === undefined ? undefined : transport.locate(next, answer.url)
    if (path !== undefined && seen.has(path.href))
      throw new RegistryMisbehaves(`${transport.registry} lists the same page again and again`)
    if (path !== undefined) seen.add(path.href)
  }
}

function listIn(page: unknown, field: string): readonly unknown[] {
  const list = (page as Readonly<Record<string, unknown>> | null)?.[field] ?? []
  if (!Array.isArray(list)) throw new RegistryMisbehaves(`the registry's list has no list of ${field}`)
  return list
}

const TAGS_BY_DIGEST =
  '. Perhaps it deletes no tags alone: delete the manifest, and all its tags, by its digest (`gantry manifest inspect` and `gantry inspect` say it)'

const ACCEPT_MANIFESTS = { accept: MANIFEST_TYPES.join(', ') }

const mediaTypeOf = (answer: Answer): string =>
  (answer.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''

/** Servers of plain files say no more, or nothing: what the manifest calls itself counts then. */
const SAYING_NOTHING = new Set([
  '',
  'application/json',
  'application/octet-stream',
  'binary/octet-stream',
  'text/plain',
])

function manifestTypeOf(answer: Answer, bytes: Buffer): string {
  const served = mediaTypeOf(answer)
  if (!SAYING_NOTHING.has(served)) return served
  const { mediaType } = (parsedJson(bytes) ?? {}) as { readonly mediaType?: unknown }
  return typeof mediaType === 'string' ? mediaType : served
}

/** A server without ranges sends everything again. */
async function* without(body: AsyncIterable<Uint8Array>, skippedBytes: number): AsyncGenerator<Uint8Array> {
  let left = skippedBytes
  for await (const chunk of body) {
    if (chunk.length > left) yield chunk.subarray(left)
    left = Math.max(0, left - chunk.length)
  }
}

/** When the connection breaks, the rest is asked for, as long as each attempt brings something. `reach`: how far a piece goes that comes at `offset`. */
async function* resumed<Piece>(
  { digest, sizeBytes }: BlobIdentity,
  fromByte: number,
  signal: AbortSignal | undefined,
  pieces: (offset: number) => Promise<AsyncIterable<Piece> | readonly Piece[]>,
  reach: (offset: number, piece: Piece) => number,
): AsyncGenerator<Piece> {
  let received = fromByte
  for (let stalled = 0; ; ) {
    const before = received
    try {
      for await (const piece of await pieces(received)) {
        received = reach(received, piece)
        yield piece
        if (received > sizeBytes) return // the consumer's check says what is wrong
      }
      return
    } catch (error) {
      signal?.throwIfAborted()
      if (!isBrokenConnection(error) || error instanceof RegistryUnreachable) throw error
      stalled = received > before + PROGRESS_BYTES ? 0 : stalled + 1
      if (stalled === STALLED_ATTEMPTS || received >= sizeBytes)
        throw new RegistryUnreachable(
          `the connection broke while ${digest} was downloaded, after ${received} of ${sizeBytes} bytes`,
          { cause: error },
        )
    }
  }
}
