/**
 * Keeps what Node makes of the sources, for the processes of tests alone: `NODE_COMPILE_CACHE` would be inherited by every
 * program that they start.
 */
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/gantry-tests', import.meta.url)))
