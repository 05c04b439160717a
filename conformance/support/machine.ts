/**
 * Something like a second machine: a network that nobody else has, with an address that is not loopback (to which clients are strict),
 * and an `/etc` whose changes are seen nowhere else. Files are the same.
 */
import { once } from 'node:events'
import { type CommandOptions, type Finished, run, startGroup, stopGroup } from './commands.ts'
import type { Workspace } from './workspace.ts'

/** Of a network for examples (RFC 5737). */
export const ADDRESS = '192.0.2.1'

export interface Machine extends AsyncDisposable {
  /** Put before a command so that it runs there. */
  readonly prefix: readonly string[]
  run(command: string, args: readonly string[], options?: CommandOptions): Promise<Finished>
}

/** Needs root. */
export async function startMachine(workspace: Workspace): Promise<Machine> {
  const own = workspace.path('machine')
  const setUp = [
    `mkdir -p ${own}`,
    `mount -t tmpfs tmpfs ${own}`, // a layer of an overlay cannot be on another one
    `mkdir ${own}/upper ${own}/work`,
    `mount -t overlay overlay -o lowerdir=/etc,upperdir=${own}/upper,workdir=${own}/work /etc`,
    'ip link set lo up',
    `ip address add ${ADDRESS}/32 dev lo`,
    'echo ready',
    'exec sleep infinity',
  ]
  const child = startGroup('unshare', ['--net', '--mount', 'sh', '-ec', setUp.join('\n')], {
    env: workspace.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = once(child, 'exit').then(() => {
    throw new Error(`no network and /etc of our own: ${said}`)
  })
  ended.catch(() => {})
  await Promise.race([once(child.stdout ?? child, 'data'), ended])
  const prefix = ['nsenter', '--target', `${child.pid}`, '--net', '--mount', '--']
  return {
    prefix,
    run: (command, args, options) => {
      const [program = '', ...all] = [...prefix, command, ...args]
      return run(program, all, { env: workspace.env, ...options })
    },
    [Symbol.asyncDispose]: () => stopGroup(child),
  }
}
