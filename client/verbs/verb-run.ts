/** `gantry run` and `gantry create`: this process's streams, signals and terminal, lent to a container for as long as somebody stays. */
import { writeFile } from 'node:fs/promises'
import { isatty } from 'node:tty'
import type { Container } from '../containers/container.ts'
import { createContainer } from '../containers/create.ts'
import { type House, openHouse } from '../containers/house.ts'
import { removeContainer } from '../containers/lifecycle.ts'
import { RequestError } from '../containers/request-error.ts'
import { StartError, type StartOptions, startContainer } from '../containers/start.ts'
import { Images, type LocalImage } from '../images/images.ts'
import { parseImageName } from '../model/image-name.ts'
import { choosePlatform } from '../model/platform.ts'
import { parseDetachKeys } from './detach-keys.ts'
import { type Output, warningsTo } from './output.ts'
import { type CreateFlags, type RunFlags, requestOf } from './run-request.ts'

/** Resolves to the exit code. */
export async function runVerb(
  image: string,
  command: readonly string[],
  flags: RunFlags & { readonly root: string },
  output: Output,
): Promise<number> {
  if (flags.detach && flags.attach.length > 0)
    throw new RequestError('-a contradicts -d: one attaches to the container, the other leaves it')
  if (!flags.detach && flags.tty && flags.interactive && !isatty(0))
    throw new StartError('the input device is not a TTY; leave -t out, or give it a terminal', 1)
  const detachKeys = parseDetachKeys(flags.detachKeys)
  const house = await openHouse(flags.root)
  const container = await made(house, image, command, flags, output)
  try {
    await keepRecipeIfAsked(house, container, image, flags)
    if (flags.detach) return await leave(house, container, output)
    const { stay } = await import('./verb-attach.ts')
    const left = await stay(
      {
        folder: container.folder,
        terminal: flags.tty ?? false,
        input: inputOf(flags),
        outputs: outputsOf(flags.attach),
      },
      { detachKeys, sigProxy: flags.sigProxy },
      async (beforeStart) => {
        const connection = await startContainer(house, container, {
          detached: false,
          beforeStart,
          ...consoleSize(flags),
          ...warningsTo(output),
        })
        await container.close() // others may do something with it from here on
        return connection
      },
    )
    if (flags.rm && left.how === 'ended') await removed(house, container.id)
    return left.exitCode
  } catch (error) {
    if (!flags.rm) throw error
    await container.close()
    await removed(house, container.id)
    throw error
  } finally {
    await container.close()
  }
}

/** Before it runs: what it does to its own files is nobody else's affair. */
async function keepRecipeIfAsked(house: House, container: Container, image: string, flags: RunFlags): Promise<void> {
  if (process.env['GANTRY_RECIPE'] === undefined) return
  const { keepRecipe, recipeKey } = await import('../containers/recipe.ts')
  const key = recipeKey()
  if (key !== undefined) await keepRecipe(house, container, { key, image, detached: flags.detach ?? false })
}

/** Prints the id, as docker does, before it starts: whatever becomes of it, it can be looked at. */
async function leave(house: House, container: Container, output: Output): Promise<number> {
  output.line(container.id)
  const connection = await startContainer(house, container, { detached: true, ...warningsTo(output) })
  await connection?.[Symbol.asyncDispose]()
  return 0
}

/** Another command may have been faster. */
async function removed(house: House, id: string): Promise<void> {
  await removeContainer(house, id, { force: true, volumes: true }).catch((error: Error) => {
    if (error.name !== 'NoSuchContainer') throw error
  })
}

/** `gantry create`: prints the id. */
export async function createVerb(
  image: string,
  command: readonly string[],
  flags: CreateFlags & { readonly root: string },
  output: Output,
): Promise<void> {
  await using container = await made(await openHouse(flags.root), image, command, flags, output)
  output.line(container.id)
}

async function made(
  house: House,
  image: string,
  command: readonly string[],
  flags: CreateFlags,
  output: Output,
): Promise<Container> {
  const request = await requestOf(command, flags)
  for (const problem of await house.containers.cleanUp()) output.note(`gantry: ${problem}`)
  const container = await createContainer(house, await present(house, image, flags, output), request)
  const { copiedBecause } = container
  if (copiedBecause !== undefined && !flags.quiet)
    output.note(
      `gantry: the container has a whole copy of its image, because no overlay could be mounted (${copiedBecause}): a store on another disk (--root) may do better`,
    )
  if (flags.cidfile === undefined) return container
  try {
    await writeFile(flags.cidfile, container.id, { flag: 'wx' })
    return container
  } catch (cause) {
    await container.remove({ volumes: true })
    await container.close()
    const { code } = cause as NodeJS.ErrnoException
    throw new RequestError(
      `cannot write the id into ${flags.cidfile} (${code})${code === 'EEXIST' ? ': another container’s is there; remove the file if that one has gone' : ''}`,
      125,
      { cause },
    )
  }
}

/** The image, fetched if it is not here, or not for this platform, or is to be fetched in any case. */
async function present({ store }: House, image: string, flags: CreateFlags, output: Output): Promise<LocalImage> {
  const images = new Images(store)
  const found = flags.pull === 'always' ? undefined : await images.findNamed(image)
  const fits = found && (!flags.platform || choosePlatform([found.config], flags.platform))
  if (found && fits && (await images.layers.find(found.config.diffIds)) !== undefined) return found
  if (flags.pull === 'never')
    throw new RequestError(`no image ${image} is here, and --pull=never: fetch it with \`gantry pull ${image}\``)
  if (!flags.quiet && flags.pull !== 'always') output.note(`Unable to find image '${image}' locally`)
  const { pullShowing } = await import('./verb-pull.ts')
  return await pullShowing(store, images, parseImageName(found?.name ?? image), flags)
}

const inputOf = ({ interactive, attach }: RunFlags): boolean =>
  (interactive ?? false) && (attach.length === 0 || attach.some((stream) => stream.toLowerCase() === 'stdin'))

const STREAMS = ['stdin', 'stdout', 'stderr']

function outputsOf(attach: readonly string[]): { readonly stdout: boolean; readonly stderr: boolean } {
  const chosen = attach.map((stream) => stream.toLowerCase())
  const unknown = chosen.find((stream) => !STREAMS.includes(stream))
  if (unknown !== undefined) throw new RequestError(`invalid value ${unknown} for -a: it is stdin, stdout or stderr`)
  const all = chosen.length === 0
  return { stdout: all || chosen.includes('stdout'), stderr: all || chosen.includes('stderr') }
}

function consoleSize(flags: RunFlags): Pick<StartOptions, 'consoleSize'> {
  if (!flags.tty) return {} // and there is no need to make a stream of standard output
  const { isTTY, columns, rows } = process.stdout
  return isTTY && columns > 0 && rows > 0 ? { consoleSize: { columns, rows } } : {}
}
