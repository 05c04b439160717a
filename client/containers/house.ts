/** What verbs and the library work with: the local store, and the containers and volumes in it. Images are for those who need them: most do not. */
import { StoreFolders } from '../store/store.ts'
import { Containers } from './containers.ts'
import type { Volumes } from './volumes.ts'

export interface House {
  readonly store: StoreFolders
  readonly containers: Containers
  readonly volumes: Volumes
}

/** Makes the store if it is missing; throws an error that says what to do if it cannot be used. */
export async function openHouse(root: string): Promise<House> {
  const store = await StoreFolders.open(root)
  const containers = new Containers(store)
  return { store, containers, volumes: containers.volumes }
}
