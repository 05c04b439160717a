/** Where a container's control groups are, in the words of linux.cgroupsPath. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

export interface CgroupsPlace {
  readonly id: string
  /** docker's `--cgroup-parent`: a control group, or a slice of systemd's by its name alone. */
  readonly parent?: string | undefined
  /** Whether an ordinary user's own systemd is there to make them: nobody else may, for him. */
  readonly byUserSystemd: boolean
}

/** Nothing where the runtime has a place of its own. */
export function cgroupsPath({ id, parent, byUserSystemd }: CgroupsPlace): string | undefined {
  if (parent?.endsWith('.slice') && !parent.includes('/')) return `${parent}:gantry:${id}`
  if (parent) return join('/', parent, id)
  return byUserSystemd ? `:gantry:${id}` : undefined
}

/** systemd hands control groups to an ordinary user only where they are of version 2 alone. */
export function hasUserSystemd(environment: NodeJS.ProcessEnv = process.env): boolean {
  const folder = environment['XDG_RUNTIME_DIR']
  return !!folder && existsSync('/sys/fs/cgroup/cgroup.controllers') && existsSync(join(folder, 'systemd/private'))
}
