/**
 * OCI image layouts (image-spec, image-layout.md): `index.json` names manifests, and everything lies under its digest in `blobs/`. Read from a folder or from
 * a tar (`archive.ts`) alike; written into a folder. A name is the annotation that tools give it: the tag, or the whole name of an image.
 */
import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { algorithmOf, type Digest, hexOf, parseDigest } from '../../storage/model/digest.ts'
import { OCI_INDEX } from '../../storage/model/media-type.ts'
import {
  type Arrival,
  type BlobIdentity,
  type BlobPart,
  type ContentSource,
  type ContentTarget,
  type FetchedManifest,
  NotHere,
  type PutBlob,
  type PutManifest,
} from '../registry/endpoint.ts'
import { digestIn, guessMediaType } from '../registry/manifest-tree.ts'
import { verified } from '../store/content.ts'
import { LockFile } from '../store/locks.ts'
import { replaceFile } from '../store/store.ts'

export const REFERENCE_NAME = 'org.opencontainers.image.ref.name'
/** The whole name, as containerd and docker write it beside the tag. */
export const CONTAINERD_NAME = 'io.containerd.image.name'
const MANIFEST_LIMIT_BYTES = 8 * 1024 * 1024
const READ_CHUNK_BYTES = 256 * 1024
export const LAYOUT_VERSION = '{"imageLayoutVersion":"1.0.0"}'

export interface LayoutEntry {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly annotations?: Readonly<Record<string, string>>
}

/** Where a layout's files are. Paths are as in a layout: `blobs/sha256/…`. */
export interface LayoutFiles extends AsyncDisposable {
  readonly label: string
  /** `undefined` if there is none. */
  sizeOf(path: string): Promise<number | undefined>
  read(path: string, fromByte?: number): AsyncIterable<Uint8Array>
}

