/**
 * Artifacts (image-spec, "Guidelines for Artifact Usage"): files under a manifest of their own type, by themselves or attached to an image, as oras and
 * others write and read them.
 */
import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type Digest, digestOf, formatDigest } from '../../storage/model/digest.ts'
import { OCI_MANIFEST } from '../../storage/model/media-type.ts'
import type { PutBlob } from '../registry/endpoint.ts'
import { checkable, fetchNode, type Named } from '../registry/manifest-tree.ts'
import type { Referrer, RegistryRepository } from '../registry/registry.ts'
import { verified } from '../store/content.ts'
import { oneOf } from './layout.ts'

const EMPTY = Buffer.from('{}')
const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json'
const DEFAULT_FILE_TYPE = 'application/octet-stream'
const TITLE = 'org.opencontainers.image.title'
const CREATED = 'org.opencontainers.image.created'

/** A file, and what it is. */
export interface ArtifactFile {
  readonly path: string
  readonly mediaType?: string
}

export interface NewArtifact {
  /** `application/vnd.…`: what kind of thing it is. */
  readonly artifactType: string
  readonly files: readonly ArtifactFile[]
  readonly annotations?: Readonly<Record<string, string>>
  /** Tag or digest of what it is attached to. */
  readonly subject?: string
  /** Its own tag; none for what is found by its subject. */
  readonly tag?: string
  readonly signal?: AbortSignal | undefined
}

/** `FILE[:TYPE]`; a type has a slash. */
export function parseArtifactFile(text: string): ArtifactFile {
  const [, path, mediaType] = /^(.+):([a-z0-9][^:/]*\/[^:/]+)$/i.exec(text) ?? []
  return path !== undefined && mediaType !== undefined ? { path, mediaType } : { path: text }
}

/** Under a tag, attached to a `subject`, or both. Resolves to its digest. Throws for a file that cannot be read, and what the registry says. */
export async function pushArtifact(repository: RegistryRepository, artifact: NewArtifact): Promise<Digest> {
  const { artifactType, files, annotations, subject, tag, signal } = artifact
  const layers: object[] = []
  for (const file of files) layers.push(await pushFile(repository, file, signal))
  const empty = { digest: digestOf(EMPTY), sizeBytes: EMPTY.length, open: () => oneOf(EMPTY), signal }
  await repository.putBlob(empty)
  const config = { mediaType: EMPTY_TYPE, digest: empty.digest, size: EMPTY.length }
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      artifactType,
      config,
      layers: layers.length > 0 ? layers : [config],
      ...(subject === undefined ? {} : { subject: await subjectOf(repository, subject, signal) }),
      annotations: { [CREATED]: new Date().toISOString(), ...annotations },
    }),
  )
  const digest = digestOf(manifest)
  await repository.putManifest(
    { bytes: manifest, mediaType: OCI_MANIFEST, digest, ...(tag ? { reference: tag } : {}) },
    signal,
  )
  return digest
}

async function subjectOf(repository: RegistryRepository, reference: string, signal?: AbortSignal): Promise<object> {
  const { mediaType, digest, bytes } = await fetchNode(repository, reference, signal)
  return { mediaType, digest, size: bytes.length }
}

async function pushFile(
  repository: RegistryRepository,
  { path, mediaType = DEFAULT_FILE_TYPE }: ArtifactFile,
  signal: AbortSignal | undefined,
): Promise<object> {
  const { size } = await stat(path)
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer)
  const digest = formatDigest('sha256', hash.digest('hex'))
  const blob: PutBlob = {
    digest,
    sizeBytes: size,
    open: (start) => (size === 0 ? oneOf(new Uint8Array()) : createReadStream(path, { start })),
    signal,
  }
  await repository.putBlob(blob)
  return { mediaType, digest, size, annotations: { [TITLE]: basename(path) } }
}

export interface Attached {
  /** Of what they are attached to. */
  readonly subject: Digest
  readonly referrers: readonly Referrer[]
}

/** What is attached to a manifest, by tag or digest; of one type, where one is given. */
export async function discoverArtifacts(
  repository: RegistryRepository,
  reference: string,
  artifactType?: string,
  signal?: AbortSignal,
): Promise<Attached> {
  const { digest: subject } = await fetchNode(repository, reference, signal)
  return { subject, referrers: await repository.referrers(subject, artifactType, signal) }
}

interface TitledFile extends Named {
  readonly title: string
}

/** Writes the files of an artifact into `folder`, each whole or not at all. Resolves to their names. */
export async function pullArtifact(
  repository: RegistryRepository,
  reference: string,
  folder: string,
  signal?: AbortSignal,
): Promise<{ readonly digest: Digest; readonly files: readonly string[] }> {
  const node = await fetchNode(repository, reference, signal)
  const files = titledFiles(node.bytes, node.manifest.blobs.map(checkable))
  for (const file of files) await writeFile(repository, file, folder, signal)
  return { digest: node.digest, files: files.map(({ title }) => title) }
}

/** A title is the publisher's: one that would leave the folder is refused before anything is written. */
function titledFiles(manifest: Buffer, blobs: readonly Named[]): readonly TitledFile[] {
  const { layers = [] } = JSON.parse(manifest.toString('utf8')) as {
    layers?: { digest: string; annotations?: Record<string, string> }[]
  }
  const files = layers.flatMap(({ digest, annotations }) => {
    const title = annotations?.[TITLE]
    const blob = blobs.find((each) => each.digest === digest)
    return title === undefined || blob === undefined ? [] : [{ ...blob, title }]
  })
  for (const { title } of files)
    if (title === '' || title === '.' || title === '..' || /[/\0]/.test(title))
      throw new Error(
        `the artifact has a file called ${JSON.stringify(title)}, which is no plain name; nothing was written`,
      )
  if (new Set(files.map(({ title }) => title)).size !== files.length)
    throw new Error('the artifact has two files of one name; nothing was written')
  return files
}

async function writeFile(
  repository: RegistryRepository,
  { title, digest, sizeBytes }: TitledFile,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const temporary = join(folder, `.tmp-${randomUUID()}`)
  try {
    const file = await open(temporary, 'wx', 0o644)
    try {
      for await (const chunk of verified(digest, sizeBytes, repository.blob({ digest, sizeBytes }, { signal })))
        for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten
    } finally {
      await file.close()
    }
    await rename(temporary, join(folder, title)) // in the place of a link of that name, and never through it
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
