// Containers in a user namespace of their own, and what is needed for those of an ordinary user.
import { lchown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type BundleConfig, dockerConfig } from './bundle.ts'

/** Of whom this machine knows nothing. */
export const ORDINARY_USER = 54_321

export interface Mapping {
  containerID: number
  hostID: number
  size: number
}

export function withUserNamespace(mappings: readonly Mapping[], ...args: string[]): BundleConfig {
  const config = dockerConfig(...args)
  config.linux['namespaces'] = [...(config.linux['namespaces'] as object[]), { type: 'user' }]
  config.linux['uidMappings'] = mappings
  config.linux['gidMappings'] = mappings
  return config
}

/** The root file system belongs to the container's root: the specification has the runtime change no owner. */
export const belongingTo =
  (id: number, prepare?: (rootfs: string) => Promise<unknown>) =>
  async (rootfs: string): Promise<void> => {
    for (const name of ['proc', 'sys', 'dev', 'tmp', 'etc']) {
      await mkdir(join(rootfs, name))
      await lchown(join(rootfs, name), id, id)
    }
    await prepare?.(rootfs)
    await lchown(rootfs, id, id)
  }
