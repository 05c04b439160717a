/** What a container has changed of its image, read from the layer that it writes: overlayfs keeps what is new or changed, and marks what is hidden. */
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { lookInRoot } from '../../native/tree-copy.ts'
import { copiedBecause } from './container.ts'
import { RequestError } from './request-error.ts'

export interface Change {
  /** Added, changed, deleted. */
  readonly kind: 'A' | 'C' | 'D'
  /** In the container. */
  readonly path: string
}

/** What the runtime made for what is mounted in every container: empty files. */
export const MOUNT_POINTS: readonly string[] = ['/etc/hosts', '/etc/hostname', '/etc/resolv.conf']

/** In the order of their paths. `layers`: of the image, the lowest first. */
export async function changesOf(folder: string, layers: readonly string[]): Promise<readonly Change[]> {
  const reason = copiedBecause(folder)
  if (reason !== undefined)
    throw new RequestError(
      `what this container has changed is not known apart from its image, which it has a copy of because no overlay could be mounted here (${reason})`,
      1,
    )
  const upper = join(folder, 'upper')
  const changes: Change[] = []
  await walk('')
  const etc = changes.findIndex(({ path }) => path === '/etc')
  const isOurs = etc >= 0 && !changes.some(({ path }) => path.startsWith('/etc/'))
  return isOurs ? changes.toSpliced(etc, 1) : changes

  async function walk(parent: string): Promise<void> {
    for (const name of (await readdir(join(upper, parent)).catch(() => [])).toSorted()) {
      const path = `${parent}/${name}`
      const status = await lstat(join(upper, path)).catch(() => undefined) // it runs, and may have removed it by now
      if (status === undefined || (MOUNT_POINTS.includes(path) && status.size === 0)) continue
      if (status.isCharacterDevice() && status.rdev === 0) {
        changes.push({ kind: 'D', path })
        continue
      }
      changes.push({ kind: isInImage(layers, path) ? 'C' : 'A', path })
      if (status.isDirectory()) await walk(path)
    }
  }
}

/** The uppermost layer that says something of it decides. Links are not followed: a path is looked at as it stands. */
function isInImage(layers: readonly string[], path: string): boolean {
  for (const layer of layers.toReversed()) {
    const parts = path.split('/').slice(1)
    for (let depth = 1; depth <= parts.length; depth++) {
      const found = lookInRoot({ root: layer, path: parts.slice(0, depth).join('/') }, false)
      if (found === undefined) break
      if ((found.mode & 0o170000) === 0o020000) return false // a whiteout
      if (depth === parts.length) return true
    }
  }
  return false
}
