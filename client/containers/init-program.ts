/** Where the small init is that `--init` makes the first process. */
import { fileURLToPath } from 'node:url'

export const INIT_PROGRAM = fileURLToPath(new URL('../../native/build/gantry-init', import.meta.url))
