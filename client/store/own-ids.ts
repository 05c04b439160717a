/** Which ids there are here: in a user namespace those that are mapped into it, and files and processes can be nobody else's. */
import { readFileSync } from 'node:fs'

export interface OwnIds {
  /** All ids, and all that root may do: no user namespace, or the first one. */
  readonly isHost: boolean
  readonly hasUser: (uid: number) => boolean
  readonly hasGroup: (gid: number) => boolean
  /** What an ordinary user has mapped by himself keeps the groups that he came with (user_namespaces(7)). */
  readonly mayChangeGroups: boolean
}

const ALL_IDS = 4_294_967_295

export const HOST_IDS: OwnIds = { isHost: true, hasUser: () => true, hasGroup: () => true, mayChangeGroups: true }

let known: OwnIds | undefined

/** Of this process. */
export function ownIds(): OwnIds {
  known ??= parseOwnIds(...(['uid_map', 'gid_map', 'setgroups'].map(ofThisProcess) as [string, string, string]))
  return known
}

/** The texts of those files of `/proc/PID`. */
export function parseOwnIds(uidMap: string, gidMap: string, setgroups: string): OwnIds {
  const [users, groups] = [ranges(uidMap), ranges(gidMap)]
  if (isAll(users) && isAll(groups)) return HOST_IDS
  return {
    isHost: false,
    hasUser: (uid) => has(users, uid),
    hasGroup: (gid) => has(groups, gid),
    mayChangeGroups: setgroups.trim() !== 'deny',
  }
}

type Range = readonly [inside: number, outside: number, count: number]

const ranges = (map: string): readonly Range[] =>
  map
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter((numbers) => numbers.length === 3) as unknown as readonly Range[]

const isAll = (all: readonly Range[]): boolean =>
  all.length === 0 || all.some(([inside, , count]) => inside === 0 && count === ALL_IDS)

const has = (all: readonly Range[], id: number): boolean =>
  all.some(([inside, , count]) => id >= inside && id < inside + count)

/** Empty where this kernel has no such file. */
function ofThisProcess(name: string): string {
  try {
    return readFileSync(`/proc/self/${name}`, 'utf8')
  } catch {
    return ''
  }
}
