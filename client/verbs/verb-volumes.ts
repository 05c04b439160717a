/** `gantry volume …`. */
import { hasLabels, isLabelled, parseFilters } from '../containers/filters.ts'
import { type House, openHouse } from '../containers/house.ts'
import { parseKeyValues } from '../containers/policies.ts'
import { RequestError } from '../containers/request-error.ts'
import type { Volume } from '../containers/volumes.ts'
import type { Output } from './output.ts'
import { type ListingFlags, printListing } from './templates/listing.ts'
import { inspectVolume, printFound } from './verb-inspect-any.ts'

interface Rooted {
  readonly root: string
}

export interface CreateVolumeFlags {
  readonly label: readonly string[]
  readonly opt: readonly string[]
}

/** Throws `RequestError` for options, which volumes here do not have. */
export async function createVolumeVerb(
  name: string | undefined,
  flags: Rooted & CreateVolumeFlags,
  output: Output,
): Promise<void> {
  if (flags.opt.length > 0)
    throw new RequestError(
      `a volume is a folder, and has no options such as ${flags.opt[0]}: for memory use --tmpfs, for a folder of this machine -v FOLDER:PATH`,
      1,
    )
  const { volumes } = await openHouse(flags.root)
  const volume = await volumes.create(name || undefined, parseKeyValues(flags.label, '--label'), !name)
  output.line(volume.name)
}

const COLUMNS = ['Driver', 'Name']
const HEADINGS = { Name: 'VOLUME NAME' }

export async function listVolumesVerb(
  flags: Rooted & ListingFlags & { readonly filter: readonly string[] },
  output: Output,
): Promise<void> {
  const filters = parseFilters(flags.filter, ['name', 'label', 'dangling', 'driver'])
  const house = await openHouse(flags.root)
  const used = await usedVolumes(house)
  const dangling = filters.get('dangling')?.at(-1)
  if (dangling !== undefined && !/^(0|1|true|false)$/i.test(dangling))
    throw new RequestError(`invalid filter 'dangling=${dangling}': it is true or false`, 1)
  const chosen = (await house.volumes.list()).filter(
    ({ name, labels }) =>
      (filters.get('name')?.some((part) => name.includes(part)) ?? true) &&
      (filters.get('driver')?.includes('local') ?? true) &&
      hasLabels(labels, filters.get('label') ?? []) &&
      (dangling === undefined || /^(1|true)$/i.test(dangling) !== used.has(name)),
  )
  printListing(
    chosen,
    {
      columns: COLUMNS,
      headings: HEADINGS,
      fields: ({ name, labels, folder }) => ({
        Name: name,
        Driver: 'local',
        Scope: 'local',
        Mountpoint: folder,
        Labels: Object.entries(labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(','),
      }),
      quiet: ({ name }) => name,
    },
    flags,
    output,
  )
}

export async function inspectVolumesVerb(
  names: readonly string[],
  flags: Rooted & { readonly format?: string },
  output: Output,
): Promise<void> {
  const house = await openHouse(flags.root)
  await printFound(names, (name) => inspectVolume(house, name), flags.format, output)
}

export async function removeVolumesVerb(
  names: readonly string[],
  flags: Rooted & { readonly force?: boolean },
  output: Output,
): Promise<void> {
  const house = await openHouse(flags.root)
  await house.containers.cleanUp()
  const failures: unknown[] = []
  for (const name of names) {
    try {
      await house.volumes.remove(name, (volume) => house.containers.usersOf(volume))
      output.line(name)
    } catch (error) {
      if (flags.force && (error as Error).name === 'NoSuchVolume') output.line(name)
      else failures.push(error)
    }
  }
  if (failures.length > 1) throw new AggregateError(failures)
  if (failures.length === 1) throw failures[0]
}

/** Those that no container names, and with neither a name of their own nor --all only anonymous ones. */
export async function pruneVolumesVerb(
  flags: Rooted & { readonly all?: boolean; readonly force?: boolean; readonly filter: readonly string[] },
  output: Output,
): Promise<void> {
  const filters = parseFilters(flags.filter, ['label', 'label!'])
  if (!flags.force) {
    const { confirm } = await import('./confirm.ts')
    const which = flags.all ? 'all volumes' : 'all volumes without a name'
    if (!(await confirm(`This removes ${which} that no container uses.`, output))) return
  }
  const house = await openHouse(flags.root)
  await house.containers.cleanUp()
  await house.volumes.cleanUp()
  const isChosen = ({ anonymous, labels }: Volume): boolean => (flags.all || anonymous) && isLabelled(labels, filters)
  for (const volume of (await house.volumes.list()).filter(isChosen))
    if (await house.volumes.removeUnused(volume.name, (name) => house.containers.usersOf(name)))
      output.line(volume.name)
}

async function usedVolumes({ containers }: House): Promise<ReadonlySet<string>> {
  const records = await containers.list()
  return new Set(records.flatMap(({ mounts }) => mounts.flatMap(({ volume }) => volume?.name ?? [])))
}
