/**
 * Keeps what Node makes of the sources, for the processes of tests and for those that they start: most of these are killed
 * before they could keep it themselves, or have a home of their own, which is empty.
 */
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../node_modules/.cache/gantry-tests', import.meta.url))
enableCompileCache(folder)
process.env.NODE_COMPILE_CACHE = folder
