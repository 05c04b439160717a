/**
 * A repository and its mirrors, as one source: the mirrors are asked first, in their order, and whoever fails is passed over, in the middle of a blob
 * too. What a mirror says a tag means is believed, as whoever set it up wants; every digest is checked as ever.
 */
import type { Digest } from '../../storage/model/digest.ts'
import type { BlobIdentity, BlobPart, ContentSource, FetchedManifest } from './endpoint.ts'
import type { Referrer, RegistryRepository } from './registry.ts'

export class MirroredSource implements ContentSource {
  readonly label: string
  /** The registry itself last. */
  readonly #sources: readonly RegistryRepository[]

  /** `sources`: mirrors in their order, the registry itself at the end. */
  constructor(label: string, sources: readonly RegistryRepository[]) {
    this.label = label
    this.#sources = sources
  }

  async manifest(reference: string, signal?: AbortSignal): Promise<FetchedManifest> {
    const failures: Error[] = []
    for (const source of this.#sources) {
      try {
        return await source.manifest(reference, signal)
      } catch (error) {
        signal?.throwIfAborted()
        failures.push(error as Error)
      }
    }
    throw whole(failures)
  }

  async *blob(blob: BlobIdentity, { fromByte = 0, signal }: BlobPart = {}): AsyncGenerator<Uint8Array> {
    let at = fromByte
    const failures: Error[] = []
    for (const source of this.#sources) {
      try {
        for await (const chunk of source.blob(blob, { fromByte: at, signal })) {
          at += chunk.length
          yield chunk
        }
        return
      } catch (error) {
        signal?.throwIfAborted()
        failures.push(error as Error)
      }
    }
    throw whole(failures)
  }

  /** As the registry itself lists them: mirrors seldom do. */
  async referrers(digest: Digest, artifactType?: string, signal?: AbortSignal): Promise<readonly Referrer[]> {
    return (await this.#sources.at(-1)?.referrers(digest, artifactType, signal)) ?? []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sources.map((source) => source[Symbol.asyncDispose]()))
  }
}

/** What the registry itself said, and what its mirrors did as the reason beside it. */
function whole(failures: readonly Error[]): Error {
  const own = failures.at(-1) ?? new Error('no source was asked')
  const others = failures.slice(0, -1).map(({ message }) => message)
  if (others.length > 0) own.message += ` (its mirrors before: ${others.join('; ')})`
  return own
}
