/**
 * Ordered listings of folders, of which the latest are kept in one bounded cache. A kept listing is watched: before it is
 * used, what any process changed in its folder meanwhile is applied to it, so that a push of one tag costs a listing of
 * a hundred thousand nothing. Where nothing more can be watched, a listing is read anew each time.
 */
import { type FolderChange, FolderWatch, readFolder } from '../../native/folder.ts'
import type { ListOptions } from '../driver.ts'
import { codeOf, diskFailure } from './files.ts'

const CACHED_NAMES = 500_000
/** Watches are the system's, and few: small folders are read as quickly as they are looked up. */
const CACHED_FOLDERS = 1_000

const PART_NAMES = 1_000

interface Listing {
  readonly folder: string
  readonly watched: number
  /** Sorted. While it is being read: a promise, and the changes that came meanwhile. */
  names: string[] | undefined
  readonly reading: Promise<string[]>
  readonly missed: FolderChange[]
  /** As it was when somebody last wanted all of it, unless it has changed since. */
  copy?: readonly string[] | undefined
}

export class Listings implements Disposable {
  readonly #watch = new FolderWatch()
  /** The least recently used first. */
  readonly #byFolder = new Map<string, Listing>()
  readonly #byWatched = new Map<number, Listing>()
  #cachedNames = 0

  async *parts(
    folder: string,
    { after, limit = Number.POSITIVE_INFINITY }: ListOptions,
  ): AsyncGenerator<readonly string[]> {
    let [from, left] = [after, limit]
    for (;;) {
      const { names, kept } = await this.#names(folder)
      // A kept listing changes while this one goes out: a copy of a part, then the next part from where that ended.
      const part = partOf(names, from, kept ? Math.min(left, PART_NAMES) : left)
      yield part
      left -= part.length
      if (!kept || left === 0 || part.length < PART_NAMES) return
      from = part.at(-1)
    }
  }

  /** All names, if they are kept and no more than a part: the same array as long as nothing changes. */
  whole(folder: string): readonly string[] | undefined {
    this.#catchUp()
    const listing = this.#byFolder.get(folder)
    const count = listing?.names?.length ?? 0
    if (!listing || count === 0 || count > PART_NAMES) return undefined
    this.#use(listing)
    listing.copy ??= listing.names?.slice()
    return listing.copy
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]()
  }

  async #names(folder: string): Promise<{ readonly names: readonly string[]; readonly kept: boolean }> {
    this.#catchUp()
    const known = this.#byFolder.get(folder) ?? this.#begin(folder)
    if (!known) return await once(folder)
    this.#use(known)
    if (!known.names && !(await this.#fill(known))) return await once(folder)
    const { names = [] } = known
    return names.length === 0 ? await this.#anew(known) : { names, kept: true }
  }

  #use(listing: Listing): void {
    this.#byFolder.delete(listing.folder)
    this.#byFolder.set(listing.folder, listing)
  }

  /** False if it was forgotten meanwhile, and what it missed with it; or if another folder than the watched one was read. */
  async #fill(listing: Listing): Promise<boolean> {
    const read = await listing.reading
    if (listing.names) return true // another request was quicker to come back
    this.#catchUp()
    if (this.#byFolder.get(listing.folder) !== listing) return false
    if (!this.#isInPlace(listing)) {
      this.#forget(listing)
      return false
    }
    listing.names = read
    this.#cachedNames += read.length
    for (const change of listing.missed.splice(0)) this.#apply(listing, change)
    this.#makeRoom()
    return true
  }

  /**
   * Between the watch and the reading, the folder may have been removed and made again: then the names are those of one that is not
   * watched, and the watch is on one that is gone, which the system says only when nobody has that open any more. A folder that is
   * watched already keeps its number, and one that was removed never comes back: so what has its number now had it all the time.
   */
  #isInPlace({ folder, watched }: Listing): boolean {
    const now = this.#watch.watch(folder)
    if (now !== undefined && now !== watched) this.#watch.unwatch(now)
    return now === watched
  }

  /**
   * Emptied, a folder may be removed, and made again by the next writer. Of its end the watch is told only when nobody has the old
   * one open any more; until then it would be believed to be empty.
   */
  async #anew(listing: Listing): Promise<{ readonly names: readonly string[]; readonly kept: false }> {
    this.#forget(listing)
    return await once(listing.folder)
  }

  /** The watch comes before the reading: what changes in between is seen twice, which does no harm. */
  #begin(folder: string): Listing | undefined {
    const watched = this.#watch.watch(folder)
    if (watched === undefined) return undefined
    const reading = readFolder(folder).catch(noFolder)
    reading.catch(() => this.#forget(listing)) // whoever waits for it is told
    const listing: Listing = { folder, watched, names: undefined, reading, missed: [] }
    this.#byFolder.set(folder, listing)
    this.#byWatched.set(watched, listing)
    return listing
  }

  #catchUp(): void {
    const changes = this.#watch.changes()
    if (changes === undefined) for (const listing of this.#byFolder.values()) this.#forget(listing)
    for (const change of changes ?? []) {
      const listing = this.#byWatched.get(change.folder)
      if (!listing) continue
      if (change.kind === 'unwatched') this.#forget(listing)
      else if (listing.names) this.#apply(listing, change)
      else listing.missed.push(change)
    }
  }

  #apply(listing: Listing, { kind, name }: FolderChange): void {
    const { names = [] } = listing
    listing.copy = undefined
    const place = firstBeyond(names, name)
    const there = names[place - 1] === name
    if (kind === 'appeared' && !there) names.splice(place, 0, name)
    if (kind === 'went' && there) names.splice(place - 1, 1)
    if (there !== (kind === 'appeared')) this.#cachedNames += there ? -1 : 1
  }

  #makeRoom(): void {
    for (const oldest of this.#byFolder.values()) {
      if (this.#cachedNames <= CACHED_NAMES && this.#byFolder.size <= CACHED_FOLDERS) return
      this.#forget(oldest)
    }
  }

  #forget(listing: Listing): void {
    if (this.#byFolder.get(listing.folder) !== listing) return
    this.#byFolder.delete(listing.folder)
    this.#byWatched.delete(listing.watched)
    this.#cachedNames -= listing.names?.length ?? 0
    this.#watch.unwatch(listing.watched)
  }
}

const once = async (folder: string): Promise<{ names: readonly string[]; kept: false }> => ({
  names: await readFolder(folder).catch(noFolder),
  kept: false,
})

function noFolder(error: unknown): [] {
  if (codeOf(error) === 'ENOENT') return []
  return diskFailure(error)
}

function partOf(names: readonly string[], after: string | undefined, limit: number): readonly string[] {
  const start = after === undefined ? 0 : firstBeyond(names, after)
  return names.slice(start, Math.min(names.length, start + limit))
}

/** Every name of ours is ASCII, where the order of code units is that of bytes. */
function firstBeyond(names: readonly string[], after: string): number {
  let [low, high] = [0, names.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((names[middle] as string) <= after) low = middle + 1
    else high = middle
  }
  return low
}
