/** Who may do what. Every route and every further repository that a request touches (the source of a mount) asks here. */
import type { RepositoryName } from '../storage/model/reference.ts'
import { RegistryError } from './errors.ts'
import type { Authorize, Context, Right } from './routing.ts'

/** For a registry without accounts, which `gantry serve` offers only to its own machine unless told otherwise. */
export const allowEverything: Authorize = async () => {}

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
