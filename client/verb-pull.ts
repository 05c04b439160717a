/** `gantry pull`: the name of the image on stdout, what is going on on stderr. */
import { isatty } from 'node:tty'
import { Containers } from './containers/containers.ts'
import type { PullFlags } from './flags.ts'
import { type ImageName, parseImageName } from './image-name.ts'
import { Images, type LocalImage } from './images.ts'
import { type Output, progressOutput } from './output.ts'
import { createProgress, type ProgressStyle } from './progress.ts'
import { pullImage } from './pull.ts'
import { openRepository } from './registry-access.ts'
import { StoreFolders } from './store.ts'

export async function pullVerb(
  image: string,
  flags: PullFlags & { readonly root: string },
  output: Output,
): Promise<void> {
  const name = parseImageName(image)
  const store = await StoreFolders.open(flags.root)
  for (const problem of await new Containers(store).cleanUp()) output.note(`gantry: ${problem}`)
  const pulled = await pullShowing(store, new Images(store), name, flags)
  if (flags.json)
    output.line(
      JSON.stringify({ name: pulled.name, id: pulled.id, digest: pulled.manifestDigest, sizeBytes: pulled.sizeBytes }),
    )
  else if (flags.quiet) output.line(pulled.name)
  else output.line(`${pulled.name}\n${pulled.manifestDigest}`)
}

/** With progress on stderr; an interrupt stops it cleanly. */
export async function pullShowing(
  store: StoreFolders,
  images: Images,
  name: ImageName,
  flags: PullFlags,
): Promise<LocalImage> {
  const stop = new AbortController()
  const interrupt = (): void => stop.abort(new Error('interrupted; what was finished is kept for the next pull'))
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  const progress = createProgress(progressStyle(flags), progressOutput)
  await using source = await openRepository(name.registry, name.repository, flags)
  try {
    return await pullImage(
      {
        store,
        images,
        source,
        options: {
          ...(flags.platform ? { platform: flags.platform } : {}),
          signal: stop.signal,
          onProgress: (event) => progress.event(event),
        },
      },
      name,
    )
  } finally {
    progress.end()
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

function progressStyle({ quiet, progress }: PullFlags): ProgressStyle {
  if (quiet) return 'quiet'
  if (progress !== 'auto') return progress
  return isatty(2) && process.env['TERM'] !== 'dumb' ? 'tty' : 'plain'
}
