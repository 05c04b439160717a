/**
 * Programs written in Go that tests need: the one list of them with their versions, and how they come here. Each is built
 * by `go install package@version` into a cache outside the clone and keyed by version, so that a machine builds it once:
 * `$GANTRY_TOOLS`, else `gantry/tools` in the user's cache directory.
 */
import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** The largest takes four minutes on two cores that do nothing else; several processes may be waiting for their turn. */
const BUILD_TIMEOUT_MS = 30 * 60_000
/** Under the lock: nothing if the executable is there, else the command, whose folder then becomes the executable's. */
const BUILD_ONCE = 'test -e "$0" && exit; from=$1 to=$2; shift 2; "$@" && mv -T "$from" "$to"'

interface GoTool {
  /** Of the package to build, without version. */
  readonly package: string
  readonly version: string
  /** Build constraints that leave out what needs C libraries or serves nothing here. */
  readonly tags?: string
  /** The module, where its go.mod has directives that `go install` refuses: it is then built in its downloaded source. */
  readonly builtInSource?: string
}

export const GO_TOOLS = {
  /** The suite, the newest that the Go proxy has: past 1.1.1, a program of its own that can be asked for all of the coming 1.2. */
  conformance: {
    package: 'github.com/opencontainers/distribution-spec/conformance',
    version: 'v0.0.0-20260831232431-97274622c111',
  },
  crane: { package: 'github.com/google/go-containerregistry/cmd/crane', version: 'v0.22.1' },
  regctl: { package: 'github.com/regclient/regclient/cmd/regctl', version: 'v0.11.7' },
  oras: { package: 'oras.land/oras/cmd/oras', version: 'v1.3.6' },
  helm: { package: 'helm.sh/helm/v3/cmd/helm', version: 'v3.22.0' },
  cosign: { package: 'github.com/sigstore/cosign/v2/cmd/cosign', version: 'v2.6.5' },
  ctr: { package: 'github.com/containerd/containerd/v2/cmd/ctr', version: 'v2.4.2' },
  containerd: { package: 'github.com/containerd/containerd/v2/cmd/containerd', version: 'v2.4.2', tags: 'no_btrfs' },
  buildkitd: {
    package: 'github.com/moby/buildkit/cmd/buildkitd',
    version: 'v0.34.2',
    builtInSource: 'github.com/moby/buildkit',
  },
  /** A peer to measure beside. */
  registry: { package: 'github.com/distribution/distribution/v3/cmd/registry', version: 'v3.1.2' },
  /** Real S3 servers, which differ where it hurts. */
  versitygw: { package: 'github.com/versity/versitygw/cmd/versitygw', version: 'v1.8.0' },
  minio: { package: 'github.com/minio/minio', version: 'v0.0.0-20260212201848-7aac2a2c5b7c' },
  buildx: { package: 'github.com/docker/buildx/cmd/buildx', version: 'v0.38.2' },
} as const satisfies Record<string, GoTool>

export type GoToolName = keyof typeof GO_TOOLS

/** Why Go programs cannot be built here, or `undefined` if they can: what a test passes to `skip`. */
export async function goIsMissing(): Promise<string | undefined> {
  try {
    await run('go', ['version'])
    return undefined
  } catch (error) {
    return `the go command is needed to build it: ${(error as Error).message.split('\n')[0]}`
  }
}

/** For `skip`: which of these are not built yet, or `false`. They take minutes, so that only `npm run clients` builds them. */
export async function notBuilt(...names: readonly GoToolName[]): Promise<string | false> {
  const absent: string[] = []
  for (const name of names) if (!(await exists(goTool(name)))) absent.push(name)
  return absent.length > 0 && `not built (npm run clients builds it): ${absent.join(', ')}`
}

/** The path of the executable, built or not. */
export function goTool(name: GoToolName): string {
  const { package: path, version } = GO_TOOLS[name]
  return join(toolsDirectory(), `${path.replaceAll('/', '!')}@${version}`, basename(path))
}

/**
 * The path of the executable; built if the cache has not got it. Several processes may ask at the same time: one builds, the
 * others wait. Throws with what the compiler said.
 */
export async function installGoTool(name: GoToolName): Promise<string> {
  const executable = goTool(name)
  if (await exists(executable)) return executable

  await mkdir(toolsDirectory(), { recursive: true })
  const building = await mkdtemp(join(toolsDirectory(), '.building-'))
  try {
    const tool: GoTool = GO_TOOLS[name]
    const env = { ...process.env, GOBIN: building, GOFLAGS: '', CGO_ENABLED: '0' }
    const flags = ['-trimpath', '-ldflags=-s -w', `-tags=${tool.tags ?? ''}`]
    const build =
      tool.builtInSource === undefined
        ? ['go', 'install', ...flags, `${tool.package}@${tool.version}`]
        : [
            'go',
            'build',
            '-C',
            await sourceOf(tool.builtInSource, tool.version),
            '-o',
            building,
            ...flags,
            tool.package,
          ]
    await run(
      'flock',
      [
        join(toolsDirectory(), '.lock'),
        ...['sh', '-c', BUILD_ONCE, executable, building, dirname(executable)],
        ...build,
      ],
      { cwd: building, env, timeout: BUILD_TIMEOUT_MS },
    )
  } catch (cause) {
    const { stderr = '' } = cause as { stderr?: string }
    throw new Error(`${name} cannot be built: ${stderr.trim().split('\n').slice(-20).join('\n')}`, { cause })
  } finally {
    await rm(building, { recursive: true, force: true })
  }
  return executable
}

/** The folder of the module's source in Go's own cache; nothing is written there. */
async function sourceOf(module: string, version: string): Promise<string> {
  const { stdout } = await run('go', ['mod', 'download', '-json', `${module}@${version}`], { cwd: toolsDirectory() })
  return (JSON.parse(stdout) as { Dir: string }).Dir
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
