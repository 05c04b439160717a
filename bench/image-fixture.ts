/**
 * An image of the size of a large application's: files of this machine's /usr, picked by a hash of their names, as an OCI layout with three
 * tags: `one` (a layer, gzip), `eight` (the same files in eight layers), `zstd` (one layer).
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createZstdCompress } from 'node:zlib'
import { hostPlatform } from '../client/model/platform.ts'
import { succeed } from '../conformance/support/commands.ts'
import { digestOf } from '../storage/model/digest.ts'

const TAR_BYTES = 637e6
const MOST_FILES = 21_900
const LARGEST_FILE_BYTES = 48e6
const MAKING_TIMEOUT_MS = 10 * 60_000

export const TAGS = ['one', 'eight', 'zstd'] as const
export type ImageTag = (typeof TAGS)[number]

export interface ImageFixture {
  readonly layout: string
  /** Of the layer of `one`, not compressed. */
  readonly tar: string
  readonly files: number
  readonly tarBytes: number
  readonly blobBytes: Readonly<Record<ImageTag, number>>
}

export async function makeImageFixture(folder: string): Promise<ImageFixture> {
  const layout = join(folder, 'layout')
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true })
  const files = await pickFiles()
  const tar = await makeTar(folder, 'one', files)
  const share = Math.ceil(files.length / 8)
  const parts: string[] = []
  for (let i = 0; i < 8; i++) parts.push(await makeTar(folder, `part${i}`, files.slice(i * share, (i + 1) * share)))
  const layers = {
    one: [await addLayer(layout, tar, 'gzip')],
    eight: [] as Descriptor[],
    zstd: [await addLayer(layout, tar, 'zstd')],
  }
  for (const part of parts) layers.eight.push(await addLayer(layout, part, 'gzip'))
  for (const part of parts) await rm(part)
  const manifests = []
  for (const tag of TAGS) manifests.push(await addImage(layout, tag, layers[tag]))
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  const total = (tag: ImageTag) => layers[tag].reduce((sum, { size }) => sum + size, 0)
  return {
    layout,
    tar,
    files: files.length,
    tarBytes: (await stat(tar)).size,
    blobBytes: { one: total('one'), eight: total('eight'), zstd: total('zstd') },
  }
}

interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly diffId: string
}

/** In the order of their names, so that files of a folder lie beside each other, as in any archive. */
async function pickFiles(): Promise<readonly string[]> {
  const found: { readonly path: string; readonly rank: string }[] = []
  for (const entry of await readdir('/usr', { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    found.push({ path, rank: createHash('sha256').update(path).digest('hex') })
  }
  found.sort((a, b) => (a.rank < b.rank ? -1 : 1))
  const picked: string[] = []
  let bytes = 0
  for (const { path } of found) {
    if (picked.length >= MOST_FILES || bytes >= TAR_BYTES) break
    const { size } = await stat(path)
    if (size > LARGEST_FILE_BYTES) continue
    picked.push(path)
    bytes += size + 1024
  }
  return picked.sort()
}

async function makeTar(folder: string, name: string, files: readonly string[]): Promise<string> {
  const tar = join(folder, `${name}.tar`)
  const folders = new Set<string>()
  for (const file of files) for (let up = dirname(file); up !== '/'; up = dirname(up)) folders.add(up)
  const list = [...folders, ...files].map((path) => path.slice(1)).sort()
  // GNU tar takes names relative to the last --directory before them.
  const from = ['--directory=/', '--no-recursion', '--null', '--files-from=-']
  const args = ['--create', '--file', tar, '--format=pax', ...from]
  await succeed('tar', args, { input: list.map((path) => `${path}\0`).join(''), timeoutMs: MAKING_TIMEOUT_MS })
  return tar
}

async function addLayer(layout: string, tar: string, compression: 'gzip' | 'zstd'): Promise<Descriptor> {
  const made = `${tar}.${compression}`
  if (compression === 'gzip') {
    await succeed('sh', ['-c', 'exec gzip -6 --no-name < "$0" > "$1"', tar, made], { timeoutMs: MAKING_TIMEOUT_MS })
  } else {
    await pipeline(createReadStream(tar), createZstdCompress(), createWriteStream(made))
  }
  const digest = await hashOf(made)
  await rename(made, join(layout, 'blobs/sha256', digest))
  return {
    mediaType: `application/vnd.oci.image.layer.v1.tar+${compression}`,
    digest: `sha256:${digest}`,
    size: (await stat(join(layout, 'blobs/sha256', digest))).size,
    diffId: `sha256:${await hashOf(tar)}`,
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

async function addImage(layout: string, tag: string, layers: readonly Descriptor[]): Promise<object> {
  const config = {
    ...hostPlatform(),
    config: {},
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: await addJson(layout, 'application/vnd.oci.image.config.v1+json', config),
    layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
  }
  const described = await addJson(layout, manifest.mediaType, manifest)
  return { ...described, annotations: { 'org.opencontainers.image.ref.name': tag } }
}

async function addJson(layout: string, mediaType: string, content: object): Promise<object> {
  const bytes = Buffer.from(JSON.stringify(content))
  const digest = digestOf(bytes)
  await writeFile(join(layout, 'blobs', digest.replace(':', '/')), bytes)
  return { mediaType, digest, size: bytes.length }
}
