// The runtime less one of its defences (src/runtime/defence.h): the proof that an attack of the tests is one.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const native = fileURLToPath(new URL('..', import.meta.url))

/** Builds it, if its sources are newer. Resolves to its path. */
export async function runtimeWithout(defence: string): Promise<string> {
  const target = `build/without/${defence}/gantry-runtime`
  await promisify(execFile)('flock', ['build', 'make', '--no-print-directory', target], { cwd: native })
  return `${native}${target}`
}
