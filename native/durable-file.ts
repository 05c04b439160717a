/**
 * Files and names that are on disk when the promise resolves, each by one trip to the thread pool instead of one for each
 * system call. All reject with the system's error (`code`, `step`); folders that are missing above a target are made, durably.
 */
import { loadAddon } from './addon.ts'

interface DurableFiles {
  /** A new file with these bytes, on disk if they are to be `synced` (its name may still be lost in a crash); nothing is left if it fails. `EEXIST` if it is there. */
  writeNew(path: string, pieces: readonly Uint8Array[], synced: boolean): Promise<void>
  /** The same under `temporary`, then named `target` by `link(2)`, so that it appears complete: `EEXIST` if that is there. `temporary` goes in any case. */
  createDurable(temporary: string, target: string, pieces: readonly Uint8Array[]): Promise<void>
  /** Written in its place, where a crash may leave it torn: for names that nobody knows before this resolves, and that are never used again. Unless it is `lasting`, nothing is synced. */
  createUnique(target: string, pieces: readonly Uint8Array[], lasting: boolean): Promise<void>
  /** Of a file whose bytes are on disk, and were hashed on their way there: it remembers so (`verified-mark.ts`). `ENOENT` if `from` is not there. */
  publishDurable(from: string, to: string): Promise<void>
  /** `rename(2)`. Unless it is `lasting`, a crash may bring back what was there before. `ENOENT` if `from` is not there. */
  replaceDurable(from: string, to: string, lasting: boolean): Promise<void>
}

/** The bytes must not change until the promise is settled. */
export const { writeNew, createDurable, createUnique, publishDurable, replaceDurable } = loadAddon<DurableFiles>()
