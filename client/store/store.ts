/**
 * The local store's folders, its locks, and how a small file in it is replaced. Everything lies under one root that only its owner may
 * enter: unpacked images have setuid programs in them, which the machine's other users must not reach.
 *
 *     content/                 an OCI image layout that other tools can read: the references, manifests, configurations, layers as pulled
 *     layers/<alg>-<hex>/      one unpacked layer, under its diffID, or its chain ID where it needed something from below
 *     layers/.tmp-<uuid>/      one being unpacked
 *     containers/<id>/         a container: its record, its bundle, what it has written
 *     names/<name>             a link to the id of the container of that name
 *     volumes/<name>/          a volume: its record, and its content in _data/
 *     recipes/<key>.json       what a command to run became, kept for the next that says the same (client/containers/recipe.ts)
 *     lock                     never replaced; ranges of it are locked, by the hash of a name
 */
import { existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { chmod, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { uniqueName } from '../../native/random.ts'
import { makeFolder } from '../../storage/fs/files.ts'
import { type HeldLock, LockFile, type LockMode } from './locks.ts'

/** Where it is, unless somebody says another place. */
export const DEFAULT_ROOT = '/var/lib/gantry'

/** What was said, else `GANTRY_ROOT`, else the default. */
export const storeRoot = (said?: string): string => said ?? (process.env['GANTRY_ROOT'] || DEFAULT_ROOT)

/** Somebody else's folder: making it a store would lock everybody else out of it. */
export class NotAStore extends Error {
  override readonly name = 'NotAStore'
}

export class StoreFolders {
  readonly root: string
  readonly content: string
  readonly layers: string
  readonly containers: string
  readonly names: string
  readonly volumes: string
  readonly #locks: LockFile

  private constructor(root: string, locks: LockFile) {
    this.root = root
    this.content = join(root, 'content')
    this.layers = join(root, 'layers')
    this.containers = join(root, 'containers')
    this.names = join(root, 'names')
    this.volumes = join(root, 'volumes')
    this.#locks = locks
  }

  /** Makes what is missing. Throws an error that names the folder and what to do if it may not be used. */
  static async open(directory: string): Promise<StoreFolders> {
    const root = resolve(directory)
    if (isWhole(root)) return new StoreFolders(root, await LockFile.open(join(root, 'lock')))
    try {
      await makeFolder(root)
      const names = (await readdir(root)).filter((name) => name !== 'lost+found') // a filesystem of its own has one
      if (names.length > 0 && !names.includes('lock'))
        throw new NotAStore(`${root} is not empty and is no local store of Gantry; choose another folder with --root`)
      await chmod(root, 0o700)
      const store = new StoreFolders(root, await LockFile.open(join(root, 'lock')))
      for (const folder of [join(store.content, 'blobs'), store.layers, store.containers, store.names, store.volumes])
        await mkdir(folder, { recursive: true, mode: 0o700 })
      return store
    } catch (cause) {
      if (cause instanceof NotAStore) throw cause
      const { code } = cause as NodeJS.ErrnoException
      const advice = code === 'EACCES' || code === 'EPERM' ? ': run as root, or choose another folder with --root' : ''
      throw new Error(`cannot use ${root} as the local store (${code ?? 'error'})${advice}`, { cause })
    }
  }

  /** Waits for it. `name` is anything; what it stands for is the caller's. */
  async lock(name: string, mode: LockMode, signal?: AbortSignal): Promise<HeldLock> {
    return await this.#locks.lock(name, mode, signal)
  }

  /** `undefined` if somebody, of this process or another, holds it. */
  async tryLock(name: string, mode: LockMode): Promise<HeldLock | undefined> {
    return await this.#locks.tryLock(name, mode)
  }
}

/** As we leave it: there is nothing to make. What cannot be looked at is found out by who makes it. */
function isWhole(root: string): boolean {
  try {
    if ((statSync(root).mode & 0o777) !== 0o700) return false
    return ['lock', 'content/blobs', 'layers', 'containers', 'names', 'volumes'].every((name) =>
      existsSync(join(root, name)),
    )
  } catch {
    return false
  }
}

/** Never seen half-written, and durable; with `durable` false, a loss of power may leave it empty, or not there. */
export async function replaceFile(
  path: string,
  text: string,
  { mode = 0o600, durable = true }: { readonly mode?: number; readonly durable?: boolean } = {},
): Promise<void> {
  const temporary = `${path}.tmp-${uniqueName()}`
  if (!durable) return replaceNow(path, temporary, text, mode)
  try {
    const file = await open(temporary, 'wx', mode)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** Without a way to another thread: nothing waits for the disk. */
function replaceNow(path: string, temporary: string, text: string, mode: number): void {
  try {
    writeFileSync(temporary, text, { flag: 'wx', mode })
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}
