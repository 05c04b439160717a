/**
 * Files that survive a crash: a name appears only when what it names is complete and on disk, and what was acknowledged
 * stays. Temporary files live in one folder beside the tree, so that a crash leaves them where they are swept.
 */
import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, mkdir, open, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { uniqueName } from '../../native/random.ts'
import { StorageUnavailable } from '../errors.ts'

export const TEMPORARY_FOLDER = 'tmp'

/** What the system says when it is the disk's fault, not the caller's. */
const UNAVAILABLE = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EACCES', 'EPERM', 'EMFILE', 'ENFILE', 'ENOMEM'])

export const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code

/** For `.catch`: the disk's failures become `StorageUnavailable`, everything else stays what it was. */
export function diskFailure(error: unknown): never {
  const code = codeOf(error)
  if (code === undefined || !UNAVAILABLE.has(code)) throw error
  const reason = code === 'ENOSPC' || code === 'EDQUOT' ? 'the disk is full' : `the disk answers ${code}`
  throw new StorageUnavailable(`${reason}; try again later`, { cause: error })
}

/** Of a file as it is: replacing and writing it make another. Renaming does not, nor does what is remembered with it. */
export const identityOf = ({ dev, ino, size, mtimeNs }: BigIntStats): string => `${dev} ${ino} ${size} ${mtimeNs}`

/** Of a file that nobody else knows. */
export const temporaryPath = (root: string): string => `${root}/${TEMPORARY_FOLDER}/${uniqueName()}`

/**
 * With its parents; each new entry durable. `folder` is absolute. By our own steps: Node's recursive `mkdir` asks for ever
 * where a folder cannot be made although its parent is there (procfs), and hides that a disk is read-only.
 */
export async function makeFolder(folder: string): Promise<void> {
  for (let tries = 0; !(await madeOne(folder)); tries += 1) {
    if (tries === MOST_TRIES) throw new Error(`the folder ${folder} cannot be made: the one it is in takes none`)
    await makeFolder(dirname(folder)) // which another process may remove again, being empty
  }
}

const MOST_TRIES = 5

/** Whether it is there now; not, if its parent is missing. */
async function madeOne(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, { mode: 0o700 })
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && folder !== dirname(folder)) return false
    if (codeOf(error) === 'EEXIST' || codeOf(error) === 'EROFS') {
      const there = await stat(folder).catch(() => undefined) // the kernel may look at the disk before the name
      if (there?.isDirectory()) return true
    }
    throw error
  }
  await syncFolder(dirname(folder))
  return true
}

/** What was made, renamed or removed in it is on disk. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** `undefined` if there is none. */
export async function openIfThere(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, flags)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
