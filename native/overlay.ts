/** Overlay mounts (needs CAP_SYS_ADMIN). Device nodes in them do not work (`nodev`): what a container needs of `/dev`, its runtime makes. */
import { loadAddon } from './addon.ts'

export interface OverlayMount {
  /** Folders, the uppermost first; at least one. */
  readonly lower: readonly string[]
  readonly upper: string
  readonly work: string
  readonly target: string
}

interface OverlayAddon {
  mountOverlay(lower: readonly string[], upper: string, work: string, target: string): void
  unmount(target: string): boolean
}

const native = loadAddon<OverlayAddon>()

/** Throws an error with `errno` and `step`. */
export function mountOverlay({ lower, upper, work, target }: OverlayMount): void {
  native.mountOverlay(lower, upper, work, target)
}

/** Whether there was a mount. It is detached at once; who still uses it keeps it alive. */
export function unmount(target: string): boolean {
  return native.unmount(target)
}
