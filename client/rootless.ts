/**
 * Who is not root works in a user namespace in which he is: this process becomes the same command in it, and everything else of Gantry need
 * not know. All commands of a user share one namespace, and with it what containers have mounted; a small process keeps it while one of them, or
 * a container, is there (native/src/runtime/shared_namespace.h). What he has is in folders of his own, after the XDG Base Directory Specification.
 */
import { accessSync, chmodSync, constants, mkdirSync, readFileSync, statSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** They ask registries, or print: no unpacked files of images, no containers. */
const NEED_NO_IDS = 'login logout tags search-tags delete sync manifest artifact completion man version help'.split(' ')

const RUNTIME = fileURLToPath(new URL('../native/build/gantry-runtime', import.meta.url))

/** Does not return if this process becomes another. Throws if it would have to, and cannot. */
export function enterUserNamespace(launcher: string, argv: readonly string[]): void {
  const verb = argv.find((word) => !word.startsWith('-'))
  const end = argv.includes('--') ? argv.indexOf('--') : argv.length
  const asksForHelp = verb === undefined || (argv.indexOf('--help') >= 0 && argv.indexOf('--help') < end)
  const isBetweenOthers = verb === 'copy' && !argv.some((word) => word.startsWith('local:'))
  if (asksForHelp || isBetweenOthers || NEED_NO_IDS.includes(verb)) return
  const { uid, gid, username } = userInfo()
  const run = runFolder(uid)
  const ids = mappings(username, uid, gid)
  const words = [
    ...ids.uids.map((each) => `--uids=${each}`),
    ...ids.gids.map((each) => `--gids=${each}`),
    ...(ids.missing === undefined ? [] : [`--notice=gantry: ${ids.missing}`]),
  ]
  const environment = {
    ...process.env,
    GANTRY_ROOT: process.env['GANTRY_ROOT'] || join(dataFolder(), 'gantry'),
    GANTRY_STATE_ROOT: join(run, 'containers'),
  }
  process.execve?.(
    RUNTIME,
    // Behind `--` Node looks for no options of its own: it would read the file of our --env-file.
    [RUNTIME, '--root', run, 'namespace', '--folder', run, ...words, process.execPath, '--', launcher, ...argv],
    environment,
  )
}

interface Mappings {
  readonly uids: readonly string[]
  readonly gids: readonly string[]
  /** Why there is only one, and what to do. */
  readonly missing?: string
}

/** Root inside is who calls; the others are those that `/etc/subuid` and `/etc/subgid` give him. */
function mappings(username: string, uid: number, gid: number): Mappings {
  const [users, groups] = ['/etc/subuid', '/etc/subgid'].map((path) => subordinates(readIfThere(path), username, uid))
  const canMap = ['newuidmap', 'newgidmap'].every(isInstalled)
  const [uids, gids] = [mapped(uid, users ?? []), mapped(gid, groups ?? [])]
  if (canMap && uids.length > 1 && gids.length > 1) return { uids, gids }
  const steps = [
    ...(canMap ? [] : ['install newuidmap and newgidmap (Debian and Ubuntu: apt install uidmap)']),
    ...(uids.length > 1 && gids.length > 1
      ? []
      : [`let root run \`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${username}\``]),
  ]
  return {
    uids: uids.slice(0, 1),
    gids: gids.slice(0, 1),
    missing: `you have no ids but your own, so all files of images belong to you (whose they would be is recorded), and containers have no user but root. To have more, ${steps.join(', and ')}`,
  }
}

const mapped = (own: number, others: readonly Subordinate[]): readonly string[] => {
  let inside = 1
  const more = others.map(({ first, count }) => {
    const line = `${inside}:${first}:${count}`
    inside += count
    return line
  })
  return [`0:${own}:1`, ...more]
}

interface Subordinate {
  readonly first: number
  readonly count: number
}

/** Of subuid(5): `NAME-OR-ID:FIRST:COUNT`, line by line. */
export function subordinates(text: string, username: string, uid: number): readonly Subordinate[] {
  return text
    .split('\n')
    .map((line) => line.trim().split(':'))
    .filter(
      ([whose, first, count]) => (whose === username || whose === String(uid)) && isCount(first) && isCount(count),
    )
    .map(([, first, count]) => ({ first: Number(first), count: Number(count) }))
    .filter(({ count }) => count > 0)
}

const isCount = (text: string | undefined): boolean => /^[0-9]{1,10}$/.test(text ?? '')

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Where the runtime looks, too. */
const isInstalled = (program: string): boolean =>
  ['/usr/bin', '/usr/local/bin'].some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/** "If $XDG_DATA_HOME is either not set or empty, a default equal to $HOME/.local/share should be used"; a path that is not absolute counts as none. */
function dataFolder(): string {
  const said = process.env['XDG_DATA_HOME']
  return said?.startsWith('/') ? said : join(homedir(), '.local', 'share')
}

/** Made, for nobody else. What is in it is true until the next boot at most. */
function runFolder(uid: number): string {
  const candidates = [process.env['XDG_RUNTIME_DIR'], `/run/user/${uid}`]
  const session = candidates.find((folder) => folder?.startsWith('/') && isOwnFolder(folder, uid))
  const folder = session === undefined ? join(dataFolder(), 'gantry-run') : join(session, 'gantry')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  chmodSync(folder, 0o1700) // sticky: "files … may be subjected to periodic clean-up" but for those that are so marked
  return folder
}

function isOwnFolder(folder: string, uid: number): boolean {
  const status = statSync(folder, { throwIfNoEntry: false })
  return status?.isDirectory() === true && status.uid === uid
}
