/** `gantry history` and `gantry manifest inspect`: of the local store, else of wherever the name says. */
import { hexOf } from '../../storage/model/digest.ts'
import { historyOf } from '../images/inspection.ts'
import { inspect, manifest } from '../images/look.ts'
import { printBytes } from '../images/progress.ts'
import type { PullFlags } from './flags.ts'
import { type Output, printAge } from './output.ts'
import { type ListingFlags, printListing } from './templates/listing.ts'

export type InspectFlags = Omit<PullFlags, 'progress'> & {
  readonly root: string
  readonly noTrunc?: boolean
  readonly raw?: boolean
}

/** Docker's list; only the newest step has an id, the image's own. */
export async function historyVerb(
  name: string,
  flags: InspectFlags & Pick<ListingFlags, 'format' | 'quiet'>,
  output: Output,
): Promise<void> {
  const image = await inspect(name, flags)
  const steps = historyOf(image)
  if (flags.json) return output.line(JSON.stringify(steps, null, 2))
  const now = new Date()
  const id = flags.noTrunc ? image.manifest.config.digest : hexOf(image.manifest.config.digest).slice(0, 12)
  printListing(
    steps.map((step, i) => ({ ...step, id: i === 0 ? id : '<missing>' })),
    {
      columns: ['ID', 'CreatedSince', 'CreatedBy', 'Size', 'Comment'],
      headings: { ID: 'IMAGE', CreatedSince: 'CREATED' },
      fields: ({ id, created, createdBy, sizeBytes, comment }) => ({
        ID: id,
        CreatedSince: Number.isNaN(Date.parse(created)) ? 'unknown' : printAge(new Date(created), now),
        CreatedAt: created,
        CreatedBy: flags.noTrunc ? createdBy : shortened(createdBy),
        Size: printBytes(sizeBytes),
        Comment: comment,
      }),
      quiet: ({ id }) => id,
    },
    flags,
    output,
  )
}

/** The manifest as it is: byte for byte with `--raw`. */
export async function manifestInspectVerb(name: string, flags: InspectFlags, output: Output): Promise<void> {
  const { bytes } = await manifest(name, flags)
  output.line(flags.raw ? bytes.toString('utf8') : JSON.stringify(JSON.parse(bytes.toString('utf8')), null, 2))
}

const LONGEST_COMMAND = 60
const shortened = (text: string): string =>
  text.length > LONGEST_COMMAND ? `${text.slice(0, LONGEST_COMMAND - 1)}…` : text
