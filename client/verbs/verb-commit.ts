/** `gantry commit`: the id of the new image on stdout, as docker prints it. */
import { commitContainer } from '../containers/commit.ts'
import { openHouse } from '../containers/house.ts'
import { parseImageName } from '../model/image-name.ts'
import type { CommonFlags } from './flags.ts'
import type { Output } from './output.ts'
import { showingProgress } from './progress-shown.ts'

export interface CommitFlags extends CommonFlags {
  readonly root: string
  readonly author?: string
  readonly change: readonly string[]
  readonly message?: string
  readonly pause: boolean
}

export async function commitVerb(
  container: string,
  text: string | undefined,
  flags: CommitFlags,
  output: Output,
): Promise<void> {
  const name = text === undefined ? undefined : parseImageName(text)
  const house = await openHouse(flags.root)
  const { author, message, change: changes } = flags
  const image = await showingProgress({ progress: 'auto' }, 'no image was made', ({ signal }) =>
    commitContainer(house, container, name, {
      changes,
      ...(flags.pause ? {} : { pause: false }),
      onUnfrozen: () =>
        output.note(
          `gantry: ${container} runs on while it is read, because there is no control group to freeze it in: what it writes just now may be half there`,
        ),
      signal,
      ...(author === undefined ? {} : { author }),
      ...(message === undefined ? {} : { message }),
    }),
  )
  const { id, manifestDigest: digest, sizeBytes } = image
  output.line(flags.json ? JSON.stringify({ name: image.name, id, digest, sizeBytes }) : id)
}
