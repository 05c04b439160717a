/** `gantry cp`. */
import { resolve } from 'node:path'
import { copyIn, copyOut } from '../containers/copy-files.ts'
import { openHouse } from '../containers/house.ts'
import { RequestError } from '../containers/request-error.ts'

export interface CpFlags {
  readonly root: string
  readonly archive?: boolean
  readonly followLink?: boolean
}

/** One of the two is `CONTAINER:PATH`. */
export async function cpVerb(source: string, target: string, flags: CpFlags): Promise<void> {
  const [from, to] = [containerPath(source), containerPath(target)]
  if (source === '-' || target === '-')
    throw new RequestError('archives on standard input and output are not supported yet: name a file or folder', 1)
  if (from && to)
    throw new RequestError('copying between containers is not supported: copy to a folder of this machine first', 1)
  const house = await openHouse(flags.root)
  const options = { keepOwners: flags.archive ?? false, followLink: flags.followLink ?? false }
  if (from) await copyOut(house, from.container, from.path, local(target), options)
  else if (to) await copyIn(house, local(source), to.container, to.path, options)
  else throw new RequestError('one of the two must be in a container: write CONTAINER:PATH', 1)
}

/** A path beginning with `/` or `.` is one of this machine, whatever colons it has. */
function containerPath(text: string): { readonly container: string; readonly path: string } | undefined {
  if (/^[/.]/.test(text)) return undefined
  const [container = '', path] = text.split(/:(.*)/s)
  return path === undefined ? undefined : { container, path: path || '/' }
}

/** What the end of it says is kept: a slash, or `/.`. */
function local(path: string): string {
  const [end = ''] = /\/\.?$/.exec(path) ?? []
  const absolute = resolve(path)
  return path === '.' ? `${absolute}/.` : absolute === '/' ? '/' : `${absolute}${end}`
}
