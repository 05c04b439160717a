/**
 * Copies between roots in which somebody hostile may be at work: paths are resolved by the kernel inside of their root, and below them no
 * link is followed. Owners, modes, times, extended attributes and hard links are kept.
 */
import { loadAddon } from './addon.ts'

/** A path as a process would see it whose root is `root`, a folder such as `/proc/PID/root`. */
export interface RootedPath {
  readonly root: string
  readonly path: string
}

export interface CopyOptions {
  /** What is in the folder `from` goes into the folder `to`, which is there; else `to` is the name of the copy, in a folder that is there. */
  readonly contents?: boolean
  /** With `contents`: `to` itself gets the attributes of `from`. */
  readonly topAttributes?: boolean
  /** What `from` points to, if it is a link. */
  readonly follow?: boolean
  /** `from` is a layer in overlayfs's form: what it hides of what is there goes. */
  readonly layer?: boolean
  /** Of everything copied. */
  readonly owner?: { readonly uid: number; readonly gid: number }
}

export interface RootedStatus {
  readonly type: 'file' | 'folder' | 'link' | 'other'
  readonly mode: number
  readonly sizeBytes: number
  readonly modifiedMs: number
  /** Of a link. */
  readonly target: string
}

const native = loadAddon<{
  copyTree(
    fromRoot: string,
    fromPath: string,
    toRoot: string,
    toPath: string,
    contents: boolean,
    topAttributes: boolean,
    uid: number,
    gid: number,
    follow: boolean,
    layer: boolean,
  ): Promise<void>
  lookInRoot(root: string, path: string, follow: boolean): [number, number, number, string] | undefined
}>()

/** Folders are merged with what is there, anything else replaces it. Rejects with `errno` and `step`. */
export async function copyTree(from: RootedPath, to: RootedPath, options: CopyOptions = {}): Promise<void> {
  const { contents = false, topAttributes = false, owner = { uid: -1, gid: -1 } } = options
  const { follow = false, layer = false } = options
  await native.copyTree(
    from.root,
    from.path,
    to.root,
    to.path,
    contents,
    topAttributes,
    owner.uid,
    owner.gid,
    follow,
    layer,
  )
}

const TYPE = 0o170000
const TYPES: Readonly<Record<number, RootedStatus['type']>> = { 32768: 'file', 16384: 'folder', 40960: 'link' }

/** `undefined` if there is nothing. `follow`: the last component, too, if it is a link. */
export function lookInRoot({ root, path }: RootedPath, follow: boolean): RootedStatus | undefined {
  const found = native.lookInRoot(root, path, follow)
  if (found === undefined) return undefined
  const [mode, sizeBytes, modifiedMs, target] = found
  return { type: TYPES[mode & TYPE] ?? 'other', mode, sizeBytes, modifiedMs, target }
}
