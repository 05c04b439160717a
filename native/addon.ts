/** Loads the addon, once, from beside this module: `native/build/` in a checkout, `dist/native/build/` in the package. */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const FILE = './build/gantry.node'
let loaded: unknown

/** What the addon exports; each caller names the part that it uses. Throws if it was not built, or not for this machine. */
export function loadAddon<Exports>(): Exports {
  loaded ??= load()
  return loaded as Exports
}

function load(): unknown {
  try {
    return createRequire(import.meta.url)(FILE)
  } catch (cause) {
    const path = fileURLToPath(new URL(FILE, import.meta.url))
    const missing = (cause as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND'
    const reason = missing ? 'it is not there; in a checkout, `npm run build` makes it' : (cause as Error).message
    throw new Error(`cannot load the native addon ${path}: ${reason}`, { cause })
  }
}
