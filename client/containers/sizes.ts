/** How much a container has written, and how much it sees: its files are looked at one by one, so only who asks waits for it. */
import { join } from 'node:path'
import { bytesInFiles } from '../store/disk-use.ts'
import type { ContainerSizes } from './inspect.ts'
import type { ContainerRecord } from './record.ts'

/** `folder`: the container's. */
export async function sizesOf({ layers }: ContainerRecord, folder: string): Promise<ContainerSizes> {
  const [writtenBytes = 0, ...inLayers] = await Promise.all(
    [join(folder, 'upper'), ...new Set(layers)].map((each) => bytesInFiles(each)),
  )
  return { writtenBytes, rootBytes: inLayers.reduce((sum, each) => sum + each, writtenBytes) }
}
