/**
 * The registries that are measured beside each other, each as its own process over a folder of its own on the same disk,
 * with its usual durability and one line of access log a request, thrown away. What differs: Gantry syncs file and folder
 * before it acknowledges; distribution v3 syncs the file's bytes, docker-registry 2.8 nothing.
 */
import type { ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { startGroup, stopGroup, succeed } from '../conformance/support/commands.ts'
import { startDistribution } from '../conformance/support/distribution.ts'
import { GO_TOOLS, goIsMissing, installGoTool } from '../conformance/support/go-tools.ts'
import { findAll } from '../conformance/support/needs.ts'

const LAUNCHER = fileURLToPath(new URL('../client/gantry.mjs', import.meta.url))

export interface Contestant extends AsyncDisposable {
  readonly name: string
  /** `127.0.0.1:<port>` */
  readonly host: string
  readonly url: string
  readonly pid: number
}

/** Ours first, then the peers that can be had here; `say` is told which cannot. Owned by `stack`. */
export async function startContestants(
  stack: AsyncDisposableStack,
  folder: string,
  say: (text: string) => void,
): Promise<readonly Contestant[]> {
  const contestants = [stack.use(await startOurs(join(folder, 'gantry')))]
  const distribution = await startV3(join(folder, 'distribution'), say)
  if (distribution) contestants.push(stack.use(distribution))
  const [packaged] = await findAll('docker-registry')
  if (packaged === undefined) say('docker-registry is not installed: one peer less')
  else contestants.push(stack.use(await startPeer('docker-registry 2.8', packaged, join(folder, 'docker-registry'))))
  return contestants
}

export async function startOurs(
  dataDirectory: string,
  nodeFlags: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Contestant> {
  const args = [...nodeFlags, LAUNCHER, 'serve', '--listen', '127.0.0.1:0', '--data', dataDirectory]
  const child = startGroup(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, GANTRY_METRICS_LISTEN: '127.0.0.1:0', ...env },
  })
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  for await (const line of lines) {
    const [, host] = /http:\/\/([^ ]+)/.exec(line) ?? []
    if (host !== undefined) return contestant('gantry', host, child)
  }
  throw new Error('gantry serve ended before it was ready; start it by hand to see why')
}

/** The same data for whoever has an account: `name` has one, with this password. */
export async function startRestricted(dataDirectory: string, name: string, password: string): Promise<Contestant> {
  const adding = [LAUNCHER, 'user', 'add', name, '--password-stdin', '--data', dataDirectory]
  await succeed(process.execPath, adding, { input: `${password}\n` })
  return await startOurs(dataDirectory, [], { GANTRY_ACCOUNTS_BASIC: 'also' })
}

/** distribution v3; `undefined` where it cannot be had, which `say` is told. `storage` as in its configuration. */
export async function startV3(
  folder: string,
  say: (text: string) => void,
  storage?: Readonly<Record<string, object>>,
): Promise<Contestant | undefined> {
  const noGo = await goIsMissing()
  if (noGo !== undefined) {
    say(`no distribution v3 to compare with: ${noGo}`)
    return undefined
  }
  return await startPeer(`distribution ${GO_TOOLS.registry.version}`, await installGoTool('registry'), folder, storage)
}

async function startPeer(
  name: string,
  executable: string,
  folder: string,
  storage: Readonly<Record<string, object>> = {},
): Promise<Contestant> {
  const cache = { blobdescriptor: 'inmemory' }
  const { host, child } = await startDistribution(executable, folder, { cache, ...storage })
  return contestant(name, host, child)
}

const contestant = (name: string, host: string, child: ChildProcess): Contestant => ({
  name,
  host,
  url: `http://${host}`,
  pid: child.pid ?? 0,
  [Symbol.asyncDispose]: () => stopGroup(child),
})

const TICKS_PER_SECOND = 100

/** What a process and its descendants have used of the CPU so far. Linux counts in ticks of 10 ms. */
export async function cpuSeconds(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  let total = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  for (const child of await childrenOf(pid)) total += await cpuSeconds(child)
  return total
}

export async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter(Boolean).map(Number)
}
