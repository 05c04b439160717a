/**
 * The names in a folder, in byte order, and what changes in it afterwards, whoever changes it: a change is there to be read
 * as soon as the call that made it has returned, in any process of this machine (inotify(7)).
 */
import { loadAddon } from './addon.ts'

const native = loadAddon<{
  readFolder(path: string): Promise<string[]>
  openWatch(): number | undefined
  watchFolder(watch: number, path: string): number | undefined
  unwatchFolder(watch: number, id: number): void
  readChanges(watch: number): (number | string)[] | undefined
  closeWatch(watch: number): void
}>()

/** Those of folders end with `/`. Read and sorted off the main thread. Rejects with `ENOENT` if there is no such folder. */
export const readFolder = (path: string): Promise<string[]> => native.readFolder(path)

export interface FolderChange {
  /** What `watch` gave. */
  readonly folder: number
  /** `unwatched`: the folder is gone, and its number with it. */
  readonly kind: 'appeared' | 'went' | 'unwatched'
  /** As `readFolder` has it. */
  readonly name: string
}

const KINDS = { '1': 'appeared', '0': 'went', '-1': 'unwatched' } as const

export class FolderWatch implements Disposable {
  readonly #descriptor = native.openWatch()

  /** A number for the folder; `undefined` if it is not there, or cannot be watched: the system has limits. */
  watch(path: string): number | undefined {
    return this.#descriptor === undefined ? undefined : native.watchFolder(this.#descriptor, path)
  }

  unwatch(folder: number): void {
    if (this.#descriptor !== undefined) native.unwatchFolder(this.#descriptor, folder)
  }

  /** Since the last call, in order; `undefined` if there were too many to be kept. */
  changes(): readonly FolderChange[] | undefined {
    if (this.#descriptor === undefined) return []
    const flat = native.readChanges(this.#descriptor)
    if (flat === undefined) return undefined
    const changes: FolderChange[] = []
    for (let at = 0; at < flat.length; at += 3) {
      const kind = KINDS[`${flat[at + 1]}` as keyof typeof KINDS]
      changes.push({ folder: flat[at] as number, kind, name: flat[at + 2] as string })
    }
    return changes
  }

  [Symbol.dispose](): void {
    if (this.#descriptor !== undefined) native.closeWatch(this.#descriptor)
  }
}
