/**
 * Images into a tar: an OCI layout, and beside its `index.json` the `manifest.json` by which docker loads it, of any version. Blobs go in as they come, one after
 * the other; nothing is kept on a disk for it. A file appears under its name when it is whole; what goes to a pipe and fails is cut off.
 */
import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Pack, pack } from 'tar-stream'
import type { Digest } from '../../storage/model/digest.ts'
import { parseManifest } from '../../storage/model/manifest.ts'
import { OCI_INDEX, parseMediaType } from '../../storage/model/media-type.ts'
import { ImageInvalid } from '../model/image-model.ts'
import { parseImageName } from '../model/image-name.ts'
import type { Arrival, ContentTarget, PutBlob, PutManifest } from '../registry/endpoint.ts'
import { isIndexType } from '../registry/manifest-tree.ts'
import { Slots } from '../registry/slots.ts'
import { verified } from '../store/content.ts'
import {
  blobPath,
  CONTAINERD_NAME,
  counted,
  LAYOUT_VERSION,
  type LayoutEntry,
  oneOf,
  REFERENCE_NAME,
} from './layout.ts'

export type ArchiveFormat = 'oci-archive' | 'docker-archive'

interface DockerEntry {
  readonly Config: string
  readonly RepoTags: string[]
  readonly Layers: readonly string[]
}

export class ArchiveWriter implements ContentTarget {
  readonly label: string
  readonly #format: ArchiveFormat
  readonly #pack: Pack = pack()
  readonly #out: Promise<void>
  readonly #path: string | undefined
  readonly #temporary: string | undefined
  readonly #present = new Set<Digest>()
  readonly #one = new Slots(1)
  readonly #entries: LayoutEntry[] = []
  readonly #docker = new Map<Digest, DockerEntry>()
  #isWhole = false

  /** Into a file, or into what is given. */
  constructor(format: ArchiveFormat, to: string | Writable) {
    this.#format = format
    this.label = `${format}:${typeof to === 'string' ? to : '-'}`
    this.#path = typeof to === 'string' ? to : undefined
    this.#temporary = this.#path && join(dirname(this.#path), `.tmp-${randomUUID()}`)
    this.#out = pipeline(
      this.#pack,
      this.#temporary
        ? createWriteStream(this.#temporary, { flags: 'wx', mode: 0o644, flush: true })
        : (to as Writable),
    )
    this.#out.catch((error: Error) => this.#pack.destroy(error)) // thrown by whoever writes next, and by `finish`
  }

  async hasManifest(): Promise<boolean> {
    return false // what it names may be new, and looking costs nothing
  }

  async putBlob({ digest, sizeBytes, open: source, onBytes }: PutBlob): Promise<Arrival> {
    return await this.#one.run(async () => {
      if (this.#present.has(digest)) return 'present'
      await this.#add(digest, sizeBytes, counted(source(0), onBytes))
      return 'sent'
    })
  }

  async putManifest({ bytes, mediaType, digest, reference }: PutManifest): Promise<void> {
    const docker = this.#format === 'docker-archive' ? dockerEntry(bytes, mediaType, digest) : undefined
    await this.#one.run(async () => {
      if (!this.#present.has(digest)) await this.#add(digest, bytes.length, oneOf(bytes))
    })
    if (reference === undefined) return
    if (docker) {
      const entry = this.#docker.get(digest) ?? docker
      this.#docker.set(digest, entry)
      if (reference !== '') entry.RepoTags.push(reference)
    }
    this.#entries.push({ mediaType, digest, size: bytes.length, ...annotated(reference) })
  }

  /** May be called again, when more has been put. */
  async finish(): Promise<void> {}

  /** Closes the archive; without it, none appears. */
  async complete(): Promise<void> {
    await this.#file('oci-layout', Buffer.from(LAYOUT_VERSION))
    await this.#file(
      'index.json',
      Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: this.#entries })),
    )
    if (this.#format === 'docker-archive')
      await this.#file('manifest.json', Buffer.from(JSON.stringify([...this.#docker.values()])))
    this.#pack.finalize()
    await this.#out
    if (this.#path && this.#temporary) {
      await rename(this.#temporary, this.#path)
      await syncFolder(dirname(this.#path))
    }
    this.#isWhole = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isWhole) return
    this.#pack.destroy(new Error('the archive is not whole'))
    await this.#out.catch(() => {})
    if (this.#temporary) await rm(this.#temporary, { force: true })
  }

  async #add(digest: Digest, sizeBytes: number, source: AsyncIterable<Uint8Array>): Promise<void> {
    const entry = this.#pack.entry({ ...PLAIN, name: blobPath(digest), size: sizeBytes })
    await pipeline(verified(digest, sizeBytes, source), entry)
    this.#present.add(digest)
  }

  async #file(name: string, bytes: Buffer): Promise<void> {
    const entry = this.#pack.entry({ ...PLAIN, name, size: bytes.length })
    await pipeline(oneOf(bytes), entry)
  }
}

/** The same archive of the same images, whenever it is made. */
const PLAIN = { mode: 0o644, mtime: new Date(0), type: 'file' } as const

/** Throws for what docker could not load: it wants one image of layers. */
function dockerEntry(bytes: Buffer, mediaType: string, digest: Digest): DockerEntry {
  if (isIndexType(mediaType))
    throw new ImageInvalid(
      `${digest} is an index, and docker's archives have one platform of each image; save it as oci-archive`,
    )
  const { blobs } = parseManifest(bytes, parseMediaType(mediaType))
  const [config, ...layers] = blobs.map((blob) => blobPath(blob.digest as Digest))
  if (config === undefined) throw new ImageInvalid(`${digest} has no configuration`)
  return { Config: config, RepoTags: [], Layers: layers }
}

/** A whole name of an image in both spellings, as docker writes them; any other name as it is. */
function annotated(reference: string): Pick<LayoutEntry, 'annotations'> {
  if (reference === '') return {}
  if (!reference.includes('/')) return { annotations: { [REFERENCE_NAME]: reference } }
  const { tag } = parseImageName(reference)
  return { annotations: { [CONTAINERD_NAME]: reference, ...(tag ? { [REFERENCE_NAME]: tag } : {}) } }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
