/**
 * `npm run clients`: builds the programs written in Go that the tests use and that this machine has not got, one at a time, and
 * prints every client and peer that is here with its version. Exit code 1 if one cannot be built.
 */
import { setInterval } from 'node:timers'
import { run } from './support/commands.ts'
import { GO_TOOLS, type GoToolName, installGoTool, notBuilt } from './support/go-tools.ts'
import { findAll } from './support/needs.ts'

/** From the distribution's packages: how each says its version, and where in that it is. */
const PACKAGED: readonly (readonly [program: string, ...args: string[]])[] = [
  ['docker', '--version'],
  ['dockerd', '--version'],
  ['containerd', '--version'],
  ['podman', '--version'],
  ['buildah', '--version'],
  ['skopeo', '--version'],
  ['runc', '--version'],
  ['crun', '--version'],
  ['docker-registry', '--version'],
]
const STILL_ALIVE_MS = 30_000

const say = (line: string): void => void process.stdout.write(`${line}\n`)

async function build(name: GoToolName): Promise<boolean> {
  if ((await notBuilt(name)) === false) return true
  const { package: path, version } = GO_TOOLS[name]
  const started = Date.now()
  const seconds = (): string => `${Math.round((Date.now() - started) / 1000)} s`
  say(`clients: building ${name} (${path}@${version})`)
  const reminder = setInterval(() => say(`clients: still building ${name}, ${seconds()}`), STILL_ALIVE_MS)
  try {
    await installGoTool(name)
    say(`clients: built ${name} in ${seconds()}`)
    return true
  } catch (error) {
    say(`clients: ${(error as Error).message}`)
    return false
  } finally {
    clearInterval(reminder)
  }
}

async function report(): Promise<void> {
  for (const [program, ...args] of PACKAGED) {
    const paths = await findAll(program)
    if (paths.length === 0) say(`  ${program.padEnd(16)} not installed`)
    for (const path of paths) {
      const { stdout, stderr } = await run(path, args)
      const [version = 'of no known version'] = /\d+\.\d+\S*/.exec(stdout || stderr) ?? []
      say(`  ${program.padEnd(16)} ${version} (${path})`)
    }
  }
  for (const [name, { package: path, version }] of Object.entries(GO_TOOLS)) {
    const absent = await notBuilt(name as GoToolName)
    say(`  ${name.padEnd(16)} ${version} of ${path}${absent === false ? '' : ': not built'}`)
  }
}

let failed = 0
for (const name of Object.keys(GO_TOOLS) as GoToolName[]) if (!(await build(name))) failed += 1
say('clients and peers:')
await report()
process.exitCode = failed > 0 ? 1 : 0
