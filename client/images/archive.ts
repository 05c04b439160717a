/**
 * Images in a tar file: OCI layouts (`oci-archive:`, and what `docker save` writes today), and what docker wrote before (`manifest.json` beside plain
 * layers), which is presented as if it were a layout. A file that is compressed, or comes by a pipe, is kept uncompressed in a temporary file as long as it is read.
 */
import { createHash, randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Digest, digestOf, formatDigest } from '../../storage/model/digest.ts'
import { OCI_MANIFEST } from '../../storage/model/media-type.ts'
import { parseImageConfig } from '../model/image-model.ts'
import { decompress } from '../store/decompress.ts'
import {
  blobPath,
  CONTAINERD_NAME,
  type LayoutEntry,
  type LayoutFiles,
  LayoutSource,
  layoutEntries,
  namesOf,
  oneOf,
  readSmallFile,
} from './layout.ts'
import { ArchiveInvalid, TarFile } from './tar-index.ts'

const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'
const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar'

/** Of a file, or of what a pipe brings. Throws `ArchiveInvalid`. */
export async function openArchive(from: string | AsyncIterable<Uint8Array>, label: string): Promise<ImageArchive> {
  await using stack = new AsyncDisposableStack()
  const plain = typeof from === 'string' && (await isPlainTar(from))
  const path = plain ? from : await spooled(typeof from === 'string' ? createReadStream(from) : from, stack)
  const tar = stack.use(await TarFile.open(path))
  const files = new TarFiles(tar, label, stack.move())
  try {
    if (tar.sizeOf('index.json') !== undefined) return new ImageArchive(files)
    if (tar.sizeOf('manifest.json') !== undefined) return new ImageArchive(await presented(files), true)
    throw new ArchiveInvalid(`${label} is no archive of images: it has neither an index.json nor a manifest.json`)
  } catch (error) {
    await files[Symbol.asyncDispose]()
    throw error
  }
}

export class ImageArchive extends LayoutSource {
  readonly files: LayoutFiles
  /** Its manifests are ours: there were none in it. */
  readonly isMade: boolean

  constructor(files: LayoutFiles, isMade = false) {
    super(files)
    this.files = files
    this.isMade = isMade
  }

  /** Whole names of images, and by what each is asked for. A tag alone is no name: whoever loads it has to give one. */
  async imageNames(): Promise<readonly { readonly reference: string; readonly name: string }[]> {
    const whole = (await layoutEntries(this.files)).flatMap((entry) =>
      namesOf(entry).filter((name) => name.includes('/')),
    )
    return [...new Set(whole)].map((name) => ({ reference: name, name }))
  }
}

async function isPlainTar(path: string): Promise<boolean> {
  if (!(await stat(path)).isFile()) return false
  for await (const chunk of createReadStream(path, { end: 3 })) {
    const head = chunk as Buffer
    return !((head[0] === 0x1f && head[1] === 0x8b) || head.readUInt32LE(0) === 0xfd2fb528)
  }
  return true
}

async function spooled(source: AsyncIterable<Uint8Array>, stack: AsyncDisposableStack): Promise<string> {
  const path = join(tmpdir(), `gantry-archive-${randomUUID()}.tar`)
  stack.defer(() => rm(path, { force: true }))
  await pipeline(decompress(source), createWriteStream(path, { flags: 'wx', mode: 0o600 }))
  return path
}

class TarFiles implements LayoutFiles {
  readonly label: string
  readonly #tar: TarFile
  readonly #stack: AsyncDisposableStack

  constructor(tar: TarFile, label: string, stack: AsyncDisposableStack) {
    this.#tar = tar
    this.label = label
    this.#stack = stack
  }

  async sizeOf(path: string): Promise<number | undefined> {
    return this.#tar.sizeOf(path)
  }

