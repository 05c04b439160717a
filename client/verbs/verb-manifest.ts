/** `gantry manifest create|annotate|push`. */

import { IndexDraft } from '../images/index-draft.ts'
import { type ImageName, parseImageName, printImageName } from '../model/image-name.ts'
import { printPlatform } from '../model/platform.ts'
import { openRepository } from '../registry/registry-access.ts'
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
  const draft = await IndexDraft.open(parseImageName(text), process.env, !flags.amend)
  for (const image of images) await draft.add(parseImageName(image), flags)
  await draft.save()
  show(draft, flags, output)
}

export async function manifestAnnotateVerb(
  text: string,
  image: string,
  flags: ManifestFlags,
  output: Output,
): Promise<void> {
  const draft = await IndexDraft.open(parseImageName(text), process.env)
  const { os, arch: architecture, variant, annotation = [] } = flags
  const digest = await digestAt(image, draft, flags)
  const before = draft.entries.find((entry) => entry.digest === digest)?.platform
  const changesPlatform = os ?? architecture ?? variant
  draft.annotate(digest, {
    ...(changesPlatform === undefined
      ? {}
      : {
          platform: {
            os: os ?? before?.os ?? 'linux',
            architecture: architecture ?? before?.architecture ?? '',
            ...(variant === undefined ? {} : { variant }),
          },
        }),
    ...(annotation.length > 0 ? { annotations: annotationsIn(annotation) } : {}),
  })
  await draft.save()
  show(draft, flags, output)
}

export async function manifestPushVerb(text: string, flags: ManifestFlags, output: Output): Promise<void> {
  const name: ImageName = parseImageName(text)
  const draft = await IndexDraft.open(name, process.env)
  const digest = await draft.push(flags)
  if (!flags.keep) await draft.discard()
  output.line(
    flags.json ? JSON.stringify({ name: printImageName(name), digest }) : `${printImageName(name)}\n${digest}`,
  )
}

/** An image of the draft: by digest, or by the name it was taken from. */
async function digestAt(text: string, draft: IndexDraft, flags: ManifestFlags) {
  const known = draft.entries.find(({ digest }) => digest === text || text.endsWith(`@${digest}`))
  if (known) return known.digest
  const { registry, repository, digest, tag } = parseImageName(text)
  await using opened = await openRepository(registry, repository, flags)
  const { fetchNode } = await import('../registry/manifest-tree.ts')
  return digest ?? (await fetchNode(opened, tag ?? '')).digest
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
