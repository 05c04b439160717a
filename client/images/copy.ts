/**
 * An image (an index, an artifact) from one place to another, byte for byte: nothing is converted, so every digest stays. What the target
 * has is not sent; what a neighbour has is mounted; the rest streams through, several blobs at once, hashed on the way and never on a disk. A manifest
 * is put when all it names is there; the name last.
 */
import type { Digest } from '../../storage/model/digest.ts'
import { ImageInvalid } from '../model/image-model.ts'
import { choosePlatform, hostPlatform, type Platform, printPlatform } from '../model/platform.ts'
import type { Arrival, ContentSource, ContentTarget } from '../registry/endpoint.ts'
import {
  checkable,
  fetchChild,
  fetchNode,
  isIndexType,
  type Named,
  type Node,
  platformEntries,
} from '../registry/manifest-tree.ts'
import { Slots } from '../registry/slots.ts'
import { verified } from '../store/content.ts'
import type { ProgressEvent } from './progress.ts'

const PARALLEL_BLOBS = 6
/** Who nests deeper than any tool makes, wants us to look for ever. */
const DEPTH_LIMIT = 5
const MANIFESTS_LIMIT = 10_000

export interface CopyRequest {
  readonly from: ContentSource
  /** Tag or digest. */
  readonly reference: string
  readonly to: ContentTarget
  /** The name there; without one, it is reachable by digest alone. */
  readonly toReference?: string
  /** Of an index: everything in it. Else the image for one platform. */
  readonly all?: boolean
  readonly platform?: Platform
  /** What refers to what is copied, too: signatures, bills of materials, and what refers to those. */
  readonly referrers?: boolean
  /** Repositories of the target's registry that may have a blob. */
  readonly mountFrom?: (digest: Digest) => readonly string[]
  readonly onProgress?: (event: ProgressEvent) => void
  readonly signal?: AbortSignal | undefined
}

export interface CopyResult {
  readonly digest: Digest
  readonly mediaType: string
  readonly manifests: number
  /** Manifests that were put because they refer to what was copied, and were not there yet. */
  readonly referrers: number
  readonly blobs: Readonly<Record<Arrival, number>>
  readonly sentBytes: number
}

/** Throws what the endpoints throw, `ContentMismatch` for what is not what its digest says, and `ImageInvalid`. */
export async function copyContent(request: CopyRequest): Promise<CopyResult> {
  return await new Copying(request).run()
}

class Copying {
  readonly #request: CopyRequest
  readonly #failure = new AbortController()
  readonly #signal: AbortSignal
  readonly #slots = new Slots(PARALLEL_BLOBS)
  readonly #blobs = new Map<Digest, Promise<void>>()
  readonly #manifests = new Map<Digest, Promise<void>>()
  readonly #arrivals: Record<Arrival, number> = { present: 0, mounted: 0, sent: 0 }
  readonly #subjects = new Set<Digest>()
  #sentBytes = 0
  #referrers = 0

  constructor(request: CopyRequest) {
    this.#request = request
    this.#signal = request.signal ? AbortSignal.any([request.signal, this.#failure.signal]) : this.#failure.signal
  }

