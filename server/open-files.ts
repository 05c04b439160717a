/** Connections are open files; so are the blobs that are sent on them. Running out of them must be a refusal, not a surprise. */
import { readFile } from 'node:fs/promises'
import { CannotServe } from './reasons.ts'

/** What a process has open besides: pipes, listeners, the event loop's own, a few of everything. */
const OTHER_FILES = 64
/** The connection, the file that is read or written for it, and the connection again while the kernel sends the file. */
const FILES_PER_CONNECTION = 3
/** `auto` goes no further: more would rather be a mistake, or an attack. */
const MOST_BY_DEFAULT = 20_000

/** Of this process. Node itself has raised it as far as it may (the hard limit). */
export async function openFilesLimit(): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const [, soft = ''] = /^Max open files\s+(\S+)/m.exec(limits) ?? []
  return /^[0-9]+$/.test(soft) ? Number(soft) : Number.POSITIVE_INFINITY
}

/** How many connections one of `workers` processes may keep. Throws `CannotServe` if more are wanted than there can be files. */
export function connectionsOf(wanted: number | 'auto', workers: number, openFiles: number): number {
  const room = Math.max(1, Math.floor((openFiles - OTHER_FILES) / FILES_PER_CONNECTION))
  if (wanted === 'auto') return Math.min(room, Math.ceil(MOST_BY_DEFAULT / workers))
  const share = Math.ceil(wanted / workers)
  if (share <= room) return share
  throw new CannotServe(
    `limits.connections is ${wanted}, for which a process needs ${share * FILES_PER_CONNECTION + OTHER_FILES} open files; ` +
      `it may have ${openFiles}. Raise that (\`ulimit -n\`, LimitNOFILE= in systemd), or ask for at most ${room * workers} connections`,
  )
}
