/** How much a repository holds. Everything is looked at, a few things at the same time: for operators, not for requests. */
import { forEachAtOnce } from './at-once.ts'
import type { StorageDriver } from './driver.ts'
import { Manifests } from './manifests.ts'
import type { RepositoryName } from './model/reference.ts'
import { Tags } from './tags.ts'

const AT_ONCE = 16

export interface Census {
  readonly tags: number
  readonly manifests: number
}

export async function countRepository(driver: StorageDriver, name: RepositoryName): Promise<Census> {
  const manifests = new Manifests(driver)
  const counts = { tags: 0, manifests: 0 }
  for await (const page of new Tags(driver).list(name, {})) counts.tags += page.length
  await forEachAtOnce(manifests.listDigests(name), AT_ONCE, async (digest) => {
    if (await manifests.find(name, digest)) counts.manifests += 1
  })
  return counts
}
