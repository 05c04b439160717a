/**
 * Files that survive a crash: a name appears only when what it names is complete and on disk, and what was acknowledged
 * stays. Temporary files live in one folder beside the tree, so that a crash leaves them where they are swept.
 */
import { randomUUID } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, rename, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
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

/** Of a file as it is: replacing, writing and renaming it make another. */
export const identityOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`

/** Writes `bytes` under a temporary name and on disk, hands the name to `place`, and leaves no temporary file whatever happens. */
export async function withTemporary<T>(
  root: string,
  bytes: Uint8Array,
  place: (temporary: string) => Promise<T>,
): Promise<T> {
  const temporary = join(root, TEMPORARY_FOLDER, randomUUID())
  const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
  try {
    try {
      await file.writeFile(bytes)
      await file.datasync()
    } finally {
      await file.close()
    }
    return await place(temporary)
  } finally {
    await unlink(temporary).catch(() => {}) // gone by rename, or swept later
  }
}

/** `link(2)`: fails with EEXIST if the target is there. Durable when resolved. */
export async function linkInto(temporary: string, target: string): Promise<void> {
  await inFolder(dirname(target), () => link(temporary, target))
}

/** Replaces the target. Durable when resolved. */
export async function renameInto(temporary: string, target: string): Promise<void> {
  await inFolder(dirname(target), () => rename(temporary, target))
}

/** Does something in a folder, which is made if it is missing (another writer may just have removed it, empty), and syncs it. */
async function inFolder(folder: string, work: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await work()
      return await syncFolder(folder)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || tries === 5) throw error
      await makeFolder(folder)
    }
  }
}

/** With its parents; each new entry durable. */
export async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let made = folder; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made))
}

async function syncFolder(folder: string): Promise<void> {
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
