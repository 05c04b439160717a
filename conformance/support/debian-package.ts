/** A package of Debian's unpacked and not installed: nothing of this machine changes, and no service starts. */
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { succeed } from './commands.ts'
import { toolsDirectory } from './go-tools.ts'

/**
 * The folder with its files, by version in the cache of tools, from the mirror that apt uses. Several processes may ask at
 * the same time. Throws where apt knows no such package.
 */
export async function debianPackage(name: string): Promise<string> {
  const [, version] = /Candidate: (\S+)/.exec(await succeed('apt-cache', ['policy', name])) ?? []
  const directory = join(toolsDirectory(), `${name}_${version}`)
  if (!(await exists(directory))) await unpack(name, directory)
  return directory
}

async function unpack(name: string, directory: string): Promise<void> {
  await mkdir(toolsDirectory(), { recursive: true })
  const building = await mkdtemp(join(toolsDirectory(), '.building-'))
  try {
    await succeed('apt-get', ['-qq', '-o', 'APT::Sandbox::User=root', 'download', name], { cwd: building })
    const [archive = ''] = await readdir(building)
    await succeed('dpkg', ['-x', join(building, archive), join(building, 'tree')])
    await rename(join(building, 'tree'), directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY') throw error // another process was faster
    })
  } finally {
    await rm(building, { recursive: true, force: true })
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )
