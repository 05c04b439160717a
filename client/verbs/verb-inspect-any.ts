/** `gantry inspect`: containers, volumes and images, whatever goes by the name, in this order. */
import { type House, openHouse } from '../containers/house.ts'
import { inspectContainer } from '../containers/inspect.ts'
import { look } from '../containers/lifecycle.ts'
import { limitsNotInForce } from '../containers/limits.ts'
import { sizesOf } from '../containers/sizes.ts'
import { isImageId } from '../images/images.ts'
import type { PullFlags } from './flags.ts'
import type { Output } from './output.ts'
import { printDocuments } from './templates/listing.ts'

export interface InspectAnyFlags extends Omit<PullFlags, 'progress'> {
  readonly root: string
  readonly format?: string
  readonly size?: boolean
  readonly type?: 'container' | 'volume' | 'image'
}

export async function inspectVerb(
  references: readonly string[],
  flags: InspectAnyFlags,
  output: Output,
): Promise<void> {
  const house = await openHouse(flags.root)
  await printFound(references, (reference) => inspect(house, reference, flags), flags.format, output)
}

/** Prints what was found, also if something was not; throws what was not. */
export async function printFound(
  references: readonly string[],
  find: (reference: string) => Promise<object>,
  format: string | undefined,
  output: Output,
): Promise<void> {
  const found: object[] = []
  const failures: unknown[] = []
  for (const reference of references) {
    try {
      found.push(await find(reference))
    } catch (error) {
      failures.push(error)
    }
  }
  if (found.length > 0 || !format) printDocuments(found, format, output)
  if (failures.length > 1) throw new AggregateError(failures)
  if (failures.length === 1) throw failures[0]
}

async function inspect(house: House, reference: string, flags: InspectAnyFlags): Promise<object> {
  const { type } = flags
  if (type === 'volume') return await inspectVolume(house, reference)
  if (type === 'image') return await image(reference, flags)
  try {
    const { record, state, folder } = await look(house, reference)
    const sizes = flags.size ? await sizesOf(record, folder) : undefined
    return inspectContainer(record, state, folder, limitsNotInForce(folder), sizes)
  } catch (error) {
    if (type === 'container' || (error as Error).name !== 'NoSuchContainer') throw error
  }
  if (/[/:]/.test(reference)) return await image(reference, flags) // an image is written with its registry, or its place
  return await inspectVolume(house, reference).catch(async (cause: unknown) => {
    if (isImageId(reference)) return await image(reference, flags)
    throw new Error(
      `no such object: ${reference}; \`gantry ps -a\`, \`gantry volume ls\` and \`gantry images\` list what is here`,
      { cause },
    )
  })
}

async function image(reference: string, flags: InspectAnyFlags): Promise<object> {
  const { imageDocument } = await import('./image-document.ts')
  return await imageDocument(reference, flags)
}

/** Docker's document of a volume. */
export async function inspectVolume({ volumes }: House, name: string): Promise<object> {
  const { created, labels, folder } = await volumes.get(name)
  return {
    CreatedAt: created,
    Driver: 'local',
    Labels: labels,
    Mountpoint: folder,
    Name: name,
    Options: {},
    Scope: 'local',
  }
}
