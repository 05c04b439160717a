/** `gantry images` and `gantry rmi`. */

import { matchesGlob } from 'node:path'
import { hexOf } from '../../storage/model/digest.ts'
import { Containers } from '../containers/containers.ts'
import { type Filters, hasLabels, isLabelled, parseFilters } from '../containers/filters.ts'
import { RequestError } from '../containers/request-error.ts'
import { Images, type LocalImage, NoSuchImage } from '../images/images.ts'
import { printBytes } from '../images/progress.ts'
import { parseImageName, printImageName } from '../model/image-name.ts'
import { StoreFolders } from '../store/store.ts'
import type { CommonFlags } from './flags.ts'
import { moment } from './moments.ts'
import { type Output, printAge } from './output.ts'
import { type ListingFlags, printListing } from './templates/listing.ts'

export interface ImagesFlags extends ListingFlags {
  readonly root: string
  readonly digests?: boolean
  /** False: --no-trunc. */
  readonly trunc: boolean
  readonly filter: readonly string[]
}

const HEADINGS = { ID: 'IMAGE ID', CreatedSince: 'CREATED', CreatedAt: 'CREATED AT' }

/** `name`: only those of that repository, or of that name and tag; `*` in it is anything but a slash. */
export async function imagesVerb(name: string | undefined, flags: ImagesFlags, output: Output): Promise<void> {
  const filters = parseFilters(flags.filter, ['reference', 'label', 'dangling', 'before', 'since'])
  const store = await StoreFolders.open(flags.root)
  const all = new Images(store)
  const { whole, damaged } = await all.inventory()
  const limit = async (key: string): Promise<number | undefined> => {
    const reference = filters.get(key)?.at(-1)
    if (reference === undefined) return undefined
    const found = await all.findNamed(reference)
    if (found === undefined) throw new NoSuchImage(`no image ${reference} is here; \`gantry images\` lists them`)
    return madeAt(found)
  }
  const [before = Number.POSITIVE_INFINITY, since = Number.NEGATIVE_INFINITY] = [
    await limit('before'),
    await limit('since'),
  ]
  const images = whole.filter(
    (image) =>
      (name === undefined || isCalled(image, name)) &&
      isChosen(image, filters) &&
      madeAt(image) < before &&
      madeAt(image) > since,
  )
  images.sort((a, b) => madeAt(b) - madeAt(a)) // as docker, the newest first
  for (const { problem } of damaged) output.note(`gantry: ${problem}, or remove it with \`gantry rmi\``)
  if (flags.json) return output.line(JSON.stringify(images.map(asJson), null, 2))
  const now = new Date()
  const shownId = (image: LocalImage): string => (flags.trunc ? shortId(image) : image.id)
  const isFirst = (image: LocalImage, i: number): boolean => images.findIndex(({ id }) => id === image.id) === i
  printListing(
    flags.quiet ? images.filter(isFirst) : images,
    {
      columns: ['Repository', 'Tag', ...(flags.digests ? ['Digest'] : []), 'ID', 'CreatedSince', 'Size'],
      headings: HEADINGS,
      fields: (image) => {
        const { created } = image.config
        const { repository, tag } = split(image.name)
        return {
          Repository: repository,
          Tag: tag,
          Digest: image.manifestDigest,
          ID: shownId(image),
          CreatedSince: created ? printAge(created, now) : 'unknown',
          CreatedAt: created ? `${created.toISOString().slice(0, 19).replace('T', ' ')} +0000 UTC` : 'unknown',
          Size: printBytes(image.sizeBytes),
        }
      },
      quiet: shownId,
    },
    flags,
    output,
  )
}

/** In milliseconds since 1970: one that does not say when it was made is the oldest. */
const madeAt = ({ config }: LocalImage): number => config.created?.getTime() ?? 0

/** By its repository, or with its tag; `*` is anything but a slash. */
const isCalled = ({ name }: Pick<LocalImage, 'name'>, pattern: string): boolean =>
  [name, split(name).repository].some((each) => each === pattern || matchesGlob(each, pattern))

function isChosen({ name, config }: LocalImage, filters: Filters): boolean {
  const { tag } = split(name)
  const dangling = filters.get('dangling')?.at(-1)
  if (dangling !== undefined && !/^(0|1|true|false)$/i.test(dangling))
    throw new RequestError(`invalid filter 'dangling=${dangling}': it is true or false`, 1)
  return (
    (filters.get('reference')?.some((pattern) => isCalled({ name }, pattern)) ?? true) &&
    hasLabels(config.process.Labels ?? {}, filters.get('label') ?? []) &&
    (dangling === undefined || /^(1|true)$/i.test(dangling) === (tag === NO_TAG))
  )
}

/** Those that can go do, whatever happens to the others (with --force one that is not there is no error, and told of); then throws what did, an `AggregateError` if it is more than one. */
export async function removeImagesVerb(
  names: readonly string[],
  flags: CommonFlags & { readonly root: string; readonly force?: boolean },
  output: Output,
): Promise<void> {
  const { force = false } = flags
  const store = await StoreFolders.open(flags.root)
  for (const problem of await new Containers(store).cleanUp()) output.note(`gantry: ${problem}`)
  const images = new Images(store)
  const removed: string[] = []
  const failures: unknown[] = []
  for (const name of names) {
    try {
      const gone = await images.remove(name, { force })
      removed.push(...gone)
      if (!flags.json) for (const each of gone) output.line(`Untagged: ${each}`)
    } catch (error) {
      if (force && error instanceof NoSuchImage) output.note(`gantry: ${error.message}`)
      else failures.push(error)
    }
  }
  if (flags.json) output.line(JSON.stringify({ untagged: removed }))
  if (failures.length > 1) throw new AggregateError(failures)
  if (failures.length === 1) throw failures[0]
}

/** Another name for an image of the local store. */
export async function tagVerb(
  from: string,
  to: string,
  flags: CommonFlags & { readonly root: string },
  output: Output,
): Promise<void> {
  const name = parseImageName(to)
  const { id } = await new Images(await StoreFolders.open(flags.root)).tag(from, name)
  if (flags.json) output.line(JSON.stringify({ name: printImageName(name), id }))
}

/** Those that `--filter` of a prune means, by their labels and their age: one that does not say when it was made is old. Throws `RequestError`. */
export function meantByFilters(texts: readonly string[]): (image: LocalImage) => boolean {
  const filters = parseFilters(texts, ['label', 'label!', 'until'])
  const until = filters.get('until')?.at(-1)
  const latestMs = until === undefined ? Number.POSITIVE_INFINITY : Date.parse(moment(until, new Date()))
  return (image) => isLabelled(image.config.process.Labels ?? {}, filters) && madeAt(image) <= latestMs
}

export async function pruneImagesVerb(
  flags: CommonFlags & { readonly root: string; readonly all?: boolean; readonly filter: readonly string[] },
  output: Output,
): Promise<void> {
  const isMeant = meantByFilters(flags.filter)
  const store = await StoreFolders.open(flags.root)
  for (const problem of await new Containers(store).cleanUp()) output.note(`gantry: ${problem}`)
  const pruned = await new Images(store).prune(flags.all ?? false, isMeant)
  if (flags.json) return output.line(JSON.stringify({ untagged: pruned.names, freedBytes: pruned.freedBytes }))
  for (const name of pruned.names) output.line(`Untagged: ${name}`)
  output.line(`Total reclaimed space: ${printBytes(pruned.freedBytes)}`)
}

const NO_TAG = '<none>'

const shortId = ({ id }: LocalImage): string => hexOf(id).slice(0, 12)

function split(name: string): { readonly repository: string; readonly tag: string } {
  const [named = '', digest] = name.split('@')
  const colon = named.lastIndexOf(':')
  return digest === undefined
    ? { repository: named.slice(0, colon), tag: named.slice(colon + 1) }
    : { repository: named, tag: NO_TAG }
}

function asJson(image: LocalImage): object {
  const { name, id, manifestDigest: digest, sizeBytes, config } = image
  return { name, id, digest, sizeBytes, created: config.created?.toISOString() ?? null, platform: config.platform }
}
