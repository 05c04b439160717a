/**
 * Files in and out of a container, running or not. Both sides are roots, in which the kernel resolves the paths; nothing that a container does
 * meanwhile leads out of its own. The rules are docker's: a folder is copied into one that is there, `FOLDER/.` means what is in it.
 */
import { basename, dirname, join, posix } from 'node:path'
import { copyTree, lookInRoot, type RootedPath } from '../../native/tree-copy.ts'
import type { House } from './house.ts'
import { look } from './lifecycle.ts'
import { RequestError } from './request-error.ts'

export interface CopyOptions {
  /** Else what comes in is root's, and what goes out is this user's. */
  readonly keepOwners?: boolean
  /** What the source points to, if it is a link. */
  readonly followLink?: boolean
}

/** Where a path of a container is: in its own root, or in what is mounted there. `release` when it is done with. */
interface Found extends AsyncDisposable {
  readonly place: RootedPath
}

/** `path`: in the container, absolute or from its root. Throws `NoSuchContainer`, `RequestError`. */
export async function copyOut(
  house: House,
  reference: string,
  path: string,
  target: string,
  options: CopyOptions = {},
): Promise<void> {
  await using source = await placeIn(house, reference, path)
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  await copy(
    source.place,
    { root: '/', path: target },
    { shown: `${reference}:${path}`, path },
    options.keepOwners ? {} : { owner },
    options,
  )
}

export async function copyIn(
  house: House,
  source: string,
  reference: string,
  path: string,
  options: CopyOptions = {},
): Promise<void> {
  await using target = await placeIn(house, reference, path)
  await copy(
    { root: '/', path: source },
    target.place,
    { shown: source, path: source },
    options.keepOwners ? {} : { owner: { uid: 0, gid: 0 } },
    options,
  )
}

async function placeIn(house: House, reference: string, path: string): Promise<Found> {
  const { record, folder, state } = await look(house, reference)
  const whole = posix.join('/', path) + (/\/\.$/.test(path) ? '/.' : '')
  if (state.pid > 0)
    return { place: { root: `/proc/${state.pid}/root`, path: whole }, [Symbol.asyncDispose]: async () => {} }
  const container = await house.containers.open(reference)
  const mount = record.mounts
    .filter(({ target }) => whole === target || whole.startsWith(`${target}/`))
    .toSorted((a, b) => b.target.length - a.target.length)[0]
  try {
    if (mount?.type === 'bind') {
      const inside = posix.join('/', whole.slice(mount.target.length)) + (whole.endsWith('/.') ? '/.' : '')
      return { place: { root: mount.source, path: inside }, [Symbol.asyncDispose]: () => container.close() }
    }
    await container.mount(record.layers, { lasting: !record.request.autoRemove })
    return {
      place: { root: join(folder, 'rootfs'), path: whole },
      [Symbol.asyncDispose]: async () => {
        await container.unmount()
        await container.close()
      },
    }
  } catch (error) {
    await container.close()
    throw error
  }
}

/** The source as it was asked for: in a folder it keeps its name, also where it is the root of a volume. */
interface Asked {
  readonly shown: string
  readonly path: string
}

async function copy(
  from: RootedPath,
  asked: RootedPath,
  { shown: name, path: askedPath }: Asked,
  ownership: { readonly owner?: { readonly uid: number; readonly gid: number } },
  { followLink = false }: CopyOptions,
): Promise<void> {
  const contents = /(^|\/)\.$/.test(from.path)
  const follow = followLink || contents || from.path.endsWith('/')
  const owner = { ...ownership, follow }
  const source = lookInRoot(from, follow)
  if (source === undefined) throw new RequestError(`could not find the file ${name}`, 1)
  if (contents && source.type !== 'folder') throw new RequestError(`${name} is no folder: /. means what is in one`, 1)
  const path = from.path.replace(/\/+$/, '') || '/'
  const called = basename(askedPath)
  const to = behindLinks(asked)
  const there = lookInRoot(to, true)
  if (source.type === 'folder') {
    if (there !== undefined && there.type !== 'folder')
      throw new RequestError(`cannot copy the folder ${name} onto a file`, 1)
    const target = there === undefined || contents ? to.path : posix.join(to.path, called)
    if (there === undefined) checkParent(to)
    if (there !== undefined && contents)
      return await copyTree({ root: from.root, path }, to, { ...owner, contents: true })
    return await copyTree(
      { root: from.root, path: path.replace(/\/\.$/, '') || '/' },
      { root: to.root, path: target },
      owner,
    )
  }
  if (there === undefined && to.path.endsWith('/'))
    throw new RequestError(`the folder ${to.path} does not exist; make it first`, 1)
  if (there === undefined) checkParent(to)
  const target = there?.type === 'folder' ? posix.join(to.path, called) : to.path
  await copyTree({ root: from.root, path }, { root: to.root, path: target }, owner)
}

const LINK_LIMIT = 40

/** What is written to a link arrives where it points to, also if nothing is there yet. */
function behindLinks({ root, path }: RootedPath): RootedPath {
  let at = path
  for (let i = 0; i < LINK_LIMIT && !/\/\.?$/.test(at); i++) {
    const found = lookInRoot({ root, path: at }, false)
    if (found?.type !== 'link') break
    at = posix.resolve(dirname(at), found.target)
  }
  return { root, path: at }
}

function checkParent({ root, path }: RootedPath): void {
  const parent = dirname(path.replace(/\/+$/, ''))
  if (lookInRoot({ root, path: parent }, true)?.type !== 'folder')
    throw new RequestError(`the folder ${parent} does not exist; make it first`, 1)
}
