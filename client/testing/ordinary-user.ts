/**
 * A user of this machine who is not root, for tests: with an entry in passwd, and ids of others or none, in a mount namespace of each command's
 * own, so that nothing of the machine changes. The sources are shown to him where he can read them.
 */
import { execFile } from 'node:child_process'
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Finished, run } from '../../conformance/support/commands.ts'
import { Terminal } from '../../conformance/support/terminal.ts'

const execute = promisify(execFile)
const CHECKOUT = join(import.meta.dirname, '..', '..')
const FIRST_SUBORDINATE = 3_000_000
const SIZE = { columns: 91, rows: 23 }

export interface OrdinaryUser extends AsyncDisposable {
  readonly uid: number
  /** His alone; `store` in it is where Gantry keeps his images and containers. */
  readonly home: string
  readonly store: string
  /** Runs it as he would, in his home. */
  command(...words: readonly string[]): Promise<Finished>
  gantry(...words: readonly string[]): Promise<Finished>
  /** Typed in a real pseudo-terminal. */
  typing(...words: readonly string[]): Terminal
  /** The process that keeps his user namespace; `undefined` if there is none. */
  holder(): Promise<number | undefined>
}

/** `setUp`: for root's shell, in the user's home in that mount namespace, before he gets it; only his first command's stays, as the others join it. */
export async function ordinaryUser(options: {
  readonly uid: number
  readonly subordinates: boolean
  readonly setUp?: string
}): Promise<OrdinaryUser> {
  const { uid, subordinates, setUp = '' } = options
  const folder = await mkdtemp(join(tmpdir(), 'gantry-user-'))
  const [home, session, checkout] = ['home', 'session', 'checkout'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  await chmod(folder, 0o755)
  for (const each of [home, session, checkout]) await mkdir(each, { mode: 0o700 })
  for (const each of [home, session]) await chown(each, uid, uid)
  await chmod(checkout, 0o755)
  const files = {
    passwd: `${await readFile('/etc/passwd', 'utf8')}\nordinary:x:${uid}:${uid}::${home}:/bin/sh\n`,
    group: `${await readFile('/etc/group', 'utf8')}\nordinary:x:${uid}:\n`,
    subuid: subordinates ? `ordinary:${FIRST_SUBORDINATE}:65536\n` : '',
    subgid: subordinates ? `ordinary:${FIRST_SUBORDINATE}:65536\n` : '',
  }
  const shown = Object.entries(files).map(async ([name, text]) => {
    await writeFile(join(folder, name), text, { mode: 0o644 })
    return `[ ! -e /etc/${name} ] || mount --bind ${join(folder, name)} /etc/${name}`
  })
  const script = [
    'set -e',
    'mount --make-rprivate /',
    ...(await Promise.all(shown)),
    `mount --bind ${CHECKOUT} ${checkout}`,
    `cd ${home}`,
    setUp,
    `exec setpriv --reuid ${uid} --regid ${uid} --clear-groups env -i "PATH=$PATH" HOME=${home} XDG_RUNTIME_DIR=${session} NO_COLOR=1 "$@"`,
  ].join('\n')
  const node = process.execPath.startsWith(`${CHECKOUT}/`)
    ? join(checkout, process.execPath.slice(CHECKOUT.length))
    : process.execPath
  const asHim = (words: readonly string[]): readonly string[] => ['-m', 'sh', '-c', script, 'sh', ...words]
  const command: OrdinaryUser['command'] = async (...words) => await run('unshare', asHim(words))
  const gantry = [node, join(checkout, 'client', 'gantry.mjs')]
  const holder = async (): Promise<number | undefined> => {
    const record = await readFile(join(session, 'gantry', 'namespace'), 'utf8').catch(() => '')
    return record === '' ? undefined : Number(record.split(' ')[0])
  }
  return {
    uid,
    home,
    store: join(home, '.local', 'share', 'gantry'),
    command,
    gantry: async (...words) => await command(...gantry, ...words),
    typing: (...words) => new Terminal(['unshare', ...asHim([...gantry, ...words])], { ...SIZE, env: process.env }),
    holder,
    [Symbol.asyncDispose]: async () => {
      const pid = await holder()
      if (pid !== undefined) await execute('kill', ['-9', String(pid)]).catch(() => {})
      await rm(folder, { recursive: true, force: true })
    },
  }
}
