/** What was asked to be mounted, with its sources found on the host. */
import { mkdir, stat } from 'node:fs/promises'
import type { ResolvedMount } from './mount-spec.ts'
import type { BindRequest, MountRequest } from './mounts.ts'
import { RequestError } from './request-error.ts'

/** `-v` makes a source that is missing, a folder of root; `--mount` refuses. Throws `RequestError`. */
export async function resolveBind(mount: BindRequest): Promise<ResolvedMount> {
  const { source, target, readOnly, propagation, recursive } = mount
  if (mount.makeSource)
    await mkdir(source, { recursive: true, mode: 0o755 }).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EEXIST')
        throw new RequestError(`cannot make ${source}, which is to be mounted at ${target}: ${cause.code}`, 125, {
          cause,
        }) // a file will do
    })
  await stat(source).catch((cause: NodeJS.ErrnoException) => {
    throw new RequestError(
      `invalid mount: the source ${source} of ${target} does not exist on this machine (${cause.code}); make it first`,
      125,
      { cause },
    )
  })
  return { type: 'bind', source, target, readOnly, propagation, recursive }
}

/** Throws `RequestError` if two are for one place. */
export function checkTargets(mounts: readonly MountRequest[]): void {
  const seen = new Set<string>()
  for (const { target } of mounts) {
    if (seen.has(target))
      throw new RequestError(`duplicate mount point ${target}: it is named by two of -v, --mount and --tmpfs`)
    seen.add(target)
  }
}
