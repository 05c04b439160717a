/**
 * What a file remembers of its last verification, in an extended attribute: through restarts, for every process. It is believed only of
 * the very file it was set of, unchanged since (inode, size, time of the last write), and under the same name. Filesystems without
 * such attributes remember nothing.
 */
import { loadAddon } from './addon.ts'

interface VerifiedMarks {
  /** Of an open file. */
  hasVerifiedMark(descriptor: number, name: string): boolean
  /** Every byte of the open file was hashed, and is what `name` says. Not synced; nothing happens where it cannot be kept. */
  markVerified(descriptor: number, name: string): Promise<void>
  /** What the kernel has of the open file in memory goes: the next reader sees what the disk has. */
  forgetCached(descriptor: number): void
}

export const { hasVerifiedMark, markVerified, forgetCached } = loadAddon<VerifiedMarks>()
