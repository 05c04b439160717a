/**
 * Extensions of the distribution API, whose paths have a component that begins with `_` (distribution-spec, extensions/README.md).
 * This registry has none; clients that look for one learn that from the discovery of `_oci.md`.
 */
import type { Store } from '../storage/store.ts'
import { answerBytes } from './answers.ts'
import type { Context, Params } from './routing.ts'

const NONE = JSON.stringify({ extensions: [] })

export async function discoverExtensions(ctx: Context): Promise<void> {
  answerBytes(ctx, 'application/json', NONE)
}

/** A repository that does not exist is 404, as for every other question about it. */
export const discoverRepositoryExtensions =
  (store: Store) =>
  async (ctx: Context, { name }: Params<'name'>): Promise<void> => {
    await store.repository(name).demandKnown()
    answerBytes(ctx, 'application/json', NONE)
  }
