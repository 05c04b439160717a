/** What can be seen of a container from inside, and how two runtimes are compared by it. */
import assert from 'node:assert/strict'
import { copyFile, mkdir, symlink } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { buildPayload } from '../../native/testing/bundle.ts'
import { type Finished, run, until } from '../support/commands.ts'
import { findAll } from '../support/needs.ts'

/** A runtime under test: its name in messages, its executable. */
export interface Runtime {
  readonly name: string
  readonly path: string
}

const STOPS_TIMEOUT_MS = 20_000

/** Debian's runc and ours. */
export async function bothRuntimes(): Promise<readonly [runc: Runtime, gantry: Runtime]> {
  const [runc = 'runc'] = await findAll('runc')
  const gantry = fileURLToPath(new URL('../../native/build/gantry-runtime', import.meta.url))
  return [
    { name: 'runc', path: runc },
    { name: 'gantry-runtime', path: gantry },
  ]
}

/** A root file system of busybox, and of the tests' own program at /init. */
export async function boxRoot(root: string): Promise<void> {
  for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp']) await mkdir(`${root}/${name}`, { recursive: true })
  await copyFile('/bin/busybox', `${root}/bin/busybox`)
  await copyFile(await buildPayload(), `${root}/init`)
  for (const name of ['sh', 'ls', 'cat', 'id', 'sleep', 'mount', 'hostname', 'grep', 'ip', 'true'])
    await symlink('busybox', `${root}/bin/${name}`)
}

/** What a command ended with, where whatever `names` match, and ids, are no difference. */
export async function seen(
  command: readonly [string, ...string[]],
  env: NodeJS.ProcessEnv,
  ...names: readonly string[]
): Promise<Finished> {
  const [program, ...args] = command
  const { code, stdout, stderr } = await run(program, args, { env, timeoutMs: STOPS_TIMEOUT_MS })
  const plain = (text: string): string =>
    names.reduce((kept, name) => kept.replaceAll(name, 'NAME'), text.replaceAll(/[0-9a-f]{64}/g, 'ID'))
  return { code, stdout: plain(stdout), stderr: plain(stderr) }
}

/** Lines of /proc/mounts without what runtimes may do differently, each with its reason. */
export function comparableMounts(text: string): readonly string[] {
  const different = new Map([
    ['/', 'the root is where the engine put it, which names the container'],
    ['/sys/fs/cgroup', 'read-only here'],
    ['/sys/fs/cgroup/unified', 'shown here alone, where there are both versions'],
    ['/proc/acpi', 'what is masked is covered here by what nobody can write, or change'],
    ['/proc/scsi', 'the same'],
    ['/proc/asound', 'the same'],
    ['/proc/kcore', 'the same'],
    ['/proc/keys', 'the same'],
    ['/proc/latency_stats', 'the same'],
    ['/proc/timer_list', 'the same'],
    ['/proc/timer_stats', 'the same'],
    ['/proc/sched_debug', 'the same'],
    ['/sys/firmware', 'the same'],
    ['/sys/fs/selinux', 'the same'],
    ['/sys/dev/block', 'the same'],
  ])
  const lines = text.split('\n').map((line) => line.split(' '))
  const mounts = lines.filter(([, target = '']) => target !== '' && !different.has(target))
  assert.ok(mounts.length > 5, text)
  return mounts.map((fields) => fields.slice(1).join(' ')).sort()
}

/** Until the command says what fits. */
export const untilSays = (what: string, pattern: RegExp, say: () => Promise<Finished>): Promise<string> =>
  until(what, STOPS_TIMEOUT_MS, async () => {
    const { stdout } = await say()
    return pattern.test(stdout) ? stdout : undefined
  })
