/** Reading a file of an image, whose symbolic links are resolved by the kernel inside the image's root, never on the host. */
import { createRequire } from 'node:module'

interface RootedFileAddon {
  readFileInRoot(root: string, path: string, limitBytes: number): Buffer | undefined
}

const native = createRequire(import.meta.url)('./build/gantry.node') as RootedFileAddon

/** `undefined` if there is none. Throws an error with `errno` if it is no regular file or longer than `limitBytes`. */
export function readFileInRoot(root: string, path: string, limitBytes: number): Buffer | undefined {
  return native.readFileInRoot(root, path, limitBytes)
}
