/** The system's errors in words for an operator. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'the address is in use',
  EADDRNOTAVAIL: 'this machine has no such address',
  EDQUOT: 'the quota is used up',
  EEXIST: 'it is not a directory',
  EIO: 'the disk answers with an input/output error',
  EMFILE: 'this process has as many open files as it may; raise `ulimit -n`',
  ENFILE: 'this machine has as many open files as it may',
  ENOENT: 'it, or the folder it is in, does not exist',
  ENOSPC: 'no space is left',
  ENOTDIR: 'it, or something above it, is not a directory',
  ENOTFOUND: 'the host name is unknown',
  ENOTSOCK: 'there is a file that is no socket',
  EROFS: 'the filesystem is read-only',
}

/** The first usual one along the causes; else the message. */
export const reason = (error: unknown): string =>
  usualReason(error) ?? (error instanceof Error ? error.message : String(error))

/** Nothing that names a path or a key: fit for strangers. */
export function usualReason(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const known = REASONS[(at as NodeJS.ErrnoException).code ?? '']
    if (known !== undefined) return known
  }
  return undefined
}

/** A reason not to start, in a sentence for the person who typed the command. */
export class CannotServe extends Error {
  override readonly name = 'CannotServe'
}
