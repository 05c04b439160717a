/** Indexes that are being put together. They may be kept in the user's folder of state until they are pushed, as `docker manifest` does it. */
import { createHash } from 'node:crypto'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Digest, digestOf } from '../../storage/model/digest.ts'
import { OCI_INDEX } from '../../storage/model/media-type.ts'
import { type ImageName, parseImageName, printImageName } from '../model/image-name.ts'
import type { Platform } from '../model/platform.ts'
import type { Environment } from '../registry/credentials.ts'
import { fetchNode, isIndexType } from '../registry/manifest-tree.ts'
import { type AccessOptions, openRepository } from '../registry/registry-access.ts'
import { stateFolder } from '../registry/upload-journal.ts'
import { replaceFile } from '../store/store.ts'
import { copyContent } from './copy.ts'
import { inspectAt } from './inspection.ts'

export interface DraftEntry {
  readonly registry: string
  readonly repository: string
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly platform?: Platform & { readonly 'os.version'?: string }
  readonly annotations?: Readonly<Record<string, string>>
}

export interface IndexAnnotation {
  readonly platform?: Partial<NonNullable<DraftEntry['platform']>>
  readonly annotations?: Readonly<Record<string, string>>
}

/**
 * An image for several platforms in the making.
 *
 *     const index = new IndexDraft('localhost:5000/team/app:1.2')
 *     for (const arch of ['amd64', 'arm64']) await index.add(`localhost:5000/team/app:1.2-${arch}`)
 *     const digest = await index.push()
 */
export class IndexDraft {
  readonly #environment: Environment
  readonly #name: ImageName
  entries: readonly DraftEntry[] = []

  /** `name`: where it will be pushed to, and by which it is kept meanwhile. Nothing is asked or written yet. */
  constructor(name: string, environment: Environment = process.env) {
    this.#name = parseImageName(name)
    this.#environment = environment
  }

  /** What was `save`d under this name. Throws if there is none. */
  static async open(name: string, environment: Environment = process.env): Promise<IndexDraft> {
    const draft = new IndexDraft(name, environment)
    const text = await readFile(draft.#path(), 'utf8').catch(() => undefined)
    if (text === undefined)
      throw new Error(
        `there is no index ${draft.name} in the making; begin it with \`gantry manifest create ${draft.name} IMAGE…\``,
      )
    draft.entries = JSON.parse(text) as readonly DraftEntry[]
    return draft
  }

  get name(): string {
    return printImageName(this.#name)
  }

  /** Keeps it for `open`, of this process or a later one. */
  async save(): Promise<void> {
    await mkdir(dirname(this.#path()), { recursive: true, mode: 0o700 })
    await replaceFile(this.#path(), JSON.stringify(this.entries))
  }

  /** Forgets what was saved. */
  async discard(): Promise<void> {
    await rm(this.#path(), { force: true })
  }

  /** Adds an image of a registry with its own platform, or all images of an index; in the place of the same one. */
  async add(imageText: string, access: AccessOptions = {}): Promise<void> {
    const image = parseImageName(imageText)
    await using repository = await openRepository(image.registry, image.repository, access)
    const node = await fetchNode(repository, image.digest ?? image.tag ?? '')
    const at = { registry: image.registry, repository: image.repository }
    if (isIndexType(node.mediaType)) {
      const { manifests } = JSON.parse(node.bytes.toString('utf8')) as { manifests: readonly DraftEntry[] }
      for (const each of manifests) this.#put({ ...each, ...at })
      return
    }
    const { config } = await inspectAt(repository, node.digest)
    const { os, architecture, variant } = config as { os?: string; architecture?: string; variant?: string }
    const platform = os && architecture ? { platform: { os, architecture, ...(variant ? { variant } : {}) } } : {}
    this.#put({ ...at, mediaType: node.mediaType, digest: node.digest, size: node.bytes.length, ...platform })
  }

  /** Says more of one of its images, by its digest or the name that it was taken from. Throws if it is none of them. */
  async annotate(image: string, { platform, annotations }: IndexAnnotation, access: AccessOptions = {}): Promise<void> {
    const digest =
      this.entries.find((each) => image === each.digest || image.endsWith(`@${each.digest}`))?.digest ??
      (await digestAt(image, access))
    const entry = this.entries.find((each) => each.digest === digest)
    if (entry === undefined)
      throw new Error(`${digest} is not in ${this.name}; it has ${this.entries.map((each) => each.digest).join(', ')}`)
    this.#put({
      ...entry,
      ...(platform ? { platform: { os: 'linux', architecture: '', ...entry.platform, ...platform } } : {}),
      ...(annotations ? { annotations: { ...entry.annotations, ...annotations } } : {}),
    })
  }

  /** The document, as it will be pushed. */
  bytes(): Buffer {
    const manifests = this.entries.map(({ mediaType, digest, size, platform, annotations }) => ({
      mediaType,
      digest,
      size,
      ...(platform ? { platform } : {}),
      ...(annotations ? { annotations } : {}),
    }))
    return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }))
  }

  /** Its images first, from wherever they are, mounted where that is the same registry. Resolves to the digest. */
  async push(access: AccessOptions = {}): Promise<Digest> {
    const { registry, repository, tag } = this.#name
    await using to = await openRepository(registry, repository, access)
    for (const entry of this.entries) {
      if (entry.registry === registry && entry.repository === repository) continue
      await using from = await openRepository(entry.registry, entry.repository, access)
      const mountFrom = (): readonly string[] => (entry.registry === registry ? [entry.repository] : [])
      await copyContent({ from, reference: entry.digest, to, all: true, mountFrom })
    }
    const bytes = this.bytes()
    const digest = digestOf(bytes)
    await to.putManifest({ bytes, mediaType: OCI_INDEX, digest, ...(tag ? { reference: tag } : {}) })
    return digest
  }

  #path(): string {
    return join(stateFolder(this.#environment), 'indexes', createHash('sha256').update(this.name).digest('hex'))
  }

  #put(entry: DraftEntry): void {
    this.entries = [...this.entries.filter(({ digest }) => digest !== entry.digest), entry]
  }
}

async function digestAt(image: string, access: AccessOptions): Promise<Digest> {
  const { registry, repository, digest, tag } = parseImageName(image)
  if (digest !== undefined) return digest
  await using opened = await openRepository(registry, repository, access)
  return (await fetchNode(opened, tag ?? '')).digest
}
