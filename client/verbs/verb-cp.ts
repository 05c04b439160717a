/** `gantry cp`. */
import { resolve } from 'node:path'
import { isatty } from 'node:tty'
import { copyIn, copyOut } from '../containers/copy-files.ts'
import { type House, openHouse } from '../containers/house.ts'
import { RequestError } from '../containers/request-error.ts'

export interface CpFlags {
  readonly root: string
  readonly archive?: boolean
  readonly followLink?: boolean
}

/** One of the two is `CONTAINER:PATH`. */
export async function cpVerb(source: string, target: string, flags: CpFlags): Promise<void> {
  const [from, to] = [containerPath(source), containerPath(target)]
  if (from && to)
    throw new RequestError('copying between containers is not supported: copy to a folder of this machine first', 1)
  const house = await openHouse(flags.root)
  if (from && target === '-') return await sendArchive(house, from, flags)
  if (to && source === '-') return await receiveArchive(house, to)
  const options = { keepOwners: flags.archive ?? false, followLink: flags.followLink ?? false }
  if (from) await copyOut(house, from.container, from.path, local(target), options)
  else if (to) await copyIn(house, local(source), to.container, to.path, options)
  else throw new RequestError('one of the two must be in a container: write CONTAINER:PATH', 1)
}

async function sendArchive(house: House, { container, path }: InContainer, flags: CpFlags): Promise<void> {
  if (isatty(1)) throw new RequestError('a tar is nothing for a terminal: send it to a file or a pipe', 1)
  const { copyOutArchive } = await import('../containers/copy-archive.ts')
  await copyOutArchive(house, container, path, process.stdout, { followLink: flags.followLink ?? false })
}

async function receiveArchive(house: House, { container, path }: InContainer): Promise<void> {
  const { copyInArchive } = await import('../containers/copy-archive.ts')
  await copyInArchive(house, process.stdin, container, path)
}

interface InContainer {
  readonly container: string
  readonly path: string
}

/** A path beginning with `/` or `.` is one of this machine, whatever colons it has. */
function containerPath(text: string): InContainer | undefined {
  if (/^[/.]|^-$/.test(text)) return undefined
  const [container = '', path] = text.split(/:(.*)/s)
  if (path === '') throw new RequestError(`${text} names no path in the container: write ${text}/ for all of it`, 1)
  return path === undefined ? undefined : { container, path }
}

/** What the end of it says is kept: a slash, or `/.`. */
function local(path: string): string {
  const [end = ''] = /\/\.?$/.exec(path) ?? []
  const absolute = resolve(path)
  return path === '.' ? `${absolute}/.` : absolute === '/' ? '/' : `${absolute}${end}`
}
