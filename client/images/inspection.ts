/** What an image is, wherever it lies: its manifest and its configuration, looked at without being fetched whole. */
import { type Digest, digestOf } from '../../storage/model/digest.ts'
import { ImageInvalid, type ImageManifest, parseManifest } from '../model/image-model.ts'
import { choosePlatform, hostPlatform, type Platform, printPlatform } from '../model/platform.ts'
import type { ContentSource } from '../registry/endpoint.ts'
import { fetchChild, fetchNode, isIndexType, type Node, platformEntries } from '../registry/manifest-tree.ts'
import { verified } from '../store/content.ts'

const CONFIG_LIMIT_BYTES = 8 * 1024 * 1024

export interface Inspected {
  readonly digest: Digest
  readonly mediaType: string
  readonly manifest: ImageManifest
  /** The document as it is. */
  readonly config: Readonly<Record<string, unknown>>
  /** What an index offers; empty for an image alone. */
  readonly platforms: readonly string[]
}

export interface HistoryEntry {
  readonly created: string
  readonly createdBy: string
  readonly comment: string
  /** Of the layer as it is stored; 0 where the step made none. */
  readonly sizeBytes: number
}

/** Throws `ImageInvalid` for what is no image, and what the source throws. */
export async function inspectAt(
  source: ContentSource,
  reference: string,
  wanted: Platform = hostPlatform(),
  signal?: AbortSignal,
): Promise<Inspected> {
  const root = await fetchNode(source, reference, signal)
  const entries = isIndexType(root.mediaType) ? platformEntries(root) : []
  const node = isIndexType(root.mediaType) ? await childFor(source, root, wanted, signal) : root
  const manifest = parseManifest(node.bytes, node.mediaType)
  if (manifest.kind !== 'image') throw new ImageInvalid('indexes are nested; look at one of them by its digest')
  const { digest, sizeBytes } = manifest.config
  if (sizeBytes > CONFIG_LIMIT_BYTES) throw new ImageInvalid(`the image's configuration has ${sizeBytes} bytes`)
  const chunks: Uint8Array[] = []
  for await (const chunk of verified(digest, sizeBytes, source.blob({ digest, sizeBytes }, { signal })))
    chunks.push(chunk)
  return {
    digest: digestOf(node.bytes),
    mediaType: node.mediaType,
    manifest,
    config: JSON.parse(Buffer.concat(chunks).toString('utf8')) as Inspected['config'],
    platforms: entries.flatMap(({ platform }) =>
      platform && platform.os !== 'unknown' ? [printPlatform(platform)] : [],
    ),
  }
}

async function childFor(source: ContentSource, root: Node, wanted: Platform, signal?: AbortSignal): Promise<Node> {
  const entries = platformEntries(root)
  const chosen = choosePlatform(entries, wanted)
  if (chosen) return await fetchChild(source, chosen, signal)
  const offered = entries.flatMap(({ platform }) => (platform ? [printPlatform(platform)] : []))
  throw new ImageInvalid(
    `the image is not for ${printPlatform(wanted)}; choose with --platform one of ${offered.join(', ')}`,
  )
}

/** The newest step first, as docker lists them. */
export function historyOf({ manifest, config }: Inspected): readonly HistoryEntry[] {
  const { history } = config
  const sizes = manifest.layers.map(({ sizeBytes }) => sizeBytes)
  if (!Array.isArray(history))
    return sizes.map((sizeBytes) => ({ created: '', createdBy: '', comment: '', sizeBytes })).reverse()
  const text = (value: unknown): string => (typeof value === 'string' ? value : '')
  return history
    .map((step: Readonly<Record<string, unknown>> | null) => ({
      created: text(step?.['created']),
      createdBy: text(step?.['created_by']),
      comment: text(step?.['comment']),
      sizeBytes: step?.['empty_layer'] === true ? 0 : (sizes.shift() ?? 0),
    }))
    .reverse()
}
