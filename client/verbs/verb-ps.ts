/** `gantry ps`. */
import { CONTAINER_FILTERS, filterContainers, parseFilters } from '../containers/filters.ts'
import { openHouse } from '../containers/house.ts'
import { parseInteger } from '../containers/quantities.ts'
import { sizesOf } from '../containers/sizes.ts'
import { containerState, isAlive } from '../containers/state.ts'
import { type Summarized, summaryFields } from '../containers/summary.ts'
import { printBytes } from '../images/progress.ts'
import type { Output } from './output.ts'
import { type ListingFlags, printListing } from './templates/listing.ts'

export interface PsFlags extends ListingFlags {
  readonly root: string
  readonly all?: boolean
  readonly latest?: boolean
  readonly last?: string
  /** False: --no-trunc. */
  readonly trunc: boolean
  readonly filter: readonly string[]
  readonly size?: boolean
}

const HEADINGS = { ID: 'CONTAINER ID', RunningFor: 'CREATED', CreatedAt: 'CREATED AT', LocalVolumes: 'LOCAL VOLUMES' }
const COLUMNS = ['ID', 'Image', 'Command', 'RunningFor', 'Status', 'Ports', 'Names']
const EVERY = new Set(['status', 'exited'])

export async function psVerb(flags: PsFlags, output: Output): Promise<void> {
  const filters = parseFilters(flags.filter, CONTAINER_FILTERS)
  const { containers } = await openHouse(flags.root)
  const { whole, damaged } = await containers.inventory()
  for (const { id, error } of damaged)
    output.note(`gantry: ${error.message}; if it cannot be mended, remove it with \`gantry rm -f ${id.slice(0, 12)}\``)
  const all = await Promise.all(
    whole.map(
      async (record): Promise<Summarized> => ({ record, state: await containerState(containers.folder(record.id)) }),
    ),
  )
  const count = flags.latest ? 1 : parseInteger(flags.last ?? '-1', '--last', -1)
  const wantsAll = flags.all || count >= 0 || [...filters.keys()].some((key) => EVERY.has(key))
  const chosen = filterContainers(all, filters)
    .filter(({ state }) => wantsAll || isAlive(state))
    .toReversed()
  const now = new Date()
  const shown = count >= 0 ? chosen.slice(0, count) : chosen
  const sizes = new Map<string, string>()
  if (flags.size || /\.Size\b/.test(flags.format ?? ''))
    for (const { record } of shown) {
      const { writtenBytes, rootBytes } = await sizesOf(record, containers.folder(record.id))
      sizes.set(record.id, `${printBytes(writtenBytes)} (virtual ${printBytes(rootBytes)})`)
    }
  printListing(
    shown,
    {
      columns: flags.size ? [...COLUMNS, 'Size'] : COLUMNS,
      headings: HEADINGS,
      fields: (each) => ({
        ...summaryFields(each, now, !flags.trunc),
        Size: sizes.get(each.record.id) ?? '',
        Label: (name: string) => ({ ...each.record.process.Labels, ...each.record.request.labels })[name] ?? '',
      }),
      quiet: ({ record }) => (flags.trunc ? record.id.slice(0, 12) : record.id),
    },
    flags,
    output,
  )
}
