/** `gantry artifact push|pull|attach|discover`. */
import { discoverArtifacts, parseArtifactFile, pullArtifact, pushArtifact } from '../images/artifact.ts'
import { type ImageName, parseImageName, printImageName } from '../model/image-name.ts'
import { openRepository } from '../registry/registry-access.ts'
import type { CommonFlags } from './flags.ts'
import { type Output, table } from './output.ts'

export interface ArtifactFlags extends CommonFlags {
  readonly plainHttp?: boolean
  readonly artifactType?: string
  readonly annotation?: readonly string[]
  readonly output?: string
}

const referenceOf = ({ digest, tag }: ImageName): string => digest ?? tag ?? ''

export async function artifactPushVerb(
  text: string,
  files: readonly string[],
  flags: ArtifactFlags & { readonly artifactType: string },
  output: Output,
): Promise<void> {
  const name = parseImageName(text)
  if (name.tag === undefined) throw new Error('an artifact is pushed under a tag: write HOST/NAME:TAG')
  await using repository = await openRepository(name.registry, name.repository, flags)
  const digest = await pushArtifact(repository, { ...contentOf(files, flags), tag: name.tag })
  say(digest, printImageName(name), flags, output)
}

export async function artifactAttachVerb(
  text: string,
  files: readonly string[],
  flags: ArtifactFlags & { readonly artifactType: string },
  output: Output,
): Promise<void> {
  const name = parseImageName(text)
  await using repository = await openRepository(name.registry, name.repository, flags)
  const digest = await pushArtifact(repository, { ...contentOf(files, flags), subject: referenceOf(name) })
  say(digest, `${repository.label}@${digest}`, flags, output)
}

export async function artifactPullVerb(text: string, flags: ArtifactFlags, output: Output): Promise<void> {
  const name = parseImageName(text)
  await using repository = await openRepository(name.registry, name.repository, flags)
  const { digest, files } = await pullArtifact(repository, referenceOf(name), flags.output ?? '.')
  if (flags.json) return output.line(JSON.stringify({ name: printImageName(name), digest, files }))
  for (const file of files) output.line(file)
}

export async function artifactDiscoverVerb(text: string, flags: ArtifactFlags, output: Output): Promise<void> {
  const name = parseImageName(text)
  await using repository = await openRepository(name.registry, name.repository, flags)
  const found = await discoverArtifacts(repository, referenceOf(name), flags.artifactType)
  if (flags.json) return output.line(JSON.stringify(found, null, 2))
  const rows = found.referrers.map(({ artifactType = '', digest, size }) => [artifactType, digest, String(size)])
  output.line(table([['TYPE', 'DIGEST', 'SIZE'], ...rows]))
}

function contentOf(
  files: readonly string[],
  { artifactType, annotation = [] }: ArtifactFlags & { readonly artifactType: string },
) {
  return { artifactType, files: files.map(parseArtifactFile), annotations: annotationsIn(annotation) }
}

/** `KEY=VALUE`, several times. */
export function annotationsIn(texts: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    texts.map((text) => {
      const [key = '', value] = text.split(/=(.*)/s)
      if (key === '' || value === undefined)
        throw new Error(`${JSON.stringify(text)} is no annotation: write KEY=VALUE`)
      return [key, value]
    }),
  )
}

function say(digest: string, name: string, { json, quiet }: CommonFlags, output: Output): void {
  output.line(json ? JSON.stringify({ name, digest }) : quiet ? digest : `${name}\n${digest}`)
}
