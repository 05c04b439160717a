/**
 * Who a container runs as: an image's or the user's `USER[:GROUP]`, with the container's own passwd and group files (image-spec, config.md).
 * Digits are a number and are never looked up as a name first (CVE-2016-3697); a number that would wrap is refused (CVE-2024-40635).
 */
import type { OwnIds } from '../store/own-ids.ts'

export interface ResolvedUser {
  readonly uid: number
  readonly gid: number
  /** The user's own group among them: else a set-group-ID program could shed it (CVE-2022-36109). */
  readonly additionalGids: readonly number[]
  readonly home: string
}

/** The texts of the container's `/etc/passwd` and `/etc/group`; empty where there is none. */
export interface AccountFiles {
  readonly passwd: string
  readonly group: string
}

/** The user does not exist in the image, or cannot exist at all. */
export class UserError extends Error {
  override readonly name = 'UserError'
}

const ID_LIMIT = 2 ** 31 - 1

/** `more`: groups beside those of the user, by name or number. Throws `UserError`. */
export function resolveUser(specification: string, files: AccountFiles, more: readonly string[] = []): ResolvedUser {
  const [userPart = '', groupPart = '', ...rest] = specification.split(':')
  if (rest.length > 0) throw new UserError(`${JSON.stringify(specification)} is no user: write USER or USER:GROUP`)
  const accounts = lines(files.passwd).map(([name, , uid, gid, , home]) => ({
    name,
    uid: parseId(uid),
    gid: parseId(gid),
    home,
  }))
  const groups = lines(files.group).map(([name, , gid, members]) => ({
    name,
    gid: parseId(gid),
    members: members?.split(',') ?? [],
  }))

  const wanted = userPart === '' ? '0' : userPart
  const number = explicitId(wanted, 'user')
  const account =
    number === undefined ? accounts.find(({ name }) => name === wanted) : accounts.find(({ uid }) => uid === number)
  const uid = number ?? account?.uid
  if (uid === undefined)
    throw new UserError(`no user ${JSON.stringify(wanted)} in the image's /etc/passwd; a numeric id needs no entry`)

  if (account !== undefined && account.gid === undefined)
    throw new UserError(`the image's /etc/passwd gives ${JSON.stringify(wanted)} a group that is no number`)

  const gid = groupPart === '' ? (account?.gid ?? 0) : resolveGroup(groupPart, groups)
  const others =
    groupPart === '' && account
      ? groups.filter(({ members }) => members.includes(account.name ?? '')).map((group) => group.gid)
      : []
  return {
    uid,
    gid,
    additionalGids: unique([gid, ...others, ...more.map((group) => resolveGroup(group, groups))]),
    home: account?.home || '/',
  }
}

/** Where not all ids are: without the groups that are not. Throws `UserError` for a user who is not. */
export function userHere(user: ResolvedUser, { hasUser, hasGroup, mayChangeGroups }: OwnIds): ResolvedUser {
  const { uid, gid, additionalGids } = user
  if (!hasUser(uid) || !hasGroup(gid))
    throw new UserError(
      `the user ${uid}:${gid} does not exist in your user namespace, which has only the ids that are yours: run it as root with -u 0, or have more ids (subuid(5); Debian: apt install uidmap)`,
    )
  return { ...user, additionalGids: mayChangeGroups ? additionalGids.filter(hasGroup) : [] }
}

function resolveGroup(
  text: string,
  groups: readonly { readonly name: string | undefined; readonly gid: number | undefined }[],
): number {
  const gid = explicitId(text, 'group') ?? groups.find(({ name }) => name === text)?.gid
  if (gid === undefined)
    throw new UserError(`no group ${JSON.stringify(text)} in the image's /etc/group; a numeric id needs no entry`)
  return gid
}

/** A number where the text is digits, `undefined` where it is a name. */
function explicitId(text: string, kind: string): number | undefined {
  if (!/^[+-]?[0-9]+$/.test(text)) return undefined
  const id = parseId(text)
  if (id === undefined) throw new UserError(`the ${kind} id ${text} is not between 0 and ${ID_LIMIT}`)
  return id
}

function parseId(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined
  const id = Number(text)
  return id <= ID_LIMIT ? id : undefined
}

const lines = (text: string): readonly string[][] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'))

const unique = (ids: readonly (number | undefined)[]): readonly number[] => [
  ...new Set(ids.filter((id) => id !== undefined)),
]
