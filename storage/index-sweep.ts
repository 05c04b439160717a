/**
 * Entries of lists that a crash left between an entry and the record that would have made it true: a tag that is listed and
 * is not there, a referrer of nobody. An entry that its record does not name may also be a push that is under way. So the
 * record is written again first, as it is: whoever was about to make the entry true has to start over, with entries of its own.
 */
import type { StorageDriver } from './driver.ts'
import { REPOSITORIES_PREFIX, repositoryOfEntry } from './layout.ts'
import type { Manifests } from './manifests.ts'
import type { Tags } from './tags.ts'

/** A read for each entry; a few writes for each that goes. Resolves to how many went. */
export async function sweepIndexes(driver: StorageDriver, tags: Tags, manifests: Manifests): Promise<number> {
  let removed = 0
  for await (const folder of driver.list(REPOSITORIES_PREFIX)) {
    const name = repositoryOfEntry(folder.replace('/', ''))
    for (const strays of [tags.strays(name), manifests.strays(name)]) {
      for await (const { key, fence } of strays) {
        if (!(await fence())) continue // somebody is at work there: next time
        await driver.remove(key)
        removed += 1
      }
    }
  }
  return removed
}
