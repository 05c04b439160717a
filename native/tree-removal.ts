/** Whole trees are removed: by descriptors, so that no link is followed, however deep they are, and in one trip to another thread. */
import { loadAddon } from './addon.ts'

const native = loadAddon<{ removeTree(path: string): Promise<void> }>()

/** A folder with all that is in it, or a file. Fine if it has gone. The path is absolute. Rejects with the system's error. */
export const removeTree = (path: string): Promise<void> => native.removeTree(path)
