/**
 * Objects as files of a local disk. Create-if-absent is `link(2)`; compare-and-swap holds a byte-range lock, at the hash
 * of the key, of one lock file that is never replaced (a lock on a file that `rename` replaces protects nothing): several
 * processes on one disk are as safe as one.
 */
import { hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, readdir, readFile, rmdir, stat, statfs, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { readCached, statCached } from '../../native/cached-file.ts'
import { createDurable, createUnique, publishDurable, replaceDurable, writeNew } from '../../native/durable-file.ts'
import { lockRange, tryLockRange } from '../../native/range-lock.ts'
import { hasVerifiedMark, markVerified } from '../../native/verified-mark.ts'
import type {
  Block,
  ByteRange,
  Key,
  ListOptions,
  ObjectRead,
  ObjectStat,
  SmallObject,
  Soon,
  Staging,
  StorageDriver,
  Version,
  WholeStaging,
  WriteCondition,
} from '../driver.ts'
import { ObjectNotFound, StorageUnavailable, VersionConflict } from '../errors.ts'
import { FORMAT_KEY, newNonce, quarantineKey, SESSIONS_PREFIX } from '../layout.ts'
import { FileBody } from './body.ts'
import { codeOf, diskFailure, identityOf, makeFolder, openIfThere, TEMPORARY_FOLDER, temporaryPath } from './files.ts'
import { Listings } from './listing.ts'
import { FileObject, RecentObjects, versionOf } from './recent.ts'
import { FsStaging } from './staging.ts'

/** A temporary file this old belongs to nobody who lives. */
const TEMPORARY_AGE_MS = 60 * 60 * 1000
const LOCK_FILE = 'lock'
const ONLY_PROCESS_FILE = 'lock.process'
/** Filesystems whose locks and renames cannot be relied on between hosts: NFS, SMB, SMB2, CIFS, FUSE. */
const REMOTE_FILESYSTEMS = new Set([0x6969, 0x517b, 0xfe534d42, 0xff534d42, 0x65735546])

/**
 * Opens (and makes, if it is not there) a store's folder. Throws `StorageUnavailable` if it cannot be written, or is on a
 * network filesystem and in use. With `readonly` it must be there, and may be on a disk that takes no writes.
 */
export async function openFsDriver(folder: string, { readonly = false } = {}): Promise<StorageDriver> {
  const root = resolve(folder)
  try {
    if (readonly) {
      await stat(join(root, FORMAT_KEY))
      return new FsDriver(root, undefined)
    }
    await makeFolder(join(root, TEMPORARY_FOLDER))
    await makeFolder(join(root, SESSIONS_PREFIX)) // so that a session's own folder is all that its first bytes have to make lasting
    const only = await onlyProcess(root)
    await sweepTemporaries(join(root, TEMPORARY_FOLDER))
    tryLockRange(join(root, LOCK_FILE), { startBytes: 0, lengthBytes: 1, mode: 'shared' })?.[Symbol.dispose]() // makes the file
    return new FsDriver(root, only)
  } catch (error) {
    return diskFailure(error)
  }
}

/** On a network filesystem, locks between hosts cannot be relied on: one process at a time, as far as they go. */
async function onlyProcess(root: string): Promise<Disposable | undefined> {
  const { type } = await statfs(root)
  if (!REMOTE_FILESYSTEMS.has(type)) return undefined
  const whole = { startBytes: 0, lengthBytes: 1, mode: 'exclusive' } as const
  const held = tryLockRange(join(root, ONLY_PROCESS_FILE), whole)
  if (held) return held
  throw new StorageUnavailable('another process serves this folder, and a network filesystem allows one only')
}

async function sweepTemporaries(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const age = Date.now() - (await stat(path).then(({ mtimeMs }) => mtimeMs, Date.now))
    if (age > TEMPORARY_AGE_MS) await unlink(path).catch(() => {}) // another process sweeps too
  }
}

type IfVersion = Extract<WriteCondition, { readonly ifVersion: Version }>

class FsDriver implements StorageDriver {
  readonly name = 'filesystem'
  readonly #root: string
  readonly #only: Disposable | undefined
  readonly #listings = new Listings()
  readonly #recent = new RecentObjects()

  constructor(root: string, only: Disposable | undefined) {
    this.#root = root
    this.#only = only
  }

  stat(key: Key): Soon<ObjectStat | undefined> {
    const path = this.#path(key)
    const known = statCached(path)
    if (known === undefined) return this.#statOnDisk(path)
    return known === null ? undefined : { sizeBytes: known.sizeBytes, modified: new Date(known.modifiedMs) }
  }