  async run(): Promise<CopyResult> {
    const { from, reference, to, toReference } = this.#request
    try {
      const root = await this.#chosen(await fetchNode(from, reference, this.#signal))
      if (!(await to.hasManifest(root.digest, this.#signal))) await this.#content(root, 0)
      if (this.#request.referrers) await this.#withReferrers(root, 0)
      await to.putManifest({ ...root, ...(toReference === undefined ? {} : { reference: toReference }) }, this.#signal)
      await to.finish(this.#signal)
      const { digest, mediaType } = root
      return {
        digest,
        mediaType,
        manifests: this.#manifests.size + 1,
        referrers: this.#referrers,
        blobs: this.#arrivals,
        sentBytes: this.#sentBytes,
      }
    } catch (error) {
      this.#failure.abort(error)
      await Promise.allSettled([...this.#blobs.values(), ...this.#manifests.values()])
      throw this.#request.signal?.aborted ? this.#request.signal.reason : error
    }
  }

  /** One image of an index, unless all are wanted. */
  async #chosen(root: Node): Promise<Node> {
    const { all, from } = this.#request
    let node = root
    for (let depth = 0; !all && isIndexType(node.mediaType); depth++) {
      if (depth === DEPTH_LIMIT) throw tooDeep()
      const wanted = this.#request.platform ?? hostPlatform()
      const entries = platformEntries(node)
      const unlabelled = entries.filter(({ platform }) => platform === undefined)
      const chosen = choosePlatform(entries, wanted) ?? (unlabelled.length === 1 ? unlabelled[0] : undefined)
      if (chosen === undefined) throw noSuchPlatform(entries, wanted)
      node = await fetchChild(from, chosen, this.#signal)
    }
    return node
  }

  async #content({ manifest }: Node, depth: number): Promise<void> {
    if (depth === DEPTH_LIMIT) throw tooDeep()
    if (this.#manifests.size + manifest.manifests.length > MANIFESTS_LIMIT)
      throw new ImageInvalid(`the index leads to more than ${MANIFESTS_LIMIT} manifests`)
    await this.#all([
      ...manifest.blobs.map((each) => this.#blob(checkable(each))),
      ...manifest.manifests.map((each) => this.#child(checkable(each), depth + 1)),
    ])
  }

  /** The first failure stops all that is under way, so that nobody waits for what is in vain. */
  async #all(work: readonly Promise<void>[]): Promise<void> {
    for (const each of work) each.catch((error: unknown) => this.#failure.abort(error))
    await Promise.all(work)
  }

  /** Before what they refer to gets its name: who finds it by that finds its signatures, too. */
  async #withReferrers({ digest, manifest }: Node, depth: number): Promise<void> {
    const { from, to } = this.#request
    if (depth === DEPTH_LIMIT) throw tooDeep()
    if (this.#subjects.has(digest)) return
    this.#subjects.add(digest)
    if (from.referrers === undefined || !('referrers' in to))
      throw new Error('what refers to an image can only be copied from a registry to a registry')
    const referrers = (await from.referrers(digest, undefined, this.#signal)).map(checkable)
    if (this.#manifests.size + referrers.length > MANIFESTS_LIMIT)
      throw new ImageInvalid(`more than ${MANIFESTS_LIMIT} manifests refer to ${digest}`)
    for (const named of referrers) {
      if (!(await to.hasManifest(named.digest, this.#signal))) this.#referrers++
      await this.#child(named, depth + 1)
    }
    for (const named of [...manifest.manifests.map(checkable), ...referrers])
      await this.#withReferrers(await fetchChild(from, named, this.#signal), depth + 1)
  }

  #child(named: Named, depth: number): Promise<void> {
    const known = this.#manifests.get(named.digest)
    if (known) return known
    const begun = this.#copyChild(named, depth)
    this.#manifests.set(named.digest, begun)
    return begun
  }

  async #copyChild(named: Named, depth: number): Promise<void> {
    const { from, to } = this.#request
    this.#signal.throwIfAborted()
    const isThere = await this.#slots.run(() => to.hasManifest(named.digest, this.#signal))
    if (isThere) return
    const node = await this.#slots.run(() => fetchChild(from, named, this.#signal))
    await this.#content(node, depth)
    await this.#slots.run(() => to.putManifest(node, this.#signal))
  }

  #blob(named: Named): Promise<void> {
    const known = this.#blobs.get(named.digest)
    if (known) return known
    const begun = this.#slots.run(() => this.#copyBlob(named))
    this.#blobs.set(named.digest, begun)
    return begun
  }

  async #copyBlob({ digest, sizeBytes }: Named): Promise<void> {
    this.#signal.throwIfAborted()
    const { from, to, mountFrom, onProgress } = this.#request
    const report = (phase: ProgressEvent['phase'], bytes: number): void =>
      onProgress?.({ layer: digest, phase, bytes, totalBytes: sizeBytes })
    // Who goes on in the middle relies on the target's look at the whole.
    const open = (fromByte: number): AsyncIterable<Uint8Array> => {
      const source = from.blob({ digest, sizeBytes }, { fromByte, signal: this.#signal })
      return fromByte === 0 ? verified(digest, sizeBytes, source) : source
    }
    const arrival = await to.putBlob({
      digest,
      sizeBytes,
      open,
      direct: async (stretch) => await from.direct?.({ digest, sizeBytes }, stretch, this.#signal),
      mountFrom: mountFrom?.(digest) ?? [],
      onBytes: (bytes) => report('copying', bytes),
      signal: this.#signal,
    })
    this.#arrivals[arrival]++
    if (arrival === 'sent') this.#sentBytes += sizeBytes
    report(arrival === 'sent' ? 'done' : arrival, sizeBytes)
  }
}

const tooDeep = (): ImageInvalid => new ImageInvalid(`indexes are nested more than ${DEPTH_LIMIT} deep`)

function noSuchPlatform(entries: ReturnType<typeof platformEntries>, wanted: Platform): ImageInvalid {
  const offered = entries.flatMap(({ platform }) =>
    platform && platform.os !== 'unknown' ? [printPlatform(platform)] : [],
  )
  return new ImageInvalid(
    `the image is not for ${printPlatform(wanted)}; it is there for ${offered.join(', ') || 'no platform'}. Choose one with --platform, or take --all`,
  )
}
