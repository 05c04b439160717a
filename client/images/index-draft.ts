/** Indexes that are being put together: kept in the user's folder of state until they are pushed, as `docker manifest` does it. */
import { createHash } from 'node:crypto'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestOf } from '../../storage/model/digest.ts'
import { OCI_INDEX } from '../../storage/model/media-type.ts'
import { type ImageName, printImageName } from '../model/image-name.ts'
import type { Platform } from '../model/platform.ts'
import type { Environment } from '../registry/credentials.ts'
import { fetchNode, isIndexType } from '../registry/manifest-tree.ts'
import { type AccessOptions, openRepository } from '../registry/registry-access.ts'
import { stateFolder } from '../registry/upload-journal.ts'
import { replaceFile } from '../store/store.ts'
import { copyContent } from './copy.ts'
import { inspect } from './inspection.ts'

export interface DraftEntry {
  readonly registry: string
  readonly repository: string
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly platform?: Platform & { readonly 'os.version'?: string }
  readonly annotations?: Readonly<Record<string, string>>
}

export class IndexDraft {
  readonly #path: string
  readonly #name: ImageName
  entries: readonly DraftEntry[]

  private constructor(path: string, name: ImageName, entries: readonly DraftEntry[]) {
    this.#path = path
    this.#name = name
    this.entries = entries
  }

  /** Throws if there is none, unless `fresh`. */
  static async open(name: ImageName, environment: Environment, fresh = false): Promise<IndexDraft> {
    const printed = printImageName(name)
    const path = join(stateFolder(environment), 'indexes', createHash('sha256').update(printed).digest('hex'))
    const text = fresh ? '[]' : await readFile(path, 'utf8').catch(() => undefined)
    if (text === undefined)
      throw new Error(
        `there is no index ${printed} in the making; begin it with \`gantry manifest create ${printed} IMAGE…\``,
      )
    return new IndexDraft(path, name, JSON.parse(text) as readonly DraftEntry[])
  }

  async save(): Promise<void> {
    await mkdir(join(this.#path, '..'), { recursive: true, mode: 0o700 })
    await replaceFile(this.#path, JSON.stringify(this.entries))
  }

  async discard(): Promise<void> {
    await rm(this.#path, { force: true })
  }

  /** Adds an image of a registry with its own platform, or all images of an index. */
  async add(image: ImageName, access: AccessOptions): Promise<void> {
    await using repository = await openRepository(image.registry, image.repository, access)
    const node = await fetchNode(repository, image.digest ?? image.tag ?? '')
    const at = { registry: image.registry, repository: image.repository }
    if (isIndexType(node.mediaType)) {
      const { manifests } = JSON.parse(node.bytes.toString('utf8')) as { manifests: readonly DraftEntry[] }
      for (const each of manifests) this.#put({ ...each, ...at })
      return
    }
    const { config } = await inspect(repository, node.digest)
    const { os, architecture, variant } = config as { os?: string; architecture?: string; variant?: string }
    const platform = os && architecture ? { platform: { os, architecture, ...(variant ? { variant } : {}) } } : {}
    this.#put({ ...at, mediaType: node.mediaType, digest: node.digest, size: node.bytes.length, ...platform })
  }

  /** Throws if `digest` is none of its images. */
  annotate(digest: Digest, change: Pick<DraftEntry, 'platform' | 'annotations'>): void {
    const entry = this.entries.find((each) => each.digest === digest)
    if (entry === undefined)
      throw new Error(
        `${digest} is not in ${printImageName(this.#name)}; it has ${this.entries.map((each) => each.digest).join(', ')}`,
      )
    this.#put({
      ...entry,
      ...(change.platform ? { platform: { ...entry.platform, ...change.platform } } : {}),
      ...(change.annotations ? { annotations: { ...entry.annotations, ...change.annotations } } : {}),
    })
  }

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
  async push(access: AccessOptions): Promise<Digest> {
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

  #put(entry: DraftEntry): void {
    this.entries = [...this.entries.filter(({ digest }) => digest !== entry.digest), entry]
  }
}
