/** Who may do what. Every route and every further repository that a request touches (the source of a mount) asks here. */
import type { RepositoryName } from '../storage/model/reference.ts'
import { RegistryError } from './errors.ts'
import type { Authorize, Context, Right } from './routing.ts'

/** For a registry without accounts, which `gantry serve` offers only to its own machine unless told otherwise. */
export const allowEverything: Authorize = async () => {}

/**
 * For a read-only registry: whoever would write is refused, whatever rights they have. `allow` says what a path still takes; nothing at all is an
 * answer too (RFC 9110 section 10.2.1).
 */
export const onlyReading =
  (authorize: Authorize, allow: (path: string) => string): Authorize =>
  async (ctx, right, repository, tag) => {
    if (right === 'push' || right === 'delete')
      throw new RegistryError('readOnly', { headers: { Allow: allow(ctx.path) } })
    await authorize(ctx, right, repository, tag)
  }

/** For a right that the request can do without. */
export async function isAllowed(
  authorize: Authorize,
  ctx: Context,
  right: Right,
  repository: RepositoryName,
): Promise<boolean> {
  try {
    await authorize(ctx, right, repository)
    return true
  } catch (error) {
    if (error instanceof RegistryError) return false
    throw error
  }
}
