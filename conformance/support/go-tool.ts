/**
 * Programs written in Go that tests need, installed by `go install module@version` into a cache outside the clone and
 * keyed by version, so that each machine builds each of them once: `$GANTRY_TOOLS`, else `gantry/tools` in the user's
 * cache directory.
 */
import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const BUILD_TIMEOUT_MS = 10 * 60_000

export interface GoTool {
  /** Of the package to build, without version. */
  readonly package: string
  readonly version: string
}

/** Why Go programs cannot be built here, or `undefined` if they can: what a test passes to `skip`. */
export async function goIsMissing(): Promise<string | undefined> {
  try {
    await run('go', ['version'])
    return undefined
  } catch (error) {
    return `the go command is needed to build it: ${(error as Error).message.split('\n')[0]}`
  }
}

/** The path of the executable; built if the cache has not got it. Several processes may ask at the same time. */
export async function installGoTool(tool: GoTool): Promise<string> {
  const directory = join(toolsDirectory(), `${tool.package.replaceAll('/', '!')}@${tool.version}`)
  const executable = join(directory, basename(tool.package))
  if (await exists(executable)) return executable

  await mkdir(toolsDirectory(), { recursive: true })
  const building = await mkdtemp(join(toolsDirectory(), '.building-'))
  try {
    const env = { ...process.env, GOBIN: building, GOFLAGS: '' }
    await run('go', ['install', `${tool.package}@${tool.version}`], { cwd: building, env, timeout: BUILD_TIMEOUT_MS })
    await rename(building, directory)
  } catch (cause) {
    await rm(building, { recursive: true, force: true })
    if (await exists(executable)) return executable // another process was quicker
    throw new Error(`go install ${tool.package}@${tool.version} failed`, { cause })
  }
  return executable
}

export function toolsDirectory(): string {
  const { GANTRY_TOOLS, XDG_CACHE_HOME } = process.env
  return GANTRY_TOOLS || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'gantry', 'tools')
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )
