/** `gantry images` and `gantry rmi`. */

import { hexOf } from '../../storage/model/digest.ts'
import { Containers } from '../containers/containers.ts'
import { Images, type LocalImage } from '../images/images.ts'
import { printBytes } from '../images/progress.ts'
import { parseImageName, printImageName } from '../model/image-name.ts'
import { StoreFolders } from '../store/store.ts'
import type { CommonFlags } from './flags.ts'
import { type Output, printAge, table } from './output.ts'

/** `name`: only those of that repository, or of that name and tag. */
export async function imagesVerb(
  name: string | undefined,
  flags: CommonFlags & { readonly root: string; readonly digests?: boolean },
  output: Output,
): Promise<void> {
  const store = await StoreFolders.open(flags.root)
  const { whole, damaged } = await new Images(store).inventory()
  const images = whole.filter(
    (image) => name === undefined || image.name === name || split(image.name).repository === name,
  )
  for (const { problem } of damaged) output.note(`gantry: ${problem}, or remove it with \`gantry rmi\``)
  if (flags.json) return output.line(JSON.stringify(images.map(asJson), null, 2))
  if (flags.quiet) {
    for (const id of new Set(images.map(shortId))) output.line(id)
    return
  }
  const now = new Date()
  const rows = images.map((image) => {
    const { repository, tag } = split(image.name)
    const digest = flags.digests ? [image.manifestDigest] : []
    const created = image.config.created ? printAge(image.config.created, now) : 'unknown'
    return [repository, tag, ...digest, shortId(image), created, printBytes(image.sizeBytes)]
  })
  output.line(
    table([['REPOSITORY', 'TAG', ...(flags.digests ? ['DIGEST'] : []), 'IMAGE ID', 'CREATED', 'SIZE'], ...rows]),
  )
}

/** Those that can go do, whatever happens to the others; then throws what did, an `AggregateError` if it is more than one. */
export async function removeImagesVerb(
  names: readonly string[],
  flags: CommonFlags & { readonly root: string },
  output: Output,
): Promise<void> {
  const store = await StoreFolders.open(flags.root)
  for (const problem of await new Containers(store).cleanUp()) output.note(`gantry: ${problem}`)
  const images = new Images(store)
  const removed: string[] = []
  const failures: unknown[] = []
  for (const name of names) {
    try {
      const gone = await images.remove(name)
      removed.push(...gone)
      if (!flags.json) for (const each of gone) output.line(`Untagged: ${each}`)
    } catch (error) {
      failures.push(error)
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

export async function pruneImagesVerb(
  flags: CommonFlags & { readonly root: string; readonly all?: boolean },
  output: Output,
): Promise<void> {
  const store = await StoreFolders.open(flags.root)
  for (const problem of await new Containers(store).cleanUp()) output.note(`gantry: ${problem}`)
  const pruned = await new Images(store).prune(flags.all ?? false)
  if (flags.json) return output.line(JSON.stringify({ untagged: pruned.names, freedBytes: pruned.freedBytes }))
  for (const name of pruned.names) output.line(`Untagged: ${name}`)
  output.line(`Total reclaimed space: ${printBytes(pruned.freedBytes)}`)
}

const shortId = ({ id }: LocalImage): string => hexOf(id).slice(0, 12)

function split(name: string): { readonly repository: string; readonly tag: string } {
  const [named = '', digest] = name.split('@')
  const colon = named.lastIndexOf(':')
  return digest === undefined
    ? { repository: named.slice(0, colon), tag: named.slice(colon + 1) }
    : { repository: named, tag: '<none>' }
}

function asJson(image: LocalImage): object {
  const { name, id, manifestDigest: digest, sizeBytes, config } = image
  return { name, id, digest, sizeBytes, created: config.created?.toISOString() ?? null, platform: config.platform }
}
