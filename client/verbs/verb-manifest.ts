/** `gantry manifest create|annotate|push`. */

import { IndexDraft } from '../images/index-draft.ts'
import { printPlatform } from '../model/platform.ts'
import type { CommonFlags } from './flags.ts'
import { type Output, table } from './output.ts'
import { annotationsIn } from './verb-artifact.ts'

export interface ManifestFlags extends CommonFlags {
  readonly plainHttp?: boolean
  readonly os?: string
  readonly arch?: string
  readonly variant?: string
  readonly annotation?: readonly string[]
  readonly amend?: boolean
  readonly keep?: boolean
}

export async function manifestCreateVerb(
  text: string,
  images: readonly string[],
  flags: ManifestFlags,
  output: Output,
): Promise<void> {
  const draft = flags.amend ? await IndexDraft.open(text) : new IndexDraft(text)
  for (const image of images) await draft.add(image, flags)
  await draft.save()
  show(draft, flags, output)
}

export async function manifestAnnotateVerb(
  text: string,
  image: string,
  flags: ManifestFlags,
  output: Output,
): Promise<void> {
  const draft = await IndexDraft.open(text)
  const { os, arch: architecture, variant, annotation = [] } = flags
  const platform = { ...(os ? { os } : {}), ...(architecture ? { architecture } : {}), ...(variant ? { variant } : {}) }
  const changes = {
    ...(Object.keys(platform).length > 0 ? { platform } : {}),
    ...(annotation.length > 0 ? { annotations: annotationsIn(annotation) } : {}),
  }
  await draft.annotate(image, changes, flags)
  await draft.save()
  show(draft, flags, output)
}

export async function manifestPushVerb(text: string, flags: ManifestFlags, output: Output): Promise<void> {
  const draft = await IndexDraft.open(text)
  const digest = await draft.push(flags)
  if (!flags.keep) await draft.discard()
  output.line(flags.json ? JSON.stringify({ name: draft.name, digest }) : `${draft.name}\n${digest}`)
}

function show(draft: IndexDraft, { json }: CommonFlags, output: Output): void {
  if (json) return void output.line(JSON.stringify(JSON.parse(draft.bytes().toString('utf8')), null, 2))
  const rows = draft.entries.map(({ platform, digest, registry, repository }) => [
    platform ? printPlatform(platform) : '',
    digest,
    `${registry}/${repository}`,
  ])
  output.line(table([['PLATFORM', 'DIGEST', 'FROM'], ...rows]))
}
