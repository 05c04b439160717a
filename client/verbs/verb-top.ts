/** `gantry top` and `gantry port`. */
import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { openHouse } from '../containers/house.ts'
import { look, WrongState } from '../containers/lifecycle.ts'
import { RequestError } from '../containers/request-error.ts'
import type { Output } from './output.ts'

const execute = promisify(execFile)

/** What the host's `ps` says of the container's processes. Throws `WrongState` if it does not run. */
export async function topVerb(
  reference: string,
  options: readonly string[],
  flags: { readonly root: string },
  output: Output,
): Promise<void> {
  const { state } = await look(await openHouse(flags.root), reference)
  if (state.pid === 0) throw new WrongState(`the container ${reference} is not running`)
  const pids = await processesOf(state.pid)
  const { stdout } = await execute('ps', options.length > 0 ? [...options] : ['-ef']).catch(
    (cause: { readonly stderr?: string; readonly code?: unknown }) => {
      throw new Error(
        cause.code === 'ENOENT' ? 'this machine has no ps: install procps' : `ps says: ${cause.stderr?.trim()}`,
        { cause },
      )
    },
  )
  const [heading = '', ...lines] = stdout.trimEnd().split('\n')
  const column = heading.trim().split(/\s+/).indexOf('PID')
  if (column < 0) throw new Error('the options given to ps leave out the column PID: add it, for example -o pid,args')
  output.line([heading, ...lines.filter((line) => pids.has(line.trim().split(/\s+/)[column] ?? ''))].join('\n'))
}

/** Those in the PID namespace of `pid`, as the host numbers them. */
async function processesOf(pid: number): Promise<ReadonlySet<string>> {
  const { readlink } = await import('node:fs/promises')
  const namespace = await readlink(`/proc/${pid}/ns/pid`)
  const own = await readlink('/proc/self/ns/pid')
  const found = new Set<string>()
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const theirs = await readlink(`/proc/${name}/ns/pid`).catch(() => '') // it has ended
    if (theirs === namespace && (theirs !== own || (await sameGroup(name, pid)))) found.add(name)
  }
  return found
}

/** With the host's namespace: those in its control groups. */
async function sameGroup(name: string, pid: number): Promise<boolean> {
  const [theirs, its] = await Promise.all(
    [name, pid].map((each) => readFile(`/proc/${each}/cgroup`, 'utf8').catch(() => '')),
  )
  return theirs === its
}

/** There are none yet. Throws `NoSuchContainer`. */
export async function portVerb(
  reference: string,
  port: string | undefined,
  flags: { readonly root: string },
): Promise<void> {
  const { record } = await look(await openHouse(flags.root), reference)
  if (port !== undefined) throw new RequestError(`no public port ${port} is published for ${record.name}`, 1)
}
