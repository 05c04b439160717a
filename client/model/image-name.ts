/** An image as a person names it: `HOST[:PORT]/NAME[:TAG][@DIGEST]`. There is no default registry: what is pulled is what was written. */
import { type Digest, parseDigest } from '../../storage/model/digest.ts'
import { parseRepositoryName, parseTag, type RepositoryName, type Tag } from '../../storage/model/reference.ts'

export interface ImageName {
  readonly registry: string
  readonly repository: RepositoryName
  readonly tag?: Tag
  /** Wins over the tag. */
  readonly digest?: Digest
}

/** The text names no image; the message says what would. */
export class ImageNameError extends Error {
  override readonly name = 'ImageNameError'
}

export function parseImageName(text: string): ImageName {
  const [, registry, rest = ''] = /^([^/]+)\/(.+)$/.exec(text) ?? []
  if (registry === undefined || !looksLikeHost(registry))
    throw new ImageNameError(
      `${JSON.stringify(text)} names no registry: write HOST[:PORT]/${text === '' ? 'NAME' : text}, for example localhost:5000/${text || 'hello'}`,
    )
  try {
    const [named = '', digest, ...more] = rest.split('@')
    if (more.length > 0) throw new Error('more than one "@"')
    const colon = named.indexOf(':')
    const repository = parseRepositoryName(colon < 0 ? named : named.slice(0, colon))
    if (digest !== undefined)
      return {
        registry,
        repository,
        digest: parseDigest(digest),
        ...(colon < 0 ? {} : { tag: parseTag(named.slice(colon + 1)) }),
      }
    return { registry, repository, tag: parseTag(colon < 0 ? 'latest' : named.slice(colon + 1)) }
  } catch (cause) {
    throw new ImageNameError(`${JSON.stringify(text)} is no image name: ${(cause as Error).message}`, { cause })
  }
}

/** `HOST[:PORT]`. */
export function parseRegistry(text: string): string {
  const host = text.replace(/^https?:\/\//, '').replace(/\/+$/, '')
  if (!looksLikeHost(host))
    throw new ImageNameError(`${JSON.stringify(text)} is no registry: write HOST[:PORT], for example localhost:5000`)
  return host
}

/** `HOST[:PORT]/NAME`, without a tag. */
export function parseRepository(text: string): Pick<ImageName, 'registry' | 'repository'> {
  const { registry, repository, ...more } = parseImageName(text)
  if (more.digest !== undefined || text.lastIndexOf(':') > text.lastIndexOf('/'))
    throw new ImageNameError(
      `${JSON.stringify(text)} has a tag or a digest; the repository is ${registry}/${repository}`,
    )
  return { registry, repository }
}

/** The one spelling under which an image is kept. */
export function printImageName({ registry, repository, tag, digest }: ImageName): string {
  return `${registry}/${repository}${digest === undefined ? `:${tag}` : `@${digest}`}`
}

/** As docker decides: a dot, a port, or localhost. */
function looksLikeHost(text: string): boolean {
  const host = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:([0-9]{1,5}))?$/.exec(text)
  if (host === null || Number(host[4] ?? 0) > 65535) return false
  return text === 'localhost' || text.includes('.') || text.includes(':')
}
