/**
 * What registries are used for, made from nothing: each kind of content as bytes and digests, the same in every run, and as
 * an OCI layout on disk, which is what most clients push from and pull to.
 */
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { constants, gzipSync, zstdCompressSync } from 'node:zlib'
import { pack } from 'tar-stream'

/** A word for each kind, for the names of repositories and folders. */
export type Slug =
  | 'image'
  | 'index'
  | 'nested'
  | 'artifact'
  | 'subject'
  | 'empty'
  | 'annotations'
  | 'foreign'
  | 'zstd'
  | 'plain'
  | 'sha512'
  | 'zero'
  | 'docker'

type Algorithm = 'sha256' | 'sha512'

interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly [more: string]: unknown
}

interface Manifest {
  readonly mediaType: string
  readonly bytes: Buffer
}

export interface Content {
  /** For the names of tests: `a multi-arch index`. */
  readonly name: string
  readonly slug: Slug
  readonly root: Descriptor
  /** By digest; what is named comes before what names it, so that pushing in this order is possible. */
  readonly manifests: ReadonlyMap<string, Manifest>
  readonly blobs: ReadonlyMap<string, Buffer>
}

const OCI = 'application/vnd.oci.image'
const DOCKER = 'application/vnd.docker'
const INDEX = `${OCI}.index.v1+json`
const MANIFEST = `${OCI}.manifest.v1+json`
const DOCKER_LAYER = `${DOCKER}.image.rootfs.diff.tar.gzip`
const EMPTY_CONFIG = 'application/vnd.oci.empty.v1+json'
const LARGE_BYTES = 3 * 1024 * 1024

/** `bytes` that do not compress and are the same for the same seed. */
export const noise = (seed: string, bytes: number): Buffer =>
  createHash('shake256', { outputLength: bytes }).update(seed).digest()

export const digestOf = (bytes: Uint8Array, algorithm: Algorithm = 'sha256'): string =>
  `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`

/** A tar archive of these files, owned by root and as old as time. */
async function archive(files: Readonly<Record<string, Uint8Array | string>>): Promise<Buffer> {
  const tar = pack()
  for (const [name, bytes] of Object.entries(files)) tar.entry({ name, mtime: new Date(0) }, Buffer.from(bytes))
  tar.finalize()
  return await buffer(tar)
}

/** Content while it is put together. */
class Draft {
  readonly manifests = new Map<string, Manifest>()
  readonly blobs = new Map<string, Buffer>()
  readonly #algorithm: Algorithm

  constructor(algorithm: Algorithm = 'sha256') {
    this.#algorithm = algorithm
  }

  blob(mediaType: string, bytes: Buffer): Descriptor {
    const digest = digestOf(bytes, this.#algorithm)
    this.blobs.set(digest, bytes)
    return { mediaType, digest, size: bytes.length }
  }

  manifest(mediaType: string, fields: object): Descriptor {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...fields }))
    const digest = digestOf(bytes, this.#algorithm)
    this.manifests.set(digest, { mediaType, bytes })
    return { mediaType, digest, size: bytes.length }
  }

  index(manifests: readonly Descriptor[], more: object = {}): Descriptor {
    return this.manifest(INDEX, { manifests, ...more })
  }

  /** An image that any runtime can unpack; `layers` are tar archives, compressed as the media type says. */
  image(
    layers: readonly Layer[],
    { architecture = 'amd64', docker = false, more = {} }: ImageOptions = {},
  ): Descriptor {
    const config = {
      architecture,
      os: 'linux',
      config: { Cmd: ['/file'], Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: layers.map(({ tar }) => digestOf(tar)) },
      history: layers.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'conformance' })),
    }
    const mediaType = docker ? `${DOCKER}.container.image.v1+json` : `${OCI}.config.v1+json`
    return this.manifest(docker ? `${DOCKER}.distribution.manifest.v2+json` : MANIFEST, {
      config: this.blob(mediaType, Buffer.from(JSON.stringify(config))),
      layers: layers.map((layer) =>
        layer.urls === undefined
          ? this.blob(layer.mediaType, layer.bytes)
          : { mediaType: layer.mediaType, digest: digestOf(layer.bytes), size: layer.bytes.length, urls: layer.urls },
      ),
      ...more,
    })
  }

  artifact(artifactType: string, layer: Buffer, more: object = {}): Descriptor {
    return this.manifest(MANIFEST, {
      artifactType,
      config: this.blob(EMPTY_CONFIG, Buffer.from('{}')),
      layers: [this.blob('application/octet-stream', layer)],
      ...more,
    })
  }

  finish(slug: Slug, name: string, root: Descriptor): Content {
    return { slug, name, root, manifests: this.manifests, blobs: this.blobs }
  }
}

