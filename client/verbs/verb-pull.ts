/** `gantry pull`: the name of the image on stdout, what is going on on stderr. */
import { Containers } from '../containers/containers.ts'
import { Images, type LocalImage } from '../images/images.ts'
import { pullImage } from '../images/pull.ts'
import { type ImageName, parseImageName } from '../model/image-name.ts'
import { openMirrored } from '../registry/registry-access.ts'
import { StoreFolders } from '../store/store.ts'
import type { PullFlags } from './flags.ts'
import type { Output } from './output.ts'
import { showingProgress } from './progress-shown.ts'

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
  const { platform } = flags
  return await showingProgress(flags, 'what has arrived is kept for the next pull', async (shown) => {
    await using source = await openMirrored(name.registry, name.repository, flags)
    return await pullImage({ store, images, source, options: { ...shown, ...(platform ? { platform } : {}) } }, name)
  })
}
