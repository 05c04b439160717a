/** Overlay mounts (needs CAP_SYS_ADMIN). Device nodes in them do not work (`nodev`): what a container needs of `/dev`, its runtime makes. */
import { loadAddon } from './addon.ts'

export interface OverlayMount {
  /** Folders, the uppermost first; at least one. */
  readonly lower: readonly string[]
  readonly upper: string
  readonly work: string
  readonly target: string
  /** False: nothing in it is ever synced, whatever its programs ask for, and after a loss of power it may be anything. True by default. */
  readonly lasting?: boolean
}

interface OverlayAddon {
  mountOverlay(lower: readonly string[], upper: string, work: string, target: string, lasting: boolean): void
  unmount(target: string): Promise<boolean>
}

const native = loadAddon<OverlayAddon>()

/**
 * Throws an error with `errno` and `step`; `EINVAL` also where `upper` and `work` have been mounted before and were not to last: the kernel cannot
 * know whether they are whole, and has left a mark (`VOLATILE_MARK`).
 */
export function mountOverlay({ lower, upper, work, target, lasting = true }: OverlayMount): void {
  native.mountOverlay(lower, upper, work, target, lasting)
}

/** Below `work`. */
export const VOLATILE_MARK = 'work/incompat/volatile'

/** Resolves to whether there was a mount. It is detached at once; who still uses it keeps it alive. */
export async function unmount(target: string): Promise<boolean> {
  return await native.unmount(target)
}
