/**
 * A Debian root filesystem as a tar file: minbase and some packages, of the release that this machine runs, from the
 * mirror that its apt uses. Made once per machine and kept outside the clone, by content.
 */
import { access, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { succeed } from './commands.ts'
import { toolsDirectory } from './go-tools.ts'

/** Beyond minbase, which has bash and coreutils: ps, and the tools for file capabilities. */
const COMMON_PACKAGES: readonly string[] = ['procps', 'libcap2-bin']
const TIMEOUT_MS = 10 * 60_000

/** The path of the tar file. Several processes may ask at the same time. */
export async function debianRoot(packages = COMMON_PACKAGES): Promise<string> {
  const suite = await codename()
  const file = join(toolsDirectory(), `debian-${suite}-minbase-${packages.join('-')}.tar`)
  if (await exists(file)) return file

  await mkdir(toolsDirectory(), { recursive: true })
  const building = await mkdtemp(join(toolsDirectory(), '.building-'))
  try {
    const root = join(building, 'root')
    const archive = join(building, 'root.tar')
    const timeoutMs = TIMEOUT_MS
    await succeed(
      'debootstrap',
      ['--variant=minbase', `--include=${packages.join(',')}`, suite, root, await mirror(suite)],
      { timeoutMs },
    )
    await rm(join(root, 'var/cache/apt/archives'), { recursive: true, force: true })
    await succeed('tar', ['-C', root, '--one-file-system', '--xattrs', '--xattrs-include=*', '-cf', archive, '.'], {
      timeoutMs,
    })
    await rename(archive, file)
  } finally {
    await rm(building, { recursive: true, force: true })
  }
  return file
}

async function codename(): Promise<string> {
  const [, name] = /^VERSION_CODENAME=(\w+)$/m.exec(await readFile('/etc/os-release', 'utf8')) ?? []
  if (name === undefined) throw new Error('/etc/os-release names no release of Debian')
  return name
}

async function mirror(suite: string): Promise<string> {
  const format = ['--format', '$(CODENAME) $(RELEASE) $(COMPONENT) $(REPO_URI)', 'Created-By: Packages']
  for (const line of (await succeed('apt-get', ['indextargets', ...format])).split('\n')) {
    const [codename, release, component, uri] = line.split(' ')
    if ((codename === suite || release === suite) && component === 'main' && uri) return uri
  }
  throw new Error(`the package sources of this machine have no mirror of ${suite}`)
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )
