/**
 * Content by digest, and the references to it, as an OCI image layout (image-spec, image-layout.md): `index.json` is the one record of
 * which images are here. A blob is there only if it was whole and had its digest; a reference only if all it needs was there before.
 */
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open as openFile, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ImmediateHash } from '../../native/hash.ts'
import { uniqueName } from '../../native/random.ts'
import { hasVerifiedMark, markVerified } from '../../native/verified-mark.ts'
import {
  algorithmOf,
  type Digest,
  type DigestAlgorithm,
  formatDigest,
  hexOf,
  parseDigest,
} from '../../storage/model/digest.ts'
import { isFull, orDiskFull } from './disk-full.ts'
import { GrowingFile } from './growing-file.ts'
import { replaceFile, type StoreFolders } from './store.ts'

const REFERENCE_NAME = 'org.opencontainers.image.ref.name'
const READ_CHUNK_BYTES = 256 * 1024
const LOADED_WORTH_BYTES = 4 * 1024 * 1024
const TEMPORARY = '.tmp-'
/** The beginning of a blob whose download broke off; its name ends with the digest's hex. */
const PARTIAL = '.partial-'

/** As an index lists it. */
export interface StoredReference {
  /** The manifest of one platform. */
  readonly digest: Digest
  readonly mediaType: string
  readonly sizeBytes: number
  /** As the user wrote it, tag included. */
  readonly name: string
}

interface IndexEntry {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly annotations?: Readonly<Record<string, string>>
}

/** Where a blob comes from. */
export interface BlobSupply {
  readonly open: (fromByte: number) => AsyncIterable<Uint8Array>
  /** Before `open`, which is asked for what is left then: writes behind what the file has, and tells how far it is, with the state of the hash. */
  readonly receive?: (file: ReceivingFile) => AsyncIterable<Received>
}

/** Of a blob, what a file has. */
export interface Received {
  readonly offset: number
  /** Of the running hash after so many bytes (`ImmediateHash.export`). */
  readonly hashState: Uint8Array
}

export interface ReceivingFile {
  readonly descriptor: number
  readonly before: Received
}

/** What came is not what was announced. */
export class ContentMismatch extends Error {
  override readonly name = 'ContentMismatch'
}

export class Content {
  readonly #store: StoreFolders

  constructor(store: StoreFolders) {
    this.#store = store
  }

  path(digest: Digest): string {
    return join(this.#store.content, 'blobs', algorithmOf(digest), hexOf(digest))
  }

  async has(digest: Digest, sizeBytes: number): Promise<boolean> {
    const found = await stat(this.path(digest)).catch(absent)
    return found?.isFile() === true && found.size === sizeBytes
  }

  async readSmall(digest: Digest): Promise<Buffer> {
    return await readFile(this.path(digest))
  }

  read(digest: Digest, fromByte = 0): AsyncIterable<Uint8Array> {
    return createReadStream(this.path(digest), { start: fromByte, highWaterMark: READ_CHUNK_BYTES })
  }

  /** Open, if it is the very file that was hashed when it was kept, and nobody has written to it since; else `undefined`. */
  async openVerified(digest: Digest, sizeBytes: number): Promise<FileHandle | undefined> {
    const file = await openFile(this.path(digest)).catch(absent)
    if (file && hasVerifiedMark(file.fd, digest) && (await file.stat()).size === sizeBytes) return file
    await file?.close()
    return undefined
  }

  /** Keeps `source` if it is `sizeBytes` long and has the digest; else throws `ContentMismatch`, reads no further, and leaves nothing. */
  async write(digest: Digest, sizeBytes: number, source: AsyncIterable<Uint8Array>): Promise<void> {
    const target = this.path(digest)
    const temporary = join(dirname(target), `${TEMPORARY}${uniqueName()}`)
    try {
      await mkdir(dirname(target), { recursive: true, mode: 0o700 })
      const file = await openFile(temporary, 'wx', 0o600)
      try {
        for await (const chunk of verified(digest, sizeBytes, source)) await writeAll(file, chunk)
        await file.datasync()
        await markVerified(file.fd, digest)
      } finally {
        await file.close()
      }
      await rename(temporary, target)
    } catch (error) {
      await rm(temporary, { force: true })
      throw orDiskFull(error, digest, this.#store.root)
    }
  }

  /** Keeps `source`, whatever it is; resolves to what it turned out to be. */
  async add(source: AsyncIterable<Uint8Array>): Promise<{ readonly digest: Digest; readonly sizeBytes: number }> {
    const folder = join(this.#store.content, 'blobs', 'sha256')
    const temporary = join(folder, `${TEMPORARY}${uniqueName()}`)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const hash = hashOf('sha256', Number.POSITIVE_INFINITY)
    let sizeBytes = 0
    let digest: Digest
    try {
      const file = await openFile(temporary, 'wx', 0o600)
      try {
        for await (const chunk of source) {
          hash.update(chunk)
          sizeBytes += chunk.length
          await writeAll(file, chunk)
        }
        digest = formatDigest('sha256', hash.digestHex())
        await file.datasync()
        await markVerified(file.fd, digest)
      } finally {
        await file.close()
      }
      await rename(temporary, this.path(digest))
      return { digest, sizeBytes }
    } catch (error) {
      await rm(temporary, { force: true })
      throw orDiskFull(error, 'a layer', this.#store.root)
    }
  }

  /**
   * Like `write`, but what had arrived when `supply` broke off is kept, and the next call goes on behind it. What was kept is
   * hashed with the rest, so that it need not be believed. `onFile` is given what it is written to, each time it begins. Only while the blob's lock is held.
   */
  async fetch(
    digest: Digest,
    sizeBytes: number,
    supply: BlobSupply,
    onFile: (file: GrowingFile) => void = () => {},
  ): Promise<void> {
    const target = this.path(digest)
    const partial = join(dirname(target), `${PARTIAL}${hexOf(digest)}`)
    const before = (await stat(partial).catch(absent))?.size ?? 0
    try {
      await mkdir(dirname(target), { recursive: true, mode: 0o700 })
      await this.#append(partial, digest, sizeBytes, supply, onFile)
      await rename(partial, target)
    } catch (error) {
      if (isFull(error) || error instanceof ContentMismatch) await rm(partial, { force: true })
      if (error instanceof ContentMismatch && before > 0) return await this.fetch(digest, sizeBytes, supply, onFile) // the beginning was to blame, or everything is
      throw orDiskFull(error, digest, this.#store.root)
    }
  }

  async #append(
    partial: string,
    digest: Digest,
    sizeBytes: number,
    supply: BlobSupply,
    onFile: (file: GrowingFile) => void,
  ): Promise<void> {
    let hash = new ImmediateHash(algorithmOf(digest))
    let kept = 0
    const file = await openFile(partial, 'a+', 0o600)
    const growing = new GrowingFile(partial)
    onFile(growing)
    try {
      for await (const chunk of file.createReadStream({
        start: 0,
        highWaterMark: READ_CHUNK_BYTES,
        autoClose: false,
      })) {
        hash.update(chunk as Buffer)
        kept += (chunk as Buffer).length
        growing.grow((chunk as Buffer).length)
      }
      const before = { offset: kept, hashState: hash.export() }
      for await (const { offset, hashState } of supply.receive?.({ descriptor: file.fd, before }) ?? []) {
        growing.grow(offset - kept)
        kept = offset
        hash = new ImmediateHash({ state: hashState })
      }
      const rest = kept < sizeBytes ? supply.open(kept) : nothing()
      const begun = kept > 0 ? { hash, length: kept } : undefined
      for await (const chunk of verified(digest, sizeBytes, rest, begun)) {
        await writeAll(file, chunk)
        growing.grow(chunk.length)
      }
      growing.finish()
      await file.datasync()
      await markVerified(file.fd, digest)
    } catch (error) {
      growing.abandon(error)
      throw error
    } finally {
      await file.close()
    }
  }

  async references(): Promise<readonly StoredReference[]> {
    return (await this.#entries()).flatMap(({ mediaType, digest, size, annotations }) => {
      const name = annotations?.[REFERENCE_NAME]
      return name === undefined ? [] : [{ name, mediaType, digest: parseDigest(digest), sizeBytes: size }]
    })
  }

  /** Makes the name mean this manifest, whatever it meant before. */
  async setReference({ name, digest, mediaType, sizeBytes }: StoredReference): Promise<void> {
    await this.#update((entries) => [
      ...entries.filter(({ annotations }) => annotations?.[REFERENCE_NAME] !== name),
      { mediaType, digest, size: sizeBytes, annotations: { [REFERENCE_NAME]: name } },
    ])
  }

  async removeReferences(names: readonly string[]): Promise<void> {
    await this.#update((entries) =>
      entries.filter(({ annotations }) => !names.includes(annotations?.[REFERENCE_NAME] ?? '')),
    )
  }

