/**
 * Debian's kernel for virtual machines, which has what this machine's may lack. Nothing is installed, and no boot loader
 * hears of it.
 */
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { succeed } from './commands.ts'
import { debianPackage } from './debian-package.ts'

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
  const directory = await debianPackage(name)
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
