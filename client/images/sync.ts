/** Whole repositories from one registry to another (or into a layout), tag by tag: what is the same there costs two looks. */
import { join } from 'node:path'
import { parseRegistry, parseRepository } from '../model/image-name.ts'
import type { ContentTarget } from '../registry/endpoint.ts'
import { catalog, RegistryRepository } from '../registry/registry.ts'
import { type AccessOptions, openTransport } from '../registry/registry-access.ts'
import { Slots } from '../registry/slots.ts'
import type { Transport } from '../registry/transport.ts'
import { journalFolder, UploadFiles } from '../registry/upload-journal.ts'
import { copyContent } from './copy.ts'
import { Layout } from './layout.ts'

const PARALLEL_TAGS = 3

export interface SyncOptions extends AccessOptions {
  /** What refers to what is copied, too, also where its tag is the same; to registries only. */
  readonly referrers?: boolean
  /** Only tags that it matches. */
  readonly tags?: RegExp
  readonly signal?: AbortSignal
  /** Is told of each tag, as it is done. */
  readonly onTag?: (done: SyncedTag) => void
}

export interface SyncedTag {
  readonly repository: string
  readonly tag: string
  readonly outcome: 'same' | 'copied' | 'failed'
  readonly error?: Error
}

interface SyncPlace {
  readonly registry: string
  /** A repository; or a whole registry, or what is below a name, where there is none. */
  readonly repository?: string
}

type SyncTarget = SyncPlace | { readonly folder: string }

/**
 * One repository to one (`HOST/NAME` to `HOST/NAME`), or all of a registry (`HOST`) to another one, or below a name there; or to `oci:FOLDER`. Every platform is
 * copied. A tag that fails is told of and in nobody's way. Resolves to all that was done; throws only where there is nothing to begin with.
 */
export async function sync(fromText: string, toText: string, options: SyncOptions = {}): Promise<readonly SyncedTag[]> {
  const from = placeIn(fromText)
  const to: SyncTarget = toText.startsWith('oci:') ? { folder: toText.slice('oci:'.length) } : placeIn(toText)
  await using source = await openTransport(from.registry, options, from.repository)
  await using target = 'folder' in to ? undefined : await openTransport(to.registry, options, to.repository)
  const done: SyncedTag[] = []
  for await (const name of from.repository === undefined ? catalog(source, options.signal) : [from.repository]) {
    if (isOurOwn(name, from, to)) continue
    const repository = new RegistryRepository(source, name)
    const at = targetOf(to, target, name, from.repository === undefined, options)
    done.push(
      ...(await syncRepository(repository, at, from.registry === ('registry' in to ? to.registry : ''), options)),
    )
  }
  return done
}

/** A registry, or a repository. */
const placeIn = (text: string): SyncPlace =>
  text.replace(/\/+$/, '').includes('/') ? parseRepository(text) : { registry: parseRegistry(text) }

/** What a sync into the same registry has made would be found by it, and copied below itself, without end. */
const isOurOwn = (name: string, from: SyncPlace, to: SyncTarget): boolean =>
  from.repository === undefined &&
  'registry' in to &&
  to.registry === from.registry &&
  name.startsWith(`${to.repository ?? ''}/`)

function targetOf(
  to: SyncTarget,
  transport: Transport | undefined,
  name: string,
  isWholeRegistry: boolean,
  { environment = process.env }: SyncOptions,
): ContentTarget & { statManifest?: RegistryRepository['statManifest'] } {
  if ('folder' in to) return new Layout(isWholeRegistry ? join(to.folder, ...name.split('/')) : to.folder)
  const below = to.repository === undefined ? name : isWholeRegistry ? `${to.repository}/${name}` : to.repository
  return new RegistryRepository(transport as Transport, below, { journal: new UploadFiles(journalFolder(environment)) })
}

async function syncRepository(
  from: RegistryRepository,
  to: ReturnType<typeof targetOf>,
  isNeighbour: boolean,
  { tags = /^/, referrers = false, signal, onTag }: SyncOptions,
): Promise<readonly SyncedTag[]> {
  const wanted: string[] = []
  for await (const tag of from.tags(signal)) if (tags.test(tag)) wanted.push(tag)
  const slots = new Slots(PARALLEL_TAGS)
  return await Promise.all(
    wanted.map((tag) =>
      slots.run(async () => {
        const done = await syncTag(from, to, tag, { isNeighbour, referrers, signal })
        onTag?.(done)
        return done
      }),
    ),
  )
}

async function syncTag(
  from: RegistryRepository,
  to: ReturnType<typeof targetOf>,
  tag: string,
  { isNeighbour, referrers, signal }: { isNeighbour: boolean; referrers: boolean; signal: AbortSignal | undefined },
): Promise<SyncedTag> {
  const about = { repository: from.name, tag }
  try {
    signal?.throwIfAborted()
    const [here, there] = await Promise.all([from.statManifest(tag, signal), to.statManifest?.(tag, signal)])
    const isSame = here?.digest !== undefined && here.digest === there?.digest
    if (isSame && !referrers) return { ...about, outcome: 'same' }
    const mountFrom = (): readonly string[] => (isNeighbour ? [from.name] : [])
    const request = { from, reference: tag, to, toReference: tag, all: true, referrers, mountFrom, signal }
    const copied = await copyContent(request)
    return { ...about, outcome: isSame && copied.referrers === 0 ? 'same' : 'copied' }
  } catch (error) {
    signal?.throwIfAborted()
    return { ...about, outcome: 'failed', error: error as Error }
  }
}
