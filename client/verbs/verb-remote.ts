/** `gantry sync` and `gantry delete`: what is in registries, and never in the local store. */

import { sync } from '../images/sync.ts'
import { parseImageName, printImageName } from '../model/image-name.ts'
import { openRepository } from '../registry/registry-access.ts'
import type { ProgressFlags } from './flags.ts'
import type { Output } from './output.ts'

export interface SyncFlags extends ProgressFlags {
  readonly plainHttp?: boolean
  readonly tags?: string
  readonly referrers?: boolean
}

export async function syncVerb(from: string, to: string, flags: SyncFlags, output: Output): Promise<void> {
  const stop = new AbortController()
  const interrupt = (): void => stop.abort(new Error('interrupted; what is copied is not copied again'))
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  try {
    const all = await sync(from, to, {
      plainHttp: flags.plainHttp,
      signal: stop.signal,
      referrers: flags.referrers ?? false,
      ...(flags.tags === undefined ? {} : { tags: new RegExp(`^(?:${flags.tags})$`) }),
      onTag: ({ repository, tag, outcome, error }) => {
        if (error) output.note(`gantry: ${repository}:${tag}: ${error.message}`)
        else if (!flags.quiet && !flags.json) output.line(`${outcome === 'same' ? '=' : '+'} ${repository}:${tag}`)
      },
    })
    const count = (outcome: string): number => all.filter((each) => each.outcome === outcome).length
    const [copied, same, failed] = [count('copied'), count('same'), count('failed')]
    if (flags.json)
      output.line(
        JSON.stringify({
          copied,
          same,
          failed,
          tags: all.map(({ error, ...each }) => ({ ...each, ...(error ? { error: error.message } : {}) })),
        }),
      )
    else if (!flags.quiet) output.note(`${copied} tags copied, ${same} the same, ${failed} failed`)
    if (failed > 0) throw new Error(`${failed} of ${all.length} tags could not be copied; run it again for them`)
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

export async function deleteVerb(
  names: readonly string[],
  flags: ProgressFlags & { readonly plainHttp?: boolean },
  output: Output,
): Promise<void> {
  const deleted: string[] = []
  for (const text of names) {
    const name = parseImageName(text)
    await using repository = await openRepository(name.registry, name.repository, flags)
    await repository.deleteManifest(name.digest ?? name.tag ?? '')
    deleted.push(printImageName(name))
    if (!flags.json) output.line(`Deleted: ${printImageName(name)}`)
  }
  if (flags.json) output.line(JSON.stringify({ deleted }))
}
