/** Reading a file of an image, whose symbolic links are resolved by the kernel inside the image's root, never on the host. */
import { loadAddon } from './addon.ts'

interface RootedFileAddon {
  readFileInRoot(root: string, path: string, limitBytes: number): Buffer | undefined
}

const native = loadAddon<RootedFileAddon>()

/** `undefined` if there is none. Throws an error with `errno` if it is no regular file or longer than `limitBytes`. */
export function readFileInRoot(root: string, path: string, limitBytes: number): Buffer | undefined {
  return native.readFileInRoot(root, path, limitBytes)
}
