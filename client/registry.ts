/** The verbs of the distribution specification that a pull needs, over one transport. What comes back is bounded, but not yet believed. */
import type { Digest } from '../storage/model/digest.ts'
import type { Answer } from './transport.ts'
import { isBrokenConnection, RegistryUnreachable, readCapped, type Transport } from './transport.ts'

const MANIFEST_LIMIT_BYTES = 8 * 1024 * 1024
const STALLED_ATTEMPTS = 4

const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]

export interface FetchedManifest {
  readonly bytes: Buffer
  /** Of the answer; without parameters. */
  readonly mediaType: string
}

export class RegistryRepository {
  readonly #transport: Transport
  readonly #name: string
  readonly #scope: string

  constructor(transport: Transport, name: string) {
    this.#transport = transport
    this.#name = name
    this.#scope = `repository:${name}:pull`
  }

  async manifest(reference: string, signal?: AbortSignal): Promise<FetchedManifest> {
    const answer = await this.#transport.ask({
      method: 'GET',
      path: `/v2/${this.#name}/manifests/${reference}`,
      scope: this.#scope,
      headers: { accept: MANIFEST_TYPES.join(', ') },
      signal,
    })
    const mediaType = (answer.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
    return { bytes: await readCapped(answer, MANIFEST_LIMIT_BYTES), mediaType }
  }

  /**
   * A blob's bytes. When the connection breaks, the rest is asked for, as long as each attempt brings something. At most one byte more than
   * `sizeBytes` is read, so that an endless body is noticed and ends.
   */
  async *blob(digest: Digest, sizeBytes: number, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    let received = 0
    for (let stalled = 0; ; ) {
      const before = received
      try {
        for await (const chunk of await this.#blobFrom(digest, received, signal)) {
          received += chunk.length
          yield chunk
          if (received > sizeBytes) return // the consumer's check says what is wrong
        }
        return
      } catch (error) {
        signal?.throwIfAborted()
        if (!isBrokenConnection(error) || error instanceof RegistryUnreachable) throw error
        stalled = received > before ? 0 : stalled + 1
        if (stalled === STALLED_ATTEMPTS || received >= sizeBytes)
          throw new RegistryUnreachable(
            `the connection broke while ${digest} was downloaded, after ${received} of ${sizeBytes} bytes`,
            { cause: error },
          )
      }
    }
  }

  async #blobFrom(digest: Digest, offset: number, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const answer = await this.#transport.ask({
      method: 'GET',
      path: `/v2/${this.#name}/blobs/${digest}`,
      scope: this.#scope,
      headers:
        offset > 0 ? { range: `bytes=${offset}-`, 'accept-encoding': 'identity' } : { 'accept-encoding': 'identity' },
      signal,
    })
    if (offset === 0) return answer.body
    if (answer.status !== 206) return without(answer, offset)
    if (!answer.header('content-range')?.startsWith(`bytes ${offset}-`)) {
      answer.body.destroy()
      throw new Error(`the registry answered another range of ${digest} than was asked for`)
    }
    return answer.body
  }
}

/** A server without ranges sends everything again. */
async function* without({ body }: Answer, skippedBytes: number): AsyncGenerator<Uint8Array> {
  let left = skippedBytes
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    if (chunk.length > left) yield chunk.subarray(left)
    left = Math.max(0, left - chunk.length)
  }
}
