/**
 * Debian's kernel for virtual machines, which has what this machine's may lack: unpacked by version into the cache of
 * tools, from the mirror that apt uses. Nothing is installed, and no boot loader hears of it.
 */
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { succeed } from './commands.ts'
import { toolsDirectory } from './go-tools.ts'

const META_PACKAGE = 'linux-image-cloud-amd64'

export interface Kernel {
  readonly image: string
  /** The path of a module, such as "overlay". Throws if the kernel has none of that name. */
  module(name: string): string
}

/** Several processes may ask at the same time. */
export async function cloudKernel(): Promise<Kernel> {
  const [, name] = /Depends: (linux-image-\S+)/.exec(await succeed('apt-cache', ['depends', META_PACKAGE])) ?? []
  if (name === undefined) throw new Error(`${META_PACKAGE} depends on no kernel: apt-get update?`)
  const [, version] = /Candidate: (\S+)/.exec(await succeed('apt-cache', ['policy', name])) ?? []
  const directory = join(toolsDirectory(), `${name}_${version}`)
  if (!(await exists(directory))) await unpack(name, directory)

  const boot = await readdir(join(directory, 'boot'))
  const image = boot.find((file) => file.startsWith('vmlinuz-'))
  if (image === undefined) throw new Error(`${directory}/boot has no kernel, but ${boot.join(', ')}`)
  const files = await readdir(join(directory, 'lib/modules'), { recursive: true })
  return {
    image: join(directory, 'boot', image),
    module(wanted) {
      const found = files.find((file) => basename(file) === `${wanted}.ko`)
      if (found === undefined) throw new Error(`${name} has no module ${wanted}`)
      return join(directory, 'lib/modules', found)
    },
  }
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