interface ImageOptions {
  readonly architecture?: string
  readonly docker?: boolean
  readonly more?: object
}

interface Layer {
  readonly mediaType: string
  readonly tar: Buffer
  readonly bytes: Buffer
  /** Where else it lies: such a layer is named and never pushed. */
  readonly urls?: readonly string[]
}

const plain = (tar: Buffer): Layer => ({ mediaType: `${OCI}.layer.v1.tar`, tar, bytes: tar })
const zstd = (tar: Buffer): Layer => ({ mediaType: `${OCI}.layer.v1.tar+zstd`, tar, bytes: zstdCompressSync(tar) })
/** What is large is noise, which no effort makes smaller. */
const gzip = (tar: Buffer, mediaType = `${OCI}.layer.v1.tar+gzip`): Layer => ({
  mediaType,
  tar,
  bytes: gzipSync(tar, {
    level: tar.length < LARGE_BYTES ? constants.Z_DEFAULT_COMPRESSION : constants.Z_NO_COMPRESSION,
  }),
})

const small = (seed: string): Promise<Buffer> =>
  archive({ file: `#!/bin/sh\necho ${seed}\n`, [seed]: noise(seed, 700) })
const large = (seed: string): Promise<Buffer> =>
  archive({ file: `#!/bin/sh\necho ${seed}\n`, [seed]: noise(seed, LARGE_BYTES) })

const ORDINARY = [large('one'), small('two'), small('three')]

async function platforms(draft: Draft, seed: string): Promise<Descriptor[]> {
  const images = ['amd64', 'arm64'].map(async (architecture) => ({
    ...draft.image([gzip(await small(`${seed}-${architecture}`))], { architecture }),
    platform: { os: 'linux', architecture },
  }))
  return await Promise.all(images)
}

const ANNOTATIONS = Object.fromEntries(
  Array.from({ length: 10_000 }, (_, i) => [`dev.gantry.conformance.annotation-${i}`, `value ${i}`]),
)
const ELSEWHERE = ['https://layers.invalid/layer.tar.gz']

const MAKERS: Readonly<Record<Slug, () => Promise<Content>>> = {
  image: async () => {
    const draft = new Draft()
    const layers = (await Promise.all(ORDINARY)).map((tar) => gzip(tar))
    return draft.finish('image', 'an ordinary image', draft.image(layers))
  },
  index: async () => {
    const draft = new Draft()
    return draft.finish('index', 'a multi-arch index', draft.index(await platforms(draft, 'index')))
  },
  nested: async () => {
    const draft = new Draft()
    const inner = [await platforms(draft, 'left'), await platforms(draft, 'right')].map((list) => draft.index(list))
    return draft.finish('nested', 'an index of indexes', draft.index(inner))
  },
  artifact: async () => {
    const draft = new Draft()
    const root = draft.artifact('application/vnd.example.thing', noise('artifact', 5000))
    return draft.finish('artifact', 'an artifact', root)
  },
  subject: async () => {
    const draft = new Draft()
    const subject = { mediaType: MANIFEST, digest: digestOf(noise('nowhere', 10)), size: 10 }
    const root = draft.artifact('application/vnd.example.note', noise('note', 500), { subject })
    return draft.finish('subject', 'an artifact whose subject is nowhere', root)
  },
  empty: async () => {
    const draft = new Draft()
    const nothing = gzip(Buffer.alloc(1024))
    return draft.finish(
      'empty',
      'an image with empty layers',
      draft.image([nothing, gzip(await small('full')), nothing]),
    )
  },
  annotations: async () => {
    const draft = new Draft()
    const image = draft.image([gzip(await small('annotated'))], { more: { annotations: ANNOTATIONS } })
    const platform = { os: 'linux', architecture: 'amd64' }
    const root = draft.index([{ ...image, platform }], { annotations: ANNOTATIONS })
    return draft.finish('annotations', 'an index and an image with 10 000 annotations each', root)
  },
  foreign: async () => {
    const draft = new Draft()
    const away = { ...gzip(await small('away'), `${OCI}.layer.nondistributable.v1.tar+gzip`), urls: ELSEWHERE }
    return draft.finish('foreign', 'an image with a foreign layer', draft.image([away, gzip(await small('here'))]))
  },
  zstd: async () => {
    const draft = new Draft()
    return draft.finish('zstd', 'an image of zstd layers', draft.image((await Promise.all(ORDINARY)).map(zstd)))
  },
  plain: async () => {
    const draft = new Draft()
    return draft.finish(
      'plain',
      'an image of uncompressed layers',
      draft.image((await Promise.all(ORDINARY)).map(plain)),
    )
  },
  sha512: async () => {
    const draft = new Draft('sha512')
    const root = draft.index(await platforms(draft, 'sha512'))
    return draft.finish('sha512', 'an index in sha512 throughout', root)
  },
  zero: async () => {
    const draft = new Draft()
    const root = draft.artifact('application/vnd.example.nothing', Buffer.alloc(0))
    return draft.finish('zero', 'an artifact of zero bytes', root)
  },
  docker: async () => {
    const draft = new Draft()
    const image = draft.image([gzip(await small('docker'), DOCKER_LAYER)], { docker: true })
    const platform = { os: 'linux', architecture: 'amd64' }
    const root = draft.manifest(`${DOCKER}.distribution.manifest.list.v2+json`, { manifests: [{ ...image, platform }] })
    return draft.finish('docker', 'a docker manifest list', root)
  },
}

export const contentOf = (slug: Slug): Promise<Content> => MAKERS[slug]()

/** Every kind there is. */
export async function allContent(): Promise<readonly Content[]> {
  return await Promise.all(Object.values(MAKERS).map((make) => make()))
}

/** An image whose layers have these sizes and nothing in common with other content, in OCI's format or docker's. */
export async function imageOf(seed: string, layerBytes: readonly number[], docker = false): Promise<Content> {
  const draft = new Draft()
  const mediaType = docker ? DOCKER_LAYER : undefined
  const tars = layerBytes.map((bytes, i) => archive({ [seed + i]: noise(seed + i, bytes) }))
  const layers = (await Promise.all(tars)).map((tar) => gzip(tar, mediaType))
  return draft.finish('image', seed, draft.image(layers, { docker }))
}

/** An OCI layout in `directory`, with the content under `tag`. */
export async function writeLayout(directory: string, content: Content, tag: string): Promise<void> {
  const files = [...content.blobs, ...[...content.manifests].map(([digest, { bytes }]) => [digest, bytes] as const)]
  for (const [digest, bytes] of files) {
    const path = join(directory, 'blobs', ...digest.split(':'))
    await mkdir(join(path, '..'), { recursive: true })
    await writeFile(path, bytes)
  }
  await writeFile(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  const root = { ...content.root, annotations: { 'org.opencontainers.image.ref.name': tag } }
  await writeFile(
    join(directory, 'index.json'),
    JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [root] }),
  )
}

/** What an engine calls the image for this machine: the digest of its configuration. `undefined`: there is none to unpack. */
export function configurationOf(content: Content): string | undefined {
  if (['nested', 'artifact', 'subject', 'zero', 'foreign', 'sha512'].includes(content.slug)) return undefined
  const parse = (digest: string): Parsed => JSON.parse(`${content.manifests.get(digest)?.bytes}`) as Parsed
  const root = parse(content.root.digest)
  return root.config?.digest ?? parse(root.manifests?.[0]?.digest ?? '').config?.digest
}

interface Parsed {
  readonly config?: { readonly digest: string }
  readonly manifests?: readonly { readonly digest: string }[]
}
