/** What a full disk means to whoever has to make room. */

/** There is no room for what came. What was there before is whole, and what had arrived may be gone on with. */
export class DiskFull extends Error {
  override readonly name = 'DiskFull'
}

const CODES = new Set<unknown>(['ENOSPC', 'EDQUOT'])

/** It is, or has come of, a disk that is full. */
export function isFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return CODES.has((error as NodeJS.ErrnoException).code) || isFull(error.cause)
}

/** `DiskFull`, if that is what is behind it; else the error itself. `what` there is no room for. */
export function orDiskFull(error: unknown, what: string, root: string): unknown {
  if (!isFull(error) || error instanceof DiskFull) return error
  const advice = '; make some (`gantry system prune` removes what nothing needs), and do it again'
  return new DiskFull(`no room for ${what} in ${root}${advice}`, { cause: error })
}