/** Throws `NotHere` if there is none, an error if it is longer than any manifest is. */
export async function readSmallFile(files: LayoutFiles, path: string): Promise<Buffer> {
  const size = await files.sizeOf(path)
  if (size === undefined) throw new NotHere(`${files.label} has no ${path}`)
  if (size > MANIFEST_LIMIT_BYTES)
    throw new Error(`${path} in ${files.label} has ${size} bytes, more than any manifest`)
  const chunks: Uint8Array[] = []
  for await (const chunk of files.read(path)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export async function layoutEntries(files: LayoutFiles): Promise<readonly LayoutEntry[]> {
  const bytes = await readSmallFile(files, 'index.json')
  try {
    const { manifests } = JSON.parse(bytes.toString('utf8')) as { manifests?: unknown }
    if (Array.isArray(manifests)) return manifests as readonly LayoutEntry[]
  } catch (cause) {
    throw new Error(`index.json in ${files.label} is not JSON`, { cause })
  }
  throw new Error(`index.json in ${files.label} lists no manifests`)
}

export const blobPath = (digest: Digest): string => `blobs/${algorithmOf(digest)}/${hexOf(digest)}`

export const namesOf = ({ annotations = {} }: LayoutEntry): readonly string[] =>
  [annotations[REFERENCE_NAME], annotations[CONTAINERD_NAME]].filter((name) => name !== undefined)

export class LayoutSource implements ContentSource {
  readonly #files: LayoutFiles

  constructor(files: LayoutFiles) {
    this.#files = files
  }

  get label(): string {
    return this.#files.label
  }

  /** By a name, a digest, or nothing where there is only one. */
  async manifest(reference: string): Promise<FetchedManifest> {
    const digest = digestIn(reference)
    if (digest !== undefined) {
      const bytes = await readSmallFile(this.#files, blobPath(digest))
      const entry = (await layoutEntries(this.#files)).find((each) => each.digest === digest)
      return { bytes, mediaType: entry?.mediaType ?? guessMediaType(bytes) }
    }
    const entry = this.#choose(await layoutEntries(this.#files), reference)
    const named = parseDigest(entry.digest)
    return { bytes: await readSmallFile(this.#files, blobPath(named)), mediaType: entry.mediaType, digest: named }
  }

  async *blob({ digest, sizeBytes }: BlobIdentity, { fromByte = 0 }: BlobPart = {}): AsyncGenerator<Uint8Array> {
    const path = blobPath(digest)
    const size = await this.#files.sizeOf(path)
    if (size === undefined) throw new NotHere(`${this.label} is not complete: it has no ${path}`)
    if (fromByte < Math.max(size, sizeBytes)) yield* this.#files.read(path, fromByte)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files[Symbol.asyncDispose]()
  }

  #choose(entries: readonly LayoutEntry[], reference: string): LayoutEntry {
    const found = reference === '' ? entries : entries.filter((entry) => namesOf(entry).includes(reference))
    const [only, ...more] = found
    if (only !== undefined && new Set(found.map(({ digest }) => digest)).size === 1) return only
    const names = entries.flatMap(namesOf)
    const listed = names.length > 0 ? `; it has ${names.slice(0, 10).join(', ')}` : ''
    if (more.length > 0) throw new NotHere(`${this.label} has ${found.length} images${listed}: say which`)
    throw new NotHere(`${this.label} has no ${reference === '' ? 'image' : JSON.stringify(reference)}${listed}`)
  }
}

/** A layout in a folder, as files. */
class FolderFiles implements LayoutFiles {
  readonly label: string
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
    this.label = `oci:${folder}`
  }

  async sizeOf(path: string): Promise<number | undefined> {
    const found = await stat(join(this.#folder, path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
      throw error
    })
    return found?.size
  }

  read(path: string, fromByte = 0): AsyncIterable<Uint8Array> {
    return createReadStream(join(this.#folder, path), { start: fromByte, highWaterMark: READ_CHUNK_BYTES })
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** An OCI layout in a folder: made when the first image is put. */
export class Layout extends LayoutSource implements ContentTarget {
  readonly #folder: string
  readonly #named: LayoutEntry[] = []

  constructor(folder: string) {
    super(new FolderFiles(folder))
    this.#folder = folder
  }

  async entries(): Promise<readonly LayoutEntry[]> {
    return await layoutEntries(new FolderFiles(this.#folder))
  }

  async hasManifest(digest: Digest): Promise<boolean> {
    return (await stat(this.#path(digest)).catch(() => undefined)) !== undefined
  }

  async putBlob({ digest, sizeBytes, open: source, onBytes }: PutBlob): Promise<Arrival> {
    const there = await stat(this.#path(digest)).catch(() => undefined)
    if (there?.size === sizeBytes) return 'present'
    await this.#write(digest, sizeBytes, source(0), onBytes)
    return 'sent'
  }

  async putManifest({ bytes, mediaType, digest, reference }: PutManifest): Promise<void> {
    await this.#write(digest, bytes.length, oneOf(bytes))
    if (reference === undefined) return
    const annotations = reference === '' ? {} : { annotations: { [REFERENCE_NAME]: reference } }
    this.#named.push({ mediaType, digest, size: bytes.length, ...annotations })
  }

  /** The names appear, all at once; what they meant before they mean no longer. Others may write to the same layout. */
  async finish(): Promise<void> {
    const marker = join(this.#folder, 'oci-layout')
    await writeFile(marker, LAYOUT_VERSION, { flag: 'wx', mode: 0o644 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error // never replaced: it is what is locked
    })
    await using _ = await (await LockFile.open(marker)).lock('index.json', 'exclusive')
    const isThere = (await stat(join(this.#folder, 'index.json')).catch(() => undefined)) !== undefined
    const before = isThere ? await this.entries() : []
    const taken = new Set(this.#named.flatMap(namesOf))
    const digests = new Set(this.#named.map(({ digest }) => digest))
    const kept = before.filter((entry) => {
      const names = namesOf(entry)
      return names.length > 0 ? !names.some((name) => taken.has(name)) : !digests.has(entry.digest)
    })
    const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [...kept, ...this.#named.splice(0)] }
    await replaceFile(join(this.#folder, 'index.json'), JSON.stringify(index), { mode: 0o644 })
  }

  #path(digest: Digest): string {
    return join(this.#folder, blobPath(digest))
  }

  async #write(
    digest: Digest,
    sizeBytes: number,
    source: AsyncIterable<Uint8Array>,
    onBytes?: (bytes: number) => void,
  ): Promise<void> {
    const target = this.#path(digest)
    const temporary = join(dirname(target), `.tmp-${randomUUID()}`)
    await mkdir(dirname(target), { recursive: true })
    try {
      const file = await open(temporary, 'wx', 0o644)
      try {
        for await (const chunk of counted(verified(digest, sizeBytes, source), onBytes))
          for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten
        await file.datasync()
      } finally {
        await file.close()
      }
      await rename(temporary, target)
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
  }
}

export async function* oneOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** Passes on, and says how much so far. */
export async function* counted(
  source: AsyncIterable<Uint8Array>,
  onBytes: ((bytes: number) => void) | undefined,
): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const chunk of source) {
    yield chunk
    bytes += chunk.length
    onBytes?.(bytes)
  }
}
