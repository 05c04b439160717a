/** `gantry diff`: what a container has changed of its image. */

import { changesOf } from '../containers/changes.ts'
import { openHouse } from '../containers/house.ts'
import type { Output } from './output.ts'

export async function diffVerb(reference: string, flags: { readonly root: string }, output: Output): Promise<void> {
  const { containers } = await openHouse(flags.root)
  const { id, layers } = await containers.find(reference)
  for (const { kind, path } of await changesOf(containers.folder(id), layers)) output.line(`${kind} ${path}`)
}
