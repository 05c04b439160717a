/** Who may do what. Every route and every further repository that a request touches (the source of a mount) asks here. */
import type { Authorize } from './routing.ts'

/** For a registry without accounts, which `gantry serve` offers only to its own machine unless told otherwise. */
export const allowEverything: Authorize = async () => {}