  async #statOnDisk(path: string): Promise<ObjectStat | undefined> {
    try {
      const { size, mtime } = await stat(path)
      return { sizeBytes: size, modified: mtime }
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      return diskFailure(error)
    }
  }

  async read(key: Key, range?: ByteRange): Promise<ObjectRead> {
    const file = await openIfThere(this.#path(key), constants.O_RDONLY).catch(diskFailure)
    if (!file) throw new ObjectNotFound(`nothing is stored under ${key}`)
    try {
      const status = await file.stat({ bigint: true })
      const sizeBytes = Number(status.size)
      const { start, end } = range ?? { start: 0, end: sizeBytes - 1 }
      return {
        body: new FileBody(file, { start, end }),
        sizeBytes,
        identity: identityOf(status),
        get verified() {
          return hasVerifiedMark(file.fd, basename(key))
        },
        file: { file: file.fd, startBytes: start, lengthBytes: end - start + 1 },
      }
    } catch (error) {
      await file.close()
      return diskFailure(error)
    }
  }

  readSmall(key: Key): Soon<SmallObject | undefined> {
    const path = this.#path(key)
    const recent = this.#recent.get(path)
    const bytes = readCached(path, recent?.bytes)
    if (bytes === undefined) return this.#readOnDisk(path)
    if (bytes === null) return undefined
    if (bytes === recent?.bytes) return recent
    const object = new FileObject(bytes)
    this.#recent.set(path, object)
    return object
  }

  async #readOnDisk(path: string): Promise<SmallObject | undefined> {
    try {
      return new FileObject(await readFile(path))
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      return diskFailure(error)
    }
  }

  async write(key: Key, bytes: Uint8Array, condition: WriteCondition): Promise<Version> {
    try {
      if ('unique' in condition) await createUnique(this.#path(key), [bytes], condition.afterPowerLoss !== 'anything')
      else if ('ifAbsent' in condition) await this.#create(key, bytes)
      else await this.#swap(key, bytes, condition)
    } catch (error) {
      diskFailure(error)
    }
    return versionOf(bytes)
  }

  async #create(key: Key, bytes: Uint8Array): Promise<void> {
    try {
      await createDurable(temporaryPath(this.#root), this.#path(key), [bytes])
    } catch (error) {
      if (codeOf(error) === 'EEXIST') throw new VersionConflict(`${key} is there already`, { cause: error })
      throw error
    }
  }

  async #swap(key: Key, bytes: Uint8Array, { ifVersion, afterPowerLoss = 'written' }: IfVersion): Promise<void> {
    const temporary = temporaryPath(this.#root)
    await writeNew(temporary, [bytes], afterPowerLoss !== 'anything')
    try {
      using _held = await this.#lock(key)
      const current = await this.readSmall(key)
      if (current?.version !== ifVersion) throw new VersionConflict(`${key} was written by somebody else`)
      await replaceDurable(temporary, this.#path(key), afterPowerLoss === 'written')
    } catch (error) {
      await unlink(temporary).catch(() => {}) // swept later, if not now
      throw error
    }
  }

  async remove(key: Key): Promise<void> {
    const path = this.#path(key)
    try {
      await unlink(path)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return
      return diskFailure(error)
    }
    await rmdir(dirname(path)).catch(() => {}) // most folders are not empty; a writer that misses this one makes it again
  }

  async remember(key: Key, identity: string): Promise<void> {
    await using file = await this.#openSame(key, identity)
    if (file) await markVerified(file.fd, basename(key))
  }

  /** Nobody publishes under the key meanwhile: what is moved is what was looked at. */
  async setAside(key: Key, identity: string): Promise<string | undefined> {
    const aside = this.#path(quarantineKey(key, newNonce()))
    try {
      using _alone = await this.#lock(key)
      await using file = await this.#openSame(key, identity)
      if (!file) return undefined
      await replaceDurable(this.#path(key), aside, true)
      return aside
    } catch (error) {
      return diskFailure(error)
    }
  }

  /** `undefined` if there is another now, or none. */
  async #openSame(key: Key, identity: string): Promise<FileHandle | undefined> {
    const file = await openIfThere(this.#path(key), constants.O_RDONLY).catch(diskFailure)
    if (!file) return undefined
    if (identityOf(await file.stat({ bigint: true })) === identity) return file
    await file.close()
    return undefined
  }

  /** Gives a file that was hashed its name. Resolves to its identity. */
  async #publish(from: string, key: Key): Promise<string> {
    const target = this.#path(key)
    using _held = await this.#lockWithOthers(key)
    await publishDurable(from, target)
    return identityOf(await stat(target, { bigint: true }))
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<string> {
    for await (const names of this.listParts(prefix, options)) yield* names
  }

  listParts(prefix: string, options: ListOptions = {}): AsyncIterable<readonly string[]> {
    return this.#listings.parts(this.#path(prefix), options)
  }

  listWhole(prefix: string): readonly string[] | undefined {
    return this.#listings.whole(this.#path(prefix))
  }

  stage(id: string): Staging {
    const path = this.#path(`sessions/${id}/data`)
    return new FsStaging({
      path,
      lock: (signal) => this.#lock(path, signal),
      pathOf: (key) => this.#path(key),
      publish: (key) => this.#publish(path, key),
    })
  }

  async stageWhole(content: Block): Promise<WholeStaging> {
    const path = temporaryPath(this.#root)
    await writeNew(path, content, true).catch(diskFailure)
    return {
      publish: (key) => this.#publish(path, key).catch(diskFailure),
      discard: () => unlink(path).catch(diskFailure),
    }
  }

  async close(): Promise<void> {
    this.#only?.[Symbol.dispose]()
    this.#listings[Symbol.dispose]()
  }

  #lock(name: string, signal?: AbortSignal): Promise<Disposable> {
    return lockRange(this.#path(LOCK_FILE), placeOf(name), 1, signal)
  }

  /** Keeps out only who holds the lock alone. */
  async #lockWithOthers(name: string): Promise<Disposable> {
    const place = { startBytes: placeOf(name), lengthBytes: 1, mode: 'shared' } as const
    return tryLockRange(this.#path(LOCK_FILE), place) ?? (await this.#lock(name))
  }

  /** Keys have no `..`, no NUL and no empty component: `layout.ts` makes them of parsed values. */
  #path(key: string): string {
    return `${this.#root}/${key}`
  }
}

/** 48 bits of hash: two names that share a byte merely wait for each other. */
const placeOf = (name: string): number => hash('sha256', name, 'buffer').readUIntBE(0, 6)