  read(path: string, fromByte?: number): AsyncIterable<Uint8Array> {
    return this.#tar.read(path, fromByte)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

interface DockerEntry {
  readonly Config?: unknown
  readonly RepoTags?: unknown
  readonly Layers?: unknown
}

/** An old archive as a layout: its layers and configurations under their digests, and manifests that nobody had written down. */
async function presented(files: LayoutFiles): Promise<LayoutFiles> {
  const made = new Map<string, Buffer>()
  const moved = new Map<string, string>()
  const entries: LayoutEntry[] = []
  for (const { Config, RepoTags, Layers } of await dockerEntries(files)) {
    if (typeof Config !== 'string' || !isTexts(Layers))
      throw new ArchiveInvalid(`manifest.json in ${files.label} names no configuration or no layers`)
    const config = await readSmallFile(files, Config)
    const { diffIds } = parseImageConfig(config)
    if (diffIds.length !== Layers.length)
      throw new ArchiveInvalid(
        `${files.label} has ${Layers.length} layers, its configuration ${diffIds.length} diff_ids`,
      )
    moved.set(blobPath(digestOf(config)), Config)
    const layers: object[] = []
    for (const [i, path] of Layers.entries()) {
      const { digest, sizeBytes, suffix } = await layerAt(files, path, diffIds[i] as Digest)
      moved.set(blobPath(digest), path)
      layers.push({ mediaType: `${OCI_LAYER}${suffix}`, digest, size: sizeBytes })
    }
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: { mediaType: OCI_CONFIG, digest: digestOf(config), size: config.length },
        layers,
      }),
    )
    made.set(blobPath(digestOf(manifest)), manifest)
    const descriptor = { mediaType: OCI_MANIFEST, digest: digestOf(manifest), size: manifest.length }
    const names = isTexts(RepoTags) ? RepoTags : []
    if (names.length === 0) entries.push(descriptor)
    for (const name of names) entries.push({ ...descriptor, annotations: { [CONTAINERD_NAME]: wholeName(name) } })
  }
  made.set('index.json', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: entries })))
  return {
    label: files.label,
    sizeOf: async (path) => made.get(path)?.length ?? (await files.sizeOf(moved.get(path) ?? path)),
    read: (path, fromByte = 0) => {
      const bytes = made.get(path)
      return bytes ? oneOf(bytes.subarray(fromByte)) : files.read(moved.get(path) ?? path, fromByte)
    },
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  }
}

async function dockerEntries(files: LayoutFiles): Promise<readonly DockerEntry[]> {
  const bytes = await readSmallFile(files, 'manifest.json')
  try {
    const entries: unknown = JSON.parse(bytes.toString('utf8'))
    if (Array.isArray(entries))
      return entries.filter((each): each is DockerEntry => typeof each === 'object' && each !== null)
  } catch (cause) {
    throw new ArchiveInvalid(`manifest.json in ${files.label} is not JSON`, { cause })
  }
  throw new ArchiveInvalid(`manifest.json in ${files.label} is no list of images`)
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string')

/** A plain layer has its diffID as digest, which whoever takes it checks; what is compressed has to be read. */
async function layerAt(
  files: LayoutFiles,
  path: string,
  diffId: Digest,
): Promise<{ readonly digest: Digest; readonly sizeBytes: number; readonly suffix: string }> {
  const sizeBytes = await files.sizeOf(path)
  if (sizeBytes === undefined) throw new ArchiveInvalid(`${files.label} has no ${path}, which its manifest.json names`)
  const hash = createHash('sha256')
  let isGzip: boolean | undefined
  for await (const chunk of files.read(path)) {
    isGzip ??= chunk[0] === 0x1f && chunk[1] === 0x8b
    if (!isGzip) return { digest: diffId, sizeBytes, suffix: '' }
    hash.update(chunk)
  }
  return { digest: formatDigest('sha256', hash.digest('hex')), sizeBytes, suffix: '+gzip' }
}

/** As docker reads its own short names: `hello:1` is of Docker Hub. */
export function wholeName(name: string): string {
  const [first = '', ...rest] = name.split('/')
  if (rest.length === 0) return `docker.io/library/${name}`
  return first === 'localhost' || first.includes('.') || first.includes(':') ? name : `docker.io/${name}`
}