  /** Whether what is kept under the digest still has it: a disk may have lost or changed it since. */
  async isIntact(digest: Digest, sizeBytes: number): Promise<boolean> {
    try {
      for await (const _ of verified(digest, sizeBytes, this.read(digest)));
      return true
    } catch {
      return false
    }
  }

  async remove(digest: Digest): Promise<void> {
    await rm(this.path(digest), { force: true })
  }

  /** Of all blobs, half-written ones too. */
  async storedBytes(): Promise<number> {
    const blobs = join(this.#store.content, 'blobs')
    const paths = (await readdir(blobs, { recursive: true })).map((name) => join(blobs, name))
    const found = await Promise.all(paths.map((path) => stat(path).catch(absent)))
    return found.reduce((sum, each) => sum + (each?.isFile() ? each.size : 0), 0)
  }

  /** Removes every blob that is not kept, and what killed pulls left half-written. Only with the store's lock held exclusively. */
  async sweep(keeps: (digest: Digest) => boolean): Promise<void> {
    const blobs = join(this.#store.content, 'blobs')
    for (const algorithm of await readdir(blobs))
      for (const hex of await readdir(join(blobs, algorithm)))
        if (hex.startsWith(TEMPORARY) || !keeps(`${algorithm}:${hex.replace(PARTIAL, '')}` as Digest))
          await rm(join(blobs, algorithm, hex), { force: true })
    for (const name of await readdir(this.#store.content))
      if (name.includes(TEMPORARY)) await rm(join(this.#store.content, name), { force: true })
  }

  async #update(change: (entries: readonly IndexEntry[]) => readonly IndexEntry[]): Promise<void> {
    await using _ = await this.#store.lock('index', 'exclusive')
    const manifests = change(await this.#entries())
    const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests }
    try {
      await replaceFile(join(this.#store.content, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
      await replaceFile(join(this.#store.content, 'index.json'), JSON.stringify(index))
    } catch (error) {
      throw orDiskFull(error, 'the list of images', this.#store.root)
    }
  }

  async #entries(): Promise<readonly IndexEntry[]> {
    const path = join(this.#store.content, 'index.json')
    const text = await readFile(path, 'utf8').catch(absent)
    if (text === undefined) return []
    try {
      return (JSON.parse(text) as { readonly manifests: readonly IndexEntry[] }).manifests
    } catch (cause) {
      throw new Error(`${path} is damaged: it is not JSON. Move it away, and pull the images again`, { cause })
    }
  }
}

interface RunningHash {
  update(bytes: Uint8Array): unknown
  digestHex(): string
}

/** For so many bytes. Node's own knows the instructions of more kinds of processors; to load it takes as long as to hash a few megabytes. */
function hashOf(algorithm: DigestAlgorithm, sizeBytes: number): RunningHash {
  if (sizeBytes < LOADED_WORTH_BYTES) return new ImmediateHash(algorithm)
  const hash = process.getBuiltinModule('node:crypto').createHash(algorithm)
  return { update: (bytes) => hash.update(bytes), digestHex: () => hash.digest('hex') }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** Of what came before. */
interface Begun {
  readonly hash: RunningHash
  readonly length: number
}

/** Passes `source` on; throws `ContentMismatch` where it is too long, too short or something else, before the last piece: nobody gets the whole of what is wrong. */
export async function* verified(
  digest: Digest,
  sizeBytes: number,
  source: AsyncIterable<Uint8Array>,
  begun: Begun = { hash: hashOf(algorithmOf(digest), sizeBytes), length: 0 },
): AsyncGenerator<Uint8Array> {
  const { hash } = begun
  let { length } = begun
  let held: Uint8Array | undefined
  try {
    for await (const chunk of source) {
      length += chunk.length
      if (length > sizeBytes) throw tooLong(digest, sizeBytes)
      hash.update(chunk)
      if (held) yield held
      held = chunk
    }
  } catch (error) {
    if (held && !(error instanceof ContentMismatch)) yield held // a broken source: what has arrived counts
    throw error
  }
  if (length !== sizeBytes) throw new ContentMismatch(`${digest} ended after ${length} of ${sizeBytes} bytes`)
  const actual = hash.digestHex()
  if (hexOf(digest) !== actual) throw new ContentMismatch(`the content of ${digest} has the digest ${actual}`)
  if (held) yield held
}

const tooLong = (digest: Digest, sizeBytes: number): ContentMismatch =>
  new ContentMismatch(`${digest} is longer than the ${sizeBytes} bytes that were announced`)

async function writeAll(file: Awaited<ReturnType<typeof openFile>>, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
