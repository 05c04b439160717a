/** `gantry copy` and `gantry push`: the digest on stdout, what is going on on stderr. */
import type { CopyResult } from '../images/copy.ts'
import { parsePlace } from '../images/places.ts'
import { printBytes } from '../images/progress.ts'
import { copy, push } from '../images/transfer.ts'
import { parseImageName, printImageName } from '../model/image-name.ts'
import type { ProgressFlags, PullFlags } from './flags.ts'
import type { Output } from './output.ts'
import { showingProgress } from './progress-shown.ts'

export interface CopyFlags extends PullFlags {
  readonly all?: boolean
  readonly referrers?: boolean
  readonly preserveDigests?: boolean
}

export async function copyVerb(
  from: string,
  to: string,
  flags: CopyFlags & { readonly root: string },
  output: Output,
): Promise<void> {
  const target = parsePlace(to)
  const toPipe = 'path' in target && target.path === '-' // the answer would be in the archive
  const again = target.kind === 'registry' ? 'what has arrived there is not sent again' : 'nothing half-made is left'
  const result = await showingProgress(flags, again, (shown) => copy(from, to, { ...flags, ...shown }))
  say(result, to, flags, toPipe ? { ...output, line: output.note } : output)
}

export async function pushVerb(
  image: string,
  to: string | undefined,
  flags: ProgressFlags & { readonly root: string; readonly plainHttp?: boolean },
  output: Output,
): Promise<void> {
  const name = printImageName(parseImageName(to ?? image))
  const options = { root: flags.root, plainHttp: flags.plainHttp ?? false, ...(to === undefined ? {} : { to }) }
  const result = await showingProgress(flags, 'what has arrived there is not sent again', (shown) =>
    push(image, { ...options, ...shown }),
  )
  say(result, name, flags, output)
}

function say(result: CopyResult, name: string, { json, quiet }: ProgressFlags, output: Output): void {
  const { sent, mounted, present } = result.blobs
  if (!json && !quiet)
    output.note(
      sent + mounted + present === 0
        ? 'everything was there already'
        : `${sent} blobs sent (${printBytes(result.sentBytes)}), ${mounted} mounted, ${present} already there`,
    )
  output.line(json ? JSON.stringify({ name, ...result }) : quiet ? result.digest : `${name}\n${result.digest}`)
}
