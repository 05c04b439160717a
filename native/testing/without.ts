// The runtime, and the addon, less one of its defences (src/core/defence.h): the proof that an attack of the tests is one.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const native = fileURLToPath(new URL('..', import.meta.url))

/** Builds it, if its sources are newer. Resolves to its path. */
export const runtimeWithout = (defence: string): Promise<string> => built(defence, 'gantry-runtime')

/** As `runtimeWithout`. */
export const addonWithout = (defence: string): Promise<string> => built(defence, 'gantry.node')

async function built(defence: string, file: string): Promise<string> {
  const target = `build/without/${defence}/${file}`
  await promisify(execFile)('flock', ['build', 'make', '--no-print-directory', target], { cwd: native })
  return `${native}${target}`
}
